"""A training as one self-contained HTML page, with a model card beside it."""

from __future__ import annotations

import csv
import dataclasses
import json
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..cleaning.report import read_indices
from ..common.files import write_file
from ..common.json_files import read_object
from ..common.text import some
from ..datasets.samples import Sample
from ..datasets.targets import Classes, Values
from ..keras_files.opening import RUN_MODEL, RUN_SETTINGS
from ..reports.page import Code, Figure, Page, Paragraph, Section, Table, to_html, to_markdown
from ..reports.theme import render_themes
from .curves import draw_curves
from .loop import Task, describe_data
from .run_folder import LEFT_OUT, LOG

if TYPE_CHECKING:
    from ..evaluation.page import AnyEvaluation
    from ..inference import ModelSource
    from .cross_validation import CrossValidation

REPORT, CARD = "report.html", "README.md"
_CURVES = Figure(
    "curves", "Loss and measures over the epochs.",
    "Training and validation over the epochs; a dotted line marks each new stage. Augmented training images are harder "
    "than validation images, so the training curve can be the worse one.", is_wide=True,
)  # fmt: skip


def write_report(task: Task, folder: Path) -> None:
    """Write ``report.html`` and the model card ``README.md`` into the folder of a finished training.

    The page has the curves; for image files what ``efficientnet evaluate`` reports of the validation images; how to use
    the model; and all settings.

    Args:
        task: Task of the training.
        folder: Folder that :func:`train` wrote.

    Raises:
        ImportError: Matplotlib or Jinja2 is missing; the message names the extra.
        OSError: A file of the folder is missing, or the report cannot be written.

    Example:
        >>> from dataclasses import replace
        >>> from pathlib import Path
        >>> from efficientnet import get_variant
        >>> from efficientnet.datasets import load
        >>> from efficientnet.training import FINETUNE, Task, train
        >>> variant = replace(get_variant("lite0"), name="small", width=0.25, depth=0.25)
        >>> recipe = replace(FINETUNE, epochs=1, head_epochs=0, epoch_steps=0)
        >>> task = Task(variant, None, load("flowers", size=32), recipe, 32)
        >>> best = train(task, Path("small"))
        all: 1 epoch of 1 step of 8 images
        epoch 1  stage all ...
        >>> write_report(task, Path("small"))
        >>> Path("small/report.html").exists()
        True
    """
    # Not at the top: whoever trains imports this module, too.
    from ..evaluation.page import compose
    from ..inference import ModelSource

    history = _read_log(folder / LOG)
    model = ModelSource.of_file(folder / RUN_MODEL, keep=False)
    found = _evaluate(model, folder) if task.data.entries and len(task.data.validation) else None
    images = render_themes("curves", lambda theme: draw_curves(history, theme))
    evaluated: Sequence[Section] = ()
    if found is not None:
        evaluated, figures = compose(found, model)
        images |= figures
    page = _summary(task, folder, history, found)
    usage = _usage(task, "model of the best epoch", found)
    _write(page, (Section("Curves", (_CURVES,)), *evaluated), images, usage, task, folder)


def write_folds_report(found: CrossValidation, folder: Path) -> None:
    """Write ``report.html`` and the model card ``README.md`` into the folder of a finished training in folds.

    The page has the score of each fold; for image files what ``efficientnet evaluate`` reports of the predictions out
    of fold; how to use the model; and all settings.

    Args:
        found: What :func:`train_folds` returned.
        folder: Folder that it wrote.

    Raises:
        ImportError, OSError: As in :func:`write_report`.

    Example:
        >>> from dataclasses import replace
        >>> from pathlib import Path
        >>> from efficientnet import get_variant
        >>> from efficientnet.datasets import load
        >>> from efficientnet.training import FINETUNE, Task, train_folds
        >>> variant = replace(get_variant("lite0"), name="small", width=0.25, depth=0.25)
        >>> recipe = replace(FINETUNE, epochs=1, head_epochs=0, epoch_steps=0)
        >>> task = Task(variant, None, load("flowers", size=32), recipe, 32)
        >>> found = train_folds(task, 2, Path("in-folds"))
        fold 1 of 2: ...
        >>> write_folds_report(found, Path("in-folds"))
        >>> Path("in-folds/report.html").exists()
        True
    """
    from ..evaluation.page import compose, findings_of

    task, folds = found.task, len(found.tasks)
    header, *rows = map(tuple, found.fold_rows())
    where = Paragraph(f"The folder of each fold has its model, and its curves and results in {REPORT}.")
    sections: tuple[Section, ...] = (Section("Folds", (Table("folds", header, (("", tuple(rows)),)), where)),)
    (verdict,) = _sentences(found.text)
    images: dict[str, bytes] = {}
    findings: list[str] = []
    if task.data.entries:
        evaluation = _evaluation_of(found)
        evaluated, images = compose(evaluation, None, "each fold has another network.")
        findings = [*findings_of(evaluation), verdict]
        sections, verdict = (*sections, *evaluated), f"{evaluation.headline.removesuffix('.')}, out of fold."
    findings += [
        *_sentences(describe_data(task.data, folds)),
        "Each image was predicted by the network of its fold, which has not trained on it.",
        f"The epochs{' and thresholds' if found.thresholds else ''} were chosen on these predictions, so new images "
        f"will be predicted a little less well by these networks. {RUN_MODEL} has trained on all images, and has no "
        "score.",
    ]  # fmt: skip
    title = f"{task.variant.name} trained on {task.data.name} in {folds} folds"
    usage = _usage(task, f"mean of the networks of {folds} folds")
    _write(Page(title, verdict, tuple(findings), ()), sections, images, usage, task, folder)


