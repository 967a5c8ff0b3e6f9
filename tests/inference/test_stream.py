"""Streams: in request, bounded, and a bad image stops nothing."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from PIL import Image

from efficientnet.inference import compile

pytest.importorskip("openvino")
pytest.importorskip("keras")


@pytest.fixture(scope="module")
def predictor(tiny, home):
    with compile(tiny(weights=None, classes=5), threads=2) as predictor:
        yield predictor


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    generator = np.random.default_rng(0)
    for index in range(75):
        size = generator.integers(20, 90, 2)
        Image.fromarray(generator.integers(0, 256, (*size, 3), np.uint8)).save(folder / f"{index:02}.png")
    (folder / "03.png").write_bytes(b"no image")
    (folder / "50.png").unlink()
    return folder


def test_order_is_kept_and_bad_files_are_reported(predictor, folder):
    paths = [folder / f"{index:02}.png" for index in range(75)]
    records = list(predictor.stream(paths))
    assert [record.source for record in records] == paths
    assert [record.source.name for record in records if record.error] == ["03.png", "50.png"]
    assert "not an image" in records[3].error
    assert records[3].outputs is None
    for index in (0, 4, 49, 74):
        np.testing.assert_allclose(records[index].outputs, predictor([paths[index]])[0], atol=1e-6)


def test_a_generator_may_fill_one_array_again_and_again(predictor):
    """As cameras and videos are read."""
    images = np.random.default_rng(0).integers(0, 256, (9, 64, 64, 3), np.uint8)
    frame = np.empty_like(images[0])

    def frames():
        for image in images:
            frame[:] = image
            yield frame

    found = [record.outputs for record in predictor.stream(frames())]
    np.testing.assert_allclose(found, predictor(list(images)), atol=1e-6)
    np.testing.assert_allclose(predictor(frames()), predictor(list(images)), atol=1e-6)


def test_an_array_gives_what_predict_makes_of_it(predictor):
    """One of the model's shape is neither cropped nor resized; images of others are, as in a list."""
    pixels = np.random.default_rng(0).integers(0, 256, (5, *predictor.spec.image_sides, 3), np.uint8)
    for batch in (pixels, pixels.astype(np.float32)):
        np.testing.assert_allclose([record.outputs for record in predictor.stream(batch)], predictor(batch), atol=1e-6)
    larger = pixels.repeat(2, axis=1)
    found = [record.outputs for record in predictor.stream(larger)]
    np.testing.assert_allclose(found, predictor(list(larger)), atol=1e-6)
    fractions = list(predictor.stream(pixels / 255))
    assert all("look like 0..1" in record.error for record in fractions)


def test_only_bad_files(predictor):
    records = list(predictor.stream(["missing-1.png", "missing-2.png", None]))
    assert [bool(record.error) for record in records] == [True] * 3


def test_nothing_gives_nothing(predictor):
    assert list(predictor.stream([])) == []


def test_sources_are_asked_for_as_they_are_needed(predictor):
    asked = []

    def endless():
        while True:
            asked.append(None)
            yield np.zeros((30, 40, 3), np.uint8)

    stream = predictor.stream(endless())
    for _ in range(200):
        assert next(stream).outputs.shape == (5,)
    assert len(asked) < 260


def test_a_stream_that_is_left_leaves_no_threads(predictor):
    def names():
        return [thread.name for thread in threading.enumerate() if thread.name.startswith("efficientnet-decode")]

    stream = predictor.stream(np.zeros((30, 40, 3), np.uint8) for _ in range(1000))
    next(stream)
    assert names()
    stream.close()
    deadline = time.monotonic() + 30
    while names() and time.monotonic() < deadline:  # each ends after the image that it reads
        time.sleep(0.01)
    assert names() == []


def test_an_error_of_the_source_itself_comes_through(predictor):
    def broken():
        yield np.zeros((30, 40, 3), np.uint8)
        raise RuntimeError("the list ends here")

    with pytest.raises(RuntimeError, match="the list ends here"):
        list(predictor.stream(broken()))
