"""What every reader gives: names, shapes and types at once, the numbers when they are asked for."""

from __future__ import annotations

import math
import mmap
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from .facts import Facts


@dataclass(frozen=True)
class Stored:
    """An array in a file, not read yet.

    Attributes:
        shape: Shape of the array.
        dtype: Data type of the array; bfloat16, which NumPy lacks, is given as float32, which holds it exactly.
        read: Reads the numbers. What it gives may be a read-only view of the memory-mapped file.
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
        """Without the first ``first`` entries of the last axis."""
        shape = (*self.shape[:-1], self.shape[-1] - first)
        return Stored(shape, self.dtype, lambda: self.read()[..., first:])

    @property
    def nbytes(self) -> int:
        """Of the array in memory."""
        return math.prod(self.shape) * self.dtype.itemsize


class StoredWeights(NamedTuple):
    """What a file of weights holds.

    Attributes:
        format: Format of the file, in words: ``"safetensors"``.
        arrays: Under the names that the file has for them, in its order.
        averaged: Whether these are moving averages of the weights, which the file keeps beside the weights themselves.
        layers: Names of all layers that the file tells of, those without arrays too; empty where it tells of none.
        facts: What else the file says of the network.
    """

    format: str
    arrays: dict[str, Stored]
    averaged: bool = False
    layers: tuple[str, ...] = ()
    facts: Facts = Facts()


def map_file(path: str | os.PathLike[str]) -> memoryview:
    """Return a file's bytes, memory-mapped for as long as anything uses them.

    Raises:
        ValueError: The file is empty.
        OSError: It cannot be opened.
    """
    with open(path, "rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            raise ValueError("it is empty")
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def widen_bfloat16(raw: np.ndarray) -> np.ndarray:
    """float32 numbers from the two bytes of each bfloat16, given as little-endian unsigned integers."""
    wide = np.zeros((*raw.shape, 2), "<u2")  # a bfloat16 is the upper half of a float32
    wide[..., 1] = raw
    return wide.view("<f4")[..., 0]


def release(array: np.ndarray) -> None:
    """Let go of the memory that holds the file behind an array: what has been used need not stay in it.

    The numbers stay unchanged; whoever looks at them again reads them from the file again.
    """
    base: Any = array
    while isinstance(base, np.ndarray):
        base = base.base
    mapped = base.obj if isinstance(base, memoryview) else base
    if isinstance(mapped, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)
