"""Reading and writing safetensors files, against the format's own package, and refusing everything else."""

from __future__ import annotations

import json
import os
import random
import time
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from efficientnet.checkpoints import safetensors, torch_pickle
from efficientnet.checkpoints.arrays import Stored
from efficientnet.errors import CheckpointError

DTYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "i1",
    "U8": "u1",
    "BOOL": "?",
}
ARRAYS = {
    "b": np.arange(6, dtype="<f4").reshape(2, 3),
    "scalar": np.array(7, "<i8"),
    "empty": np.zeros((0, 3), "<f2"),
    "ä/bool": np.array([True, False, True]),
    "half": np.float16([1, 0.5, 65504]),
    "transposed": np.arange(6.0).reshape(2, 3).T,
}
NETWORKS = ["efficientnet_b0", "efficientnet_es", "efficientnet_lite0", "efficientnetv2_b0"]


pytestmark = pytest.mark.usefixtures("empty_folder")


def entry(dtype: str = "F32", shape: Any = (2, 3), begin: int = 0, end: int = 24) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def made(header: dict[str, Any] | str | bytes, data: bytes = bytes(24), length: int | None = None) -> bytes:
    """The bytes of a file with this header, which need not make sense."""
    text = header if isinstance(header, bytes) else (header if isinstance(header, str) else json.dumps(header)).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def read(path: str | Path) -> dict[str, np.ndarray]:
    """All arrays of a file, after checking that they are what was announced."""
    arrays = {}
    for name, stored in safetensors.read(path).arrays.items():
        arrays[name] = stored.read()
        assert type(arrays[name]) is np.ndarray
        assert (arrays[name].shape, arrays[name].dtype) == (stored.shape, stored.dtype)
    return arrays


def assert_equal(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> None:
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], strict=True)


# Against the package.


@pytest.mark.parametrize("dtype", DTYPES)
def test_reads_what_the_package_writes(dtype):
    theirs = pytest.importorskip("safetensors.numpy")
    array = (np.arange(24) % 5 - 2).astype(DTYPES[dtype])
    arrays = {"x": array.reshape(2, 3, 4), "scalar": np.array(array[3]), "empty": array[:0], "z": array}
    theirs.save_file(arrays, "theirs", {"format": "np"})
    assert safetensors.read("theirs").format == "safetensors"
    assert_equal(read("theirs"), arrays)


def test_reads_bfloat16_as_torch_does():
    torch = pytest.importorskip("torch")
    theirs = pytest.importorskip("safetensors.torch")
    values = torch.tensor([[0, 1, -2.5], [3e38, float("inf"), float("nan")]])
    tensors = {"x": values.bfloat16(), "scalar": torch.tensor(1.5).bfloat16(), "empty": torch.zeros(0, 2).bfloat16()}
    theirs.save_file(tensors, "theirs")
    assert_equal(read("theirs"), {name: tensor.float().numpy() for name, tensor in tensors.items()})


def test_the_package_reads_what_is_written():
    theirs = pytest.importorskip("safetensors.numpy")
    opened = pytest.importorskip("safetensors").safe_open
    safetensors.write("ours", ARRAYS, {"by": "ü", "format": "pt"})
    assert_equal(theirs.load_file("ours"), ARRAYS)
    with opened("ours", "np") as file:
        assert file.metadata() == {"by": "ü", "format": "pt"}


@pytest.mark.parametrize("name", ["timm-b0", *(f"timm-tf_{network}-w0.25" for network in NETWORKS)])
def test_golden_files_of_three_formats(golden, name):
    folder = golden(name)
    arrays = read(folder / "model.safetensors")
    for file in ("model.pth", "model_legacy.pth"):
        stored = torch_pickle.read(folder / file).arrays
        assert_equal(arrays, {name: array.read() for name, array in stored.items()})
    assert_equal(arrays, pytest.importorskip("safetensors.numpy").load_file(folder / "model.safetensors"))


# What is written.


def test_round_trip():
    safetensors.write("ours", ARRAYS)
    assert_equal(read("ours"), ARRAYS)
    assert list(safetensors.read("ours").arrays) == list(ARRAYS)
    assert all(array.flags.aligned and not array.flags.writeable for array in read("ours").values())
    assert int.from_bytes(Path("ours").read_bytes()[:8], "little") % 8 == 0


