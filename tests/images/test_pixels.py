"""Images in memory: which numbers are pixels, and that arrays and Pillow's images mean what files of them mean."""

from __future__ import annotations

import io
import re
import tracemalloc

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps

from efficientnet.errors import UnreadableImageError
from efficientnet.images.loading import load_image
from efficientnet.images.pixels import fault, rgb_of_array
from efficientnet.preprocessing import center_crop_and_resize, preprocess_input

RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (16, 24, 3), np.uint8)
GREY, OPACITY = IMAGE[..., :1], RNG.integers(0, 256, (16, 24, 1), np.uint8)


def encode(image, format="PNG", **options):
    file = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(file, format, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    ("levels", "message"),
    [
        (IMAGE / 255.0, r"look like 0\.\.1\. Pass them times 255"),
        (np.float32(IMAGE / 255) * 1.1, r"look like 0\.\.1"),  # as resizing overshoots
        (np.rint(IMAGE / 255), r"look like 0\.\.1"),
        (IMAGE / 100, "look preprocessed already"),  # as bright ones in the mode "torch"
        (IMAGE / 127.5 - 1, "look preprocessed already"),
        (IMAGE - 128.0, "Scale them so that black is 0"),
        (IMAGE * 1000.0, "Scale them so that black is 0"),
        (IMAGE.astype(np.int16) - 128, "where no level is below 0"),
        (IMAGE.view(np.int8), "where no level is below 0"),
        (IMAGE.astype(np.int64) * 257, "pass it as uint16, which is scaled"),
        (IMAGE.astype(np.uint16), "If white is 255, pass it as uint8"),
        (IMAGE > 100, "array of bool. Pass it times 255"),
        (IMAGE + 1j, "array of complex128"),
        (np.where(IMAGE > 100, np.inf, IMAGE), "NaN or infinite"),
    ],
)
def test_what_cannot_be_pixels(levels, message):
    assert re.search(message, fault(levels))
    with pytest.raises(ValueError, match=message):
        rgb_of_array(levels)


@pytest.mark.parametrize(
    "levels",
    [
        IMAGE, IMAGE.astype(np.int64), IMAGE.astype(np.float16), IMAGE * 1.1 - 10, IMAGE / 90,
        np.zeros_like(IMAGE, np.float32), np.zeros_like(IMAGE, np.uint16), np.rint(IMAGE / 127), IMAGE // 255,
    ],
)  # fmt: skip
def test_what_may_be_dark_or_overshoot(levels):
    assert fault(levels) is None
    np.testing.assert_array_equal(rgb_of_array(levels), levels)


@pytest.mark.parametrize(
    "array",
    [
        GREY[..., 0], GREY, np.dstack([GREY, OPACITY]), IMAGE, np.dstack([IMAGE, OPACITY]),
        GREY[..., 0] * np.uint16(257),
    ],
)  # fmt: skip
def test_arrays_are_as_files_of_them(array):
    squeezed = array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array
    np.testing.assert_array_equal(rgb_of_array(array), load_image(encode(squeezed)))
    if array.dtype == np.uint8:
        np.testing.assert_array_equal(rgb_of_array(array.astype(np.float32)), load_image(encode(squeezed)))


def test_16_bits_of_color_are_scaled():
    np.testing.assert_array_equal(rgb_of_array(IMAGE.astype(np.uint16) * 257), IMAGE)
    np.testing.assert_array_equal(rgb_of_array(IMAGE.astype(">u2") * 257), IMAGE)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (IMAGE[np.newaxis], "images of a batch one at a time"),
        (IMAGE.transpose(2, 0, 1), r"transpose\(1, 2, 0\)"),
        (IMAGE[0], r"row of an image.*\[image\]"),
        (IMAGE[:0], "at least one pixel"),
        (np.zeros(5, np.uint8), r"got \(5,\)"),
        (np.zeros((5, 5, 7), np.uint8), r"got \(5, 5, 7\)"),
        (np.ma.masked_greater(IMAGE, 200), r"masked.*filled\(255\)"),
        (np.dstack([IMAGE, OPACITY > 99]).astype(np.float32), "Opacity is a number 0..255"),
        (np.dstack([IMAGE, OPACITY > 99]), "Opacity is a number 0..255"),
        (IMAGE.astype(object), "array of numbers.*got an array of object"),
        (None, "path.*got NoneType"),
        ([[1, 2], [3]], "got list, which is not one"),
    ],
)
def test_what_is_no_image(array, message):
    with pytest.raises(ValueError, match=message):
        rgb_of_array(array)


