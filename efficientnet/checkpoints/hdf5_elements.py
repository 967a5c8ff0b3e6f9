"""Elements of an HDF5 file's arrays and attributes: shape, type, and compression."""

from __future__ import annotations

import struct
import zlib
from typing import Any, NamedTuple

import numpy as np

# Sign, exponent and mantissa of IEEE's numbers, as a datatype message has them.
_IEEE = {
    2: (0x20, 15, 0, 0, 16, 10, 5, 0, 10, 15),
    4: (0x20, 31, 0, 0, 32, 23, 8, 0, 23, 127),
    8: (0x20, 63, 0, 0, 64, 52, 11, 0, 52, 1023),
}

_DEFLATE, _SHUFFLE = 1, 2


class UnusualError(ValueError):
    """Signal a feature that HDF5 allows and Keras never writes; the message names it."""


class Type(NamedTuple):
    """The type of an array's or attribute's elements.

    Attributes:
        dtype: Data type in NumPy; for strings of variable length, the 16 bytes that point at each.
        kind: Kind, ``"number"``, ``"text"``, ``"variable text"`` or ``"opaque"``.
    """

    dtype: np.dtype[Any]
    kind: str


def padded(size: int) -> int:
    """Return the next multiple of 8, to which parts are filled up."""
    return -(-size // 8) * 8


def filled(data: memoryview, size: int) -> memoryview:
    """Check that there are at least ``size`` bytes, and return them."""
    if len(data) < size:
        raise ValueError(f"one of its parts is {len(data)} bytes long, of at least {size}")
    return data


def dataspace(message: memoryview) -> tuple[int, ...]:
    """Return the shape in a dataspace message."""
    version, rank, _, kind = filled(message, 4)[:4]
    if version not in (1, 2) or rank > 32:
        raise ValueError(f"a shape of version {version} and {rank} axes")
    if version == 2 and kind == 2:  # no elements, not even the one of a scalar
        return (0,)
    start = 8 if version == 1 else 4
    return struct.unpack_from(f"<{rank}Q", filled(message, start + 8 * rank), start)


def datatype(message: memoryview) -> Type:
    """Return the type of elements in a datatype message.

    Raises:
        UnusualError: The elements are of another kind, such as references, or structures of several.
    """
    version, kind = filled(message, 8)[0] >> 4, message[0] & 15
    bits, (size,) = message[1:4], struct.unpack_from("<I", message, 4)
    order = "<>"[bits[0] & 1]
    if kind == 0 and size in (1, 2, 4, 8) and struct.unpack_from("<HH", filled(message, 12), 8) == (0, size * 8):
        return Type(np.dtype(f"{order}{'i' if bits[0] & 8 else 'u'}{size}"), "number")
    if kind == 1 and size in _IEEE:
        fields = struct.unpack_from("<HHBBBBI", filled(message, 20), 8)
        if (bits[0] & ~1, bits[1], bits[2], *fields) == _IEEE[size]:
            return Type(np.dtype(f"{order}f{size}"), "number")
    if kind == 3 and 0 < size < 2**16:
        return Type(np.dtype(f"S{size}"), "text")
    if kind == 5 and 0 < size < 2**16:
        return Type(np.dtype(f"V{size}"), "opaque")
    if kind == 9 and bits[0] & 15 == 1 and size == 16:
        return Type(np.dtype("V16"), "variable text")
    raise UnusualError(f"elements of class {kind}, version {version} and {size} bytes")


def filters(message: memoryview) -> list[int]:
    """Return the identifiers of the filters of each block of a compressed array, in order."""
    version, count = filled(message, 2)[:2]
    if version != 1:
        raise UnusualError(f"a filter pipeline of version {version}")
    identifiers, at = [], 8
    for _ in range(count):
        identifier, name_size, _, values = struct.unpack_from("<4H", filled(message, at + 8), at)
        if identifier not in (_DEFLATE, _SHUFFLE):
            raise UnusualError(f"arrays compressed by filter {identifier}")
        identifiers.append(identifier)
        at += 8 + name_size + 4 * (values + values % 2)
    return identifiers


def unfilter(block: memoryview, identifiers: list[int], size: int, itemsize: int) -> memoryview:
    """Undo the filters of a block, and return its ``size`` bytes."""
    for identifier in reversed(identifiers):
        if identifier == _DEFLATE:
            try:
                block = memoryview(zlib.decompressobj().decompress(block, size))
            except zlib.error as error:
                raise ValueError(f"a compressed block is damaged: {error}") from None
        else:
            block = memoryview(np.frombuffer(filled(block, size)[:size], "u1").reshape(itemsize, -1).T.tobytes())
    if len(block) != size:
        raise ValueError(f"a block of {size} bytes has {len(block)} in it")
    return block
