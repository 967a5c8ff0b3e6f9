"""The command ``efficientnet predict``: name what is in pictures."""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from . import cli_model, cli_pixels

if TYPE_CHECKING:
    from .inference import Predictor

SUCCESS, SOME_FAILED = 0, 1


class Result(NamedTuple):
    """One image's best classes, (id, label, probability) each, or what is wrong with the image."""

    image: str
    classes: Sequence[tuple[str, str, float]]
    error: str | None = None


def add_parser(commands: Any) -> None:
    """Adds ``predict``."""
    predict = commands.add_parser(
        "predict",
        help="name what is in pictures",
        description="Names what is in pictures, in the order in which they are given. A picture that cannot be read "
        "is told on stderr, the others are answered, and the exit status is 1.",
    )
    predict.add_argument("images", nargs="+", metavar="IMAGE", help="file, folder, glob, URL, or - for stdin")
    predict.add_argument("--model", default="lite0", help="variant, or a saved model (.keras, .h5) (default: lite0)")
    predict.add_argument(
        "--top", type=cli_model.positive, default=5, metavar="N", help="classes per picture (default: 5)"
    )
    predict.add_argument("--recursive", action="store_true", help="look into folders of folders")
    cli_model.add_options(predict)
    cli_pixels.add_options(predict, reduces=True)
    output = predict.add_mutually_exclusive_group()
    output.add_argument("--json", action="store_true", help="one JSON object per picture and line")
    output.add_argument("--csv", action="store_true", help="one line per picture and class")
    predict.set_defaults(run=_predict)


def _predict(arguments: argparse.Namespace) -> int:
    from tqdm import tqdm

    inputs = [image for given in arguments.images for image in cli_model.expand(given, arguments.recursive)]
    predictor = cli_model.open_predictor(arguments)
    write = _writer("json" if arguments.json else "csv" if arguments.csv else "text")
    status = SUCCESS
    # disable=None: only where stderr is a terminal.
    with (
        predictor,
        tqdm(total=len(inputs), unit="image", disable=True if len(inputs) == 1 else None, leave=False) as progress,
    ):
        for result in _answer(inputs, predictor, arguments):
            with progress.external_write_mode(file=sys.stdout):
                if result.error is None:
                    write(result)
                    sys.stdout.flush()
                else:
                    print(f"efficientnet: {result.image}: {result.error}", file=sys.stderr)
                    status = SOME_FAILED
            progress.update()
    return status


def _answer(inputs: Sequence[str], predictor: Predictor, arguments: argparse.Namespace) -> Iterator[Result]:
    """Answers in the order of the inputs."""
    predictor.recipe.check_pictures()
    sources = (cli_pixels.source(sys.stdin.buffer.read() if i == "-" else i, arguments) for i in inputs)
    for image, record in zip(inputs, predictor.stream(sources), strict=True):
        if record.error is None:
            yield Result(image, predictor.recipe.top(record.outputs, arguments.top))
        else:
            yield Result(image, (), record.error)


def _writer(kind: str) -> Callable[[Result], None]:
    if kind == "csv":
        table = csv.writer(sys.stdout)
        table.writerow(["image", "rank", "class", "label", "probability"])

        def write(result: Result) -> None:
            for rank, (key, label, probability) in enumerate(result.classes, start=1):
                table.writerow([result.image, rank, key, label, f"{probability:.6f}"])
    elif kind == "json":

        def write(result: Result) -> None:
            classes = [{"class": key, "label": label, "probability": p} for key, label, p in result.classes]
            print(json.dumps({"image": result.image, "predictions": classes}, ensure_ascii=False))
    else:

        def write(result: Result) -> None:
            print(result.image)
            for _, label, probability in result.classes:
                print(f"  {probability:6.1%}  {label}")

    return write
