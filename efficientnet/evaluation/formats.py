"""How an evaluation writes numbers, files and tables."""

from __future__ import annotations

import csv
import itertools
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..common.files import replacing, write_file
from ..common.text import csv_cell, json_text, markdown


def percent(share: float) -> str:
    """A share with one decimal."""
    return "–" if math.isnan(share) else f"{100 * share:.1f} %"


def or_none(value: float | None) -> float | None:
    """A number as JSON has it, which knows no NaN."""
    return None if value is None or math.isnan(value) else value


def write_summary(folder: Path, measures: dict[str, Any], text: str, items: Iterable[str]) -> None:
    """Writes ``metrics.json``, and ``report.md`` with a list below the text."""
    write_file(folder / "metrics.json", json_text(measures, indent=1).encode())
    write_file(folder / "report.md", "\n".join([text, "", *(f"- {markdown(item)}" for item in items), ""]).encode())


def write_table(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Writes at least one row; all have the same keys."""
    with replacing(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        remaining = iter(rows)
        first = next(remaining)
        writer = csv.DictWriter(file, list(first))
        writer.writeheader()
        for row in itertools.chain([first], remaining):
            writer.writerow({key: csv_cell(value) for key, value in row.items()})
