"""The result of a training in folds: scores, and a prediction for each image by a network that has not seen it."""

from __future__ import annotations

import csv
import dataclasses
import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..common.files import replacing
from ..common.text import csv_cell
from ..datasets.splits import OUT_OF_FOLD
from .loop import Task

FOLDS = "folds.csv"


@dataclass(frozen=True)
class CrossValidation:
    """A training in folds, and what its networks predict for the images that they have not trained on.

    Attributes:
        task: Task, with all images to train on.
        tasks: Task of each fold.
        best: Row of each fold's best epoch in its log.
        rows: Indices of the predicted images, (images,); a file that cannot be read is left out.
        fold: Number of each of these images' fold, from 1, (images,).
        outputs: Outputs for these images by the network of their fold, as a saved model gives them, (images, outputs).

    Example:
        >>> import numpy as np
        >>> from efficientnet import get_variant
        >>> from efficientnet.datasets import load
        >>> from efficientnet.training import FINETUNE
        >>> task = Task(get_variant("lite0"), None, load("flowers", size=32), FINETUNE, 32)
        >>> rows, outputs = np.arange(2), np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1]])  # of two daisies
        >>> best = [{"val_accuracy": 0.9}, {"val_accuracy": 0.7}]
        >>> found = CrossValidation(task, [], best, rows, np.array([1, 2]), outputs)
        >>> found.text
        'accuracy 0.5 out of fold; in 2 folds 0.8 ± 0.1414'
    """

    task: Task
    tasks: Sequence[Task]
    best: Sequence[dict[str, Any]]
    rows: NDArray[np.integer[Any]]
    fold: NDArray[np.integer[Any]]
    outputs: NDArray[np.float32]

    @property
    def score(self) -> str:
        """Name of the measure by which epochs are chosen."""
        return self.task.objective.score

    @property
    def scores(self) -> NDArray[np.float64]:
        """Score of each fold's best epoch, (folds,)."""
        return np.array([row[f"val_{self.score}"] for row in self.best])

    @functools.cached_property
    def measures(self) -> dict[str, float]:
        """Measures of all outputs together, as those of validation: "loss", ``score`` and others."""
        return self.task.objective.measure(self._kept, self.rows)

    @property
    def thresholds(self) -> tuple[float, ...] | None:
        """Least probability of each label that applies; None if there are no labels."""
        return self.task.objective.thresholds(self._kept, self.rows)

    @property
    def _kept(self) -> NDArray[Any]:
        objective = self.task.objective
        return objective.keep(objective.as_trained(self.outputs), self.rows)

    @property
    def text(self) -> str:
        """The scores in one line; ± is the standard deviation of the folds."""
        scores, name = self.scores, self.score.replace("_", " ")
        spread = f"{scores.mean():.4g} ± {scores.std(ddof=1):.4g}"
        return f"{name} {self.measures[self.score]:.4g} out of fold; in {len(scores)} folds {spread}"

    def fold_rows(self) -> list[list[str]]:
        """Return a table of the folds, the header first: images, best epoch and score; mean, deviation, out of fold."""
        rows = [["fold", "training images", "validation images", "epoch", self.score.replace("_", " ")]]
        for number, (task, best) in enumerate(zip(self.tasks, self.best, strict=True), 1):
            counts = len(task.data.training), len(task.data.validation)
            rows.append([*map(str, (number, *counts, best["epoch"])), f"{best[f'val_{self.score}']:.6g}"])
        mean, deviation, together = self.scores.mean(), self.scores.std(ddof=1), self.measures[self.score]
        for name, value in (("mean", mean), ("standard deviation", deviation), ("out of fold", together)):
            rows.append([name, "", "", "", f"{value:.6g}"])
        return rows

    def write(self, folder: Path) -> None:
        """Write ``folds.csv`` and ``out_of_fold.csv``; each file is replaced as a whole.

        Args:
            folder: Folder that is there.

        Raises:
            OSError: A file cannot be written.
        """
        for name, rows in ((FOLDS, self.fold_rows()), (OUT_OF_FOLD, self._predictions())):
            with replacing(folder / name) as part, part.open("w", newline="", encoding="utf-8") as file:
                csv.writer(file).writerows(rows)

    def _predictions(self) -> Iterator[list[Any]]:
        """Yield a row for each image, the header first: fold, target, prediction, and any probabilities."""
        data, targets, limits = self.task.data, self.task.data.targets, self.thresholds
        predicted = dataclasses.replace(targets, values=self.outputs if limits is None else self.outputs >= limits)
        probabilities = [] if targets.kind == "values" else [f"{name} (probability)" for name in targets.names]
        columns = [*targets.columns, *(f"{column} (predicted)" for column in targets.columns), *probabilities]
        yield ["path" if data.entries else "image", "fold", *map(csv_cell, columns)]
        for place, (row, fold) in enumerate(zip(self.rows, self.fold, strict=True)):
            cells = [*targets.cells(int(row)), *predicted.cells(place)]
            yield [
                csv_cell(data.entries[row].path.absolute()) if data.entries else int(row), fold,
                *(map(csv_cell, cells) if probabilities else cells),
                *(f"{value:.6g}" for value in self.outputs[place] if probabilities),
            ]  # fmt: skip
