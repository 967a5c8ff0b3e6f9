"""Evaluation of a model on images whose classes, labels or numbers are known."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ..common import arguments
from ..common.text import some
from ..datasets.numbers import read_numbers
from ..datasets.samples import Sample, Samples, find_samples, match_classes, read_table
from ..datasets.splits import PARTS, select, select_rows
from ..model_io.outputs import have_names
from .labels import LabelEvaluation
from .outcomes import Outcomes, join, score
from .report import Evaluation
from .tags import find_tagged
from .temperature import MOST_PROBABILITIES, TemperatureScaling, as_pairs, fit_temperature
from .values import ValueEvaluation

if TYPE_CHECKING:
    from ..inference import InputSpec, Predictor

Item = TypeVar("Item")

_CHUNK = 256  # predictions whose probabilities are in memory at a time


def evaluate_predictor(
    predictor: Predictor,
    data: str | os.PathLike[str],
    model: str | None = None,
    source: Callable[[Path], Any] = Path,
    as_logits: bool = False,
    threshold: float | None = None,
    run: str | os.PathLike[str] | None = None,
    part: str | None = None,
) -> Evaluation | LabelEvaluation | ValueEvaluation:
    """Evaluate a model on all images of a folder or a table; few of them are in memory at a time.

    Args:
        predictor: Model, compiled by ``efficientnet.inference.compile``.
        data: Folder with a folder of images per class, or CSV file with the columns path and label; the classes have
            the model's names or ids. Or a CSV file with the column path and a column of probabilities for each class,
            of its name, of which the most probable one counts. For a multi-label model (several sigmoids), data as for
            ``tags.find_tagged``. For a model that predicts numbers, a CSV file with the column path and one for each
            number, of its name.
        model: Name to report; the model's name by default.
        source: Function from an image's path to what the predictor reads.
        as_logits: Whether to take a softmax of the outputs.
        threshold: Least probability of a label that counts as predicted, for a multi-label model; by default what the
            model records for each, or 0.5.
        run: Folder of the training that the model comes from, whose tables list the images that it has trained on.
        part: "validation" or "training" to evaluate only the images in that table of ``run``.

    Returns:
        An :class:`Evaluation`; for a multi-label model, a :class:`LabelEvaluation`; for numbers, a
        :class:`ValueEvaluation`.

    Raises:
        FileNotFoundError: There is no such data, or no such folder of a training.
        ValueError: An argument is not one of these, or has no effect; the model predicts neither classes nor labels
            nor numbers, or no image of the data can be read.

    Example:
        >>> from efficientnet.inference import compile
        >>> from efficientnet.keras import EfficientNet
        >>> model = EfficientNet(0.25, 0.25, 32, weights=None, classes=3)
        >>> with compile(model, class_names=["daisy", "rose", "tulip"], cache=False) as predictor:
        ...     found = evaluate_predictor(predictor, "flowers")
        >>> len(found.samples), found.is_complete
        (12, True)
    """
    from ..inference import Predictor

    arguments.instance("predictor", predictor, Predictor, "what efficientnet.inference.compile gives")
    data = Path(arguments.path("data", data, "a folder or a CSV file"))
    run = None if run is None else Path(arguments.path("run", run, "the folder of a training"))
    if threshold is not None:
        arguments.share("threshold", threshold)
    arguments.flag("as_logits", as_logits)
    arguments.function("source", source, "a function of an image's path")
    arguments.choice("part", part, (*PARTS, None))
    if run is None and part is not None:
        raise ValueError(f"part={part!r}: which images are in it stands in the folder of the training: pass it as run.")
    if run is not None and not run.is_dir():
        raise FileNotFoundError(f"There is no folder {run}: expected that of the model's training.")
    spec = predictor.spec
    model = spec.name if model is None else arguments.path("model", model, "the name to report")
    spec.check_vector()
    spec.check_images()
    if as_logits:
        spec.check_logits()
    if threshold is not None:
        spec.check_labels()
    if spec.kind == "labels":
        return _evaluate_labels(predictor, data, model, source, threshold, run, part)
    if spec.kind == "numbers" and (spec.targets == "values" or spec.outputs == 1):
        return _evaluate_values(predictor, data, model, source, run, part)
    if len(spec.classes) < 2 or (spec.kind in ("logits", "numbers") and not as_logits):
        raise ValueError(
            f"{model} gives no probabilities of classes: it ends in {spec.activation}, with {spec.outputs} numbers per "
            "image. If they are logits of classes, --softmax (as_logits=True) makes probabilities of them; several "
            "numbers are measured for models that `efficientnet train --targets values` saved."
        )
    classes = spec.classes
    samples = _samples(data, [name for _, name in classes])
    if run is not None:
        samples = select(samples, run, part)
    labels = Counter(sample.label for sample in samples.found)
    matched, unmatched = match_classes(labels, classes)
    if not matched:
        raise ValueError(
            f"None of the {len(labels)} classes in {data} is one of {model}'s: they are called {some(list(labels))}, "
            f"the model's {some([name for _, name in classes])}. Rename the folders or labels, or name the classes "
            "in the order of the outputs (class_names=; --classes FILE); a model without names takes the number of the "
            "output, from 0."
        )
    predicted: list[Sample] = []
    outcomes: list[Outcomes] = []
    kept: list[NDArray[Any]] = []  # probabilities, for the temperature
    unreadable: list[tuple[Path, str]] = []
    for chunk in _chunks(predictor, samples.found, [sample.path for sample in samples.found], source, unreadable):
        predicted += [sample for sample, _ in chunk]
        truth = [matched.get(sample.label, -1) for sample, _ in chunk]
        outputs = spec.probabilities(np.stack([outputs for _, outputs in chunk]), as_logits)
        outcomes.append(score(outputs, truth))
        if len(samples.found) * len(classes) <= MOST_PROBABILITIES:
            kept.append(outputs[np.array(truth) >= 0])
    present = {matched[sample.label] for sample in predicted if sample.label in matched}
    if not present:
        raise ValueError(f"None of the images in {data} of {model}'s classes can be read: {unreadable[0][1]}")
    notes = [*samples.notes, *(f"{note} Its images are predicted, not measured." for note in unmatched)]
    notes += [*_shared(matched, classes), *_coverage(present, classes)]
    joined = join(outcomes)
    temperature = _temperature(spec, as_logits, kept, joined.labels[joined.labels >= 0])
    return Evaluation(
        model, str(data), _unique(classes), predicted, joined, unreadable, notes, spec.channels,
        spec.targets == "ordinal", temperature,
    )  # fmt: skip


def _samples(data: Path, names: Sequence[str]) -> Samples:
    """Find images and their classes, in a table of probabilities the most probable ones."""
    columns = read_table(data)[0] if data.is_file() else []
    if "label" in columns or not set(names) <= set(columns):
        return find_samples(data)
    numbers = read_numbers(data, names)
    found = zip(numbers.paths, numbers.values.argmax(axis=1), strict=True)
    return Samples([Sample(path, names[index]) for path, index in found], numbers.notes)


def _evaluate_labels(
    predictor: Predictor,
    data: Path,
    model: str,
    source: Callable[[Path], Any],
    threshold: float | None,
    run: Path | None,
    part: str | None,
) -> LabelEvaluation:
    tagged = find_tagged(data, predictor.spec.classes)
    rows, scores, unreadable, more = _predict_rows(predictor, data, tagged.paths, source, run, part)
    notes = [*tagged.notes, *more]
    truth, known = tagged.truth[rows][:, tagged.known], tagged.known
    labels = [name for name, is_known in zip(_unique(predictor.spec.classes), known, strict=True) if is_known]
    if lacking := [label for label, count in zip(labels, truth.sum(axis=0), strict=True) if not count]:
        notes.append(f"No images have {len(lacking)} of the {len(labels)} labels ({some(lacking)}).")
    limits = tuple(predictor.spec.label_thresholds(threshold)[known].tolist())
    pairs, is_label = as_pairs(scores[:, known], truth)
    return LabelEvaluation(
        model, str(data), labels, [tagged.paths[row] for row in rows], scores[:, known],
        truth, limits[0] if len(set(limits)) == 1 else limits, unreadable, notes,
        tagged.is_complete and not unreadable, _temperature(predictor.spec, False, [pairs], is_label),
    )  # fmt: skip


def _evaluate_values(
    predictor: Predictor, data: Path, model: str, source: Callable[[Path], Any], run: Path | None, part: str | None
) -> ValueEvaluation:
    spec = predictor.spec
    names = [name for _, name in spec.classes] if have_names(spec.classes) else None
    numbers = read_numbers(data, names)
    if len(numbers.names) != spec.outputs:
        raise ValueError(
            f"{data} has the columns {', '.join(numbers.names)} beside path, and {model} predicts {spec.outputs} "
            "number: keep one of them."
        )
    rows, outputs, unreadable, notes = _predict_rows(predictor, data, numbers.paths, source, run, part)
    return ValueEvaluation(
        model, str(data), numbers.names, [numbers.paths[row] for row in rows], outputs,
        numbers.values[rows], unreadable, [*numbers.notes, *notes],
    )  # fmt: skip


def _predict_rows(
    predictor: Predictor,
    data: Path,
    paths: Sequence[Path],
    source: Callable[[Path], Any],
    run: Path | None,
    part: str | None,
) -> tuple[list[int], NDArray[np.float64], list[tuple[Path, str]], list[str]]:
    """Predict the images of a part of a training, or all.

    Returns:
        Indices of the images that could be read, their outputs, the other files and why, and notes on the choice.
    """
    chosen, notes = (list(range(len(paths))), []) if run is None else select_rows(paths, run, part)
    unreadable: list[tuple[Path, str]] = []
    chunks = _chunks(predictor, chosen, [paths[row] for row in chosen], source, unreadable)
    predicted = [pair for chunk in chunks for pair in chunk]
    if not predicted:
        raise ValueError(f"None of the images in {data} can be read: {unreadable[0][1]}")
    rows, outputs = zip(*predicted, strict=True)
    return list(rows), np.stack(outputs).astype(np.float64), unreadable, notes


def _chunks(
    predictor: Predictor,
    items: Sequence[Item],
    paths: Sequence[Path],
    source: Callable[[Path], Any],
    unreadable: list[tuple[Path, str]],
) -> Iterator[list[tuple[Item, NDArray[Any]]]]:
    """Yield items with the model's outputs for their images; files without finite outputs go to ``unreadable``."""
    records = predictor.stream(source(path) for path in paths)
    progress = tqdm(records, total=len(paths), unit="image", leave=False, disable=None)
    triples = zip(items, paths, progress, strict=True)
    while chunk := list(itertools.islice(triples, _CHUNK)):
        readable = []
        for item, path, record in chunk:
            error = record.error
            if error is None:
                try:
                    readable.append((item, predictor.spec.vector(record.outputs)))
                except ValueError as problem:  # NaN
                    error = str(problem)
            if error is not None:
                unreadable.append((path, error))
        if readable:
            yield readable


