"""Tables of flatbuffers in untrusted files, without a description of their fields."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator

import numpy as np

# TFLite's longest lists have an entry for each tensor; a damaged length would take hours.
_MOST_TABLES = _LONGEST_TEXT = 2**16


class Table:
    """A table, whose fields have the numbers of the schema; one that is not set reads as 0 or empty.

    Args:
        data: Bytes of the flatbuffer.
        place: Offset of the table in it; that of the root by default.

    Raises:
        ValueError: The bytes are damaged, from each method.
    """

    def __init__(self, data: memoryview, place: int | None = None) -> None:
        self._data = data
        self._place = self._at(0) if place is None else place

    def number(self, field: int, kind: str = "<I") -> int:
        """Return a whole number of a type of the module ``struct``, by default uint32."""
        place = self._find(field)
        return self._at(place, kind) if place else 0

    def vector(self, field: int, dtype: str) -> np.ndarray:
        """Return a list of numbers, as a view of the data."""
        start = self._follow(field)  # the place of the length
        if not start:
            return np.empty(0, dtype)
        count = self._at(start)
        if start + 4 + count * np.dtype(dtype).itemsize > len(self._data):
            raise ValueError("it is damaged: a list runs past its end")
        return np.frombuffer(self._data, dtype, count, start + 4)

    def text(self, field: int) -> str:
        """Return a text, with a mark for each byte that is not UTF-8."""
        return self.vector(field, "u1")[:_LONGEST_TEXT].tobytes().decode(errors="replace")

    def table(self, field: int) -> Table:
        """Return another table, which has to be set."""
        place = self._follow(field)
        if not place:
            raise ValueError(f"it is damaged: the field {field} is missing")
        return Table(self._data, place)

    def tables(self, field: int) -> Iterator[Table]:
        """Yield a list of tables."""
        offsets, first = self.vector(field, "<u4"), self._follow(field) + 4
        if len(offsets) > _MOST_TABLES:
            raise ValueError(f"it is damaged: a list has {len(offsets):,} entries")
        for start, offset in zip(itertools.count(first, 4), offsets.tolist()):
            yield Table(self._data, start + offset)

    def _find(self, field: int) -> int:
        """Return the place of a field; 0 if it is not set."""
        layout, slot = self._place - self._at(self._place, "<i"), 4 + 2 * field
        offset = self._at(layout + slot, "<H") if slot < self._at(layout, "<H") else 0
        return self._place + offset if offset else 0

    def _follow(self, field: int) -> int:
        """Return the place that the offset in a field leads to; 0 if it is not set."""
        place = self._find(field)
        return place + self._at(place) if place else 0

    def _at(self, place: int, kind: str = "<I") -> int:
        """Return the whole number at a place."""
        if not 0 <= place <= len(self._data) - struct.calcsize(kind):
            raise ValueError("it is damaged: an offset leads out of it")
        return int(struct.unpack_from(kind, self._data, place)[0])
