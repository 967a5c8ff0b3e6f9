"""Training: recipes, a loop that can stop and go on anywhere, and what it reads and writes.

from pathlib import Path

from efficientnet import datasets, get_variant
from efficientnet.training import FINETUNE, Task, train

data = datasets.load("flowers", validation=0.2, size=224)
train(Task(get_variant("lite0"), "imagenet", data, FINETUNE, 224), Path("runs/flowers"))
"""

from __future__ import annotations

from ..errors import DivergedError, Interrupted
from .cross_validation import CrossValidation
from .folds import average_models, fold_tasks, train_folds
from .loop import Task, describe_data, train
from .processes import OneProcess, Processes
from .recipes import FINETUNE, RECIPES, V1, V2, Recipe, get_recipe, save_recipe
from .report import write_folds_report, write_report

__all__ = [
    "FINETUNE",
    "RECIPES",
    "V1",
    "V2",
    "CrossValidation",
    "DivergedError",
    "Interrupted",
    "OneProcess",
    "Processes",
    "Recipe",
    "Task",
    "average_models",
    "describe_data",
    "fold_tasks",
    "get_recipe",
    "save_recipe",
    "train",
    "train_folds",
    "write_folds_report",
    "write_report",
]
