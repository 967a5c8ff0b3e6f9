"""From the name of a published set to a model like the one that was trained, with a folder for its publisher."""

import dataclasses
import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest
import tf_bundle_writer

from efficientnet import checkpoints, get_variant
from efficientnet.checkpoints import hub_folder, safetensors
from efficientnet.checkpoints.names.tensorflow import AUTHORS
from efficientnet.checkpoints.names.torch import TIMM, TORCHVISION, TRANSFORMERS
from efficientnet.cli.main import main
from efficientnet.family import arrays as layout
from efficientnet.weights import finding, published
from efficientnet.weights.published import weights_info

pytest.importorskip("keras")

PRESET = Path(__file__).resolve().parents[1] / "data" / "golden" / "kerashub-b0" / "preset"


def arrays_of(origin, variant, classes):
    rng = np.random.default_rng(0)
    for entry in origin.entries(layout.layers(get_variant(variant), classes)):
        low, high = (0.5, 1) if len(entry.shape) == 1 else (-0.05, 0.05)
        yield entry.theirs, rng.uniform(low, high, entry.their_shape).astype(np.float32)


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """A folder that stands for all publishers."""
    (tmp_path / "mirror").mkdir()
    monkeypatch.setenv("EFFICIENTNET_WEIGHTS_URL", str(tmp_path / "mirror"))
    monkeypatch.setenv("EFFICIENTNET_HOME", str(tmp_path / "cache"))
    return tmp_path / "mirror"


@pytest.mark.slow
@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize(
    ("variant", "name", "padding", "epsilon", "mode"),
    [
        ("b0", "timm/tf_efficientnet_b0.ap_in1k", "same", 1e-3, "tf"),
        ("b0", "hf://timm/efficientnet_b0.ra_in1k", "symmetric", 1e-5, "torch"),
        ("lite3", "imagenet", "same", 1e-3, "tf"),
    ],
)
def test_timm(eff, mirror, variant, name, padding, epsilon, mode):
    model_name = weights_info(variant, name).model
    safetensors.write(mirror / f"timm--{model_name}--model.safetensors", dict(arrays_of(TIMM, variant, 1000)))
    model = eff.create(variant, weights=name, input_shape=(64, 64, 3))
    assert model.get_layer("stem_conv").padding == ("valid" if padding == "symmetric" else "same")
    assert model.get_layer("stem_bn").epsilon == pytest.approx(epsilon)
    assert eff.model_preprocessing(model) == mode
    raw = eff.create(variant, weights=name, input_shape=(64, 64, 3), include_preprocessing=True)
    assert eff.model_preprocessing(raw) == "none"
    pixels = np.random.default_rng(0).uniform(0, 255, (1, 64, 64, 3)).astype(np.float32)
    expected = np.asarray(model.predict_on_batch(eff.preprocess_input(pixels, mode=mode)))
    np.testing.assert_allclose(np.asarray(raw.predict_on_batch(pixels)), expected, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variant", "name", "origin", "padding"),
    [("b1", "torchvision/imagenet-v2", TORCHVISION, "valid"), ("b0", "google/imagenet", TRANSFORMERS, "same")],
)
def test_torchvision_and_google(eff, mirror, monkeypatch, caplog, variant, name, origin, padding):
    row = dataclasses.replace(weights_info(variant, name), hash="")
    arrays = dict(arrays_of(origin, variant, 1000))
    if name.startswith("google"):
        arrays = {f"efficientnet.{k}" if "classifier" not in k else k: array for k, array in arrays.items()}
        safetensors.write(mirror / "google--efficientnet-b0--model.safetensors", arrays)
    else:
        torch = pytest.importorskip("torch")
        digest = hashlib.sha256(row.url.encode()).hexdigest()[:8]
        tensors = {key: torch.from_numpy(array) for key, array in arrays.items()}
        torch.save(tensors, mirror / f"{digest}-{row.url.rsplit('/', 1)[-1]}")
    monkeypatch.setattr(published, "list_weights", lambda _: (row,))
    model = eff.create(variant, weights=name, input_shape=(64, 64, 3))
    assert model.get_layer("stem_conv").padding == padding
    assert eff.model_preprocessing(model) == "torch"
    assert "does not say" not in caplog.text
    classifier = "classifier.1.weight" if origin is TORCHVISION else "classifier.weight"
    np.testing.assert_array_equal(model.get_layer("probs").get_weights()[0], arrays[classifier].T)


