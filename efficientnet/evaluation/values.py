"""Measures of a model that predicts numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..common.measures import r_squared, spearman
from ..common.text import markdown
from ..reports.tables import table
from .formats import Files, Tables, or_none, unreadable_rows


@dataclass(frozen=True)
class ValueEvaluation:
    """Evaluation of a model that predicts numbers.

    Attributes:
        model: Name of the model.
        data: Table of the images.
        names: Names of the numbers.
        paths: Paths of the images that could be read.
        predicted: Predicted numbers, (images, numbers).
        truth: True numbers, (images, numbers).
        unreadable: Files that could not be read, and why.
        notes: Sentences on what was left out or should be known.

    Example:
        >>> import numpy as np
        >>> from pathlib import Path
        >>> paths, truth, predicted = [Path("a.jpg"), Path("b.jpg")], np.array([[1.0], [3.0]]), np.array([[1.5], [3.0]])
        >>> found = ValueEvaluation("mine", "photos.csv", ["age"], paths, predicted, truth, unreadable=[], notes=[])
        >>> found.measures[0]["mean_absolute_error"]
        0.25
    """

    model: str
    data: str
    names: Sequence[str]
    paths: Sequence[Path]
    predicted: NDArray[np.float64]
    truth: NDArray[np.float64]
    unreadable: Sequence[tuple[Path, str]]
    notes: Sequence[str]

    @property
    def is_complete(self) -> bool:
        """Whether every image has been measured."""
        return not self.unreadable

    @property
    def measures(self) -> list[dict[str, Any]]:
        """Measures of each number, as :func:`measure_values` returns them, with its name."""
        columns = zip(self.names, self.truth.T, self.predicted.T, strict=True)
        return [{"name": name, **measure_values(truth, predicted)} for name, truth, predicted in columns]

    @property
    def headline(self) -> str:
        """The outcome in one sentence."""
        errors = ", ".join(f"{row['name']} {_shown(row['mean_absolute_error'])}" for row in self.measures)
        return f"Mean absolute error on {len(self.paths)} images: {errors}."

    def text(self) -> str:
        """Return a table of the measures, as Markdown."""
        title = f"{markdown(self.model)} on {markdown(self.data)}: {len(self.paths)} images"
        return "\n\n".join([title, *(table(header, rows) for header, rows in self.tables().values())])

    def tables(self) -> Tables:
        """Return header and rows of the table of the measures."""
        header = ["", "mean absolute error", "root mean squared error", "R²", "Spearman"]
        return {"measures": (header, [[row["name"], *map(_shown, list(row.values())[1:])] for row in self.measures])}

    def as_json(self) -> dict[str, Any]:
        """Return everything but the single predictions, for ``json.dumps``; null is what cannot be computed."""
        return {
            "model": self.model,
            "data": self.data,
            "kind": "values",
            "images": len(self.paths),
            "per_value": self.measures,
            "unreadable": unreadable_rows(self.unreadable),
            "notes": list(self.notes),
        }

    def files(self) -> Files:
        """Return the rows of the CSV files."""
        return {"values.csv": self.measures, "predictions.csv": map(self._prediction, range(len(self.paths)))}

    def _prediction(self, row: int) -> dict[str, Any]:
        numbers: dict[str, float] = {}
        for name, true, predicted in zip(self.names, self.truth[row], self.predicted[row], strict=True):
            numbers |= {name: float(true), f"{name} (predicted)": float(predicted)}
        return {"path": str(self.paths[row]), **numbers}


def measure_values(truth: NDArray[Any], predicted: NDArray[Any]) -> dict[str, float | None]:
    """Return the measures of predicted numbers, (images,), by their names; None for those that are not defined."""
    errors = np.asarray(predicted, np.float64) - truth
    return {
        "mean_absolute_error": float(np.abs(errors).mean()),
        "root_mean_squared_error": float(np.sqrt((errors**2).mean())),
        "r_squared": or_none(r_squared(truth, predicted)),
        "spearman": or_none(spearman(truth, predicted)),
    }


def _shown(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"
