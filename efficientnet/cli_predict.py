"""The command ``efficientnet predict``: name what is in pictures."""

from __future__ import annotations

import argparse
import csv
import glob
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from .preprocessing import MODES
from .saved_models import is_saved_model

if TYPE_CHECKING:
    from .inference import Predictor

IMAGE_SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})
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
    predict.add_argument("--weights", help="published set or file of weights (default: the variant's first set)")
    predict.add_argument("--preprocessing", choices=MODES, help="of a saved model that has none inside")
    predict.add_argument("--top", type=_positive, default=5, metavar="N", help="classes per picture (default: 5)")
    predict.add_argument("--recursive", action="store_true", help="look into folders of folders")
    predict.add_argument(
        "--engine", default="auto", help="openvino, onnxruntime, litert, keras, fastest (measured), or auto (default)"
    )
    predict.add_argument("--precision", default="f32", help="f32 (default), bf16 or int8")
    predict.add_argument("--calibrate", metavar="FOLDER", help="of pictures for --precision int8")
    predict.add_argument("--batch-size", type=_positive, metavar="N", help="pictures at a time (default: the engine's)")
    predict.add_argument("--threads", type=_positive, metavar="N", help="of the processor (default: the engine's)")
    output = predict.add_mutually_exclusive_group()
    output.add_argument("--json", action="store_true", help="one JSON object per picture and line")
    output.add_argument("--csv", action="store_true", help="one line per picture and class")
    predict.set_defaults(run=_predict)


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return value


def _predict(arguments: argparse.Namespace) -> int:
    from tqdm import tqdm

    inputs = [image for given in arguments.images for image in _expand(given, arguments.recursive)]
    predictor = _compile(arguments)
    write = _writer("json" if arguments.json else "csv" if arguments.csv else "text")
    status = SUCCESS
    # disable=None: only where stderr is a terminal.
    with (
        predictor,
        tqdm(total=len(inputs), unit="image", disable=True if len(inputs) == 1 else None, leave=False) as progress,
    ):
        for result in _answer(inputs, predictor, arguments.top):
            with progress.external_write_mode(file=sys.stdout):
                if result.error is None:
                    write(result)
                    sys.stdout.flush()
                else:
                    print(f"efficientnet: {result.image}: {result.error}", file=sys.stderr)
                    status = SOME_FAILED
            progress.update()
    return status


def _expand(given: str, recursive: bool) -> list[str]:
    """What one argument stands for: a folder's pictures, a glob's files, or itself."""
    if given == "-" or "://" in given:
        return [given]
    path = Path(given)
    if path.is_dir():
        files = path.rglob("*") if recursive else path.iterdir()
        found = [str(file) for file in sorted(files) if file.suffix.lower() in IMAGE_SUFFIXES and file.is_file()]
    elif path.exists() or not glob.has_magic(given):
        found = [given]
    else:
        found = sorted(glob.glob(given, recursive=True))
    return found or [given]  # which cannot be read, and so is told like any other bad file


def _compile(arguments: argparse.Namespace) -> Predictor:
    # Answering needs little of what TensorFlow has to say.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from .inference import Source, compile

    if is_saved_model(arguments.model):
        if arguments.weights:
            raise ValueError(f"--weights={arguments.weights}: {arguments.model} is a whole model with its own weights.")
        source = Source.of_file(arguments.model, arguments.preprocessing)
    else:
        source = Source.of_variant(arguments.model, arguments.weights or "imagenet")
    predictor = compile(
        source,
        engine=arguments.engine,
        batch_size=arguments.batch_size,
        precision=arguments.precision,
        threads=arguments.threads,
        calibration=_expand(arguments.calibrate, recursive=True) if arguments.calibrate else (),
    )
    for what, milliseconds in predictor.timings.items():
        print(f"efficientnet: {what}: {milliseconds:.2f} ms per image", file=sys.stderr)
    if predictor.deviation is not None:
        print(
            f"efficientnet: in {predictor.precision}, answers differ from float32's by up to {predictor.deviation:.2g}",
            file=sys.stderr,
        )
    return predictor


def _answer(inputs: Sequence[str], predictor: Predictor, top: int) -> Iterator[Result]:
    """Answers in the order of the inputs."""
    predictor.recipe.check_pictures()
    sources = (sys.stdin.buffer.read() if image == "-" else image for image in inputs)
    for image, record in zip(inputs, predictor.stream(sources), strict=True):
        if record.error is None:
            yield Result(image, predictor.recipe.top(record.outputs, top))
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
