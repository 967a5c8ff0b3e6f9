"""Read HDF5 files without the HDF5 library, which hangs on some damaged ones and follows links out of others.

The layout is the one that h5py writes by default, and so all that Keras ever wrote: a superblock of
version 0, object headers of version 1, groups as symbol tables. Everything found is checked before it is used;
the numbers of arrays are read last, and only on demand. Names of structures and fields are those of
the HDF5 File Format Specification.
"""

from __future__ import annotations

import functools
import math
import struct
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .arrays import Stored, widen_bfloat16
from .hdf5_elements import Type, UnusualError, dataspace, datatype, filled, filters, padded, unfilter

SIGNATURE = b"\x89HDF\r\n\x1a\n"

# What all that is not numbers may add up to, and how many bytes a piece of it counts at least; what is read twice
# counts twice. EfficientNet-B7's comes to 3 MB; what a file claims beyond this would only cost time and memory.
_MOST_STRUCTURE = 64 * 2**20
_COST_OF_A_PIECE = 64

# How many times its size in the file a compressed array may have. Trained weights do not compress by half, and
# deflate can claim 1,032; between them is room for arrays that are mostly zeros.
_MOST_COMPRESSION = 64

_LONGEST_NAME = 1024

_UNDEFINED = 2**64 - 1

# Kinds of header messages.
_DATASPACE, _DATATYPE, _EXTERNAL_FILES, _LAYOUT, _FILTERS, _ATTRIBUTE = 0x01, 0x03, 0x07, 0x08, 0x0B, 0x0C
_CONTINUATION, _SYMBOL_TABLE = 0x10, 0x11
# Those that only new-style groups have: link info, a link, attributes outside of the header.
_OTHER_LINKS = "links of another kind, as HDF5 has them for names that are not ASCII"
_NEW_STYLE = {0x02: _OTHER_LINKS, 0x06: _OTHER_LINKS, 0x15: "attributes outside of the header"}


def root(buffer: memoryview) -> Object:
    """Return the root group of the HDF5 file that a buffer holds.

    Raises:
        UnusualError: The file has another layout. All methods of objects raise it, too.
        ValueError: The file is damaged or cut short. All methods of objects raise it, too.
    """
    if bytes(buffer[:8]) != SIGNATURE:
        raise ValueError("it does not begin as HDF5 files do")
    file = _File(buffer)
    version, offset_size, length_size = struct.unpack("<B4xBB", file.take(8, 7))
    if version != 0:
        raise UnusualError(f"a superblock of version {version}")
    if (offset_size, length_size) != (8, 8):
        raise ValueError(f"its addresses have {offset_size} bytes and its lengths {length_size}, not 8")
    base, _, end, _, _, header = struct.unpack("<6Q", file.take(24, 48))
    if base != 0:
        raise UnusualError("a user block")
    if end > len(buffer):
        raise ValueError(f"it is cut short: {len(buffer)} bytes of {end}")
    return Object(file, header)


class _File:
    """The bytes of a file, and the count of those that were read."""

    def __init__(self, buffer: memoryview) -> None:
        self.buffer = buffer
        self._structure_left = _MOST_STRUCTURE
        self._numbers_left = len(buffer)
        self._collections: dict[int, dict[int, tuple[int, int]]] = {}

    def take(self, start: int, size: int) -> memoryview:
        """Return a part of the file's structure."""
        if start + size > len(self.buffer):
            raise ValueError(f"it points at {size} bytes from byte {start} on, but has {len(self.buffer)}")
        self.count_structure(size)
        return self.buffer[start : start + size]

    def count_structure(self, size: int) -> None:
        """Count a piece of structure, which takes time and memory even where it is empty."""
        self._structure_left -= size + _COST_OF_A_PIECE
        if self._structure_left < 0:
            raise ValueError(f"its structure alone claims more than {_MOST_STRUCTURE} bytes")

    def claim_numbers(self, size: int) -> None:
        """Count the bytes of an array, so that a small file does not hold the same bytes as many large ones."""
        self._numbers_left -= size
        if self._numbers_left < 0:
            raise ValueError(f"its arrays claim more numbers than there can be in its {len(self.buffer)} bytes")

    def tree(self, address: int, node_type: int, key_size: int) -> Iterator[tuple[memoryview, int]]:
        """Yield the key before, and the address of, each leaf of a version 1 B-tree, in order."""

        def visit(address: int, level_above: int) -> Iterator[tuple[memoryview, int]]:
            signature, found_type, level, used = struct.unpack("<4sBBH", self.take(address, 8))
            # Levels that only go down keep a tree from leading back into itself.
            if signature != b"TREE" or found_type != node_type or level >= level_above:
                raise ValueError(f"there is no B-tree where it says, at byte {address}")
            step = key_size + 8
            entries = self.take(address + 24, used * step)
            for at in range(0, used * step, step):
                (child,) = struct.unpack_from("<Q", entries, at + key_size)
                if level:
                    yield from visit(child, level)
                else:
                    self.count_structure(0)
                    yield entries[at : at + key_size], child

        return visit(address, 16)

    def heap_object(self, address: int, index: int) -> memoryview:
        """Return the object in a collection of the global heap that an element of variable length points at."""
        if address not in self._collections:
            signature, size = struct.unpack("<4s4xQ", self.take(address, 16))
            if signature != b"GCOL" or size < 16:
                raise ValueError(f"there is no heap where it says, at byte {address}")
            objects = {}
            collection = self.take(address + 16, size - 16)
            at = 0
            while at + 16 <= len(collection):
                found, length = struct.unpack_from("<H6xQ", collection, at)
                if found == 0:  # what is left is free
                    break
                self.count_structure(0)
                objects[found] = address + at + 32, length
                at += 16 + padded(length)
            self._collections[address] = objects
        if index not in self._collections[address]:
            raise ValueError(f"the heap at byte {address} has no object {index}")
        return self.take(*self._collections[address][index])


