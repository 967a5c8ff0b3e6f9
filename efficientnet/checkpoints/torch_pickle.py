"""Reads the files that `torch.save` writes, without PyTorch and without unpickling them.

Such a file is a pickle that describes tensors, and beside it the bytes of their storages. A pickle
is a program: whoever runs `pickle.load` on it runs whatever its author chose. So none is run here:
`_evaluate` follows the few instructions that a dict of tensors needs, and what it builds are plain
numbers, strings, containers and the inert records below. Nothing is ever imported or called by a
name that a file gives. (`pickle.Unpickler` with a strict `find_class` would import nothing either,
but still overflows its memory and its stack where a file wants it to.)

Two layouts, told apart by content, differ only in where pickle and storages lie:

- since PyTorch 1.6 a zip archive, uncompressed: `NAME/data.pkl`, `NAME/data/KEY` per storage;
- before that one stream: pickles of a magic number, a version, facts about the machine, the object,
  and the list of storage keys; then for each key the number of elements (int64) and the bytes.
"""

from __future__ import annotations

import io
import math
import mmap
import os
import pickle  # for the names of its instructions; it loads nothing
import struct
import zipfile
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from . import CheckpointError

_MAGIC = 0x1950A86A20F9469CFC6C
_VERSION = 1001

_BFLOAT16 = np.dtype("V2")  # NumPy has no bfloat16: kept as two raw bytes until `_array` widens it
_STORAGES: dict[str, np.dtype[Any]] = {
    "torch FloatStorage": np.dtype("<f4"),
    "torch DoubleStorage": np.dtype("<f8"),
    "torch HalfStorage": np.dtype("<f2"),
    "torch BFloat16Storage": _BFLOAT16,
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
_ADMITTED = {_ORDERED_DICT, _TENSOR, _TENSOR_V2, _PARAMETER, *_STORAGES}

# Far above what a network needs (EfficientNet-L2: some 80,000 instructions, 5e8 elements), and
# small enough that a hostile file cannot take minutes, gigabytes, or overflow NumPy's integers.
_MAX_INSTRUCTIONS = 1_000_000
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


def recognises(head: bytes) -> bool:
    """Tells whether a file was written by `torch.save`.

    Args:
        head: The first 512 bytes of the file, or all of a shorter one.

    Returns:
        True for both layouts, also where the rest of the file is damaged.
    """
    if head.startswith(b"PK"):
        return b"/data.pkl" in head  # the archive's first member
    return _MAGIC.to_bytes(10, "little") in head[:32]


def read(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Reads the tensors of a file that `torch.save` wrote, of either layout.

    The file may hold a dict of tensors, or such a dict under one of the keys "state_dict",
    "model_state_dict" and "model" (the first that is there; all else is left out). Where every
    name begins with "module.", as `DataParallel` makes them, that prefix is taken off.

    Args:
        path: The file.

    Returns:
        Name to array, in the file's order. The arrays are read-only views of the memory-mapped
        file, so names, shapes and dtypes cost nothing and the data is read as it is used. Only
        bfloat16 is converted, to float32, and so read at once.

    Raises:
        CheckpointError: The file is damaged, or of another kind, or asks for anything that a dict
            of tensors does not need. Nothing of it was run.
        OSError: The file cannot be opened.
    """
    with open(path, "rb") as file:
        try:
            if os.fstat(file.fileno()).st_size == 0:
                raise ValueError("it is empty")
            buffer = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            head = buffer[:512]
            if not recognises(head):
                raise ValueError(f"it begins with {head[:16]!r}, as no PyTorch file does")
            locate = _locate_in_zip if head.startswith(b"PK") else _locate_in_stream
            content, starts = locate(file, buffer)
            tensors = _tensors(content)
        except ValueError as error:
            raise CheckpointError(
                f"Cannot read weights from {os.fspath(path)!r}: {error}. What can be read is a "
                "dict of tensors, as `torch.save(model.state_dict(), path)` writes it."
            ) from error
    return {name: _array(buffer, starts[tensor.storage.key], tensor) for name, tensor in tensors.items()}


def _locate_in_stream(file: BinaryIO, buffer: mmap.mmap) -> tuple[object, dict[str, int]]:
    """Evaluates the layout before PyTorch 1.6: (the object, storage key -> first byte)."""
    magic, version, machine = (_evaluate(buffer)[0] for _ in range(3))
    if magic != _MAGIC or version != _VERSION:
        raise ValueError(f"its format is not version {_VERSION} of PyTorch's")
    if not isinstance(machine, dict) or machine.get("little_endian") is not True:
        raise ValueError("it was not written by a little-endian machine")
    content, storages = _evaluate(buffer)
    keys, _ = _evaluate(buffer)
    listed = isinstance(keys, list) and all(isinstance(key, str) for key in keys)
    if not listed or sorted(keys) != sorted(storages):
        raise ValueError("the storages it lists are not those that its tensors use")
    starts = {}
    for key in keys:
        size = storages[key].size
        if buffer.read(8) != size.to_bytes(8, "little"):
            raise ValueError(f"storage {key[:80]!r} is not there with the {size} elements it needs")
        starts[key] = buffer.tell()
        end = starts[key] + size * storages[key].dtype.itemsize
        if end > len(buffer):
            raise ValueError(f"it is cut short: {len(buffer)} bytes, of at least {end}")
        buffer.seek(end)
    if buffer.tell() != len(buffer):
        raise ValueError(f"{len(buffer) - buffer.tell()} bytes follow after its last storage")
    return content, starts


def _locate_in_zip(file: BinaryIO, buffer: mmap.mmap) -> tuple[object, dict[str, int]]:
    """Evaluates the layout since PyTorch 1.6: (the object, storage key -> first byte)."""
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, struct.error, OverflowError, OSError) as error:
        raise ValueError(f"it is cut short or damaged ({error})") from error
    places = {member.filename: _place_in_zip(buffer, member) for member in members}
    folders = [name.removesuffix("data.pkl") for name in places if name.endswith("/data.pkl")]
    if len(folders) != 1 or len(places) != len(members):
        raise ValueError("its archive holds no data.pkl, more than one, or a name twice")
    folder = folders[0]
    order = places.get(f"{folder}byteorder")
    if order is not None and buffer[order.start : order.stop] != b"little":
        raise ValueError("it was not written by a little-endian machine")

    pickled = places[f"{folder}data.pkl"]
    stream = io.BytesIO(buffer[pickled.start : pickled.stop])
    content, storages = _evaluate(stream)
    if stream.tell() != len(pickled):
        raise ValueError(f"{len(pickled) - stream.tell()} bytes follow after its pickle")
    starts = {}
    for key, storage in storages.items():
        place = places.get(f"{folder}data/{key}")
        if place is None or len(place) != storage.size * storage.dtype.itemsize:
            raise ValueError(f"storage {key[:80]!r} is not there with the {storage.size} elements it needs")
        starts[key] = place.start
    return content, starts


def _place_in_zip(buffer: mmap.mmap, member: zipfile.ZipInfo) -> range:
    """Finds a member's bytes; its local header, of a length of its own, stands before them."""
    header = buffer[member.header_offset : member.header_offset + 30]
    if member.header_offset < 0 or len(header) < 30 or not header.startswith(b"PK\3\4"):
        raise ValueError(f"its archive does not hold {member.filename[:80]!r} where it says")
    if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1:
        raise ValueError(f"{member.filename[:80]!r} in its archive is compressed or encrypted")
    start = member.header_offset + 30 + sum(struct.unpack("<HH", header[26:]))
    if start + member.file_size > len(buffer):
        raise ValueError(f"{member.filename[:80]!r} in its archive is cut short")
    return range(start, start + member.file_size)


def _evaluate(file: Any) -> tuple[Any, dict[str, Storage]]:
    """Follows one pickle, from where `file` stands to its end.

    Args:
        file: Memory map or `BytesIO`: their `read`, asked for more than there is (the lengths in a
            hostile pickle are anything), takes no more memory than what is there.

    Returns:
        The object, with every tensor as a `Tensor`; and all storages it mentions, by key.
    """
    stack: list[Any] = []
    marks: list[int] = []  # how much lay on the stack at each MARK that is still open
    memo: dict[int, Any] = {}
    storages: dict[str, Storage] = {}

    def read(size: int) -> bytes:
        data: bytes = file.read(size)
        if len(data) < size:
            raise ValueError("it is cut short, or its pickle is damaged")
        return data

    def number(size: int, signed: bool = False) -> int:
        return int.from_bytes(read(size), "little", signed=signed)

    def line() -> str:
        data: bytes = file.readline()
        return data.removesuffix(b"\n").decode()

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
                case pickle.REDUCE:
                    arguments, function = stack.pop(), stack.pop()
                    stack.append(_construct(function, arguments))
                case pickle.BUILD:
                    stack.pop()  # attributes; a state dict has one, `_metadata`, without arrays
                    if not isinstance(stack[-1], dict):
                        raise ValueError("its pickle sets attributes of what is no dict")
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
    except IndexError as error:
        raise ValueError("its pickle is damaged: it takes from an empty stack") from error
    raise ValueError(f"its pickle has more than {_MAX_INSTRUCTIONS} instructions")


def _extend(items: list[Any], target: object) -> None:
    if not isinstance(target, list):
        raise ValueError("its pickle appends to what is no list")
    target.extend(items)


def _update(items: list[Any], target: object) -> None:
    """Puts keys and values, which take turns in `items`, into a dict."""
    if not isinstance(target, dict) or len(items) % 2:
        raise ValueError("its pickle sets items of what is no dict, or a key without a value")
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
    """Does what calling an admitted constructor means, on the records of this module."""
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
    raise ValueError("its pickle calls something in a way that no state dict does; nothing was run")


def _storage(identifier: object) -> Storage:
    """Makes a storage from its persistent id; the device it was on ('cpu', 'cuda:0') is dropped."""
    match identifier:
        case ("storage", Global(name), str() as key, str(), int() as size, *view):
            # Until 1.6 a last entry described views of storages; it has long been None.
            if name in _STORAGES and 0 <= size <= _MAX_ELEMENTS and view in ([], [None]):
                return Storage(key, _STORAGES[name], size)
    raise ValueError("it describes a storage in a way that PyTorch does not")


def _tensor(storage: Storage, offset: object, shape: object, strides: object) -> Tensor:
    """Makes a tensor after checking that all of it lies inside its storage."""
    if not (
        isinstance(offset, int)
        and isinstance(shape, tuple)
        and isinstance(strides, tuple)
        and len(shape) == len(strides) <= _MAX_DIMENSIONS
        and all(isinstance(number, int) and number >= 0 for number in (offset, *shape, *strides))
        and math.prod(max(length, 1) for length in shape) <= _MAX_ELEMENTS
    ):
        raise ValueError("it describes a tensor whose offset, shape or strides make no sense")
    last = offset + sum((length - 1) * stride for length, stride in zip(shape, strides, strict=True))
    # The second condition: strides of 0 let a file of a few bytes describe terabytes.
    if 0 not in shape and (last >= storage.size or math.prod(shape) > storage.size):
        raise ValueError(f"a tensor of shape {shape} does not fit into its storage of {storage.size} elements")
    return Tensor(storage, offset, shape, strides)


def _tensors(content: object) -> dict[str, Tensor]:
    """Picks the state dict out of what a file holds."""
    if isinstance(content, dict):
        for key in ("state_dict", "model_state_dict", "model"):
            if isinstance(content.get(key), dict):
                content = content[key]
                break
    if not isinstance(content, dict):
        raise ValueError(f"it holds a {type(content).__name__}, not a dict")
    if not content:
        raise ValueError("the dict it holds is empty")
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise ValueError(f"under {str(name)[:80]!r} it holds a {type(value).__name__}, not a tensor")
    if all(name.startswith("module.") for name in content):
        return {name.removeprefix("module."): value for name, value in content.items()}
    return content


def _array(buffer: mmap.mmap, start: int, tensor: Tensor) -> np.ndarray:
    """Views a tensor in the file, given where its storage starts."""
    dtype = tensor.storage.dtype
    if 0 in tensor.shape:
        array = np.empty(tensor.shape, dtype)
    else:
        # PyTorch leaves any number as the stride of a dimension of length 1.
        strides = [
            stride * dtype.itemsize if length > 1 else 0
            for length, stride in zip(tensor.shape, tensor.strides, strict=True)
        ]
        offset = start + tensor.offset * dtype.itemsize
        array = np.ndarray(tensor.shape, dtype, buffer, offset, strides)
    if dtype != _BFLOAT16:
        return array
    halves = np.zeros((*tensor.shape, 2), "<u2")  # a bfloat16 is the upper half of a float32
    halves[..., 1] = array.view("<u2")
    return halves.view("<f4")[..., 0]
