"""Asking a classifier what is in pictures whose classes are known."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from ..samples import Sample, find_samples, match_classes
from .outcomes import Outcomes, join, score
from .report import Evaluation

if TYPE_CHECKING:
    from ..inference import Predictor

_CHUNK = 256  # answers whose probabilities are in memory at a time
_MOST_NAMES = 10  # in a sentence


def evaluate(
    predictor: Predictor, data: Path, model: str | None = None, source: Callable[[Path], Any] = Path
) -> Evaluation:
    """Answers all pictures of a folder or a table; few of them are in memory at a time.

    Args:
        predictor: a classifier, compiled by ``efficientnet.inference.compile``.
        data: a folder with a folder of pictures per class, or a CSV file with the columns path and label; the classes
            are called as the model calls them, or by their ids.
        model: what to call it; its own name by default.
        source: gives what the predictor is to read for a picture's path.

    Raises:
        FileNotFoundError: there is no such data.
        ValueError: the model is no classifier of pictures, or none of a class that it has can be read.
    """
    model, classes = model or predictor.recipe.name, predictor.recipe.classes
    predictor.recipe.check_pictures()
    if len(classes) < 2:
        raise ValueError(f"{model} gives no probabilities of two or more classes: there is nothing to evaluate.")
    samples = find_samples(data)
    labels = Counter(sample.label for sample in samples.found)
    matched, unmatched = match_classes(labels, classes)
    if not matched:
        raise ValueError(
            f"None of the {len(labels)} classes in {data} is one of {model}'s: they are called {_names(list(labels))}, "
            f"the model's {_names([name for _, name in classes])}. Rename the folders or labels; a model without names "
            "takes the number of the output, from 0."
        )
    answered: list[Sample] = []
    outcomes: list[Outcomes] = []
    unreadable: list[tuple[Path, str]] = []
    records = predictor.stream(source(sample.path) for sample in samples.found)
    progress = tqdm(records, total=len(samples.found), unit="picture", leave=False, disable=None)
    pairs = zip(samples.found, progress, strict=True)
    while chunk := list(itertools.islice(pairs, _CHUNK)):
        unreadable += [(sample.path, record.error) for sample, record in chunk if record.error is not None]
        readable = [(sample, record.outputs) for sample, record in chunk if record.outputs is not None]
        if readable:
            answered += [sample for sample, _ in readable]
            truth = [matched.get(sample.label, -1) for sample, _ in readable]
            outcomes.append(score(np.stack([outputs for _, outputs in readable]), truth))
    present = {matched[sample.label] for sample in answered if sample.label in matched}
    if not present:
        raise ValueError(f"None of the pictures in {data} of {model}'s classes can be read: {unreadable[0][1]}")
    notes = [*samples.notes, *(f"{note} Its pictures are answered, not measured." for note in unmatched)]
    notes += _coverage(present, classes)
    return Evaluation(model, str(data), _unique(classes), answered, join(outcomes), unreadable, notes)


def _coverage(present: set[int], classes: Sequence[tuple[str, str]]) -> list[str]:
    """What should be known where pictures of some classes are missing."""
    notes = []
    if lacking := [name for index, (_, name) in enumerate(classes) if index not in present]:
        notes.append(
            f"No pictures of {len(lacking)} of the model's {len(classes)} classes ({_names(lacking)}): the means over "
            "the classes leave them out."
        )
    if len(present) == 1:
        only = classes[next(iter(present))][1]
        notes.append(f"All pictures are of one class, {only}: nothing is known of what else is taken for it.")
    return notes


def _unique(classes: Sequence[tuple[str, str]]) -> list[str]:
    """Names of the classes; with the id where two have the same, as ImageNet's two cranes."""
    counts = Counter(name for _, name in classes)
    return [name if counts[name] == 1 else f"{name} ({key})" for key, name in classes]


def _names(names: Sequence[str]) -> str:
    return ", ".join(names[:_MOST_NAMES]) + (", …" if len(names) > _MOST_NAMES else "")
