"""Evaluate the pickle that describes a state dict, without unpickling it.

A pickle is a program: whoever runs `pickle.load` on it runs whatever its author chose. So none is run here:
`evaluate` follows the few instructions that a training checkpoint needs, and what it builds are plain numbers,
strings, containers and the inert records below. Nothing is ever imported or called by a name that a file gives.
(`pickle.Unpickler` with a strict `find_class` would import nothing either, but still overflows its memory and its
stack where a file wants it to.)
"""

from __future__ import annotations

import math
import pickle  # for the names of its instructions; it loads nothing
import struct
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import numpy as np

BFLOAT16 = np.dtype("V2")  # NumPy has no bfloat16: kept as two raw bytes until the reader widens it
_STORAGES: dict[str, np.dtype[Any]] = {
    "torch FloatStorage": np.dtype("<f4"),
    "torch DoubleStorage": np.dtype("<f8"),
    "torch HalfStorage": np.dtype("<f2"),
    "torch BFloat16Storage": BFLOAT16,
    "torch LongStorage": np.dtype("<i8"),
    "torch IntStorage": np.dtype("<i4"),
    "torch ShortStorage": np.dtype("<i2"),
    "torch CharStorage": np.dtype("i1"),
    "torch ByteStorage": np.dtype("u1"),
    "torch BoolStorage": np.dtype("?"),
}
_ORDERED_DICT = "collections OrderedDict"
_TENSOR = "torch._utils _rebuild_tensor"
_TENSOR_V2 = "torch._utils _rebuild_tensor_v2"
_PARAMETER = "torch._utils _rebuild_parameter"
# MMEngine's losses so far, which refer to their own methods.
_HISTORY, _GET_METHOD = "mmengine.logging.history_buffer HistoryBuffer", "__builtin__ getattr"
# What training checkpoints keep beside the weights: the options of the run, its best score, the states of random
# generators and schedulers. Only its place is kept, as an `Opaque`; of the options also what they are.
OPTIONS = "argparse Namespace"
_OPAQUE = {
    OPTIONS,
    "__builtin__ bytes",  # empty ones, as protocol 2 writes them; others:
    "_codecs encode",
    "collections Counter",
    _HISTORY,
    "numpy dtype",
    "numpy ndarray",
    "numpy._core.multiarray _reconstruct",
    "numpy._core.multiarray scalar",
    "numpy.core.multiarray _reconstruct",
    "numpy.core.multiarray scalar",
    "pathlib PosixPath",
    "pathlib WindowsPath",
    "pathlib._local PosixPath",  # Python 3.13
    "pathlib._local WindowsPath",
    "torch Size",
    "torch device",
}
_ADMITTED = {_ORDERED_DICT, _TENSOR, _TENSOR_V2, _PARAMETER, _GET_METHOD, *_STORAGES, *_OPAQUE}

# Far above what a network needs (EfficientNet-L2: some 80,000 instructions, 5e8 elements; in training with averages
# and two moments, four times that), and small enough that a hostile file cannot take minutes, gigabytes, or overflow
# NumPy's integers. The first also bounds the number of tensors.
_MAX_INSTRUCTIONS = 1_000_000
MAX_BYTES = 2**25
_MAX_TEXT = 2**18
_MAX_ELEMENTS = 2**40
_MAX_DIMENSIONS = 32


@dataclass(frozen=True)
class Global:
    """An admitted name, as "module name". It stands for the thing and is not it."""

    name: str


@dataclass(frozen=True)
class Storage:
    """A run of `size` elements, found in the file under `key`."""

    key: str
    dtype: np.dtype[Any]
    size: int


@dataclass(frozen=True)
class Tensor:
    """A view of a storage; `offset` and `strides` count elements."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


@dataclass(frozen=True)
class Opaque:
    """A placeholder for the result of calling an admitted name; with the options of a run."""

    name: str
    options: dict[str | int, Any] = field(default_factory=dict)


def is_shape(shape: object) -> bool:
    """Return whether a file's shape, a tuple or list of anything, is one that NumPy can have."""
    return (
        isinstance(shape, tuple | list)
        and len(shape) <= _MAX_DIMENSIONS
        and all(type(length) is int and length >= 0 for length in shape)
        and math.prod(max(length, 1) for length in shape) <= _MAX_ELEMENTS
    )


