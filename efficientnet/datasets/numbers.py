"""Images with numbers, from the columns of a table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .samples import read_table


class Numbers(NamedTuple):
    """Images and the numbers in their rows.

    Attributes:
        paths: Paths of the images, each once.
        names: Names of the columns of numbers.
        values: The numbers, (images, columns), all finite.
        notes: Sentences on what was left out, and why.
    """

    paths: list[Path]
    names: list[str]
    values: NDArray[np.float64]
    notes: list[str]


def read_numbers(data: Path, columns: Sequence[str] | None = None, weight: str | None = None) -> Numbers:
    """Read the numbers in a CSV file.

    Args:
        data: CSV file with the column ``path``, relative to the file, and columns of numbers.
        columns: Names of the columns to read; all but ``path`` and ``weight`` by default.
        weight: Name of the column of weights, which is not read here.

    Raises:
        ValueError: The file is no such table, or a value is not a finite number.
    """
    if data.is_dir() or not data.exists():
        what = "is a folder" if data.is_dir() else "does not exist"
        raise ValueError(f"{data} {what}: numbers come from a CSV file with the columns path and, say, value.")
    present, rows = read_table(data)
    names = [name for name in present if name not in ("path", weight)] if columns is None else list(columns)
    if "path" not in present or not names or (missing := sorted(set(names) - set(present))):
        lacking = ", ".join(missing) if "path" in present and names else "path and at least one column of numbers"
        raise ValueError(f"{data} has the columns {', '.join(present) or 'none'}: expected {lacking}, too.")
    notes = []
    found: dict[Path, tuple[float, ...]] = {}
    for line, row in rows:
        if not row["path"].strip():
            notes.append(f"{data}, line {line}: the path is missing: left out.")
            continue
        path = data.parent / row["path"].strip()
        values = tuple(_number(data, line, name, row[name]) for name in names)
        if found.setdefault(path, values) != values:
            raise ValueError(f"{data}, line {line}: {row['path']} stands in another line with other numbers: keep one.")
    if not found:
        raise ValueError(" ".join([f"{data} holds no image: expected a line for each, path and numbers.", *notes]))
    return Numbers(list(found), names, np.array(list(found.values()), np.float64), notes)


def read_weights(data: Path, column: str, paths: Sequence[Path]) -> NDArray[np.float64]:
    """Read the weight of each image in a column of a CSV file, (images,), 0 or more.

    Raises:
        ValueError: The file has no such column, or a value is not a weight.
    """
    found = read_numbers(data, [column])
    weights = dict(zip(found.paths, found.values[:, 0], strict=True))
    if (found.values < 0).any() or not found.values.any():
        raise ValueError(f"{data}: the weights in {column} have to be 0 or more, and not all 0.")
    return np.array([weights[path] for path in paths])


def _number(data: Path, line: int, name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(
            f"{data}, line {line}: {name} is {text!r}, expected a finite number. Take the line out, or name the "
            "columns of numbers with --columns."
        )
    return value