def test_no_arrays():
    safetensors.write("ours", {})
    assert read("ours") == {}


def test_other_byte_order_is_turned():
    safetensors.write("ours", {"x": np.arange(3, dtype=">f4")})
    assert_equal(read("ours"), {"x": np.arange(3, dtype="<f4")})


def test_stored_arrays_pass_one_by_one():
    shape, size = (2**18,), 2**20
    stored = {str(i): Stored(shape, np.dtype("f4"), lambda i=i: np.full(shape, i, "f4")) for i in range(20)}
    tracemalloc.start()
    try:
        safetensors.write("ours", stored)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 3 * size
    assert [array[-1] for array in read("ours").values()] == list(range(20))


def test_arrays_of_the_file_that_is_replaced():
    safetensors.write("ours", ARRAYS)
    safetensors.write("ours", safetensors.read("ours").arrays)
    assert_equal(read("ours"), ARRAYS)


def test_a_failure_leaves_the_file_as_it_was():
    def fail() -> np.ndarray:
        raise CheckpointError("damaged")

    safetensors.write("ours", ARRAYS)
    with pytest.raises(CheckpointError, match="damaged"):
        safetensors.write("ours", {"a": ARRAYS["b"], "x": Stored((2,), np.dtype("f4"), fail)})
    assert_equal(read("ours"), ARRAYS)
    assert os.listdir() == ["ours"]


@pytest.mark.parametrize(
    "name, dtype, found",
    [("x", "c8", "'x' is of type complex64; convert it to one of float64"), ("__metadata__", "f4", "rename it")],
)
def test_what_cannot_be_written(name, dtype, found):
    with pytest.raises(ValueError, match=found):
        safetensors.write("ours", {name: np.zeros(2, dtype)})
    assert os.listdir() == []


# What is refused.


def check_refusal(data: bytes, found: str) -> None:
    Path("weights").write_bytes(data)
    tracemalloc.start()
    start = time.monotonic()
    try:
        with pytest.raises(CheckpointError, match=found) as refusal:
            read("weights")
        assert tracemalloc.get_traced_memory()[1] < 50 * len(data) + 1_000_000
    finally:
        tracemalloc.stop()
    assert time.monotonic() - start < 20
    assert "'weights'" in str(refusal.value) and len(str(refusal.value)) < 1000