def _temperature(
    spec: InputSpec, as_logits: bool, kept: Sequence[NDArray[Any]], labels: NDArray[np.int64]
) -> TemperatureScaling | str:
    """Return the temperature that calibrates the model, or why there is none."""
    if spec.activation not in ("softmax", "sigmoid") and not as_logits:
        return f"the model ends in {spec.activation}, and not in a softmax or sigmoid of logits"
    if not kept:
        return f"there are more than {MOST_PROBABILITIES:,} probabilities of classes"
    try:
        return fit_temperature(np.concatenate(kept), labels)
    except ValueError as error:
        return str(error)


def _shared(matched: Mapping[str, int], classes: Sequence[tuple[str, str]]) -> list[str]:
    """Return a remark where several classes of the data are one of the model's, such as cat and Cat."""
    labels: dict[int, list[str]] = {}
    for label, index in matched.items():
        labels.setdefault(index, []).append(label)
    return [
        f"The classes {' and '.join(several)} of the data are one of the model's, {classes[index][1]}."
        for index, several in sorted(labels.items())
        if len(several) > 1
    ]


def _coverage(present: set[int], classes: Sequence[tuple[str, str]]) -> list[str]:
    """Return a remark where images of some classes are missing."""
    notes = []
    if lacking := [name for index, (_, name) in enumerate(classes) if index not in present]:
        notes.append(
            f"No images of {len(lacking)} of the model's {len(classes)} classes ({some(lacking)}): the means over "
            "the classes leave them out."
        )
    if len(present) == 1:
        only = classes[next(iter(present))][1]
        notes.append(f"All images are of one class, {only}: nothing is known of what else is taken for it.")
    return notes


def _unique(classes: Sequence[tuple[str, str]]) -> list[str]:
    """Return the names of the classes; with the id where two have the same, as ImageNet's two cranes."""
    counts = Counter(name for _, name in classes)
    return [name if counts[name] == 1 else f"{name} ({key})" for key, name in classes]
