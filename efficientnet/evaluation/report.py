"""Results of an evaluation, in tables, files and figures."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..common.text import markdown
from ..datasets.samples import Sample
from ..reports.tables import percent, table
from .formats import Files, Tables, or_none, rows_of, table_of, unreadable_rows
from .outcomes import Outcomes, confusions
from .statistics import BINS, Calibration, Measures, Share, measure, per_class
from .temperature import TemperatureScaling, json_of, tables_of
from .values import measure_values


class ImagePrediction(NamedTuple):
    """Prediction for one image.

    Attributes:
        path: Path of the image.
        label: Name of the image's class.
        predicted: Name of the predicted class.
        probability: Probability of ``predicted``.
        probability_of_label: Probability of ``label``; None if the model does not have that class.
        rank_of_label: Rank of ``label`` among all classes, from 1; None if the model does not have that class.

    Example:
        >>> from pathlib import Path
        >>> found = ImagePrediction(Path("a.jpg"), "cat", "dog", 0.7, probability_of_label=0.2, rank_of_label=2)
        >>> found.predicted == found.label
        False
    """

    path: Path
    label: str
    predicted: str
    probability: float
    probability_of_label: float | None
    rank_of_label: int | None


@dataclass(frozen=True)
class Evaluation:
    """Evaluation of a classifier on labelled images.

    Attributes:
        model: Name of the model.
        data: Folder or table of the images.
        classes: Names of the model's classes, no two the same.
        samples: Images that could be read.
        outcomes: Row for each of these images; without a label if the model does not have its class.
        unreadable: Files that could not be read, and why.
        notes: Sentences on what else was left out or should be known.
        channels: Channels of the model's images.
        are_ordered: Whether the classes have an order, the lowest first, so that a mistake has a size.
        temperature: Temperature that calibrates the model on the images, or why there is none.

    Example:
        >>> from pathlib import Path
        >>> outcomes = score([[0.9, 0.1], [0.6, 0.4]], [0, 1])
        >>> images = [Sample(Path("a.jpg"), "cat"), Sample(Path("b.jpg"), "dog")]
        >>> found = Evaluation("mine", "photos", ["cat", "dog"], images, outcomes, unreadable=[], notes=[])
        >>> [mistake.path.name for mistake in found.worst_mistakes()]
        ['b.jpg']
    """

    model: str
    data: str
    classes: Sequence[str]
    samples: Sequence[Sample]
    outcomes: Outcomes
    unreadable: Sequence[tuple[Path, str]]
    notes: Sequence[str]
    channels: int = 3
    are_ordered: bool = False
    temperature: TemperatureScaling | str = "it was not searched for"

    @property
    def is_complete(self) -> bool:
        """Whether every image has been measured."""
        return not self.unreadable and len(self.labelled) == len(self.outcomes)

    @property
    def labelled(self) -> Outcomes:
        """Outcomes of the images of the model's classes; the measures are of these."""
        return self.outcomes.rows(self.outcomes.labels >= 0)

    @functools.cached_property
    def measures(self) -> Measures:
        """Measures of the outcomes, computed once for all tables and files."""
        return measure(self.labelled)

    @property
    def distances(self) -> dict[str, float | None]:
        """Measures of the predicted classes as numbers, where the classes have an order; empty otherwise."""
        return measure_values(self.labelled.labels, self.labelled.predicted) if self.are_ordered else {}

    def prediction(self, row: int) -> ImagePrediction:
        """Return the prediction for an image of ``samples``."""
        o, sample = self.outcomes, self.samples[row]
        has_label = o.labels[row] >= 0
        return ImagePrediction(
            path=sample.path,
            label=self.classes[o.labels[row]] if has_label else sample.label,
            predicted=self.classes[o.predicted[row]],
            probability=float(o.confidence[row]),
            probability_of_label=float(o.likelihood[row]) if has_label else None,
            rank_of_label=int(o.rank[row]) if has_label else None,
        )

    def worst_mistakes(self, most: int = 24) -> list[ImagePrediction]:
        """Return wrong predictions, those of the greatest confidence first."""
        wrong = np.flatnonzero((self.outcomes.labels >= 0) & ~self.outcomes.is_correct)
        order = np.argsort(-self.outcomes.confidence[wrong], kind="stable")
        return [self.prediction(int(row)) for row in wrong[order][:most]]

    @property
    def headline(self) -> str:
        """The outcome in one sentence."""
        return f"{percent(self.measures.top1.value)} of {len(self.labelled)} images are right."

    def text(self) -> str:
        """Return tables of the measures, the classes and the confusions, as Markdown."""
        title = markdown(f"{self.model} on {self.data}: {len(self.labelled)} images")
        return "\n\n".join([title, *(table(header, rows) for header, rows in self.tables().values())])

    def tables(self) -> Tables:
        """Return header and rows of the tables.

        They are of the measures, the classes, and if there are any the confusions and the temperature scaling.
        """
        found: Tables = {
            "measures": (
                ["", "", "95% interval"],
                [*_measure_rows(self.measures, self.classes), *_distance_rows(self.distances)],
            ),
            "classes": table_of([row for row in self._class_rows() if row["images"]], ("precision", "recall", "f1")),
        }
        if confused := [row for row in confusions(self.labelled) if row[0] != row[1]]:
            shown = [
                [self.classes[label], self.classes[predicted], str(count)] for label, predicted, count in confused[:10]
            ]
            found["confusions"] = (["true class", "predicted", "images"], shown)
        return found | tables_of(self.temperature)

    def as_json(self) -> dict[str, Any]:
        """Return everything but the single predictions, for ``json.dumps``; null is what cannot be computed."""
        found = self.measures
        plain = {
            name: value._asdict() if isinstance(value, Share) else or_none(value) if isinstance(value, float) else value
            for name, value in vars(found).items()
            if not isinstance(value, Calibration)
        }
        bins = {"equal_width": found.by_width, "equal_mass": found.by_mass}
        calibration = {
            name: {"expected_error": bin.error, **{key: array.tolist() for key, array in asdict(bin).items()}}
            for name, bin in bins.items()
        }
        return {
            "model": self.model,
            "data": self.data,
            **plain,
            **({"ordinal": self.distances} if self.are_ordered else {}),
            "calibration": calibration,
            "temperature_scaling": json_of(self.temperature),
            "per_class": self._class_rows(),
            "confusions": [
                {"label": self.classes[label], "predicted": self.classes[predicted], "images": int(count)}
                for label, predicted, count in confusions(self.labelled)
                if label != predicted
            ],
            "worst_mistakes": [
                {**prediction._asdict(), "path": str(prediction.path)} for prediction in self.worst_mistakes()
            ],
            "unreadable": unreadable_rows(self.unreadable),
            "notes": list(self.notes),
        }

    def files(self) -> Files:
        """Return the rows of the CSV files; ``confusions.csv`` has the correct predictions, too."""
        pairs = confusions(self.labelled)
        names = [{"label": self.classes[a], "predicted": self.classes[b], "images": count} for a, b, count in pairs]
        predictions = (self.prediction(row)._asdict() for row in range(len(self.samples)))
        return {"classes.csv": self._class_rows(), "confusions.csv": names, "predictions.csv": predictions}

    def _class_rows(self) -> list[dict[str, Any]]:
        return rows_of("class", self.classes, per_class(self.labelled))


