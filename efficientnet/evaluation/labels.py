"""Measures of a multi-label model, of whose labels several or none apply to an image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..common.measures import average_precision, mean_of_known
from ..common.text import markdown
from ..datasets.tags import join_labels
from ..reports.tables import percent, table
from .formats import Files, Tables, or_none, rows_of, table_of, unreadable_rows
from .outcomes import Outcomes, score
from .statistics import PerClass, Share, wilson
from .temperature import TemperatureScaling, as_pairs, json_of, tables_of


@dataclass(frozen=True)
class LabelEvaluation:
    """Evaluation of a multi-label model on images with any number of labels each.

    Attributes:
        model: Name of the model.
        data: Folder or table of the images.
        labels: Names of the labels that were measured.
        paths: Paths of the images that could be read.
        scores: (images, labels), the probability of each label.
        truth: (images, labels), whether the label applies.
        threshold: Least probability of a label that counts as predicted; of all labels, or of each.
        unreadable: Files that could not be read, and why.
        notes: Sentences on what else was left out or should be known.
        is_complete: Whether all images and all labels of the data were measured.
        temperature: Temperature that calibrates the model on the images, or why there is none.

    Example:
        >>> import numpy as np
        >>> from pathlib import Path
        >>> scores, truth = np.array([[0.9, 0.2]]), np.array([[True, True]])
        >>> found = LabelEvaluation(
        ...     "mine", "photos", ["cat", "dog"], [Path("a.jpg")], scores, truth, threshold=0.5,
        ...     unreadable=[], notes=[], is_complete=True,
        ... )
        >>> found.predicted.tolist()
        [[True, False]]
    """

    model: str
    data: str
    labels: Sequence[str]
    paths: Sequence[Path]
    scores: NDArray[np.float64]
    truth: NDArray[np.bool_]
    threshold: float | Sequence[float]
    unreadable: Sequence[tuple[Path, str]]
    notes: Sequence[str]
    is_complete: bool
    temperature: TemperatureScaling | str = "it was not searched for"

    @property
    def predicted(self) -> NDArray[np.bool_]:
        """(images, labels), whether the probability reaches the threshold."""
        return np.greater_equal(self.scores, self.threshold)

    @property
    def per_label(self) -> PerClass:
        """Counts of each label; its precision, recall and F1 are at the threshold."""
        counts = (self.truth, self.predicted, self.truth & self.predicted)
        return PerClass(*(np.count_nonzero(count, axis=0) for count in counts))

    @property
    def overall(self) -> PerClass:
        """The same of all labels together, arrays of (1,)."""
        each = self.per_label
        return PerClass(*(counts.sum(keepdims=True) for counts in (each.images, each.predicted, each.correct)))

    @property
    def average_precisions(self) -> NDArray[np.float64]:
        """Average precision of each label, (labels,); NaN for labels that no image has."""
        pairs = zip(self.scores.T, self.truth.T, strict=True)
        return np.array([average_precision(scores, truth) for scores, truth in pairs])

    @property
    def pairs(self) -> Outcomes:
        """Outcomes of all labels of all images, each a prediction of two classes, no and yes."""
        return score(*as_pairs(self.scores, self.truth))

    @property
    def exact(self) -> Share:
        """Share of the images with all labels correct."""
        return wilson(int((self.truth == self.predicted).all(axis=1).sum()), len(self.paths))

    @property
    def headline(self) -> str:
        """The outcome in one sentence."""
        precision = percent(mean_of_known(self.average_precisions))
        return f"The mean average precision of {len(self.labels)} labels is {precision}, on {len(self.paths)} images."

    def text(self) -> str:
        """Return tables of the measures, as Markdown."""
        title = (
            f"{markdown(self.model)} on {markdown(self.data)}: {len(self.paths)} images, labels from a probability "
            f"of {_shown(self.threshold)}"
        )
        return "\n\n".join([title, *(table(header, rows) for header, rows in self.tables().values())])

    def tables(self) -> Tables:
        """Return header and rows of the tables of the measures, the labels, and a temperature if there is one."""
        exact, overall = self.exact, self.overall
        rows = [
            ["mean average precision of the labels", percent(mean_of_known(self.average_precisions)), ""],
            ["mean F1 of the labels", percent(mean_of_known(self.per_label.f1)), ""],
            ["F1 of all labels together", percent(overall.f1[0]), ""],
            ["precision of all labels together", percent(overall.precision[0]), ""],
            ["recall of all labels together", percent(overall.recall[0]), ""],
            ["all labels right", percent(exact.value), f"{percent(exact.low)} to {percent(exact.high)}"],
        ]
        return {
            "measures": (["", "", "95% interval"], rows),
            "labels": table_of(self._label_rows(), ("average_precision", "precision", "recall", "f1")),
            **tables_of(self.temperature),
        }

    def as_json(self) -> dict[str, Any]:
        """Return everything but the single predictions, for ``json.dumps``; null is what cannot be computed."""
        overall = self.overall
        return {
            "model": self.model,
            "data": self.data,
            "kind": "labels",
            "images": len(self.paths),
            "threshold": self.threshold if isinstance(self.threshold, float) else list(self.threshold),
            "mean_average_precision": or_none(mean_of_known(self.average_precisions)),
            "macro_f1": or_none(mean_of_known(self.per_label.f1)),
            "micro_f1": or_none(float(overall.f1[0])),
            "micro_precision": or_none(float(overall.precision[0])),
            "micro_recall": or_none(float(overall.recall[0])),
            "exact": self.exact._asdict(),
            "temperature_scaling": json_of(self.temperature),
            "per_label": self._label_rows(),
            "unreadable": unreadable_rows(self.unreadable),
            "notes": list(self.notes),
        }

    def files(self) -> Files:
        """Return the rows of the CSV files; ``predictions.csv`` has the probability of each label, too."""
        return {"labels.csv": self._label_rows(), "predictions.csv": map(self._prediction, range(len(self.paths)))}

    def _label_rows(self) -> list[dict[str, Any]]:
        return rows_of("label", self.labels, self.per_label, average_precision=self.average_precisions)

    def _prediction(self, row: int) -> dict[str, Any]:
        def named(chosen: NDArray[np.bool_]) -> str:
            return join_labels(label for label, is_chosen in zip(self.labels, chosen, strict=True) if is_chosen)

        probabilities = dict(zip(self.labels, self.scores[row].tolist(), strict=True))
        labels = {"labels": named(self.truth[row]), "predicted": named(self.predicted[row])}
        return {"path": str(self.paths[row]), **labels, **probabilities}


def _shown(threshold: float | Sequence[float]) -> str:
    if isinstance(threshold, (int, float)):
        return f"{threshold:g}"
    return f"{min(threshold):.2g} to {max(threshold):.2g}, each label's own"
