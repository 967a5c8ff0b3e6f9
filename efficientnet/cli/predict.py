"""The command ``efficientnet predict``: classify images."""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from ..common.text import about, csv_cell, notify, plain, print_json
from . import example_classes, image_arguments, model_options
from .exit_statuses import SOME_FAILED, SUCCESS
from .number_types import positive
from .paths import given_path

if TYPE_CHECKING:
    from ..inference import InputSpec, Predictor
    from ..model_io.outputs import Prediction

_TOP = 5
_MOST_NUMBERS = 20  # for an image in the text; JSON and CSV have all


class Result(NamedTuple):
    """The prediction for one image, or what is wrong with the image."""

    image: str
    prediction: Prediction | None
    error: str | None = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``predict`` and its function."""
    parser.description = (
        "Classifies images, in the order in which they are given. Probabilities are printed as percentages, "
        "other outputs as numbers. An image that cannot be read is reported on stderr; the others are predicted, and "
        "the exit status is 1."
    )
    add = parser.add_argument
    image_arguments.add_options(parser)
    add("--model", default="lite0", help=f"{model_options.MODEL} (default: lite0)")
    add(
        "--top", type=positive, metavar="N",
        help=f"classes per image (default: {_TOP}; all labels over the threshold, all numbers)",
    )  # fmt: skip
    add("--examples", metavar="FOLDER", type=given_path, help="folder with a folder of a few images per class: predict "
        "these, by what the model sees in them, without a training (default: the model's own classes)")  # fmt: skip
    model_options.add_output_options(parser)
    model_options.add_options(parser)
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--json", action="store_true", help="print one JSON object per image and line")
    output.add_argument("--csv", action="store_true", help="print one CSV line per image and class")
    parser.set_defaults(run=_predict)


def _predict(arguments: argparse.Namespace) -> int:
    inputs = image_arguments.expanded(arguments)
    if arguments.examples:
        predictor, predict = example_classes.open_predictor(arguments)
    else:
        predictor, predict = _open_predictor(arguments)
    status = SUCCESS
    has_hint = arguments.softmax or arguments.examples
    write = _writer("json" if arguments.json else "csv" if arguments.csv else "text", arguments)
    with predictor:
        results: Iterable[Result] = _results(inputs, predictor, predict, arguments)
        while_printing: Callable[[], AbstractContextManager[None]] = nullcontext
        if len(inputs) > 1 and sys.stderr.isatty():
            from tqdm import tqdm  # the import takes as long as the prediction of an image

            results = tqdm(results, total=len(inputs), unit="image", leave=False)
            while_printing = partial(tqdm.external_write_mode, file=sys.stdout)
        for result in results:
            with while_printing():
                if result.prediction is not None:
                    write(result.image, result.prediction)
                    sys.stdout.flush()
                    if not has_hint and _may_be_logits(predictor.spec, result.prediction):
                        notify(_hint(predictor.spec))
                        has_hint = True
                else:
                    notify(about(result.image, result.error))
                    status = SOME_FAILED
    return status


def _open_predictor(arguments: argparse.Namespace) -> tuple[Predictor, Callable[[Any], Prediction]]:
    """Return the model's predictor, and the function from its outputs for an image to the prediction."""
    predictor = model_options.open_predictor(arguments)
    _check(predictor.spec, arguments)
    threshold = model_options.threshold(arguments, predictor.spec)
    return predictor, lambda outputs: predictor.spec.prediction(outputs, threshold, arguments.softmax)


def _check(spec: InputSpec, arguments: argparse.Namespace) -> None:
    """Refuse models that give nothing to print, and options without a meaning for the model."""
    spec.check_vector()
    spec.check_images()
    if arguments.softmax:
        spec.check_logits()
    model_options.threshold(arguments, spec)


def _may_be_logits(spec: InputSpec, prediction: Prediction) -> bool:
    is_open = spec.activation in ("linear", "unknown") and spec.targets != "values"
    return not prediction.are_probabilities and spec.outputs > 1 and is_open


def _hint(spec: InputSpec) -> str:
    ending = "is unknown" if spec.activation == "unknown" else f"is {spec.activation}"
    return (
        f"{spec.name} gives numbers that are not probabilities (its last activation {ending}). If they are logits of "
        "classes, --softmax makes probabilities of them."
    )


def _results(
    inputs: Sequence[str], predictor: Predictor, predict: Callable[[Any], Prediction], arguments: argparse.Namespace
) -> Iterator[Result]:
    """Yield the results in the order of the inputs."""
    sources = image_arguments.sources(inputs, arguments, predictor.spec.channels)
    for image, record in zip(inputs, predictor.stream(sources), strict=True):
        if record.error is not None:
            yield Result(image, None, record.error)
            continue
        try:
            yield Result(image, predict(record.outputs))
        except ValueError as error:  # NaN
            yield Result(image, None, str(error))


def _writer(kind: str, arguments: argparse.Namespace) -> Callable[[str, Prediction], None]:
    if kind == "csv":
        table = csv.writer(sys.stdout)
        table.writerow(["image", "rank", "class", "label", "probability", "value", "kind"])

        def write(image: str, prediction: Prediction) -> None:
            for rank, (key, label, value) in enumerate(_shown(prediction, arguments.top), start=1):
                values = (f"{value:.6f}", "") if prediction.are_probabilities else ("", f"{value:.7g}")
                table.writerow([csv_cell(image), rank, csv_cell(key), csv_cell(label), *values, prediction.kind])
            if not prediction.classes:  # no label over the threshold
                table.writerow([csv_cell(image), "", "", "", "", "", prediction.kind])
    elif kind == "json":

        def write(image: str, prediction: Prediction) -> None:
            print_json({"image": image, **prediction.to_json(_shown(prediction, arguments.top))})
    else:

        def write(image: str, prediction: Prediction) -> None:
            print(plain(image))
            shown = _shown(prediction, arguments.top)
            for _, label, value in shown[: None if arguments.top else _MOST_NUMBERS]:
                number = f"{value:6.1%}" if prediction.are_probabilities else f"{value:10.5g}"
                print(f"  {number}  {plain(label)}")
            if not shown:
                print("  no label over the threshold")
            if not arguments.top and len(shown) > _MOST_NUMBERS:
                print(f"  and {len(shown) - _MOST_NUMBERS} more, which --json or --top prints")

    return write


def _shown(prediction: Prediction, top: int | None) -> list[tuple[str, str, float]]:
    """Return the values to print; without a number of classes, all labels and numbers but few other classes."""
    return prediction.first(_TOP) if top is None else prediction.classes[:top]
