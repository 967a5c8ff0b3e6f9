"""Reading image files: every kind is made with Pillow, web addresses are served on loopback."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flaky_server import Fault, FlakyServer, endless_redirect, raw_server
from PIL import Image

from efficientnet.errors import UnreadableImageError
from efficientnet.images import loading
from efficientnet.images.loading import load_image

PROJECT = Path(__file__).resolve().parents[2]

# Red, green / blue, yellow: tells the channels, the axes and the directions apart.
CORNERS = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [255, 255, 0]]], np.uint8)
IMAGE = CORNERS.repeat(8, axis=0).repeat(12, axis=1)


def encode(image: Image.Image | np.ndarray, format: str = "PNG", **options: Any) -> bytes:
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG file that promises so many pixels and holds none."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        body = kind + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


# --- sources ---


def test_every_source_gives_the_same_pixels(tmp_path: Path) -> None:
    content = encode(IMAGE)
    path = tmp_path / "image.png"
    path.write_bytes(content)
    sources = [path, str(path), content, bytearray(content), memoryview(content)]
    for source in [*sources, io.BytesIO(content)]:
        got = load_image(source)
        assert got.dtype == np.uint8 and got.flags.writeable
        np.testing.assert_array_equal(got, IMAGE)
    with path.open("rb") as file:
        np.testing.assert_array_equal(load_image(file), IMAGE)
        assert not file.closed


def test_a_file_is_read_from_where_it_stands() -> None:
    file = io.BytesIO(b"header" + encode(IMAGE))
    file.seek(6)
    np.testing.assert_array_equal(load_image(file), IMAGE)


def test_a_pipe_can_be_read() -> None:
    code = "import sys, efficientnet.images.loading as i; print(i.load_image(sys.stdin.buffer).shape)"
    answer = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, input=encode(IMAGE), capture_output=True)
    assert answer.stdout.strip() == b"(16, 24, 3)"


@pytest.mark.parametrize("source", [3, None, IMAGE, io.StringIO("text"), io.TextIOWrapper(io.BytesIO(b"\xff"))])
def test_refuses_other_sources(source: Any) -> None:
    with pytest.raises(TypeError, match=f"path, an http.* got {type(source).__name__}"):
        load_image(source)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nothing\.jpg"):
        load_image(tmp_path / "nothing.jpg")
    with pytest.raises(UnreadableImageError, match=r"is a folder\. Pass the files"):
        load_image(tmp_path)


# --- kinds of pixels ---


@pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF", "GIF", "PPM", "TGA"])
def test_lossless_formats(format: str) -> None:
    np.testing.assert_array_equal(load_image(encode(IMAGE, format)), IMAGE)


@pytest.mark.parametrize("format", ["JPEG", "WEBP", "AVIF", "JPEG2000"])
def test_lossy_formats(format: str) -> None:
    grey = np.full((16, 24, 3), 90, np.uint8)
    np.testing.assert_allclose(load_image(encode(grey, format)), grey, atol=3)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF"])
@pytest.mark.parametrize(
    ("orientation", "upright"),
    [
        (1, CORNERS),
        (2, CORNERS[:, ::-1]),
        (3, CORNERS[::-1, ::-1]),
        (4, CORNERS[::-1]),
        (5, CORNERS.swapaxes(0, 1)),
        (6, np.rot90(CORNERS, -1)),
        (7, np.rot90(CORNERS, 2).swapaxes(0, 1)),
        (8, np.rot90(CORNERS)),
    ],
)
def test_orientation_is_applied(format: str, orientation: int, upright: np.ndarray) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 100, "subsampling": 0} if format == "JPEG" else {}
    got = load_image(encode(IMAGE, format, exif=exif, **options))
    assert got.shape == ((16, 24, 3) if orientation < 5 else (24, 16, 3))
    height, width = got.shape[0] // 2, got.shape[1] // 2
    np.testing.assert_allclose(got[height // 2 :: height, width // 2 :: width], upright, atol=4)


def test_grey_one_bit_and_palette() -> None:
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    np.testing.assert_array_equal(load_image(encode(grey)), np.dstack([grey] * 3))
    bits = Image.fromarray(grey > 99)
    np.testing.assert_array_equal(load_image(encode(bits))[..., 0], (grey > 99) * 255)
    palette = Image.fromarray(IMAGE).quantize(4)
    np.testing.assert_array_equal(load_image(encode(palette)), IMAGE)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_laid_on_white(mode: str) -> None:
    alpha = np.array([[0, 51, 255]], np.uint8)
    colour = np.zeros((1, 3, 3 if mode == "RGBA" else 1), np.uint8)
    got = load_image(encode(Image.fromarray(np.dstack([colour, alpha]), mode)))
    np.testing.assert_array_equal(got, np.repeat([[[255], [204], [0]]], 3, axis=2))


def test_transparent_palette_colour_is_white() -> None:
    palette = Image.fromarray(IMAGE).quantize(4)
    for options in ({"transparency": palette.getpixel((0, 0))}, {"transparency": bytes(4)}):
        for format in ("PNG", "GIF"):
            if format == "GIF" and isinstance(options["transparency"], bytes):
                continue  # GIF has one transparent colour only
            got = load_image(encode(palette, format, **options))
            np.testing.assert_array_equal(got[0, 0], [255, 255, 255])
    one_colour = encode(IMAGE, transparency=(255, 0, 0))
    np.testing.assert_array_equal(load_image(one_colour)[0, 0], [255, 255, 255])
    np.testing.assert_array_equal(load_image(one_colour)[0, -1], [0, 255, 0])


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_16_bit_grey_is_scaled_not_clipped(format: str) -> None:
    levels = np.array([[0, 257, 128 * 257 + 60, 65535]], np.uint16)
    got = load_image(encode(levels, format))
    np.testing.assert_array_equal(got[..., 0], [[0, 1, 128, 255]])
    assert got.shape == (1, 4, 3)


@pytest.mark.parametrize(
    ("levels", "want"),
    [
        (np.array([[0, 257, 65535]], np.int32), [0, 1, 255]),
        (np.array([[-5, 0, 2**30]], np.int32), [0, 0, 255]),
        (np.array([[0, 0.4, 1]], np.float32), [0, 102, 255]),
        (np.array([[-3, 7, 255]], np.float32), [0, 7, 255]),
        (np.array([[0, 257, 65535]], np.float32), [0, 1, 255]),
        (np.array([[0, 4e5, 1e6]], np.float32), [0, 102, 255]),
    ],
)
def test_32_bit_levels(levels: np.ndarray, want: list[int]) -> None:
    np.testing.assert_array_equal(load_image(encode(levels, "TIFF"))[0, :, 0], want)


def test_nan_levels_are_refused() -> None:
    with pytest.raises(UnreadableImageError, match="NaN or infinite"):
        load_image(encode(np.array([[0, np.nan]], np.float32), "TIFF"))


def test_cmyk() -> None:
    ink = np.array([[[0, 0, 0, 0], [255, 0, 0, 0], [0, 0, 0, 255]]], np.uint8).repeat(8, axis=0)
    image = Image.fromarray(ink.repeat(8, axis=1), "CMYK")
    want = [[255, 255, 255], [0, 255, 255], [0, 0, 0]]  # paper, cyan, black
    for format in ("TIFF", "JPEG"):  # Pillow writes JPEG inverted, as Adobe does
        got = load_image(encode(image, format))[4, 4::8]
        np.testing.assert_allclose(got, want, atol=3)


def test_first_image_of_an_animation() -> None:
    frames = [Image.fromarray(np.full_like(IMAGE, level)) for level in (10, 200)]
    for format in ("GIF", "PNG", "TIFF", "WEBP"):
        options = {"lossless": True} if format == "WEBP" else {}
        content = encode(frames[0], format, save_all=True, append_images=frames[1:], **options)
        np.testing.assert_array_equal(load_image(content), np.full_like(IMAGE, 10))


# --- what is refused ---


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\n <!DOCTYPE html><html>", "HTML page"),
        (b"<?xml version='1.0'?><svg xmlns='x'/>", "SVG drawing"),
        (b"%PDF-1.7", "PDF document"),
        (b"PK\x03\x04" + bytes(99), r"begins with b'PK\\x03"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", "not an image"),
    ],
)
def test_says_what_was_found(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "image.jpg"
    path.write_bytes(content)
    with pytest.raises(UnreadableImageError, match=rf"image\.jpg .*{message}.*Accepted are"):
        load_image(path)
    with pytest.raises(UnreadableImageError, match=rf"\({len(content)} bytes\).*{message}"):
        load_image(content)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "AVIF", "PPM"])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_truncated_files_are_refused(format: str, share: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    content = encode(noise, format)
    assert load_image(content).shape == noise.shape
    with pytest.raises(UnreadableImageError):
        load_image(content[: int(len(content) * share)])


def test_damaged_file_is_refused() -> None:
    content = bytearray(encode(IMAGE))
    content[len(content) // 2] ^= 0xFF
    with pytest.raises(UnreadableImageError, match="damaged"):
        load_image(content)


def test_scans_of_a_progressive_file_count(monkeypatch):
    buffer = io.BytesIO()
    Image.new("L", (160, 160), 90).save(buffer, "JPEG", progressive=True)
    content = buffer.getvalue()
    last_scan = content[content.rindex(b"\xff\xda") : -2]
    bomb = content[:-2] + last_scan * 50 + content[-2:]
    assert load_image(bomb).shape == (160, 160, 3)  # in moments
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 160 * 160)
    assert load_image(content).shape == (160, 160, 3)
    with pytest.raises(UnreadableImageError, match=r"56 scans of 160 x 160 pixels"):
        load_image(bomb)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("size", [(10_000, 10_000), (60_000, 60_000)])
def test_decompression_bombs_are_refused(size: tuple[int, int]) -> None:
    limit = Image.MAX_IMAGE_PIXELS
    with pytest.raises(UnreadableImageError, match=r"too many pixels.*MAX_IMAGE_PIXELS"):
        load_image(png_header(*size))
    assert limit == Image.MAX_IMAGE_PIXELS


def test_pillow_s_limit_is_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", IMAGE.shape[0] * IMAGE.shape[1])
    assert load_image(encode(IMAGE)).shape == IMAGE.shape
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert load_image(encode(IMAGE)).shape == IMAGE.shape


# --- the web ---


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


FILES = {"/image.png": encode(IMAGE), "/page.html": b"<!doctype html><title>A panda</title>"}


def test_url() -> None:
    with FlakyServer(FILES) as server:
        np.testing.assert_array_equal(load_image(f"{server.url}/image.png"), IMAGE)


def test_url_redirected() -> None:
    moved = Fault(status=302, headers={"Location": "/image.png"})
    with FlakyServer(FILES, [moved]) as server:
        np.testing.assert_array_equal(load_image(f"{server.url}/old.png"), IMAGE)


@pytest.mark.parametrize(
    ("path", "fault", "message"),
    [
        ("/page.html", Fault(), "HTML page.*that of the image itself"),
        ("/nothing.png", Fault(), "Cannot download .*404"),
        ("/image.png", Fault(status=503), "Cannot download .*503"),
        ("/image.png", Fault(cut=50), "Cannot download"),
        ("/image.png", Fault(corrupt=True), "not an image that can be read"),
        ("/image.png", Fault(cut=50, stall=True), "Cannot download .*timed out"),
    ],
)
def test_url_failures(path: str, fault: Fault, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "_TIMEOUTS", (5, 0.5))
    with FlakyServer(FILES, then=fault) as server:
        url = server.url + path
        with pytest.raises(UnreadableImageError, match=message) as caught:
            load_image(url)
        assert url in str(caught.value)


@pytest.mark.parametrize("address", [b"http://[::1/x", b"http://\xff/x", b"http://127.0.0.1:x/"])
def test_url_redirected_to_what_is_no_address(address: bytes) -> None:
    moved = b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: " + address + b"\r\n\r\n"
    with raw_server(moved) as url, pytest.raises(UnreadableImageError, match="Cannot download"):
        load_image(url)


def test_url_redirected_with_an_endless_body() -> None:
    tracemalloc.start()
    with raw_server(endless_redirect()) as url, pytest.raises(UnreadableImageError, match="Cannot download"):
        load_image(url)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 20_000_000


def test_url_of_something_huge(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "_MAX_DOWNLOAD_BYTES", 2_000_000)
    huge = FlakyServer({"/huge": bytes(3_000_000)})
    with huge, pytest.raises(UnreadableImageError, match="larger than 2 MB"):
        load_image(f"{huge.url}/huge")


def test_unreachable_server() -> None:
    with FlakyServer(FILES) as server:
        url = f"{server.url}/image.png"
    with pytest.raises(UnreadableImageError, match="Check the address and the connection"):
        load_image(url)


def test_a_large_jpeg(panda: Path) -> None:
    photograph = load_image(panda)
    assert photograph.ndim == 3 and photograph.shape[2] == 3 and min(photograph.shape[:2]) > 200
    assert photograph.std() > 30
