"""Small networks of every implementation, read from its own format, answer as they did there."""

import dataclasses

import numpy as np
import pytest

from efficientnet import checkpoints, get_variant
from efficientnet.family import scaling

# Folder -> variant, and the widened stem and head where the implementation rounds them by a rule of its own.
GOLDEN = {
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
}

# Random networks as deep as V2's multiply rounding errors. Run on another processor, the implementations themselves
# are off their own outputs: keras.applications by 5e-5 (TensorFlow) to 1.3e-4 (PyTorch), timm by 0.05.
CHAOTIC = {"keras-v2b0-w0.25": 2e-4, "official-v2-b0-w0.25": 2e-4, "timm-tf_efficientnetv2_b0-w0.25": 0.2}


def narrow(folder, path):
    """The variant at width 0.25, with the stem and head that the file has."""
    variant = dataclasses.replace(get_variant(GOLDEN[folder]), width=0.25, resolution=64)
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


@pytest.mark.parametrize("folder", GOLDEN)
def test_answers(eff, backend, shared, folder, caplog):
    if backend == "openvino" and folder in CHAOTIC:
        pytest.skip("Keras on OpenVINO computes in bfloat16 where the processor has it, and this network is chaotic")
    origin = folder.split("-")[0]
    path = shared / "golden" / folder / FILES[origin][0]
    model = eff.create(narrow(folder, path), weights=path, classes=10, include_preprocessing=origin == "keras")
    with np.load(shared / "golden" / folder / "io.npz") as io:
        # Keras on OpenVINO computes in bfloat16 where the processor has it.
        tolerance = 0.1 if backend == "openvino" else CHAOTIC.get(folder, 1e-5)
        np.testing.assert_allclose(ask(model, io["x"], backend), io["y"], atol=tolerance)
    assert ("assumed: padding='same', batch_norm_epsilon=0.001" in caplog.text) == (origin == "timm")


@pytest.mark.parametrize("file", ["preset", "task.keras", "preset/model.weights.h5", "alone/model.weights.h5"])
def test_kerashub(eff, backend, shared, file, tmp_path, caplog):
    """Padding and epsilon are those of ``config.json``, in the folder or beside the file; without it, a warning."""
    if backend == "openvino":
        pytest.skip("Keras on OpenVINO computes in bfloat16 where the processor has it")
    folder = shared / "golden/kerashub-b0-w0.25"
    path = folder / file
    if file.startswith("alone"):
        path = tmp_path / "model.weights.h5"
        path.write_bytes((folder / "preset/model.weights.h5").read_bytes())
    has_top = not file.endswith(".h5")
    variant = dataclasses.replace(get_variant("b0"), width=0.25, resolution=64)
    model = eff.create(variant, weights=path, include_top=has_top, classes=10, input_shape=(64, 64, 3))
    assert model.get_layer("stem_bn").epsilon == pytest.approx(1e-5)
    assert ("batch_norm_epsilon=" in caplog.text) == file.startswith("alone")
    with np.load(folder / "io.npz") as io:
        expected = io["y" if has_top else "features"]
        tolerance = 1e-5 * max(1, np.abs(expected).max())  # features are large, probabilities are not
        np.testing.assert_allclose(ask(model, io["x"], backend), expected, atol=tolerance)


def test_preprocessed_pixels_of_keras_applications(eff, backend, shared):
    """Without the preprocessing in the graph, given what it would have made of the pixels."""
    if backend == "openvino":
        pytest.skip("Keras on OpenVINO computes in bfloat16 where the processor has it")
    for folder in ("keras-b0-w0.25", "keras-v2b0-w0.25"):
        path = shared / "golden" / folder / "model.weights.h5"
        model = eff.create(narrow(folder, path), weights=path, classes=10)
        with np.load(shared / "golden" / folder / "io.npz") as io:
            x = eff.preprocess_input(io["x"], mode=eff.model_preprocessing(model))
            tolerance = CHAOTIC.get(folder, 1e-5)
            np.testing.assert_allclose(ask(model, x, backend), io["y"], atol=tolerance)


@pytest.mark.parametrize("folder", [folder for folder in GOLDEN if folder.startswith("timm")])
def test_three_formats_of_the_same_arrays(shared, folder):
    contents = [checkpoints.open_checkpoint(shared / "golden" / folder / file).arrays for file in FILES["timm"]]
    for arrays in contents[1:]:
        assert set(arrays) == set(contents[0])
        for name, stored in arrays.items():
            np.testing.assert_array_equal(np.asarray(stored), np.asarray(contents[0][name]))
            assert stored.dtype == contents[0][name].dtype


@pytest.mark.parametrize("folder", [folder for folder in GOLDEN if folder.startswith("official")])
def test_moving_averages_are_preferred(shared, folder):
    checkpoint = checkpoints.open_checkpoint(shared / "golden" / folder / "model.ckpt")
    assert checkpoint.averaged
    assert not any("ExponentialMovingAverage" in name for name in checkpoint.arrays)