def evaluate_pickle(file: BinaryIO) -> tuple[Any, dict[str, Storage]]:
    """Follow one pickle, from where `file` stands to its end.

    Returns:
        The object, with every tensor as a `Tensor`; and all storages it mentions, by key.

    Raises:
        ValueError: The pickle is damaged, too large, or needs anything that is not admitted.
    """
    stack: list[Any] = []
    marks: list[int] = []  # how much lay on the stack at each MARK that is still open
    memo: dict[int, Any] = {}
    storages: dict[str, Storage] = {}
    left = MAX_BYTES

    def read(size: int) -> bytes:
        nonlocal left
        left -= size
        if size > _MAX_TEXT or left < 0:
            raise ValueError("its pickle, or a text in it, is larger than any file of weights needs")
        data = file.read(size)
        if len(data) < size:
            raise ValueError("it is cut short, or its pickle is damaged")
        return data

    def number(size: int, signed: bool = False) -> int:
        return int.from_bytes(read(size), "little", signed=signed)

    def line() -> str:
        data = file.readline(_MAX_TEXT)
        if not data.endswith(b"\n"):
            raise ValueError("it is cut short, or its pickle is damaged")
        return data[:-1].decode()

    def pop_from(start: int) -> list[Any]:
        if not 0 <= start <= len(stack):
            raise IndexError
        items = stack[start:]
        del stack[start:]
        return items

    def recall(index: int) -> Any:
        if index not in memo:
            raise ValueError(f"its pickle recalls entry {index}, never stored")
        return memo[index]

    try:
        for _ in range(_MAX_INSTRUCTIONS):
            match read(1):
                case pickle.BINPUT:
                    memo[number(1)] = stack[-1]
                case pickle.LONG_BINPUT:
                    memo[number(4)] = stack[-1]
                case pickle.MEMOIZE:
                    memo[len(memo)] = stack[-1]
                case pickle.BINGET:
                    stack.append(recall(number(1)))
                case pickle.LONG_BINGET:
                    stack.append(recall(number(4)))
                case pickle.NONE:
                    stack.append(None)
                case pickle.NEWTRUE:
                    stack.append(True)
                case pickle.NEWFALSE:
                    stack.append(False)
                case pickle.BININT:
                    stack.append(number(4, signed=True))
                case pickle.BININT1:
                    stack.append(number(1))
                case pickle.BININT2:
                    stack.append(number(2))
                case pickle.LONG1:
                    stack.append(number(number(1), signed=True))
                case pickle.BINFLOAT:
                    stack.append(*struct.unpack(">d", read(8)))
                case pickle.BINUNICODE:
                    stack.append(read(number(4)).decode())
                case pickle.SHORT_BINUNICODE:
                    stack.append(read(number(1)).decode())
                case pickle.BINBYTES:
                    stack.append(read(number(4)))
                case pickle.SHORT_BINBYTES:
                    stack.append(read(number(1)))
                case pickle.MARK:
                    marks.append(len(stack))
                case pickle.TUPLE:
                    stack.append(tuple(pop_from(marks.pop())))
                case pickle.EMPTY_TUPLE:
                    stack.append(())
                case pickle.TUPLE1 | pickle.TUPLE2 | pickle.TUPLE3 as code:
                    length = code[0] - pickle.TUPLE1[0] + 1
                    stack.append(tuple(pop_from(len(stack) - length)))
                case pickle.EMPTY_LIST:
                    stack.append([])
                case pickle.APPEND:
                    _extend(pop_from(len(stack) - 1), stack[-1])
                case pickle.APPENDS:
                    _extend(pop_from(marks.pop()), stack[-1])
                case pickle.EMPTY_DICT:
                    stack.append({})
                case pickle.SETITEM:
                    _update(pop_from(len(stack) - 2), stack[-1])
                case pickle.SETITEMS:
                    _update(pop_from(marks.pop()), stack[-1])
                case pickle.GLOBAL:
                    stack.append(_global(line(), line()))
                case pickle.STACK_GLOBAL:
                    name, module = stack.pop(), stack.pop()
                    stack.append(_global(module, name))
                case pickle.REDUCE | pickle.NEWOBJ:
                    arguments, function = stack.pop(), stack.pop()
                    stack.append(_construct(function, arguments))
                case pickle.BUILD:
                    attributes = stack.pop()  # a state dict has one, `_metadata`, without arrays
                    if not isinstance(stack[-1], dict | Opaque):
                        raise ValueError("its pickle sets attributes of what is not a dict")
                    if stack[-1] == Opaque(OPTIONS) and isinstance(attributes, dict):
                        stack[-1].options.update(attributes)
                case pickle.BINPERSID:
                    storage = _storage(stack.pop())
                    if storages.setdefault(storage.key, storage) != storage:
                        raise ValueError(f"it describes storage {storage.key[:80]!r} in two ways")
                    stack.append(storage)
                case pickle.PROTO:
                    read(1)
                case pickle.FRAME:
                    read(8)  # helps only those who read from a pipe
                case pickle.STOP:
                    result = stack.pop()
                    if stack or marks:
                        raise ValueError("its pickle ends in the middle")
                    return result, storages
                case other:
                    raise ValueError(
                        f"its pickle has the instruction {other!r}, which a file of weights never "
                        "needs; nothing was run"
                    )
    except IndexError:
        raise ValueError("its pickle is damaged: it takes from an empty stack") from None
    raise ValueError(f"its pickle has more than {_MAX_INSTRUCTIONS} instructions")