def test_a_preset_of_kerashub_is_a_folder(mirror):
    """Body and classifier are two files there."""
    row = weights_info("b0", "kerashub/ra_imagenet")
    for file in PRESET.iterdir():
        shutil.copy(file, mirror / f"keras--efficientnet_b0_ra_imagenet--{file.name}")
    folder = published.path(row)
    assert [path.name for path in hub_folder.find_weights(folder)] == ["model.weights.h5", "task.weights.h5"]
    assert checkpoints.open_checkpoint(folder).facts.padding == row.padding
    facts = finding.of_set(row)
    assert (facts.padding, facts.epsilon, facts.preprocessing) == ("symmetric", 1e-5, "torch")


@pytest.fixture
def edgetpu(mirror, tmp_path):
    """The authors' archive of EdgeTPU-S: 1,001 classes, the background first."""
    arrays = {
        f"efficientnet-edgetpu-S__{name.replace('/batch', '/tpu_batch').replace('/', '__')}": array
        for name, array in arrays_of(AUTHORS, "edgetpu-s", 1001)
    }
    (tmp_path / "run").mkdir()
    prefix = tf_bundle_writer.save(tmp_path / "run", **arrays)
    url = weights_info("edgetpu-s", "official/imagenet").url
    # The authors use a file's name for more than one: a digest of the address tells them apart.
    name = f"{hashlib.sha256(url.encode()).hexdigest()[:8]}-{url.rsplit('/', 1)[-1]}"
    tf_bundle_writer.pack(mirror / name, tf_bundle_writer.parts(prefix))
    return prefix


@pytest.mark.slow
def test_the_background_is_left_out(eff, edgetpu, caplog):
    kept = eff.EfficientNetEdgeTPUS(weights="official/imagenet", classes=1001, input_shape=(64, 64, 3))
    model = eff.EfficientNetEdgeTPUS(weights="official/imagenet", input_shape=(64, 64, 3))
    from_path = eff.EfficientNetEdgeTPUS(weights=edgetpu, input_shape=(64, 64, 3))
    # By its name the set is the authors' own; a checkpoint could be of their later code, too.
    paddings = [network.get_layer("block2a_expand_conv").padding for network in (model, from_path)]
    assert paddings == ["valid", "same"]
    assert "assumed: padding='same'" in caplog.text and "published weights 'edgetpu'" in caplog.text
    for left_out in (model, from_path):
        for place in (0, 1):
            cut, whole = (network.get_layer("probs").get_weights()[place] for network in (left_out, kept))
            np.testing.assert_array_equal(cut, whole[..., 1:])
    assert eff.model_preprocessing(model) == "lite"


@pytest.mark.slow
def test_the_backbone_stays_whatever_the_classes(eff, edgetpu, caplog):
    model = eff.EfficientNetEdgeTPUS(weights="official/imagenet", classes=5, input_shape=(64, 64, 3))
    assert "have 1001 classes, the model 5" in caplog.text
    assert not model.get_layer("probs").get_weights()[0].any()


@pytest.mark.slow
def test_the_command_evaluates_as_the_publisher_did(edgetpu, tmp_path, capsys):
    from PIL import Image

    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    assert main(["predict", str(tmp_path / "noise.png"), "--model", "edgetpu-s", "--weights", "official/imagenet"]) == 0
    assert "noise.png" in capsys.readouterr().out


@pytest.mark.slow
def test_the_variant_is_detected_from_the_checkpoint(edgetpu):
    reading = checkpoints.read_checkpoint(edgetpu)
    assert (reading.variant.name, reading.classes, reading.checkpoint.averaged) == (
        "efficientnet-edgetpu-s",
        1001,
        False,
    )