def _write(
    page: Page, sections: tuple[Section, ...], images: Mapping[str, bytes], usage: Section, task: Task, folder: Path
) -> None:
    """Write the page, whose head is given, and the model card, which has no figures."""
    settings = _settings(read_object(folder / RUN_SETTINGS))
    whole = dataclasses.replace(page, sections=(*sections, usage, settings))
    write_file(folder / REPORT, to_html(whole, images).encode())
    card = dataclasses.replace(page, sections=(usage, settings))
    write_file(folder / CARD, (_front_matter(task) + to_markdown(card, ".")).encode())


def can_report() -> bool:
    """Return whether the packages that a report needs are installed."""
    return bool(find_spec("matplotlib") and find_spec("jinja2"))


def _read_log(path: Path) -> list[dict[str, Any]]:
    with path.open(newline="") as file:
        rows = csv.DictReader(file)
        return [{key: value if key == "stage" else float(value) for key, value in row.items()} for row in rows]


def _evaluate(model: ModelSource, folder: Path) -> AnyEvaluation:
    """Return the evaluation of the validation images."""
    from ..evaluation import evaluate_predictor
    from ..inference import compile

    with compile(model, cache=False) as predictor:
        return evaluate_predictor(predictor, folder / "validation.csv")


def _summary(task: Task, folder: Path, history: Sequence[Mapping[str, Any]], found: AnyEvaluation | None) -> Page:
    """Return the page's head: title, outcome, findings."""
    from ..evaluation.page import findings_of

    objective = task.objective
    best = objective.best([dict(row) for row in history])
    score = objective.score
    minutes = sum(row["seconds"] for row in history) / 60
    verdict = f"{score.replace('_', ' ').capitalize()} {best[f'val_{score}']:.4g} in validation."
    findings = [
        f"The model is that of epoch {best['epoch']:.0f} of {len(history)}; the training took {minutes:.3g} minutes.",
        *_sentences(describe_data(task.data)),
    ]
    if (folder / LEFT_OUT).is_file():
        findings.append(f"{len(read_indices(folder / LEFT_OUT))} training images, listed in {LEFT_OUT}, were left out.")
    if found is not None:
        verdict = f"{found.headline.removesuffix('.')}, in validation."
        findings = [*findings_of(found), *findings]
    findings.append(
        "The epoch was chosen on these validation images, so new images will be predicted a little less well."
    )
    return Page(f"{task.variant.name} trained on {task.data.name}", verdict, tuple(findings), ())


def _sentences(text: str) -> list[str]:
    return [line[0].upper() + line[1:] + "." for line in text.splitlines()]


def _evaluation_of(found: CrossValidation) -> AnyEvaluation:
    """Return the evaluation of the predictions out of fold."""
    from ..evaluation import Evaluation, LabelEvaluation, ValueEvaluation, score

    data, outputs = found.task.data, found.outputs.astype(np.float64)
    targets, paths = data.targets.take(found.rows), [data.entries[row].path for row in found.rows]
    about = found.task.variant.name, data.name, data.classes
    if isinstance(targets, Values):
        return ValueEvaluation(*about, paths, outputs, targets.values, [], [])
    if not isinstance(targets, Classes):
        return LabelEvaluation(*about, paths, outputs, targets.values, found.thresholds or 0.5, [], [], True)
    samples = [Sample(path, targets.text(row)) for row, path in enumerate(paths)]
    outcomes = score(outputs, targets.indices)
    return Evaluation(*about, samples, outcomes, [], [], data.channels, are_ordered=targets.kind == "ordinal")


def _usage(task: Task, what: str, found: AnyEvaluation | None = None) -> Section:
    command = f"efficientnet predict --model {RUN_MODEL} IMAGE"
    calibrate = f"efficientnet evaluate {RUN_MODEL} validation.csv --save-calibrated calibrated.keras"
    calibrated = Code("To calibrate its probabilities on the validation images:", "sh", calibrate)
    program = (
        "import keras\n\n"
        f'model = keras.models.load_model("{RUN_MODEL}")  # takes raw pixels 0..255, '
        f"{task.image_size} x {task.image_size}"
    )
    return Section(
        "Use the model",
        (
            Paragraph(f"{RUN_MODEL} is the {what}. Its outputs are, in their order: {some(task.data.classes)}."),
            Code("On the command line, in this folder:", "sh", command),
            Code("In Python, with Keras alone:", "python", program),
            *([] if isinstance(getattr(found, "temperature", ""), str) else [calibrated]),
        ),
    )


def _settings(known: Mapping[str, Any]) -> Section:
    """Return all settings of the training, as it recorded them."""
    recipe = tuple((field.replace("_", " "), _shown(value)) for field, value in known["recipe"].items())
    others = tuple(
        (key.replace("_", " "), _shown(known[key]))
        for key in ("variant", "weights", "image_size", "seed", "folds", "backend")
        if key in known
    )
    return Section("Settings", (Table("settings", ("setting", "value"), (("", others), ("recipe", recipe))),))


def _shown(value: Any) -> str:
    if value is None:
        return "–"
    return str(value) if isinstance(value, (str, bool)) else json.dumps(value)


def _front_matter(task: Task) -> str:
    """Return what a hub reads of a model card."""
    tags = ["efficientnet", task.variant.name]
    head = {"library_name": "keras", "pipeline_tag": "image-classification", "tags": tags}
    return "---\n" + "".join(f"{key}: {json.dumps(value)}\n" for key, value in head.items()) + "---\n\n"