def _extend(items: list[Any], target: object) -> None:
    if not isinstance(target, list):
        raise ValueError("its pickle appends to what is not a list")
    target.extend(items)


def _update(items: list[Any], target: object) -> None:
    """Put keys and values, which take turns in `items`, into a dict."""
    if not isinstance(target, dict) or len(items) % 2:
        raise ValueError("its pickle sets items of what is not a dict, or a key without a value")
    for key, value in zip(items[::2], items[1::2], strict=True):
        # No other keys: hashing a tuple nested a million deep would overflow the C stack.
        if not isinstance(key, str | int):
            raise ValueError("its pickle uses as a key what is neither a string nor an integer")
        if key in target:
            raise ValueError(f"it holds {str(key)[:80]!r} twice")
        target[key] = value


def _global(module: object, name: object) -> Global:
    if not isinstance(module, str) or not isinstance(name, str):
        raise ValueError("its pickle asks for something without a name")
    if f"{module} {name}" not in _ADMITTED:
        raise ValueError(
            f"it asks for {f'{module[:80]}.{name[:80]}'!r}, which a file of weights never needs; nothing was run"
        )
    return Global(f"{module} {name}")


def _construct(function: object, arguments: object) -> object:
    """Do what calling an admitted constructor means, on the records of this module."""
    match function, arguments:
        case Global(name), () if name == _ORDERED_DICT:
            return {}
        case Global(name), (Tensor() as tensor, _, _) if name == _PARAMETER:
            return tensor
        case Global(name), (Storage() as storage, offset, shape, strides) if name == _TENSOR:
            return _tensor(storage, offset, shape, strides)
        case Global(name), (Storage() as storage, offset, shape, strides, _, _) if (
            name == _TENSOR_V2  # the last two: whether it is trained, and its hooks
        ):
            return _tensor(storage, offset, shape, strides)
        case Global(name), (Global(owner), str()) if (name, owner) == (_GET_METHOD, _HISTORY):
            return Opaque(_GET_METHOD)
        case Global(name), _ if name in _OPAQUE:
            return Opaque(name)
    raise ValueError("its pickle calls something in a way that no state dict does; nothing was run")


def _storage(identifier: object) -> Storage:
    """Make a storage from its persistent id; the device it was on ('cpu', 'cuda:0') is dropped."""
    match identifier:
        case ("storage", Global(name), str() as key, str(), int() as size, *view):
            # Until 1.6 a last entry described views of storages; it has long been None.
            if name in _STORAGES and 0 <= size <= _MAX_ELEMENTS and view in ([], [None]):
                return Storage(key, _STORAGES[name], size)
    raise ValueError("it describes a storage in a way that PyTorch does not")


def _tensor(storage: Storage, offset: object, shape: object, strides: object) -> Tensor:
    """Make a tensor after checking that all of it lies inside its storage."""
    if not (
        isinstance(shape, tuple)
        and is_shape(shape)
        and isinstance(strides, tuple)
        and len(shape) == len(strides)
        and isinstance(offset, int)
        and all(isinstance(number, int) and number >= 0 for number in (offset, *strides))
    ):
        raise ValueError("it describes a tensor whose offset, shape or strides make no sense")
    last = offset + sum((length - 1) * stride for length, stride in zip(shape, strides, strict=True))
    # The second condition: strides of 0 let a file of a few bytes describe terabytes.
    if 0 not in shape and (last >= storage.size or math.prod(shape) > storage.size):
        raise ValueError(f"a tensor of shape {shape} does not fit into its storage of {storage.size} elements")
    return Tensor(storage, offset, shape, strides)
