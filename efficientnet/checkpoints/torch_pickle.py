"""Reads the files that `torch.save` writes, without PyTorch and without unpickling them.

Such a file is a pickle that describes tensors, which `pickled_tensors` evaluates, and beside it the bytes
of their storages.

Two layouts, told apart by content, differ only in where pickle and storages lie:

- since PyTorch 1.6 a zip archive, uncompressed: `NAME/data.pkl`, `NAME/data/KEY` per storage;
- before that one stream: pickles of a magic number, a version, facts about the machine, the object,
  and the list of storage keys; then for each key the number of elements (int64) and the bytes.
"""

from __future__ import annotations

import io
import mmap
import os
import struct
import zipfile
from typing import BinaryIO

import numpy as np

from . import CheckpointError
from .pickled_tensors import BFLOAT16, Tensor, evaluate

_MAGIC = 0x1950A86A20F9469CFC6C
_VERSION = 1001


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
    magic, version, machine = (evaluate(buffer)[0] for _ in range(3))
    if magic != _MAGIC or version != _VERSION:
        raise ValueError(f"its format is not version {_VERSION} of PyTorch's")
    if not isinstance(machine, dict) or machine.get("little_endian") is not True:
        raise ValueError("it was not written by a little-endian machine")
    content, storages = evaluate(buffer)
    keys, _ = evaluate(buffer)
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
    content, storages = evaluate(stream)
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
    if dtype != BFLOAT16:
        return array
    halves = np.zeros((*tensor.shape, 2), "<u2")  # a bfloat16 is the upper half of a float32
    halves[..., 1] = array.view("<u2")
    return halves.view("<f4")[..., 0]
