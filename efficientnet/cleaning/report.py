"""Results of a search for errors in a data set, in a table and in files."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ..common.files import replacing
from ..common.text import csv_cell, markdown, plain
from ..datasets.data import Data
from ..reports.tables import percent, table

KINDS = {
    "label": "labels that are probably wrong",
    "duplicate": "near-duplicates across classes or parts",
    "outlier": "images unlike all others",
}
_MOST_ROWS = 25  # rows of each kind in the text; the file has all


class Image(NamedTuple):
    """An image of a data set.

    Attributes:
        row: Index in the data.
        path: Path of the file; the index if the image is from no file.
        part: ``"training"`` or ``"validation"``.
        label: Name of its class.

    Example:
        >>> Image(3, "cat/3.jpg", "training", "cat").part
        'training'
    """

    row: int
    path: str
    part: str
    label: str


class Issue(NamedTuple):
    """An image to look at.

    Attributes:
        kind: ``"label"``, ``"duplicate"`` or ``"outlier"``.
        image: The image.
        score: For a label, its probability, 0..1; for a duplicate, the similarity, up to 1; for an outlier, the
            mean distance to the nearest images, where 1 is usual in this data.
        suggested: For a label, the most probable other class.
        confidence: Probability of the suggested class, 0..1.
        other: For a duplicate, the other image.

    Example:
        >>> Issue("label", Image(3, "cat/3.jpg", "training", "cat"), 0.02, "dog", 0.97).suggested
        'dog'
    """

    kind: str
    image: Image
    score: float
    suggested: str | None = None
    confidence: float | None = None
    other: Image | None = None

    def as_row(self) -> dict[str, Any]:
        """Return the columns of ``issues.csv``; None is what this kind does not have."""
        other = self.other
        return {
            "index": self.image.row, "path": self.image.path, "kind": self.kind, "part": self.image.part,
            "label": self.image.label, "suggested": self.suggested, "score": round(self.score, 6),
            "confidence": None if self.confidence is None else round(self.confidence, 6),
            "other_path": other and other.path, "other_part": other and other.part,
            "other_label": other and other.label,
        }  # fmt: skip


COLUMNS = tuple(Issue("", Image(0, "", "", ""), 0.0).as_row())


@dataclass(frozen=True)
class Issues:
    """Issues of a labelled data set.

    Attributes:
        data: Data that was searched.
        model: Variant whose features described the images.
        images: Number of images that were searched.
        found: Issues of each kind, the worst first.
        unreadable: Files that could not be read.
        notes: Sentences on what else should be known.

    Example:
        >>> from efficientnet.datasets import load
        >>> data = load([([[[[0, 0, 0]]], [[[9, 9, 9]]]], [0, 1])] * 4, 0.5, 1, classes=["black", "grey"])
        >>> wrong = Issue("label", Image(0, "0", "training", "black"), 0.1, "grey", 0.9)
        >>> print(Issues(data, "lite0", 8, [wrong], [], []).text())
        list, 8 images: 1 labels that are probably wrong, ...
        | image |     part | label | probability | suggested | probability |
        | ----- | -------: | ----: | ----------: | --------: | ----------: |
        | 0     | training | black |      10.0% |      grey |      90.0% |
    """

    data: Data
    model: str
    images: int
    found: Sequence[Issue]
    unreadable: Sequence[Path]
    notes: Sequence[str]

    def of(self, kind: str) -> list[Issue]:
        """Return the issues of a kind."""
        return [issue for issue in self.found if issue.kind == kind]

    def tables(self) -> dict[str, tuple[list[str], list[list[str]]]]:
        """Return header and rows of a table for each kind that was found: all rows."""
        headers = {
            "label": ["image", "part", "label", "probability", "suggested", "probability"],
            "duplicate": ["image", "part", "label", "like", "part", "label", "similarity"],
            "outlier": ["image", "part", "label", "distance"],
        }
        return {kind: (header, [_cells(issue) for issue in self.of(kind)]) for kind, header in headers.items()}

    def text(self) -> str:
        """Return the numbers of issues and a table of the worst of each kind, as Markdown."""
        parts = [markdown(self.summary())]
        for kind, (header, rows) in self.tables().items():
            if rows:
                shown = f", the worst {_MOST_ROWS}" if len(rows) > _MOST_ROWS else ""
                parts += [f"{len(rows)} {KINDS[kind]}{shown}:", table(header, rows[:_MOST_ROWS])]
        return "\n\n".join(parts)

    def summary(self) -> str:
        """Return the numbers of issues in one sentence."""
        counts = Counter(issue.kind for issue in self.found)
        listed = ", ".join(f"{counts[kind]} {name}" for kind, name in KINDS.items())
        return f"{self.data.name}, {self.images} images: {listed}"

    def as_json(self) -> dict[str, Any]:
        """Return everything for ``json.dumps``."""
        return {
            "data": self.data.name, "model": self.model, "images": self.images, "classes": list(self.data.classes),
            "counts": {kind: len(self.of(kind)) for kind in KINDS},
            "issues": [issue.as_row() for issue in self.found],
            "unreadable": [str(path) for path in self.unreadable], "notes": list(self.notes),
        }  # fmt: skip


def write_issues(path: Path, issues: Iterable[Issue]) -> None:
    """Write a CSV file with a row for each issue; without any it has the names of the columns alone."""
    with replacing(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows({key: csv_cell(value) for key, value in issue.as_row().items()} for issue in issues)


def read_indices(path: Path) -> list[int]:
    """Return the indices of the images in a file of :func:`write_issues`.

    Raises:
        ValueError: It has other content.
    """
    with path.open(encoding="utf-8", newline="") as file:
        try:
            return [int(row["index"]) for row in csv.DictReader(file)]
        except (KeyError, TypeError, ValueError):
            raise ValueError(f"{plain(path)} is damaged: it has no index of an image in each row.") from None


def _cells(issue: Issue) -> list[str]:
    cells = [issue.image.path, issue.image.part, issue.image.label]
    if issue.kind == "label":
        return [*cells, percent(issue.score), str(issue.suggested), percent(issue.confidence or 0)]
    other = [issue.other.path, issue.other.part, issue.other.label] if issue.other else []
    return [*cells, *other, f"{issue.score:.3f}"]