REFUSED = {
    "empty": (b"", "0 bytes, too few"),
    "web page": (b"<!DOCTYPE html><title>404</title>", "or is no such file"),
    "zeros": (bytes(100), "its JSON is damaged"),
    "huge header": (made({}, length=2**60), f"claims a header of {2**60} bytes"),
    "header longer than the file": (made({}, b"", length=3), "claims a header of 3 bytes"),
    "header above the limit": (made({}, b"", length=100_000_001), "claims a header of 100000001 bytes"),
    "length of the other byte order": (made({"x": entry()})[7::-1] + made({"x": entry()})[8:], "claims a header of"),
    "no object": (made("[]"), "not an object"),
    "no JSON": (made("{"), "its JSON is damaged"),
    "no UTF-8": (made(b'{"\xff":1}'), "its JSON is damaged"),
    "nested": (made("[" * 10_000), "its JSON is damaged"),
    "nested objects": (made('{"a":' * 10_000), "its JSON is damaged"),
    "long number": (made('{"a":' + "9" * 10_000 + "}"), "its JSON is damaged"),
    "many entries": (made("[" + "0," * 1_000_001 + "0]"), "more than 1000000 entries"),
    "name twice": (made('{"x":1,"x":1}'), "it has 'x' twice"),
    "field twice": (made('{"x":{"dtype":"F32","dtype":"F32"}}'), "it has 'dtype' twice"),
    "metadata is not a map": (made({"__metadata__": 1}, b""), "not a map of texts"),
    "metadata is not text": (made({"__metadata__": {"a": 1}}, b""), "not a map of texts"),
    "entry is not a map": (made({"x": 1}), "does not give dtype"),
    "no dtype": (made({"x": {"shape": [6], "data_offsets": [0, 24]}}), "does not give dtype"),
    "no offsets": (made({"x": {"dtype": "F32", "shape": [6]}}), "does not give dtype"),
    "three offsets": (made({"x": entry() | {"data_offsets": [0, 8, 24]}}), "does not give dtype"),
    "offsets that are not integers": (made({"x": entry(begin=0.0)}), "does not give dtype"),
    "offsets that are true": (made({"x": entry("U8", [1], False, True)}, b"a"), "does not give dtype"),
    "float8": (made({"x": entry("F8_E4M3", [24])}), "'x' is of type 'F8_E4M3'; read are F64, F32, F16, BF16"),
    "shape is not a list": (made({"x": entry(shape="6")}), "does not give dtype"),
    "shape of text": (made({"x": entry(shape=["6"])}), "makes no sense"),
    "shape of fractions": (made({"x": entry(shape=[6.0])}), "makes no sense"),
    "shape of truths": (made({"x": entry(shape=[True, 6])}), "makes no sense"),
    "negative shape": (made({"x": entry(shape=[-2, -3])}), "makes no sense"),
    "shape beyond all numbers": (made({"x": entry(shape=[2**60], end=2**62)}), "makes no sense"),
    "empty shape beyond all numbers": (made({"x": entry(shape=[0, 2**60], end=0)}, b""), "makes no sense"),
    "product wraps to zero": (made({"x": entry(shape=[2**32, 2**32], end=0)}, b""), "makes no sense"),
    "too many axes": (made({"x": entry(shape=[1] * 33, end=4)}), "makes no sense"),
    "size of another shape": (made({"x": entry(shape=[7])}), "takes 28 bytes"),
    "size of another type": (made({"x": entry("F64")}), "takes 48 bytes"),
    "ends before it begins": (made({"x": entry(begin=24, end=0)}), "takes 24 bytes"),
    "begins before the data": (made({"x": entry(begin=-24, end=0)}), "takes 24 bytes"),
    "reaches past the end": (made({"x": entry()}, bytes(23)), "take 24 bytes, but 23"),
    "claims a terabyte": (made({"x": entry(shape=[2**40], end=2**42)}), f"take {2**42} bytes, but 24"),
    "data left over": (made({"x": entry()}, bytes(25)), "take 24 bytes, but 25"),
    "hole at the start": (made({"x": entry(begin=4, end=28)}, bytes(28)), "'x' begins at byte 4, where byte 0"),
    "hole": (made({"x": entry(), "y": entry(begin=28, end=52)}, bytes(52)), "'y' begins at byte 28, where byte 24"),
    "overlap": (made({"x": entry(), "y": entry(begin=20, end=44)}, bytes(44)), "'y' begins at byte 20, where byte 24"),
    "the same twice": (made({"x": entry(), "y": entry()}), "'y' begins at byte 0, where byte 24"),
    "empty one inside another": (
        made({"x": entry(), "y": entry("F32", [0], 8, 8)}),
        "'y' begins at byte 8, where byte 24",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_damaged_files(name):
    check_refusal(*REFUSED[name])


def test_damaged_files_are_refused_by_the_package_too():
    """Or ours is stricter than the format; it is so in what follows alone."""
    theirs = pytest.importorskip("safetensors.numpy")
    stricter = {"float8", "metadata is not text", "too many axes", "empty shape beyond all numbers"}
    accepted = set()
    for name, (data, _) in REFUSED.items():
        try:
            theirs.load(data)
            accepted.add(name)
        except Exception:
            pass
    assert accepted <= stricter


def test_paths_without_a_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        safetensors.read("none")
    with pytest.raises(OSError):
        safetensors.read(tmp_path)


def test_truncation():
    safetensors.write("whole", ARRAYS, {"by": "us"})
    whole = Path("whole").read_bytes()
    for length in np.linspace(0, len(whole) - 1, 50).astype(int):
        Path("cut").write_bytes(whole[:length])
        with pytest.raises(CheckpointError):
            safetensors.read("cut")


def test_flipped_bits():
    safetensors.write("whole", ARRAYS, {"by": "us"})
    whole = Path("whole").read_bytes()
    generator = random.Random(0)
    refused = 0
    start = time.monotonic()
    for _ in range(400):
        damaged = bytearray(whole)
        damaged[generator.randrange(len(damaged))] ^= 1 << generator.randrange(8)
        Path("damaged").write_bytes(damaged)
        try:
            read("damaged")
        except CheckpointError:
            refused += 1
    assert refused > 120
    assert time.monotonic() - start < 60
