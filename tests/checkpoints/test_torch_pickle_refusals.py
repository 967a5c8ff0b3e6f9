"""Refusing, unharmed, what `torch.save` does not write of a dict of tensors."""

from __future__ import annotations

import re
import struct
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest
from torch_files import (
    BUILD,
    EMPTY_DICT,
    EMPTY_TUPLE,
    MARK,
    NONE,
    ONE_TENSOR,
    REDUCE,
    SIX,
    call,
    integer,
    load,
    mapping,
    named,
    sequence,
    storage,
    stream,
    tensor,
    text,
)

from efficientnet.errors import CheckpointError

pytestmark = pytest.mark.usefixtures("empty_folder")


# The hostile files, if anything ran them, would leave the file `canary` behind.

PYTHON = text("open('canary', 'w').close()")
SHELL = text("echo > canary")
EVAL = call("builtins", "eval", PYTHON)
SYSTEM = named("posix", "system")
NO_CALL = "calls something in a way"
ARGUMENTS = sequence(text("storage"), named("torch", "FloatStorage"), text("0"), text("cpu"))
DEEP = EMPTY_TUPLE + b"\x85" * 10_000

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
    "torch.nn.modules.linear.Linear": named("torch.nn.modules.linear", "Linear") + EMPTY_TUPLE + b"\x81",
    "argparse.Action": named("argparse", "Action") + EMPTY_TUPLE + b"\x81",
    "argparse._sys.modules": named("argparse", "_sys.modules"),
    "numpy._core.multiarray.fromfile": named("numpy._core.multiarray", "fromfile"),
    "_codecs.lookup": call("_codecs", "lookup", text("canary")),
    "builtins.eval as an option": call("argparse", "Namespace") + mapping(("a", EVAL)) + BUILD,
    "builtins.eval in a number": call("numpy._core.multiarray", "scalar", named("numpy", "dtype"), EVAL),
    "numpy.load": call("numpy", "load", text("canary")),
    "copyreg._reconstructor": named("copyreg", "_reconstructor"),
}
DAMAGED = {
    "INST of an admitted name": (b"(icollections\nOrderedDict\n", "b'i'"),
    "OBJ of an admitted name": (b"(ccollections\nOrderedDict\no", "b'o'"),
    "NEWOBJ of a tensor": (named("torch._utils", "_rebuild_tensor") + EMPTY_TUPLE + b"\x81", NO_CALL),
    "NEWOBJ of a record": (call("argparse", "Namespace") + EMPTY_TUPLE + b"\x81", NO_CALL),
    "NEWOBJ_EX of an admitted name": (named("argparse", "Namespace") + EMPTY_TUPLE + EMPTY_DICT + b"\x92", r"b'\\x92'"),
    "a record as a key": (EMPTY_DICT + call("torch", "Size", EMPTY_TUPLE) + NONE + b"s", "as a key"),
    "a record as a shape": (
        mapping(
            ("w", call("torch._utils", "_rebuild_tensor", storage("0", 6), integer(0), call("torch", "Size"), NONE))
        ),
        "make no sense",
    ),
    "a record as weights": (
        mapping(("v", tensor(storage("0", 6))), ("w", call("numpy", "ndarray"))),
        "'w' it holds a Opaque, not a tensor",
    ),
    "items of a record": (call("argparse", "Namespace") + text("a") + NONE + b"s", "not a dict"),
    "EXT1": (b"\x82\x01" + EMPTY_TUPLE + REDUCE, r"b'\\x82'"),
    "EXT2": (b"\x83\x01\x00" + EMPTY_TUPLE + REDUCE, r"b'\\x83'"),
    "EXT4": (b"\x84\x01\x00\x00\x00" + EMPTY_TUPLE + REDUCE, r"b'\\x84'"),
    "PERSID": (b"Pstorage\n", "b'P'"),
    "POP": (NONE + b"0", "b'0'"),
    "no such instruction": (b"\xff", r"b'\\xff'"),
    "name of no text": (integer(1) + text("eval") + b"\x93", "without a name"),
    "very long name": (named("m" * 10**5, "\x1b[31m"), r"asks for 'm{80}\.\\x1b"),
    "longer name": (named("m" * 10**6, "x"), "cut short, or its pickle is damaged"),
    "long text": (text("a" * 10**6), "larger than any file of weights needs"),
    "long texts": (text("a" * 10**5) * 400, "larger than any file of weights needs"),
    "long name of weights": (mapping(("w" * 1001, tensor(storage("0", 6)))), "a name of 1001 characters"),
    "long prefix": (mapping(("module." * 10_000 + "w", tensor(storage("0", 6)))), "a name of 70001 characters"),
    "state of a tensor": (tensor(storage("0", 6)) + EMPTY_DICT + BUILD, "what is not a dict"),
    "state of a name": (
        named("collections", "OrderedDict") + EMPTY_DICT + BUILD,
        "what is not a dict",
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
    "append to a dict": (EMPTY_DICT + NONE + b"a", "not a list"),
    "append to a name": (named("collections", "OrderedDict") + NONE + b"a", "not a list"),
    "items of a list": (b"]" + text("a") + NONE + b"s", "not a dict"),
    "items of a name": (named("torch", "FloatStorage") + text("a") + NONE + b"s", "not a dict"),
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


def check_refusal(data: bytes, found: str) -> None:
    with pytest.raises(CheckpointError, match=found) as refusal:
        load(data)
    message = str(refusal.value)
    assert "weights.pth" in message and "torch.save(model.state_dict(), path)" in message
    assert len(message) < 1000 and message.isprintable()
    assert not Path("canary").exists()


@pytest.mark.parametrize("name", RUN_BY_PICKLE)
def test_hostile_files(write, name):
    check_refusal(write(RUN_BY_PICKLE[name], {"0": SIX}), "nothing was run")


@pytest.mark.parametrize("name", RUN_BY_PICKLE)
@pytest.mark.skipif(sys.platform == "win32", reason="some files name a module of POSIX")
def test_hostile_files_do_run_elsewhere(tmp_path, name):
    """Without this the test above could pass on files that harm nobody."""
    data = b"\x80\x02" + RUN_BY_PICKLE[name] + b"."
    loads = "import pickle, sys; pickle.load(sys.stdin.buffer)"
    subprocess.run([sys.executable, "-c", loads], input=data, cwd=tmp_path, capture_output=True)
    assert (tmp_path / "canary").exists()


@pytest.mark.parametrize("name", ASKS_FOR)
def test_names_that_weights_never_need(write, name):
    found = f"asks for {name.split()[0]!r}, which a file of weights never needs; nothing was run"
    check_refusal(write(ASKS_FOR[name], {"0": SIX}), re.escape(found))


@pytest.mark.parametrize("part", ["magic", "version", "machine", "keys"])
def test_hostile_pickles_around_the_content(part):
    magic = integer(0x1950A86A20F9469CFC6C) if part == "magic" else b""
    data = stream(ONE_TENSOR, {"0": SIX}, **{part: magic + EVAL})
    check_refusal(data, r"asks for 'builtins\.eval'")


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_pickles(write, name):
    content, found = DAMAGED[name]
    check_refusal(write(content, {"0": SIX}), found)


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
def test_tensors_reaching_outside_their_storage(write, view):
    content = mapping(("w", tensor(storage("0", 6), **view)))
    check_refusal(write(content, {"0": SIX}), r"make no sense|not fit into its storage of 6")


@pytest.mark.parametrize("shape", [NONE, integer(6), text("six"), sequence(text("6"))])
def test_shapes_that_are_no_shapes(write, shape):
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
    "nested lists": b"]" * 10_000 + b"a" * 9_999,
    # At this depth Python's own hash of a tuple overflows the C stack.
    "nested tuples as a key": EMPTY_DICT + EMPTY_TUPLE + b"\x85" * 200_000 + NONE + b"s",
    "nested tuples as a storage": DEEP + b"Q",
    "nested tuples as a name": DEEP + text("x") + b"\x93",
    "nested tuples as arguments": named("collections", "OrderedDict") + DEEP + REDUCE,
    "list within itself": b"]q\x00h\x00a",
    "dict within itself": EMPTY_DICT + b"q\x00" + text("a") + b"h\x00s",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", GREEDY)
def test_greedy_files_get_no_memory(write, name):
    data = write(GREEDY[name], {})
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError):
            load(data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 200 * len(data) + 1_000_000


def test_huge_memo_index_is_no_harm(write):
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
def test_other_objects(write, content, found):
    with pytest.raises(CheckpointError, match=found):
        load(write(content, {} if content == EMPTY_DICT else {"0": SIX}))
