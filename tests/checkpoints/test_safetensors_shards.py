"""Safetensors files in shards, which an index lists: what is read, and which indices are refused."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from efficientnet.checkpoints import safetensors
from efficientnet.errors import CheckpointError

B = np.arange(6, dtype="<f4").reshape(2, 3)
HALF = np.float16([1, 0.5, 65504])
SCALAR = np.array(7, "<i8")


pytestmark = pytest.mark.usefixtures("empty_folder")


def read(index: str | Path) -> dict[str, np.ndarray]:
    return {name: stored.read() for name, stored in safetensors.read(index).arrays.items()}


@pytest.fixture
def sharded() -> Callable[..., Path]:
    """Writes an index of two files, a and b, and the files, in a folder of that name."""

    def write(folder: str = "sharded", **weight_map: Any) -> Path:
        path = Path(folder)
        path.mkdir()
        safetensors.write(path / "a", {"x": B, "z": HALF})
        safetensors.write(path / "b", {"y": SCALAR})
        index = path / "model.safetensors.index.json"
        names = {name: shard for name, shard in ({"x": "a", "y": "b", "z": "a"} | weight_map).items() if shard}
        index.write_text(json.dumps({"metadata": {"total_size": 38}, "weight_map": names}, indent=2))
        return index

    return write


def test_reads_shards(sharded):
    index = sharded()
    assert safetensors.read(index).format == "safetensors, in shards"
    assert list(read(index)) == ["x", "y", "z"]
    for array, expected in zip(read(index).values(), (B, SCALAR, HALF), strict=True):
        np.testing.assert_array_equal(array, expected, strict=True)


def test_reads_shards_of_hugging_faces_cache(sharded):
    """There, files are links into a folder of their contents."""
    blobs = sharded("blobs").parent
    snapshot = Path("snapshots", "main")
    snapshot.mkdir(parents=True)
    for file in os.listdir(blobs):
        (snapshot / file).symlink_to(Path("..", "..", "blobs", file))
    assert list(read(snapshot / "model.safetensors.index.json")) == ["x", "y", "z"]


@pytest.mark.parametrize(
    "weight_map, found",
    [
        ({"y": "../blobs/b"}, "not a plain name"),
        ({"y": ".."}, "not a plain name"),
        ({"y": "."}, "not a plain name"),
        ({"y": "./b"}, "not a plain name"),
        ({"y": "..\\b"}, "not a plain name"),
        ({"y": "C:b"}, "not a plain name"),
        ({"y": "/etc/passwd"}, "not a plain name"),
        ({"y": "b\0"}, "not a plain name"),
        ({"y": "c"}, "of its file 'c': there is no such file"),
        ({"y": "c" * 1000}, "there is no such file"),
        ({"y": 1}, "no weight_map"),
        ({"y": "a"}, "'a' does not hold 'y'"),
        ({"y": None}, "no weight_map|does not hold"),
        ({"w": "b"}, "'b' does not hold 'w'"),
        ({"x": "b"}, "'a' holds 'x', which the index does not say|'b' holds 'y'|'b' does not hold 'x'"),
        ({"z": None}, "'a' holds 'z', which the index does not say of it"),
        ({"y": "model.safetensors.index.json"}, "of its file 'model.safetensors.index.json': it claims a header"),
    ],
)
def test_indices_that_do_not_fit(sharded, weight_map, found):
    index = sharded(**weight_map)
    if weight_map == {"y": None}:
        index.write_text('{"metadata": {"total_size": 1}}')
    with pytest.raises(CheckpointError, match=found) as refusal:
        safetensors.read(index)
    assert "index.json" in str(refusal.value)


def test_name_in_two_shards(sharded):
    index = sharded()
    safetensors.write(index.with_name("b"), {"y": SCALAR, "x": B})
    with pytest.raises(CheckpointError, match="'b' holds 'x', which the index does not say of it"):
        safetensors.read(index)


def test_shards_elsewhere_by_links(sharded):
    index, elsewhere = sharded(), sharded("elsewhere")
    index.with_name("b").unlink()
    index.with_name("b").symlink_to(elsewhere.with_name("b").resolve())
    with pytest.raises(CheckpointError, match="of its file 'b': it is a link to a file elsewhere"):
        safetensors.read(index)
    index.with_name("b").unlink()
    index.with_name("b").symlink_to("b")
    with pytest.raises(CheckpointError, match="of its file 'b': there is no such file"):
        safetensors.read(index)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with names")
def test_shard_that_nobody_will_ever_write(sharded):
    index = sharded()
    index.with_name("b").unlink()
    os.mkfifo(index.with_name("b"))
    with pytest.raises(CheckpointError, match="there is no such file"):
        safetensors.read(index)


def test_damaged_indices(sharded):
    index = sharded()
    whole = index.read_bytes()
    generator = random.Random(0)
    for round in range(300):
        damaged = bytearray(whole)
        damaged[generator.randrange(len(damaged))] ^= 1 << generator.randrange(8)
        index.write_bytes(whole[: round % len(whole)] if round < 50 else damaged)
        try:
            read(index)
        except CheckpointError:
            continue
        assert round >= 50


def test_recognizes(sharded):
    index = sharded()
    safetensors.write("ours", {"b": B})
    for path in (index, Path("ours")):
        assert safetensors.recognizes(path.read_bytes()[:512])
    assert safetensors.recognizes((2).to_bytes(8, "little") + b"{}")
    assert safetensors.recognizes(b'\n{ "weight_map": {}}')
    large = {"metadata": {"total_parameters": 1, "total_size": 4}, "weight_map": {"x" * 600: "a"}}
    assert safetensors.recognizes(json.dumps(large).encode()[:512])
    for other in (
        b"",
        b"{}",
        b'{"layers": []}',
        b"\x89HDF\r\n\x1a\n" + bytes(504),
        b"PK\3\4" + b"{" * 508,
        b"<!DOCTYPE html>",
        bytes(8) + b"{",
        b"\xff" * 8 + b"{",
    ):
        assert not safetensors.recognizes(other)