def _distance_rows(distances: Mapping[str, float | None]) -> list[list[str]]:
    """Return rows of the measures of classes with an order; errors are in steps from class to class."""
    names = {"r_squared": "R²", "spearman": "Spearman's correlation"}
    return [
        [names.get(name, f"{name.replace('_', ' ')}, in classes"), "–" if value is None else f"{value:.3f}", ""]
        for name, value in distances.items()
    ]


def _measure_rows(found: Measures, classes: Sequence[str]) -> list[list[str]]:
    rows = [
        [name, percent(share.value), f"{percent(share.low)} to {percent(share.high)}"]
        for name, share in (("top-1", found.top1), ("top-5", found.top5))
        if share is not None
    ]
    bins = f"expected calibration error, {BINS} bins"
    if found.average_precision is not None:
        rows.append([f"average precision of {classes[1]}", percent(found.average_precision), ""])
    return [
        *rows,
        ["mean recall of the classes", percent(found.balanced_accuracy), ""],
        ["mean F1 of the classes", percent(found.macro_f1), ""],
        ["mean confidence", percent(found.confidence), ""],
        [f"{bins} of equal width", percent(found.by_width.error), ""],
        [f"{bins} of equal mass", percent(found.by_mass.error), ""],
        ["negative log-likelihood", f"{found.negative_log_likelihood:.3f}", ""],
        ["Brier score (0..2)", f"{found.brier_score:.3f}", ""],
    ]
