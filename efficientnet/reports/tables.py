"""Tables and shares in plain text."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from ..common.text import markdown


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return an aligned table, which is valid Markdown; the first column to the left, the others to the right."""
    cells = [[markdown(cell) for cell in row] for row in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]

    def line(row: Sequence[str]) -> str:
        aligned = [
            row[0].ljust(widths[0]),
            *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)),
        ]
        return f"| {' | '.join(aligned)} |"

    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join([line(cells[0]), line(rule), *map(line, cells[1:])])


def percent(share: float | None) -> str:
    """Format a share with one decimal; a dash for one that cannot be computed.

    Example:
        >>> percent(0.7123)
        '71.2%'
    """
    return "–" if share is None or math.isnan(share) else f"{100 * share:.1f}%"
