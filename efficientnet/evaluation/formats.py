"""How an evaluation writes numbers, files and tables."""

from __future__ import annotations

import csv
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..common.files import replacing, write_file
from ..common.text import about, csv_cell, json_text, markdown
from ..reports.tables import percent
from .statistics import PerClass

Tables = dict[str, tuple[list[str], list[list[str]]]]  # header and rows by name
Files = dict[str, Iterable[Mapping[str, Any]]]  # rows of CSV files, by the file's name

_MOST_LINES = 25  # lines of a table in the text; the files have all


def or_none(value: float | None) -> float | None:
    """Return a number for JSON, which knows no NaN."""
    return None if value is None or math.isnan(value) else value


def rows_of(what: str, names: Sequence[str], each: PerClass, **more: NDArray[np.float64]) -> list[dict[str, Any]]:
    """Return a row for each name, under the key ``what``: counts, shares and further columns; None for unknown ones."""
    counts = {name: getattr(each, name) for name in ("images", "predicted", "correct")}
    shares = {name: getattr(each, name) for name in ("precision", "recall", "f1")}
    columns = {key: map(or_none, values.tolist()) for key, values in {**counts, **more, **shares}.items()}
    return [
        {what: name, **dict(zip(columns, values, strict=True))}
        for name, *values in zip(names, *columns.values(), strict=True)
    ]


def table_of(rows: Sequence[dict[str, Any]], shares: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    """Return header and rows of a table for the text, from those of :func:`rows_of`: the worst, if there are many."""
    what = next(iter(rows[0]))
    header = what
    if len(rows) > _MOST_LINES:
        rows = sorted(rows, key=lambda row: -1 if row["f1"] is None else row["f1"])[:_MOST_LINES]
        header = f"{what} ({_MOST_LINES} with the lowest F1)"
    names = [share.replace("_", " ").replace("f1", "F1") for share in shares]
    cells = [[row[what], str(row["images"]), *(percent(row[share]) for share in shares)] for row in rows]
    return [header, "images", *names], cells


def unreadable_rows(unreadable: Sequence[tuple[Path, str]]) -> list[dict[str, str]]:
    """Return the files that could not be read, for JSON."""
    return [{"path": str(path), "error": reason} for path, reason in unreadable]


def write_summary(
    folder: Path, measures: dict[str, Any], text: str, unreadable: Sequence[tuple[Path, str]], notes: Sequence[str]
) -> None:
    """Write ``metrics.json``, and ``report.md`` with what was left out at its end, into a folder, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    items = [*(about(path, reason) for path, reason in unreadable), *notes]
    write_file(folder / "metrics.json", json_text(measures, indent=1).encode())
    write_file(folder / "report.md", "\n".join([text, "", *(f"- {markdown(item)}" for item in items), ""]).encode())


def write_table(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write at least one row; all have the same keys."""
    with replacing(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        remaining = iter(rows)
        first = next(remaining)
        writer = csv.DictWriter(file, list(first))
        writer.writeheader()
        for row in itertools.chain([first], remaining):
            writer.writerow({key: csv_cell(value) for key, value in row.items()})