class Object:
    """A group or a dataset.

    Attributes:
        address: Address of the header; two names for one object have the same.
    """

    def __init__(self, file: _File, address: int) -> None:
        self.address = address
        self._file = file
        self._messages: dict[int, list[memoryview]] = {}
        version, count, size = struct.unpack("<BxH4xI", file.take(address, 12))
        if bytes(file.take(address, 4)) == b"OHDR":
            raise UnusualError("object headers of version 2")
        if version != 1:
            raise ValueError(f"there is no object where it says, at byte {address}")
        found = 0
        blocks = [(address + 16, size)]
        for start, size in blocks:
            block = file.take(start, size)
            at = 0
            while at + 8 <= size and found < count:
                kind, length, flags = struct.unpack_from("<HHB", block, at)
                if at + 8 + length > size:
                    raise ValueError(f"a message of the object at byte {address} is longer than its block")
                message = block[at + 8 : at + 8 + length]
                if kind in _NEW_STYLE:
                    raise UnusualError(_NEW_STYLE[kind])
                if flags & 2:
                    raise UnusualError("messages that objects share")
                if kind == _CONTINUATION:
                    blocks.append(struct.unpack_from("<QQ", filled(message, 16)))
                file.count_structure(0)
                self._messages.setdefault(kind, []).append(message)
                found += 1
                at += 8 + length
        if found != count:
            raise ValueError(f"the object at byte {address} has {found} messages, not {count}")

    @property
    def is_group(self) -> bool:
        return _SYMBOL_TABLE in self._messages

    def __contains__(self, name: str) -> bool:
        return self.is_group and name in self._links

    def __iter__(self) -> Iterator[str]:
        return iter(self._links)

    def __getitem__(self, path: str) -> Object:
        """Return the object at a name or path within this group."""
        found = self
        for name in path.split("/"):
            if name not in found:
                raise ValueError(f"it holds no {path!r}, though it says so")
            found = found._child(name)
        return found

    @functools.cached_property
    def _links(self) -> dict[str, int]:
        """Return the address of each object in this group, by name."""
        links: dict[str, int] = {}
        tree, heap = struct.unpack_from("<QQ", filled(self._message(_SYMBOL_TABLE), 16))
        signature, size, segment = struct.unpack("<4s4xQ8xQ", self._file.take(heap, 32))
        if signature != b"HEAP":
            raise ValueError(f"there is no heap where it says, at byte {heap}")
        names = bytes(self._file.take(segment, size))
        for _, node in self._file.tree(tree, node_type=0, key_size=8):
            signature, count = struct.unpack("<4s2xH", self._file.take(node, 8))
            if signature != b"SNOD":
                raise ValueError(f"there is no symbol table where it says, at byte {node}")
            for start, address, cache_type in struct.iter_unpack("<QQI20x", self._file.take(node + 8, count * 40)):
                name = names[start : max(start, names.find(b"\0", start, start + _LONGEST_NAME))].decode()
                if cache_type == 2:
                    raise UnusualError(f"a soft link ({name[:80]!r})")
                if not name or name in links:
                    raise ValueError(f"one of its groups holds the name {name[:80]!r} twice, none or too long a one")
                self._file.count_structure(len(name))
                links[name] = address
        return links

    @functools.cached_property
    def _children(self) -> dict[str, Object]:
        return {}

    def _child(self, name: str) -> Object:
        if name not in self._children:
            self._children[name] = Object(self._file, self._links[name])
        return self._children[name]

    def _message(self, kind: int) -> memoryview:
        found = self._messages.get(kind, [])
        if len(found) != 1:
            raise ValueError(f"the object at byte {self.address} has {len(found)} messages of kind {kind}, not 1")
        return found[0]

    def texts(self, attribute: str) -> list[str] | None:
        """Return the strings in an attribute, whatever its shape; None if there is no such attribute."""
        value = self._attributes.get(attribute)
        return value() if value else None

    @functools.cached_property
    def _attributes(self) -> dict[str, Callable[[], list[str]]]:
        return dict(map(self._attribute, self._messages.get(_ATTRIBUTE, [])))

    def _attribute(self, message: memoryview) -> tuple[str, Callable[[], list[str]]]:
        version, flags, *sizes = struct.unpack_from("<BB3H", filled(message, 9))
        if version not in (1, 2, 3) or (version > 1 and flags):
            raise UnusualError(f"an attribute of version {version}")
        at = 9 if version == 3 else 8  # version 3 also has the name's encoding
        parts = []
        for size in sizes:
            parts.append(filled(message[at : at + size], size))
            at += padded(size) if version == 1 else size
        name = bytes(parts[0]).rstrip(b"\0").decode()
        return name, lambda: self._decode(name, datatype(parts[1]), dataspace(parts[2]), message[at:])

    def _decode(self, name: str, element: Type, shape: tuple[int, ...], data: memoryview) -> list[str]:
        count = math.prod(shape)
        if count == 0:
            return []
        if element.kind not in ("text", "variable text"):
            raise ValueError(f"its attribute {name[:80]!r} is not text")
        size = element.dtype.itemsize
        data = filled(data, count * size)
        self._file.count_structure(count * _COST_OF_A_PIECE)
        texts = [data[at : at + size] for at in range(0, count * size, size)]
        if element.kind == "variable text":
            places = [struct.unpack("<IQI", text) for text in texts]
            texts = [filled(self._file.heap_object(*place), length)[:length] for length, *place in places]
        return [bytes(text).rstrip(b"\0").decode() for text in texts]

    def array(self) -> Stored:
        """Return this dataset; its numbers are not read yet."""
        self._file.count_structure(256)  # any number of names may lead to one array
        if _EXTERNAL_FILES in self._messages:
            raise UnusualError("numbers in another file")
        shape, element = dataspace(self._message(_DATASPACE)), datatype(self._message(_DATATYPE))
        dtype = element.dtype
        is_bfloat16 = element.kind == "opaque" and dtype.itemsize == 2 and self.texts("dtype") == ["bfloat16"]
        if element.kind != "number" and not is_bfloat16:
            raise UnusualError("arrays of other things than numbers")
        read = self._contents(shape, np.dtype("<u2") if is_bfloat16 else dtype)
        if is_bfloat16:
            return Stored(shape, np.dtype("<f4"), lambda: widen_bfloat16(read()))
        return Stored(shape, dtype, read)

    def _contents(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Callable[[], np.ndarray]:
        size = math.prod(shape) * dtype.itemsize
        layout = filled(self._message(_LAYOUT), 4)
        if layout[0] != 3:
            raise UnusualError(f"a data layout of version {layout[0]}")
        if size == 0:
            empty = np.empty(shape, dtype)
            return lambda: empty
        if layout[1] == 2:
            self._file.claim_numbers(-(-size // _MOST_COMPRESSION))
            return self._chunks(shape, dtype, filled(layout, 11))
        self._file.claim_numbers(size)
        if layout[1] == 0:
            stored = layout[4 : 4 + int.from_bytes(layout[2:4], "little")]
        elif layout[1] == 1:
            start, length = struct.unpack_from("<QQ", filled(layout, 18), 2)
            if start == _UNDEFINED:
                raise ValueError("the numbers of one of its arrays were never written")
            stored = self._file.buffer[start : start + length]
        else:
            raise ValueError(f"there is no data layout of class {layout[1]}")
        if len(stored) != size:
            raise ValueError(f"an array of {size} bytes has {len(stored)} in it")
        return lambda: np.ndarray(shape, dtype, stored)

    def _chunks(self, shape: tuple[int, ...], dtype: np.dtype[Any], layout: memoryview) -> Callable[[], np.ndarray]:
        """Read an array that is cut into blocks of one shape, each compressed by itself."""
        rank = layout[2] - 1
        (tree,) = struct.unpack_from("<Q", layout, 3)
        *chunk, itemsize = struct.unpack_from(f"<{layout[2]}I", filled(layout, 11 + 4 * layout[2]), 11)
        if (
            rank != len(shape)
            or itemsize != dtype.itemsize
            or not all(0 < step <= end for step, end in zip(chunk, shape, strict=True))
        ):
            raise ValueError(f"an array of shape {shape} is cut into blocks of shape {tuple(chunk)}")
        pipeline = filters(self._message(_FILTERS)) if _FILTERS in self._messages else []
        blocks = {}
        for key, address in self._file.tree(tree, node_type=1, key_size=16 + 8 * rank):
            size, skipped, *corner = struct.unpack(f"<II{rank}Q8x", key)
            if skipped or any(at % step or at >= end for at, step, end in zip(corner, chunk, shape, strict=True)):
                raise ValueError(f"a block of an array lies at {corner}")
            blocks[tuple(corner)] = self._file.buffer[address : address + size]
        count = math.prod(-(-length // step) for length, step in zip(shape, chunk, strict=True))
        if len(blocks) != count:
            raise ValueError(f"of an array's {count} blocks {len(blocks)} are there")

        def read() -> np.ndarray:
            array = np.empty(shape, dtype)
            for corner, block in blocks.items():
                target = array[tuple(slice(at, at + step) for at, step in zip(corner, chunk, strict=True))]
                block = unfilter(block, pipeline, math.prod(chunk) * itemsize, itemsize)
                target[...] = np.ndarray(chunk, dtype, block)[tuple(slice(length) for length in target.shape)]
            return array

        return read
