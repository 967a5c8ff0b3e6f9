"""Errors in a labelled data set: labels that are probably wrong, copies across classes and parts, and outliers.

from efficientnet import datasets
from efficientnet.cleaning import find_issues

print(find_issues(datasets.load("flowers", size=224)).text())
"""

from __future__ import annotations

from .features import compute_features
from .finding import find_issues
from .label_issues import LabelIssues, find_label_issues
from .neighbours import NearDuplicate, Outliers, find_near_duplicates, find_outliers
from .page import write_report
from .report import Image, Issue, Issues

__all__ = [
    "Image",
    "Issue",
    "Issues",
    "LabelIssues",
    "NearDuplicate",
    "Outliers",
    "compute_features",
    "find_issues",
    "find_label_issues",
    "find_near_duplicates",
    "find_outliers",
    "write_report",
]
