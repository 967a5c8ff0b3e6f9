"""Evaluation of a classifier on labelled images: accuracy, each class, calibration, the worst mistakes.

from efficientnet.evaluation import measure, score

print(measure(score(probabilities, labels)))
"""

from __future__ import annotations

from ..common.measures import average_precision
from ..datasets.samples import Sample, Samples, find_samples, match_classes
from .calibrated import apply_temperature, save_calibrated
from .evaluating import evaluate_predictor
from .labels import LabelEvaluation
from .outcomes import Outcomes, confusion_matrix, confusions, join, score
from .page import write_report
from .report import Evaluation, ImagePrediction
from .statistics import (
    Calibration,
    Measures,
    PerClass,
    Share,
    calibrate,
    measure,
    per_class,
    top_k,
    wilson,
)
from .tags import Tagged, find_tagged
from .temperature import TemperatureScaling, fit_temperature
from .values import ValueEvaluation

__all__ = [
    "Calibration",
    "Evaluation",
    "ImagePrediction",
    "LabelEvaluation",
    "Measures",
    "Outcomes",
    "PerClass",
    "Sample",
    "Samples",
    "Share",
    "Tagged",
    "TemperatureScaling",
    "ValueEvaluation",
    "apply_temperature",
    "average_precision",
    "calibrate",
    "confusion_matrix",
    "confusions",
    "evaluate_predictor",
    "find_samples",
    "find_tagged",
    "fit_temperature",
    "join",
    "match_classes",
    "measure",
    "per_class",
    "save_calibrated",
    "score",
    "top_k",
    "wilson",
    "write_report",
]
