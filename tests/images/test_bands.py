"""Images of other numbers of channels and bits: arrays of NumPy, TIFF files, and what a model gets of them."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from efficientnet.errors import UnreadableImageError
from efficientnet.images.bands import with_channels
from efficientnet.images.loading import load_image
from efficientnet.model_io.images import read_image
from efficientnet.model_io.spec import InputSpec
from efficientnet.preprocessing import Scaling


def levels(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def tiff(array: np.ndarray, **options: Any) -> bytes:
    file = io.BytesIO()
    options = {"photometric": "rgb", **options} if array.shape[-1] == 3 else options
    pytest.importorskip("tifffile").imwrite(file, array, **options)
    return file.getvalue()


def png(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("channels", [2, 4, 6, 13])
@pytest.mark.parametrize("encode", [npy, tiff])
def test_several_channels_first_or_last(channels: int, encode: Any) -> None:
    image = levels(20, 30, channels)
    np.testing.assert_array_equal(load_image(encode(image), channels=channels), image)
    options = {"planarconfig": "separate", "photometric": "minisblack"} if encode is tiff else {}
    first = encode(np.ascontiguousarray(image.transpose(2, 0, 1)), **options)
    np.testing.assert_array_equal(load_image(first, channels=channels), image)


@pytest.mark.parametrize("encode", [npy, tiff])
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_sixteen_bits_and_fractions_have_eight(encode: Any, channels: int) -> None:
    image = levels(20, 30, channels)
    stored = image if channels > 1 or encode is npy else image[..., 0]
    np.testing.assert_array_equal(load_image(encode(stored * np.uint16(257)), channels=channels), image)
    fractions = (stored / np.float32(255)).astype(np.float32)
    fractions[0, 0] = 1
    found = load_image(encode(fractions), channels=channels)
    np.testing.assert_array_equal(found[1:], image[1:])


@pytest.mark.slow
def test_grey_of_colors_and_colors_of_grey() -> None:
    grey, rgb = levels(20, 30), levels(20, 30, 3)
    for content in (png(grey), npy(grey), npy(grey[..., np.newaxis]), png(np.repeat(grey[..., np.newaxis], 3, 2))):
        np.testing.assert_array_equal(load_image(content, channels=1)[..., 0], grey)
        np.testing.assert_array_equal(load_image(content), np.repeat(grey[..., np.newaxis], 3, 2))
    luminance = rgb @ [0.299, 0.587, 0.114]
    np.testing.assert_allclose(load_image(png(rgb), channels=1)[..., 0], luminance, atol=0.51)
    np.testing.assert_allclose(with_channels(rgb.astype(np.float32), 1)[..., 0], luminance, rtol=1e-5)


def test_opacity_is_a_channel_where_four_are_asked_for() -> None:
    image = levels(20, 30, 4)
    np.testing.assert_array_equal(load_image(png(image), channels=4), image)
    np.testing.assert_array_equal(load_image(Image.fromarray(image), channels=4), image)


def test_the_orientation_holds_for_any_number_of_channels() -> None:
    image, exif = levels(20, 30, 4), Image.Exif()
    exif[274] = 6
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG", exif=exif)
    five = tiff(levels(20, 30, 5), photometric="minisblack", extratags=[(274, "H", 1, 6, True)])
    for content, stored in ((file.getvalue(), image), (five, levels(20, 30, 5))):
        found = load_image(content, channels=stored.shape[-1])
        np.testing.assert_array_equal(found, np.rot90(stored, -1))


@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("white", ["minisblack", "miniswhite"])
def test_grey_tiff_files_of_any_numbers(dtype: str, order: str, compression: str | None, white: str) -> None:
    grey = levels(20, 30)
    grey[0, :2] = 0, 255
    numbers = grey / np.float32(255) if dtype == "f4" else grey.astype(dtype) * (257 if dtype == "u2" else 1)
    content = tiff(numbers, photometric=white, byteorder=order, compression=compression)
    expected = grey if white == "minisblack" else 255 - grey
    np.testing.assert_array_equal(load_image(content, channels=1)[..., 0], expected)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("scale", [1, np.uint16(257)])
def test_tiff_files_with_colors_apart(order: str, scale: int) -> None:
    image = levels(20, 30, 4)
    apart = {"photometric": "rgb", "planarconfig": "separate", "byteorder": order}
    content = tiff(image[..., :3].transpose(2, 0, 1) * scale, **apart)
    np.testing.assert_array_equal(load_image(content), image[..., :3])
    opaque = tiff(image.transpose(2, 0, 1) * scale, **apart, extrasamples=["unassalpha"])
    np.testing.assert_array_equal(load_image(opaque), load_image(Image.fromarray(image)))
    other = tiff(image.transpose(2, 0, 1) * scale, **apart, extrasamples=["unspecified"])
    with pytest.raises(UnreadableImageError, match="not an opacity of its own"):
        load_image(other)


def test_a_transparent_level_of_sixteen_bits() -> None:
    grey = levels(20, 30)
    grey[0, :2] = 7
    file = io.BytesIO()
    Image.fromarray(grey * np.uint16(257)).save(file, "PNG", transparency=7 * 257)
    np.testing.assert_array_equal(load_image(file.getvalue(), channels=1)[..., 0], np.where(grey == 7, 255, grey))


def test_an_open_tiff_file_that_pillow_misreads() -> None:
    apart = tiff(levels(3, 20, 30) * np.uint16(257), photometric="rgb", planarconfig="separate")
    with pytest.raises(UnreadableImageError, match="pass its path"):
        load_image(Image.open(io.BytesIO(apart)))


@pytest.mark.parametrize(
    ("content", "channels", "message"),
    [
        (npy(levels(20, 30, 5)), 4, r"shape \(20, 30, 5\), and an image of 4 channels is expected"),
        (npy(levels(20, 30, 5)), 3, r"shape \(20, 30, 5\), and an image of 3 channels"),
        (png(levels(20, 30, 3)), 4, r"3 channels \(RGB\), and 4 are expected"),
        (npy(levels(20, 30, 4))[:-100], 4, "is damaged"),
        (npy(np.array([{}], object)), 4, "is damaged"),
        (npy(np.full((9, 9, 4), np.nan)), 4, "NaN or infinite"),
        (npy(np.full((9, 9, 4), 300)), 4, "numbers 0..255; got levels from 300"),
    ],
)
def test_what_is_no_image_of_so_many_channels(content: bytes, channels: int, message: str) -> None:
    with pytest.raises(UnreadableImageError, match=message):
        load_image(content, channels=channels)


def test_too_many_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
    for content in (npy(levels(20, 30, 4)), tiff(levels(20, 30, 4))):
        with pytest.raises(UnreadableImageError, match="too many pixels"):
            load_image(content, channels=4)


@pytest.mark.parametrize("channels", [1, 4, 13])
def test_a_model_of_so_many_channels_gets_them(channels: int) -> None:
    spec = InputSpec("mine", (32, 32), channels, True, Scaling((1.0,) * channels, (0.0,) * channels), crop=1.0)
    image = levels(32, 32, channels)
    for source in (image, npy(image), lambda: image):
        np.testing.assert_allclose(read_image(source, spec), image, atol=1e-3)
    with pytest.raises(ValueError, match=r"\(height, width"):
        read_image(levels(32, 32, channels + 5), spec)
