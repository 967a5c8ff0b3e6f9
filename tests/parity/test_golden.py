"""Small networks of every implementation, read from its own format, answer as they did there."""

import dataclasses

import numpy as np
import pytest
from make_golden import DEPTH, SIZE, WIDTH

from efficientnet import checkpoints, get_variant
from efficientnet.family import scaling

# Folder -> variant. Those with a width in their names lie beside the checkout, the others in tests/data/golden.
GOLDEN = {
    "keras-b0": "b0",
    "keras-v2-b0": "v2-b0",
    "timm-b0": "b0",
    "timm-v2-b0": "v2-b0",
    "torchvision-b0": "b0",
    "keras-b0-w0.25": "b0",
    "keras-v2b0-w0.25": "v2-b0",
    "official-b0-w0.25": "b0",
    "official-condconv-b0-4e-w0.25": "condconv-b0-4e",
    "official-edgetpu-s-w0.25": "edgetpu-s",
    "official-lite0-w0.25": "lite0",
    "official-v2-b0-w0.25": "v2-b0",
    "timm-tf_efficientnet_b0-w0.25": "b0",
    "timm-tf_efficientnet_es-w0.25": "edgetpu-s",
    "timm-tf_efficientnet_lite0-w0.25": "lite0",
    "timm-tf_efficientnetv2_b0-w0.25": "v2-b0",
}
FILES = {
    "keras": ["model.weights.h5"],
    "official": ["model.ckpt"],
    "timm": ["model.pth", "model_legacy.pth", "model.safetensors"],
    "torchvision": ["model.pth"],
}
# One of each kind of network; the others differ in their files, which the same code reads on every framework.
KINDS = (
    "keras-b0",
    "timm-b0",
    "keras-v2-b0",
    "official-condconv-b0-4e-w0.25",
    "official-edgetpu-s-w0.25",
    "official-lite0-w0.25",
)
# As the authors' code made it, this random network multiplies rounding errors.
TOLERANCES = {"official-v2-b0-w0.25": 2e-4}


def scaled(folder, variant):
    if folder.endswith("-w0.25"):
        return dataclasses.replace(get_variant(variant), width=0.25, resolution=64)
    return dataclasses.replace(get_variant(variant), width=WIDTH, depth=DEPTH, resolution=SIZE)


def narrow(folder, path):
    """The variant as small as in the file, with its stem and head where the implementation rounds them differently."""
    variant = scaled(folder, GOLDEN[folder])
    reading = checkpoints.read_checkpoint(path, variant)
    found = {entry.ours: shape for entry, shape in reading.unequal}
    stem, head = found.get("stem_bn/gamma"), found.get("top_bn/gamma")
    if stem is None and head is None:
        return variant
    return dataclasses.replace(
        variant,
        scale_stem_and_head=False,
        stem_filters=stem[0] if stem else scaling.stem_filters(variant),
        head_filters=head[0] if head else scaling.head_filters(variant),
    )


def ask(model, x, backend):
    """The answer to a batch; TensorFlow would take longer to compile a graph than to compute it step by step."""
    answer = model(x, training=False) if backend == "tensorflow" else model.predict_on_batch(x)
    return answer.numpy() if hasattr(answer, "numpy") else np.asarray(answer)


@pytest.mark.slow
@pytest.mark.parametrize(
    "folder", [*KINDS, *(pytest.param(name, marks=pytest.mark.once) for name in GOLDEN if name not in KINDS)]
)
def test_answers(eff, backend, golden, folder, caplog):
    if backend == "openvino" and folder in TOLERANCES:
        pytest.skip("Keras on OpenVINO computes in bfloat16 where the processor has it")
    origin = folder.split("-")[0]
    path = golden(folder) / FILES[origin][0]
    model = eff.create(narrow(folder, path), weights=path, classes=10, include_preprocessing=origin == "keras")
    with np.load(golden(folder) / "io.npz") as io:
        # Keras on OpenVINO computes in bfloat16 where the processor has it.
        tolerance = 0.1 if backend == "openvino" else TOLERANCES.get(folder, 1e-5)
        np.testing.assert_allclose(ask(model, io["x"], backend), io["y"], atol=tolerance)
    assert ("assumed: padding='same', batch_norm_epsilon=0.001" in caplog.text) == (origin == "timm")


