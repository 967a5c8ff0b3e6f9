"""The cache of compiled engines: found by content, never trusted, never half written."""

from __future__ import annotations

import dataclasses
import gc
import json

import numpy as np
import pytest

from efficientnet import get_variant, save_variant
from efficientnet.checkpoints import Facts, safetensors
from efficientnet.checkpoints.names.torch import TIMM
from efficientnet.family import arrays as layout
from efficientnet.inference import ModelSource, cache, compile
from efficientnet.inference.openvino_engine import _content

pytest.importorskip("openvino")
pytest.importorskip("keras")

IMAGES = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), np.uint8)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("EFFICIENTNET_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def model(tiny):
    return tiny(weights=None, classes=5)


def entries():
    return sorted(cache.folder().glob("*"))


def fail_to_convert(*arguments):
    raise AssertionError("was compiled again")


def test_the_second_time_nothing_is_compiled(model, monkeypatch):
    first = compile(model)(IMAGES)
    monkeypatch.setattr("efficientnet.keras_graph.openvino.convert", fail_to_convert)
    np.testing.assert_allclose(compile(model)(IMAGES), first, atol=1e-6)


def test_calibration_images_are_distinguished_by_content_and_shape(tmp_path):
    file, other = tmp_path / "a.npy", tmp_path / "b.npy"
    np.save(file, IMAGES[0])
    np.save(other, IMAGES[0])
    wide, whole = IMAGES[0].reshape(32, 128, 3), IMAGES[0]
    halves = [whole[:32], whole[32:]]
    each = [[file], [whole], [wide], halves, [halves[1], halves[0]], [whole.view(np.int8)], [whole.tobytes()]]
    assert len({_content(images) for images in each}) == len(each)
    assert _content([file]) == _content([str(other)])


def test_calibration_images_that_only_reading_shows_have_no_key(tmp_path):
    """A function, an address and an open file are objects whose place in memory says nothing of the image."""
    (tmp_path / "image").write_bytes(b"x")
    with open(tmp_path / "image", "rb") as file:
        for source in (lambda: IMAGES[0], "https://localhost/a.png", file):
            assert _content([IMAGES[0], source]) is None


@pytest.mark.slow
def test_a_cached_engine_keeps_the_memory_that_it_reads(model):
    first = compile(model)(IMAGES)
    predictor = compile(model)
    gc.collect()
    size = max(path.stat().st_size for path in entries())
    overwritten = [np.full(size, 7, np.uint8) for _ in range(20)]  # what was freed
    np.testing.assert_allclose(predictor(IMAGES), first, atol=1e-6)
    assert overwritten


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [{"precision": "f32", "threads": 1}, {"preprocessing": "tf"}, {"crop": 0.5}, {"class_names": [*"abcde"]}]
)
def test_whatever_makes_a_difference_is_another_entry(model, options):
    compile(model)
    before = len(entries())
    compile(model, **options)
    assert len(entries()) == before + 1


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_what_was_assumed_is_said_with_a_cached_engine_too(model, engine, tmp_path, monkeypatch, caplog):
    pytest.importorskip("onnxruntime")
    model.save(tmp_path / "net.keras")
    compile(tmp_path / "net.keras", engine)
    assert caplog.text.count("net.keras was built without weights, and does not say how its pixels") == 1
    caplog.clear()
    monkeypatch.setattr("efficientnet.keras.load_model", fail_to_convert)
    (tmp_path / "net.keras").rename(tmp_path / "moved.keras")
    compile(tmp_path / "moved.keras", engine)
    assert caplog.text.count("moved.keras was built without weights, and does not say how its pixels") == 1


