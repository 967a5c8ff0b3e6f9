"""The evaluation crop against scikit-image, and pixel scaling on every kind of array and tensor."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from efficientnet.preprocessing import (
    MAP_INTERPOLATION_TO_ORDER,
    MODES,
    center_crop_and_resize,
    preprocess_input,
    scale_and_offset,
)

PROJECT = Path(__file__).resolve().parents[1]


def noise(*shape: int, dtype: str = "uint8", seed: int = 0) -> np.ndarray:
    """Levels 0..255, from black to white between neighbours: the hardest image to resize."""
    return np.random.default_rng(seed).integers(0, 256, shape).astype(dtype)


def reference_crop(image: np.ndarray, image_size: int, crop_padding: int, interpolation: str) -> np.ndarray:
    transform = pytest.importorskip("skimage.transform")
    side = int(image_size / (image_size + crop_padding) * min(image.shape[:2]))
    top, left = ((length - side + 1) // 2 for length in image.shape[:2])
    return transform.resize(
        image[top : top + side, left : left + side],
        (image_size, image_size),
        order=MAP_INTERPOLATION_TO_ORDER[interpolation],
        preserve_range=True,
    )


@pytest.mark.parametrize("interpolation", MAP_INTERPOLATION_TO_ORDER)
@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64", "float16", "int32"])
@pytest.mark.parametrize("shape", [(2, 3), (33, 40, 3), (64, 64), (97, 131, 1), (150, 101, 3), (225, 300, 4)])
def test_crop_is_that_of_scikit_image(shape: tuple[int, ...], dtype: str, interpolation: str) -> None:
    image = noise(*shape, dtype=dtype)
    for image_size in (3, 32, 57, 128):
        for crop_padding in (0, 32):
            if image_size * min(shape[:2]) < image_size + crop_padding:
                continue  # scikit-image cannot resize the empty crop
            want = reference_crop(image, image_size, crop_padding, interpolation)
            got = center_crop_and_resize(image, image_size, crop_padding, interpolation)
            assert got.dtype == want.dtype and got.shape == want.shape
            np.testing.assert_allclose(got, want, rtol=0, atol=1e-3)


@pytest.mark.parametrize("interpolation", MAP_INTERPOLATION_TO_ORDER)
def test_crop_of_a_photograph_size(interpolation: str) -> None:
    image = noise(600, 800, 3)
    want = reference_crop(image, 224, 32, interpolation)
    got = center_crop_and_resize(image, 224, interpolation=interpolation)
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-3)


def test_nearest_picks_the_same_pixels_at_every_scale() -> None:
    for size in range(1, 60, 4):
        image = np.arange(size * size).reshape(size, size)
        for image_size in range(1, 90, 3):
            want = reference_crop(image, image_size, 0, "nearest")
            got = center_crop_and_resize(image, image_size, 0, "nearest")
            np.testing.assert_array_equal(got, want)


def test_crop_keeps_wide_ranges_precise() -> None:
    image = noise(90, 70, 3, dtype="float64") * 1e6
    want = reference_crop(image, 48, 32, "bicubic")
    np.testing.assert_allclose(center_crop_and_resize(image, 48), want, rtol=0, atol=0.01)
    levels = noise(90, 70).astype("uint16") * 257
    want = reference_crop(levels, 48, 32, "bicubic")
    np.testing.assert_allclose(center_crop_and_resize(levels, 48), want, rtol=0, atol=1e-3)


def test_crop_of_bool_picks_pixels() -> None:
    mask = noise(50, 60) > 127
    got = center_crop_and_resize(mask, 40, interpolation="nearest")
    assert got.dtype == bool
    np.testing.assert_array_equal(got, reference_crop(mask, 40, 32, "nearest"))


@pytest.mark.parametrize("dtype", [">f2", ">f4", ">f8"])
def test_the_order_of_bytes_is_of_no_account(dtype: str) -> None:
    image = noise(4, 5, 3).astype(dtype)
    scaled = preprocess_input(image)
    assert scaled.dtype == np.dtype(dtype).newbyteorder("=")
    np.testing.assert_array_equal(scaled, preprocess_input(image.astype(scaled.dtype)))


def test_crop_of_tiny_images_is_their_center() -> None:
    image = np.array([[10, 20, 30]], np.uint8)
    np.testing.assert_array_equal(center_crop_and_resize(image, 4), np.full((4, 4), 20.0))


def test_crop_leaves_the_image_and_the_next_answer_alone() -> None:
    image = noise(60, 70, 3)
    before = image.copy()
    image.flags.writeable = False
    first = center_crop_and_resize(image, 32)
    kept = first.copy()
    first[:] = 0
    np.testing.assert_array_equal(center_crop_and_resize(image, 32), kept)
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize(
    ("image", "options", "message"),
    [
        (noise(4), {}, r"got shape \(4,\)"),
        (noise(2, 4, 4, 3), {}, "one at a time"),
        (noise(0, 4, 3), {}, r"at least one pixel; got shape \(0, 4, 3\)"),
        (
            noise(4, 4),
            {"interpolation": "lanczos"},
            "interpolation='lanczos': expected one of 'nearest', 'bilinear', 'biquadratic', 'bicubic'",
        ),
        (noise(4, 4), {"image_size": 0}, "image_size=0: expected an integer"),
        (noise(4, 4), {"crop_padding": -1}, "crop_padding=-1"),
        (noise(4, 4) > 9, {}, "bicubic mean of bool"),
        (np.array([["a"]]), {"interpolation": "nearest"}, "integer or floating levels"),
    ],
)
def test_crop_refuses(image: np.ndarray, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        center_crop_and_resize(image, **{"image_size": 8, **options})


# --- preprocess_input ---

MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
FORMULAS = {
    "torch": lambda x: (x / 255 - MEAN) / STD,
    "tf": lambda x: x / 127.5 - 1,
    "lite": lambda x: (x - 127) / 128,
    "v2": lambda x: (x - 128) / 128,
    "none": lambda x: x,
}
PIXELS = noise(2, 5, 4, 3)


def expected(mode: str, pixels: np.ndarray = PIXELS) -> np.ndarray:
    return FORMULAS[mode](pixels.astype("float64"))


def test_modes_are_those_with_a_formula() -> None:
    assert set(MODES) == set(FORMULAS)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", ["uint8", "int64", "float32", "float64", "float16"])
def test_arrays(mode: str, dtype: str) -> None:
    x = PIXELS.astype(dtype)
    x.flags.writeable = False
    got = preprocess_input(x, mode)
    assert got.dtype == (dtype if dtype.startswith("float") else "float32")
    tolerance = {"float64": 1e-12, "float16": 5e-3}.get(dtype, 1e-6)
    np.testing.assert_allclose(got, expected(mode), rtol=0, atol=tolerance)
    np.testing.assert_array_equal(x, PIXELS)


@pytest.mark.parametrize("mode", MODES)
def test_scale_and_offset_say_what_is_done(mode: str) -> None:
    scale, offset = scale_and_offset(mode)
    np.testing.assert_allclose(PIXELS * np.array(scale) + offset, expected(mode), atol=1e-12)


def test_default_mode_is_torch() -> None:
    np.testing.assert_array_equal(preprocess_input(PIXELS), preprocess_input(PIXELS, "torch"))


def test_lists_and_pillow_images() -> None:
    from PIL import Image

    want = preprocess_input(PIXELS[0])
    np.testing.assert_allclose(preprocess_input(PIXELS[0].tolist()), want)
    np.testing.assert_allclose(preprocess_input(Image.fromarray(PIXELS[0])), want)


@pytest.mark.parametrize("mode", MODES)
def test_channels_first(mode: str) -> None:
    for pixels in (PIXELS, PIXELS[0]):
        first = np.moveaxis(pixels, -1, -3)
        want = np.moveaxis(preprocess_input(pixels, mode), -1, -3)
        np.testing.assert_array_equal(preprocess_input(first, mode, "channels_first"), want)
        backend = SimpleNamespace(image_data_format=lambda: "channels_first")
        got = preprocess_input(first, mode, backend=backend, layers=None, models=None, utils=None)
        np.testing.assert_array_equal(got, want)


def test_other_channel_counts_where_channels_are_alike() -> None:
    grey = noise(6, 6, 1)
    np.testing.assert_allclose(preprocess_input(grey, "lite"), expected("lite", grey), atol=1e-6)


@pytest.mark.parametrize(
    ("x", "options", "error", "message"),
    [
        (PIXELS, {"mode": "caffe"}, ValueError, "mode='caffe': expected one of 'torch', 'tf', 'lite', 'v2'"),
        (PIXELS, {"data_format": "NHWC"}, ValueError, "got 'NHWC'"),
        (noise(8, 8, 1), {}, ValueError, r"length 3 on axis -1; got shape \(8, 8, 1\)"),
        (PIXELS, {"data_format": "channels_first"}, ValueError, r"axis -3; got shape \(2, 5, 4, 3"),
        (np.zeros(()), {}, ValueError, r"got shape \(\)"),
        (PIXELS > 9, {}, ValueError, "Pass it times 255"),
        (PIXELS, {"colour": 1}, TypeError, "unexpected keyword argument 'colour'; it takes mode, data_format, model"),
        (PIXELS, {"mdoe": "tf"}, TypeError, "'mdoe': did you mean 'mode'"),
        (PIXELS, {"backends": None}, TypeError, "'backends': did you mean 'backend'"),
        ("panda.jpg", {}, TypeError, "load_image"),
        (None, {}, TypeError, "values of type object"),
    ],
)
def test_refuses(x: Any, options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        preprocess_input(x, **options)


def test_imports_nothing_heavy() -> None:
    code = (
        "import sys, numpy as np, efficientnet.preprocessing as p;"
        "p.preprocess_input(p.center_crop_and_resize(np.zeros((9, 9, 3), 'uint8'), 4));"
        "heavy = {'scipy', 'skimage', 'PIL', 'keras', 'tensorflow', 'torch', 'jax'};"
        "print(heavy & set(sys.modules))"
    )
    answer = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "set()"


# --- tensors ---


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", ["uint8", "float32", "bfloat16"])
def test_tensorflow_tensors(mode: str, dtype: str) -> None:
    tf = pytest.importorskip("tensorflow")
    got = preprocess_input(tf.cast(PIXELS, dtype), mode)
    assert tf.is_tensor(got) and got.dtype == ("bfloat16" if dtype == "bfloat16" else "float32")
    tolerance = 0.05 if dtype == "bfloat16" else 1e-6
    np.testing.assert_allclose(np.asarray(got, "float64"), expected(mode), atol=tolerance)


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_inside_tf_data(mode: str) -> None:
    tf = pytest.importorskip("tensorflow")
    dataset = tf.data.Dataset.from_tensors(PIXELS).map(lambda x: preprocess_input(x, mode))
    np.testing.assert_allclose(next(iter(dataset)), expected(mode), atol=1e-6)


@pytest.mark.slow
def test_inside_tf_data_before_the_shape_is_known() -> None:
    tf = pytest.importorskip("tensorflow")
    files = tf.data.Dataset.from_tensors(tf.io.encode_png(PIXELS[0]))

    def read(content: Any) -> Any:
        pixels = tf.io.decode_image(content)
        assert pixels.shape.rank is None
        return preprocess_input(pixels)

    np.testing.assert_allclose(next(iter(files.map(read))), expected("torch")[0], atol=1e-6)
    grey = tf.TensorSpec((None, None, 1), tf.uint8)
    with pytest.raises(ValueError, match=r"got shape \(None, None, 1\)"):
        tf.function(preprocess_input).get_concrete_function(grey)


@pytest.mark.slow
@pytest.mark.parametrize("package", ["keras", "tf_keras"])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_inside_a_keras_graph(package: str, dtype: str, tmp_path: Path) -> None:
    keras = pytest.importorskip(package)
    pixels = keras.Input(PIXELS.shape[1:], dtype=dtype)
    outputs = [preprocess_input(pixels, mode) for mode in MODES]
    path = str(tmp_path / "scaling.keras")
    keras.Model(pixels, outputs).save(path)
    answers = keras.models.load_model(path).predict_on_batch(PIXELS.astype(dtype))
    for mode, answer in zip(MODES, answers, strict=True):
        np.testing.assert_allclose(answer, expected(mode), atol=1e-6)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", ["uint8", "float32", "bfloat16"])
def test_jax_arrays(mode: str, dtype: str) -> None:
    jax = pytest.importorskip("jax")
    pixels = jax.numpy.asarray(PIXELS).astype(dtype)
    tolerance = 0.05 if dtype == "bfloat16" else 1e-6
    for function in (preprocess_input, jax.jit(preprocess_input, static_argnums=1)):
        got = function(pixels, mode)
        assert isinstance(got, jax.Array)
        assert got.dtype == ("bfloat16" if dtype == "bfloat16" else "float32")
        np.testing.assert_allclose(np.asarray(got, "float64"), expected(mode), atol=tolerance)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", ["uint8", "float32", "bfloat16"])
def test_torch_tensors(mode: str, dtype: str) -> None:
    torch = pytest.importorskip("torch")
    pixels = torch.from_numpy(PIXELS.copy()).to(getattr(torch, dtype))
    pixels.requires_grad_(pixels.is_floating_point())
    got = preprocess_input(pixels, mode)
    assert got.dtype == (torch.bfloat16 if dtype == "bfloat16" else torch.float32)
    assert got.requires_grad == pixels.requires_grad
    tolerance = 0.05 if dtype == "bfloat16" else 1e-6
    np.testing.assert_allclose(got.detach().double(), expected(mode), atol=tolerance)
    np.testing.assert_array_equal(pixels.detach().double(), PIXELS)


def tensors_of(package: str, dtype: str, array: Any) -> Any:
    """The array as a tensor; on PyTorch with a gradient where the type can have one."""
    framework = pytest.importorskip(package)
    if package == "torch":
        tensor = framework.from_numpy(array.copy()).to(getattr(framework, dtype))
        return tensor.requires_grad_(tensor.is_floating_point())
    return framework.numpy.asarray(array).astype(dtype) if package == "jax" else framework.cast(array, dtype)


@pytest.mark.parametrize("package", ["tensorflow", "jax", "torch"])
def test_tensors_of_16_bits_are_scaled_as_arrays_are(package: str) -> None:
    levels = np.arange(65536, dtype=np.uint16).reshape(256, 256, 1)
    got = preprocess_input(tensors_of(package, "uint16", levels), "tf")
    np.testing.assert_array_equal(np.asarray(got), preprocess_input(levels, "tf"))


@pytest.mark.parametrize("package", ["tensorflow", "jax", "torch"])
@pytest.mark.parametrize("dtype", ["bool", "complex64"])
def test_tensors_of_what_is_no_level_are_refused(package: str, dtype: str) -> None:
    with pytest.raises(TypeError, match=f"got values of type {dtype}"):
        preprocess_input(tensors_of(package, dtype, PIXELS))


@pytest.mark.parametrize("package", ["tensorflow", "jax", "torch"])
@pytest.mark.parametrize("dtype", ["uint8", "float16", "bfloat16"])
def test_crop_takes_tensors(package: str, dtype: str) -> None:
    image = np.round(noise(20, 30, 3) / 2)  # levels that all these types have
    got = center_crop_and_resize(tensors_of(package, dtype, image), 12)
    assert got.dtype == ("float64" if dtype == "uint8" else "float32")
    np.testing.assert_allclose(got, center_crop_and_resize(image, 12), atol=1e-3)
