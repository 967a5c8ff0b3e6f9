"""Read TensorFlow's "tensor bundles": ``NAME.index``, ``NAME.data-00000-of-00002``, ``NAME.data-00001-of-00002``.

The data files are the arrays' numbers, one after the other. The index is a table as LevelDB sorts them on disk: the
file's last 48 bytes say where a block lies that says where the other blocks lie, and these map the name of each array
to a protocol buffer with its type, shape, place and checksum. The empty name maps to one about the whole bundle.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import google_crc32c
import numpy as np

from ..common.protobuf import Cursor, Message
from ..errors import CheckpointError
from .arrays import Stored, widen_bfloat16

MAGIC = 0xDB4775248B80FB57.to_bytes(8, "little")
_FOOTER = 48

Buffer = bytes | mmap.mmap

# TensorFlow's numbers of the types; all that is not here (texts, resources) is not a weight.
_DTYPES = {
    1: "<f4", 2: "<f8", 3: "<i4", 4: "u1", 5: "<i2", 6: "i1", 9: "<i8",
    10: "?", 17: "<u2", 19: "<f2", 22: "<u4", 23: "<u8"
}  # fmt: skip
_BFLOAT16 = 14


def read_bundle(name: str, files: Mapping[str, Buffer]) -> dict[str, Stored]:
    """Read all arrays of numbers in a bundle, in the order of its index, which is that of their names.

    Args:
        name: Common part of the names of its files, such as ``"model.ckpt"``.
        files: Files of the bundle by name.

    Raises:
        ValueError: The index is damaged or of a kind that is not read here, or a data file is missing or cut short.
            The numbers' checksums wait until an array is read, which then raises ``CheckpointError``.
    """
    if f"{name}.index" not in files:
        raise ValueError(f"{name}.index is missing")
    table = dict(_table(files[f"{name}.index"]))
    header = Message(table.pop(b"", b""))
    if header.numbers.get(2):
        raise ValueError("it was written by a big-endian machine")
    shards = header.numbers.get(1, 0)
    arrays = {}
    for key, value in table.items():
        if key.startswith(b"\0"):  # a part of an array that was split among machines
            continue
        entry = _entry(value)
        if entry is not None:
            file = f"{name}.data-{entry.shard:05}-of-{shards:05}"
            if file not in files:
                raise ValueError(f"{file} is missing")
            arrays[key.decode()] = _stored(entry, file, files[file], repr(key.decode()[:200]))
    return arrays


class _Entry(NamedTuple):
    """An array of numbers in the index."""

    dtype: str
    is_bfloat16: bool
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    checksum: int
    is_split: bool


def _entry(data: bytes) -> _Entry | None:
    """Parse an entry of the index; None for what is not an array of numbers."""
    message = Message(data)
    number = message.numbers.get
    kind = number(1, 0)
    if kind != _BFLOAT16 and kind not in _DTYPES:
        return None
    dimensions = Message(message.parts.get(2, [b""])[-1]).parts.get(2, [])
    return _Entry(
        _DTYPES.get(kind, "<u2"),
        kind == _BFLOAT16,
        tuple(Message(dimension).numbers.get(1, 0) for dimension in dimensions),
        number(3, 0),
        number(4, 0),
        number(5, 0),
        number(6, 0),
        7 in message.parts,
    )


def _stored(entry: _Entry, file: str, buffer: Buffer, name: str) -> Stored:
    itemsize = np.dtype(entry.dtype).itemsize
    # An empty array may be of any length along its other axes, but NumPy's own limits hold for it too.
    if len(entry.shape) > 32 or math.prod(length or 1 for length in entry.shape) * itemsize >= 1 << 62:
        raise ValueError(f"the shape of {name}, {str(entry.shape)[:80]}, is none that an array can have")
    if not entry.is_split:
        if math.prod(entry.shape) * itemsize != entry.size:
            raise ValueError(f"{name} has {entry.size} bytes, which is not what its shape {entry.shape} needs")
        if entry.offset + entry.size > len(buffer):
            raise ValueError(
                f"{file} is cut short: {name} ends {entry.offset + entry.size - len(buffer)} bytes after it"
            )

    def read() -> np.ndarray:
        if entry.is_split:
            raise CheckpointError(
                f"{name} in {file} was split among several machines, which is not read here: save it as one variable."
            )
        if _checksum(buffer, entry.offset, entry.size) != entry.checksum:
            raise CheckpointError(
                f"{file} is damaged: the checksum of {name} is wrong. Download it again, or save it anew."
            )
        array = np.ndarray(entry.shape, entry.dtype, buffer, entry.offset)
        return widen_bfloat16(array) if entry.is_bfloat16 else array

    return Stored(entry.shape, np.dtype("<f4" if entry.is_bfloat16 else entry.dtype), read)


def _checksum(buffer: Buffer, start: int, size: int) -> int:
    """Return CRC32C, masked as in LevelDB, so that a checksum of checksums does not degenerate."""
    checksum = 0
    for at in range(start, start + size, 1 << 20):  # google_crc32c takes nothing but bytes, so these are copied
        checksum = google_crc32c.extend(checksum, buffer[at : min(at + (1 << 20), start + size)])
    return ((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _table(data: Buffer) -> Iterator[tuple[bytes, bytes]]:
    """Yield keys and values of a sorted table."""
    if len(data) < _FOOTER or data[-8:] != MAGIC:
        raise ValueError("its index is cut short or of another kind, since it does not end as one")
    footer = Cursor(data[-_FOOTER:-8])
    footer.varint(), footer.varint()  # the place of a block about the table itself, which TensorFlow leaves empty
    end = 0
    for _, place in _entries(_block(data, footer.varint(), footer.varint())):
        cursor = Cursor(place)
        start, size = cursor.varint(), cursor.varint()
        if start < end:
            raise ValueError("the blocks of its index overlap")
        end = start + size
        yield from _entries(_block(data, start, size))


def _block(data: Buffer, start: int, size: int) -> bytes:
    """Return a block's content after a check of its checksum."""
    if start + size + 5 > len(data) - _FOOTER:
        raise ValueError("its index is cut short or damaged: a block runs past its end")
    end = start + size
    if _checksum(data, start, size + 1) != int.from_bytes(data[end + 1 : end + 5], "little"):
        raise ValueError("its index is damaged: the checksum of a block is wrong")
    if data[end]:
        raise ValueError("its index is compressed, which is not read here, nor written by TensorFlow itself")
    return data[start:end]


def _entries(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield keys and values in a block, where each key leaves out the start that it shares with the one before."""
    restarts = int.from_bytes(block[-4:], "little")  # the keys that are whole, so that one can begin to read there
    cursor = Cursor(block[: max(len(block) - 4 * restarts - 4, 0)])
    key = b""
    length = 0
    while cursor.has_more():
        common, rest, size = cursor.varint(), cursor.varint(), cursor.varint()
        if common > len(key):
            raise ValueError("its index is damaged: a name goes on from one that is shorter than it says")
        key = key[:common] + cursor.take(rest)
        length += len(key)
        if length > 16 * len(block):  # TensorFlow writes every 16th in full
            raise ValueError("its index is damaged: its names are longer than they can be")
        yield key, cursor.take(size)
