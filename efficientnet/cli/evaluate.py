"""The command ``efficientnet evaluate``: how good a model is on labelled images."""

from __future__ import annotations

import argparse
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from ..common.files import check_apart, check_writable
from ..common.packages import missing
from ..common.text import about, notify, plain, print_json
from ..datasets.splits import PARTS
from ..keras_files.opening import is_saved_model, locate
from . import model_options, pixel_options
from .exit_statuses import SOME_FAILED, SUCCESS
from .paths import given_path

if TYPE_CHECKING:
    from ..evaluation import TemperatureScaling
    from ..inference import ModelSource


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``evaluate`` and its function."""
    parser.description = (
        "Measures a model on labelled images: accuracy, results per class, calibration and confusions; for "
        "a multi-label model, the average precision and F1 of each label; for numbers, their errors. An image that "
        "cannot be read, or is of a class that the model does not have, is reported on stderr; the others are "
        "measured, and the exit status is 1."
    )
    parser.add_argument("model", metavar="MODEL", help=model_options.MODEL)
    parser.add_argument(
        "data", type=given_path, metavar="DATA",
        help="folder with a folder of images per class, named by the model's label or id; or a CSV file with the "
        "columns path and label (several labels as cat|dog), path and a column of 1 and 0 per label, path and a "
        "column of probabilities per class, or path and a column per number",
    )  # fmt: skip
    parser.add_argument(
        "--part", choices=PARTS[::-1],
        help="images to measure on: those that the training of MODEL held out, or trained on (default: all)",
    )  # fmt: skip
    parser.add_argument(
        "--save-calibrated", type=given_path, metavar="FILE",
        help="write the model with its logits divided by the temperature that fits these images best (.keras); what it "
        "predicts stays the same, and how confident it is becomes right (default: measure only)",
    )  # fmt: skip
    parser.add_argument("--out", type=given_path, metavar="FOLDER",
        help="folder for report.html, and the tables and figures as files (default: print only)")  # fmt: skip
    model_options.add_output_options(parser)
    model_options.add_options(parser)
    pixel_options.add_options(parser, reduces=True)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the tables")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from ..evaluation import ValueEvaluation, evaluate_predictor, write_report

    if not arguments.data.exists():
        raise FileNotFoundError(
            f"There is no file or folder {arguments.data}: expected a folder with a folder of images per class, or a "
            "CSV file."
        )
    if arguments.out:
        check_writable(arguments.out, is_folder=True)
        check_apart(arguments.out, Path(arguments.data))
    if arguments.out and not (find_spec("matplotlib") and find_spec("jinja2")):
        raise missing("--out needs Matplotlib and Jinja2", "design", ", or leave it out")
    name = f"{arguments.model} ({arguments.weights})" if arguments.weights else arguments.model
    source = model_options.model_source(arguments)
    if arguments.save_calibrated:
        _check_calibrated(arguments, source)
    with model_options.open_predictor(arguments, source) as predictor:
        run = locate(arguments.model).parent if is_saved_model(arguments.model) else None
        if arguments.part and run is None:
            raise ValueError(f"--part {arguments.part}: {arguments.model} was not trained by `efficientnet train`.")
        found = evaluate_predictor(
            predictor,
            arguments.data,
            name,
            lambda path: pixel_options.source(path, arguments, predictor.spec.channels),
            arguments.softmax,
            model_options.threshold(arguments, predictor.spec),
            run,
            arguments.part,
        )
    for path, reason in found.unreadable:
        notify(about(path, reason))
    for note in found.notes:
        notify(note)
    try:
        if arguments.out:
            write_report(found, arguments.out, source)
    finally:  # a full disk does not lose the measures
        print_json(found.as_json()) if arguments.json else print(found.text())
    is_saved = True
    if arguments.save_calibrated and not isinstance(found, ValueEvaluation):
        is_saved = _save_calibrated(found.temperature, arguments, source)
    return SUCCESS if found.is_complete and is_saved else SOME_FAILED


def _check_calibrated(arguments: argparse.Namespace, source: ModelSource) -> None:
    """Refuse, before the evaluation, a model or a file that cannot be calibrated or written."""
    from ..evaluation.calibrated import check_target, find_classifier

    check_writable(check_target(arguments.save_calibrated, source))
    find_classifier(source.load()[0], arguments.softmax)


def _save_calibrated(found: TemperatureScaling | str, arguments: argparse.Namespace, source: ModelSource) -> bool:
    """Write the calibrated model if there is a temperature, and return whether there is."""
    from ..evaluation import save_calibrated

    path = arguments.save_calibrated
    if isinstance(found, str):
        notify(f"{path} was not written: {found}. Evaluate more images.")
        return False
    save_calibrated(source, found, path, arguments.softmax, arguments.preprocessing)
    notify(f"{plain(path)}: {arguments.model} at the temperature {found.temperature:.4g}")
    return True
