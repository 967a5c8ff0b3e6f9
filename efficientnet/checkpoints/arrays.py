"""The result of every reader: names, shapes and types at once, the numbers on demand."""

from __future__ import annotations

import math
import mmap
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Stored:
    """An array in a file that is not read yet.

    Attributes:
        shape: Shape of the array.
        dtype: Data type of the array; bfloat16, which NumPy lacks, becomes float32, which holds it exactly.
        read: Function that reads the numbers. Its result may be a read-only view of the memory-mapped file.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    read: Callable[[], np.ndarray]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        array = self.read()
        return np.array(array, dtype, copy=copy) if dtype is not None or copy else array

    def rearranged(self, view: Sequence[int], axes: Sequence[int], shape: Sequence[int]) -> Stored:
        """Return the same numbers: reshaped to ``view``, transposed by ``axes``, reshaped to ``shape``."""

        def read() -> np.ndarray:
            return self.read().reshape(view).transpose(axes).reshape(shape)

        return Stored(tuple(shape), self.dtype, read)

    def cut(self, first: int) -> Stored:
        """Return the array without the first ``first`` entries of the last axis."""
        shape = (*self.shape[:-1], self.shape[-1] - first)
        return Stored(shape, self.dtype, lambda: self.read()[..., first:])

    @property
    def nbytes(self) -> int:
        """Bytes of the array in memory."""
        return math.prod(self.shape) * self.dtype.itemsize


def map_file(path: str | os.PathLike[str]) -> memoryview:
    """Map a file's bytes into memory for as long as anything uses them.

    Raises:
        ValueError: The file is empty.
        OSError: The file cannot be opened.
    """
    with open(path, "rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            raise ValueError("it is empty")
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def widen_bfloat16(raw: np.ndarray) -> np.ndarray:
    """Return float32 numbers from the two bytes of each bfloat16, given as little-endian unsigned integers."""
    wide = np.zeros((*raw.shape, 2), "<u2")  # a bfloat16 is the upper half of a float32
    wide[..., 1] = raw
    return wide.view("<f4")[..., 0]


def release(array: np.ndarray) -> None:
    """Release the memory that holds the file behind an array: used pages need not stay in it.

    The numbers stay unchanged; the next use reads them from the file again.
    """
    base: Any = array
    while isinstance(base, np.ndarray):
        base = base.base
    mapped = base.obj if isinstance(base, memoryview) else base
    if isinstance(mapped, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)