@pytest.fixture
def small(tmp_path):
    """A variant of three classes, and weights of it with another array, and five classes noted beside them."""
    variant = dataclasses.replace(
        get_variant("b0"), name="small", width=0.25, resolution=32, blocks=get_variant("b0").blocks[:2], classes=3
    )
    save_variant(variant, tmp_path / "small.json")
    entries = TIMM.entries(layout.layers(variant))
    arrays = {f"model.{entry.theirs}": np.full(entry.their_shape, 0.5, np.float32) for entry in entries}
    safetensors.write(tmp_path / "model.safetensors", {**arrays, "criterion.weight": np.zeros(1, np.float32)})
    (tmp_path / "config.json").write_text(
        json.dumps({"architecture": "small", "num_classes": 5, "pretrained_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3}})
    )
    return str(tmp_path / "small.json"), str(tmp_path / "model.safetensors")


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_all_remarks_on_weights_are_made_with_a_cached_engine_too(small, engine, monkeypatch, caplog):
    pytest.importorskip("onnxruntime")
    given = Facts(preprocessing="torch")
    said = []
    for _ in range(2):
        caplog.clear()
        compile(ModelSource.of_variant(*small, given), engine)
        said.append(sorted(record.getMessage() for record in caplog.records))
        monkeypatch.setattr("efficientnet.model.assemble", fail_to_convert)
    first, second = said
    assert first == second
    for remark in (
        "does not say how its network was trained; assumed: padding=",
        "gets preprocessing='torch' where",
        "has a classifier of 3 classes, where",
        "holds more than small; left aside: criterion.",
    ):
        assert sum(f"{small[1]} {remark}" in message for message in first) == 1


@pytest.mark.slow
def test_the_configuration_beside_weights_makes_a_difference(small, tmp_path):
    compile(ModelSource.of_variant(*small))
    names = list("abc")
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "small", "label_names": names}))
    assert [label for _, label in compile(ModelSource.of_variant(*small)).spec.classes] == names


@pytest.mark.slow
def test_other_numbers_are_another_entry(model):
    compile(model)
    weights = model.get_weights()
    weights[0][0, 0, 0, 0] += 1
    model.set_weights(weights)
    compile(model)
    assert len(entries()) == 2


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["cut", "flipped", "emptied", "garbage"])
def test_a_damaged_entry_is_made_again(model, damage, caplog):
    expected = compile(model)(IMAGES)
    (path,) = entries()
    content = path.read_bytes()
    middle = len(content) // 2
    path.write_bytes(
        {
            "cut": content[:middle],
            "flipped": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
            "emptied": b"",
            "garbage": b"\n\n\n",
        }[damage]
    )
    np.testing.assert_allclose(compile(model)(IMAGES), expected, atol=1e-6)
    assert "damaged" in caplog.text
    assert cache.read_entry(path.stem) is not None


@pytest.mark.slow
def test_an_entry_of_another_kind_is_made_again(model, caplog):
    expected = compile(model)(IMAGES)
    (path,) = entries()
    entry = cache.read_entry(path.stem)
    cache.write(path.stem, entry._replace(content=b"no engine"))
    np.testing.assert_allclose(compile(model)(IMAGES), expected, atol=1e-6)
    assert "cannot be used" in caplog.text


def test_a_cache_that_cannot_be_written_is_reported_and_done_without(model, home, caplog):
    cache.folder().write_text("a file where the folder should be")
    assert compile(model)(IMAGES).shape == (1, 5)
    assert "cannot be kept" in caplog.text
    assert "EFFICIENTNET_HOME" in caplog.text


def test_a_full_disk_leaves_nothing_half_written(model, monkeypatch, caplog):
    def write_half(path, content):
        with path.open("wb") as file:
            file.write(content[: len(content) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", write_half)
    assert compile(model)(IMAGES).shape == (1, 5)
    assert "No space left on device" in caplog.text
    assert entries() == []


def test_the_oldest_entries_make_room(monkeypatch):
    import os

    monkeypatch.setattr(cache, "MAX_BYTES", 1500)
    for age, key in enumerate(("old", "used", "new")):
        cache.write(key, cache.Entry({}, bytes(500)))
        os.utime(cache.folder() / f"{key}.engine", (age, age))
        if key == "used":
            cache.read_entry("old")  # which makes it the youngest
    assert sorted(path.stem for path in entries()) == ["new", "old"]


def test_nothing_is_kept_where_that_is_not_wanted(model):
    compile(model, cache=False)(IMAGES)
    assert not cache.folder().exists()


@pytest.mark.slow
def test_a_folder_that_everybody_may_write_to_is_not_trusted(model, monkeypatch, caplog):
    compile(model)
    assert cache.folder().stat().st_mode & 0o077 == 0
    cache.folder().chmod(0o777)
    (path,) = entries()
    path.write_bytes(b"a program of somebody else's")
    assert compile(model)(IMAGES).shape == (1, 5)
    assert "everybody may write to it" in caplog.text
    assert path.read_bytes() == b"a program of somebody else's"
    monkeypatch.setenv("EFFICIENTNET_TRUST_CACHE", "1")
    assert compile(model)(IMAGES).shape == (1, 5)
    assert cache.read_entry(path.stem) is not None