def test_numbers_of_every_framework_are_taken():
    ml_dtypes, torch = pytest.importorskip("ml_dtypes"), pytest.importorskip("torch")
    tensor = torch.tensor(IMAGE)
    for given in (
        IMAGE.astype(ml_dtypes.bfloat16), tensor.bfloat16(), tensor.float().requires_grad_(), IMAGE.tolist(),
        np.ma.array(IMAGE, mask=False),
    ):  # fmt: skip
        np.testing.assert_array_equal(rgb_of_array(given), IMAGE)


@pytest.mark.parametrize("dtype", [">u2", "<u2", ">i4", ">f4"])
def test_the_order_of_bytes_is_of_no_account(dtype):
    native = IMAGE.astype(np.dtype(dtype).newbyteorder("=")) * (257 if "u2" in dtype else 1)
    np.testing.assert_array_equal(rgb_of_array(native.astype(dtype)), rgb_of_array(native))


def test_raw_numbers_with_opacity_have_to_be_pixels():
    with pytest.raises(ValueError, match=r"look like 0\.\.1"):
        rgb_of_array(np.dstack([IMAGE, OPACITY]) / 255, are_pixels=False)


@pytest.mark.parametrize("image", [Image.fromarray(GREY[..., 0].astype(dtype)) for dtype in (np.uint16, np.int32)])
def test_levels_of_8_bits_in_16_are_refused(image):
    for source in (image, encode(image, "TIFF")):
        with pytest.raises(UnreadableImageError, match=r"white is 65535 in more than 8 bits.*all but black"):
            load_image(source)
    assert not load_image(Image.new(image.mode, (3, 3))).any()


def test_images_without_pixels():
    with pytest.raises(UnreadableImageError, match="it has no pixels"):
        load_image(Image.new("RGB", (0, 5)))


def test_preprocess_input_checks_whole_numbers_and_warns_of_others(caplog):
    for levels in (IMAGE.astype(np.int16) - 128, IMAGE.astype(np.int64) * 257):
        with pytest.raises(ValueError, match="preprocess_input: Pixels are numbers"):
            preprocess_input(levels)
    np.testing.assert_array_equal(preprocess_input(IMAGE.astype(np.uint16) * 257), preprocess_input(IMAGE))
    for levels in (IMAGE, IMAGE.astype(np.float32), np.zeros((2, 2, 3)), np.full((2, 2, 3), np.nan)):
        preprocess_input(levels)
    assert caplog.text == ""
    preprocess_input(IMAGE / 255)
    assert "Pass them times 255" in caplog.text
    preprocess_input(preprocess_input(IMAGE))
    assert "look preprocessed already" in caplog.text


def images_of_every_mode():
    image = Image.fromarray(IMAGE)
    with_opacity = Image.fromarray(np.dstack([IMAGE, OPACITY]))
    yield from (image.convert(mode) for mode in ("1", "L", "P", "RGB", "CMYK", "YCbCr", "HSV", "RGBX", "F"))
    yield Image.fromarray(GREY[..., 0].astype(np.int32) * 257)
    yield from (with_opacity, with_opacity.convert("LA"), with_opacity.convert("LA").convert("La"))
    yield from (with_opacity.convert("RGBa"), with_opacity.quantize(8))
    for dtype in ("<u2", ">u2"):
        yield Image.fromarray((GREY[..., 0] * 257.0).astype(dtype))
    profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    yield ImageCms.profileToProfile(image, *profiles, outputMode="LAB")


# Formats that keep a mode as it is; the others exist in memory only, and are compared with what Pillow makes of them.
FORMATS = {
    "1": "PNG", "L": "PNG", "P": "PNG", "RGB": "PNG", "RGBA": "PNG", "LA": "PNG", "I;16": "PNG", "CMYK": "TIFF",
    "F": "TIFF", "LAB": "TIFF", "I;16B": "TIFF",
}  # fmt: skip
SAME_AS = {"La": "LA", "RGBa": "RGBA", "YCbCr": "RGB", "HSV": "RGB", "RGBX": "RGB", "I": "I"}