@pytest.mark.slow
@pytest.mark.once
@pytest.mark.parametrize(
    ("folder", "file"),
    [
        ("kerashub-b0", "preset"),
        ("kerashub-b0", "preset/model.weights.h5"),
        ("kerashub-b0", "alone/model.weights.h5"),
        ("kerashub-b0-w0.25", "preset"),
        ("kerashub-v2-b0", "task.keras"),
        ("kerashub-v2-b0", "preset"),
    ],
)
def test_kerashub(eff, backend, golden, folder, file, tmp_path, caplog):
    """Padding and epsilon are those of ``config.json``, in the folder or beside the file; without it, a warning."""
    if backend == "openvino":
        pytest.skip("Keras on OpenVINO computes in bfloat16 where the processor has it")
    files = golden(folder)
    path = files / file
    if file.startswith("alone"):
        path = tmp_path / "model.weights.h5"
        path.write_bytes((files / "preset/model.weights.h5").read_bytes())
    has_top = not file.endswith(".h5")
    variant = scaled(folder, "v2-b0" if "v2" in folder else "b0")
    model = eff.create(variant, weights=path, include_top=has_top, classes=10)
    assert model.get_layer("stem_bn").epsilon == pytest.approx(1e-3 if "v2" in folder else 1e-5)
    assert ("batch_norm_epsilon=" in caplog.text) == file.startswith("alone")
    with np.load(files / "io.npz") as io:
        expected = io["y" if has_top else "features"]
        tolerance = 1e-5 * max(1, np.abs(expected).max())  # features are large, probabilities are not
        np.testing.assert_allclose(ask(model, io["x"], backend), expected, atol=tolerance)


@pytest.mark.slow
@pytest.mark.once
def test_transformers(eff, backend, golden):
    """Its first block adds nothing to its output, though at this width its input has as many channels."""
    if backend == "openvino":
        pytest.skip("Keras on OpenVINO computes in bfloat16 where the processor has it")
    files = golden("hf-b0-w0.25")
    variant = scaled("hf-b0-w0.25", "b0")
    first, *others = variant.blocks
    variant = dataclasses.replace(variant, blocks=(dataclasses.replace(first, id_skip=False), *others))
    model = eff.create(variant, weights=files / "folder", classes=10)
    with np.load(files / "io.npz") as io:
        np.testing.assert_allclose(ask(model, io["x"], backend), io["y"], atol=1e-5)


@pytest.mark.slow
@pytest.mark.once_per_keras
@pytest.mark.parametrize("folder", ["keras-b0", "keras-v2-b0"])
def test_preprocessed_pixels_of_keras_applications(eff, backend, golden, folder):
    """Without the preprocessing in the graph, given what it would have made of the pixels."""
    if backend == "openvino":
        pytest.skip("Keras on OpenVINO computes in bfloat16 where the processor has it")
    path = golden(folder) / "model.weights.h5"
    model = eff.create(narrow(folder, path), weights=path, classes=10)
    with np.load(golden(folder) / "io.npz") as io:
        x = eff.preprocess_input(io["x"], mode=eff.model_preprocessing(model))
        np.testing.assert_allclose(ask(model, x, backend), io["y"], atol=1e-5)


@pytest.mark.once
@pytest.mark.parametrize("folder", ["timm-b0", *(folder for folder in GOLDEN if folder.startswith("timm-tf"))])
def test_three_formats_of_the_same_arrays(golden, folder):
    contents = [checkpoints.open_checkpoint(golden(folder) / file).arrays for file in FILES["timm"]]
    for arrays in contents[1:]:
        assert set(arrays) == set(contents[0])
        for name, stored in arrays.items():
            np.testing.assert_array_equal(np.asarray(stored), np.asarray(contents[0][name]))
            assert stored.dtype == contents[0][name].dtype


@pytest.mark.once
@pytest.mark.parametrize("folder", ["tensorflow", *(folder for folder in GOLDEN if folder.startswith("official"))])
def test_moving_averages_are_preferred(golden, folder):
    checkpoint = checkpoints.open_checkpoint(golden(folder) / "model.ckpt")
    assert checkpoint.averaged
    assert not any("ExponentialMovingAverage" in name for name in checkpoint.arrays)