@pytest.mark.parametrize("image", [*images_of_every_mode()], ids=lambda image: image.mode)
def test_pillow_images_of_every_mode_are_as_files(image):
    before = image.tobytes()
    got = load_image(image)
    assert image.tobytes() == before
    assert got.shape == IMAGE.shape and got.dtype == np.uint8 and got.flags.writeable
    if image.mode == "I":  # PNG has 16 bits of it
        np.testing.assert_array_equal(got, load_image(encode(image, "TIFF")))
    elif image.mode in FORMATS:
        np.testing.assert_array_equal(got, load_image(encode(image, FORMATS[image.mode])))
    else:
        np.testing.assert_array_equal(got, load_image(encode(image.convert(SAME_AS[image.mode]))))
    np.testing.assert_array_equal(center_crop_and_resize(image, 9), center_crop_and_resize(got, 9))
    np.testing.assert_array_equal(preprocess_input(image), preprocess_input(got))


def test_lab_colors_come_back():
    *_, lab = images_of_every_mode()
    assert lab.mode == "LAB"
    assert np.abs(load_image(lab).astype(int) - IMAGE).mean() < 2


def test_pillow_images_are_turned_upright():
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(io.BytesIO(encode(IMAGE, exif=exif))) as image:
        np.testing.assert_array_equal(load_image(image), np.rot90(IMAGE, -1))
        np.testing.assert_array_equal(preprocess_input(image, "none"), np.rot90(IMAGE, -1))


def test_a_pillow_image_that_cannot_be_decoded():
    content = encode(RNG.integers(0, 256, (60, 80, 3), np.uint8))
    cut = Image.open(io.BytesIO(content[: len(content) // 2]))
    with pytest.raises(UnreadableImageError, match="Pillow image of mode RGB is damaged"):
        load_image(cut)


def test_strips_are_put_together(monkeypatch):
    monkeypatch.setattr("efficientnet.images.pixels._STRIP", 5 * 24)
    exif = Image.Exif()
    for orientation in range(1, 9):
        exif[0x0112] = orientation
        whole = Image.open(io.BytesIO(encode(IMAGE, exif=exif)))
        np.testing.assert_array_equal(load_image(whole), np.asarray(ImageOps.exif_transpose(whole)))
    levels = GREY[..., 0].astype(np.int32) * 1000
    expected = np.rint(levels * (255 / levels.max()))  # white is that of the whole image
    np.testing.assert_array_equal(load_image(Image.fromarray(levels))[..., 0], expected)


def test_large_files_are_reduced_only_when_allowed(monkeypatch):
    levels = np.asarray(Image.fromarray(RNG.integers(0, 256, (8, 8, 3), np.uint8)).resize((162, 130)))
    content = encode(levels, "JPEG")
    whole = load_image(content)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 162 * 130)
    np.testing.assert_array_equal(load_image(content, reduce=True), whole)  # is not larger than allowed
    for limit, shape in ((162 * 130 - 1, (65, 81, 3)), (81 * 65 - 1, (33, 41, 3)), (800, (17, 21, 3))):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with pytest.raises(UnreadableImageError, match=r"too many pixels.*--max-pixels.*--reduce-larger"):
            load_image(content)
        reduced = load_image(content, reduce=True)
        assert reduced.shape == shape
        assert abs(reduced.mean() - whole.mean()) < 3
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
    with pytest.raises(UnreadableImageError, match="162 x 130 pixels exceed the limit of 20"):
        load_image(content, reduce=True)
    with pytest.raises(UnreadableImageError, match="too many pixels"):
        load_image(encode(levels), reduce=True)  # PNG


def test_a_large_image_is_not_copied_whole():
    image = Image.new("RGBA", (4000, 3000), (10, 20, 30, 40))
    tracemalloc.start()
    pixels = load_image(image)
    assert tracemalloc.get_traced_memory()[1] < 1.5 * pixels.nbytes
    tracemalloc.reset_peak()
    center_crop_and_resize(pixels, 64)
    assert tracemalloc.get_traced_memory()[1] < 2.5 * pixels.nbytes
    tracemalloc.stop()
