"""The command ``efficientnet``: name what is in pictures, list what there is."""

from __future__ import annotations

import argparse
import csv
import glob
import itertools
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from . import __version__, class_names, cli_design, cli_profile, scaling
from .imagenet import class_names as imagenet_class_names
from .preprocessing import MODES, center_crop_and_resize, preprocess_input
from .saved_models import is_saved_model
from .variants import get_variant, list_variants
from .weights import list_weights

IMAGE_SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})
SUCCESS, SOME_FAILED, USAGE = 0, 1, 2


class Classifier(NamedTuple):
    """A model ready to answer: how it wants its images, and what its outputs are called.

    ``classes`` pairs each output's id with its label; ``mode`` None stands for raw pixels.
    """

    answer: Callable[[np.ndarray], Any]
    size: int
    mode: str | None
    classes: Sequence[tuple[str, str]]


class Result(NamedTuple):
    """One image's best classes, (id, label, probability) each, or what is wrong with the image."""

    image: str
    classes: Sequence[tuple[str, str, float]]
    error: str | None = None


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status: 0, 1 where an image failed, 2 for a wrong call."""
    arguments = _parser().parse_args(argv)
    try:
        return int(arguments.run(arguments))
    except (ValueError, ImportError, OSError) as error:
        if isinstance(error, BrokenPipeError):
            # The reader, `head` perhaps, has had enough; keep Python from complaining at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return SOME_FAILED
        print(f"efficientnet: error: {error}", file=sys.stderr)
        return USAGE
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="efficientnet", description="EfficientNet for Keras.")
    parser.add_argument("--version", action="version", version=f"efficientnet {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    predict = commands.add_parser(
        "predict",
        help="name what is in pictures",
        description="Names what is in pictures, in the order in which they are given. A picture that cannot be read "
        "is told on stderr, the others are answered, and the exit status is 1.",
    )
    predict.add_argument("images", nargs="+", metavar="IMAGE", help="file, folder, glob, URL, or - for stdin")
    predict.add_argument("--model", default="lite0", help="variant, or a saved model (.keras, .h5) (default: lite0)")
    predict.add_argument("--weights", help="published set or file of weights (default: the variant's first set)")
    predict.add_argument("--preprocessing", choices=[*MODES, "none"], help="of a saved model that has none inside")
    predict.add_argument("--top", type=_positive, default=5, metavar="N", help="classes per picture (default: 5)")
    predict.add_argument("--batch-size", type=_positive, default=8, metavar="N", help="pictures at a time (default: 8)")
    predict.add_argument("--recursive", action="store_true", help="look into folders of folders")
    predict.add_argument("--engine", default="auto", help="openvino, keras, or auto (default)")
    output = predict.add_mutually_exclusive_group()
    output.add_argument("--json", action="store_true", help="one JSON object per picture and line")
    output.add_argument("--csv", action="store_true", help="one line per picture and class")
    predict.set_defaults(run=_predict)

    models = commands.add_parser("models", help="list the variants and their weights")
    models.add_argument("pattern", nargs="?", metavar="PATTERN", help="such as 'lite*' or 'b?'")
    models.set_defaults(run=_models)

    cli_profile.add_parser(commands)
    cli_design.add_parser(commands)
    return parser


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return value


def _models(arguments: argparse.Namespace) -> int:
    names = list_variants(arguments.pattern)
    if not names:
        raise ValueError(f"no variant matches {arguments.pattern!r}; there are: {', '.join(list_variants())}.")
    print(f"{'name':<20} {'parameters':>12} {'multiply-adds':>14} {'input':>6} {'top-1':>7}  weights")
    for name in names:
        variant = get_variant(name)
        cost = scaling.cost(variant)
        # A set's files with and without a classifier are one set to whoever picks it.
        sets = {row.name: row.top1 for row in list_weights(name)}
        best = max((top1 for top1 in sets.values() if top1 is not None), default=None)
        shown = ", ".join(f"{key} ({top1:.1%})" if top1 else key for key, top1 in sets.items())
        print(
            f"{name:<20} {cost.parameters:>12,} {cost.macs / 1e9:>13.2f}G {variant.resolution:>6} "
            f"{'' if best is None else format(best, '.1%'):>7}  {shown}"
        )
    return SUCCESS


def _predict(arguments: argparse.Namespace) -> int:
    from tqdm import tqdm

    inputs = [image for given in arguments.images for image in _expand(given, arguments.recursive)]
    classifier = _load_classifier(arguments)
    write = _writer("json" if arguments.json else "csv" if arguments.csv else "text")
    status = SUCCESS
    # disable=None: only where stderr is a terminal.
    with tqdm(total=len(inputs), unit="image", disable=True if len(inputs) == 1 else None, leave=False) as progress:
        for result in _answer(inputs, classifier, arguments.top, arguments.batch_size):
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


def _load_classifier(arguments: argparse.Namespace) -> Classifier:
    # Answering needs little of what TensorFlow has to say.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from . import keras
    from .inference import compile

    if is_saved_model(arguments.model):
        if arguments.weights:
            raise ValueError(f"--weights={arguments.weights}: {arguments.model} is a whole model with its own weights.")
        model = keras.load_model(arguments.model, compile=False)
        has_preprocessing = any(type(layer).__name__ in ("Rescaling", "Normalization") for layer in model.layers)
        mode = arguments.preprocessing or ("none" if has_preprocessing else "torch")
        names = class_names.read_class_names(arguments.model)
        size = _side(model)
    else:
        variant = get_variant(arguments.model)
        sets = list_weights(variant)
        chosen = arguments.weights or (sets[0].name if sets else None)
        if chosen is None:
            raise ValueError(
                f"no weights of {variant.name} are published in a format read here; pass --weights FILE, "
                "or another --model: `efficientnet models` lists what there is."
            )
        model = keras.create(variant, weights=chosen, classes=variant.classes)
        mode = next((row.preprocessing for row in sets if row.name == chosen), variant.preprocessing)
        names = None
        size = variant.resolution
    outputs = model.output_shape[-1]
    if names is None and outputs == len(imagenet_class_names()):
        classes = imagenet_class_names()
    else:
        labels = names or [f"class_{index}" for index in range(outputs)]
        if len(labels) != outputs:
            raise ValueError(f"{arguments.model} has {outputs} outputs but {len(labels)} class names.")
        classes = tuple((str(index), label) for index, label in enumerate(labels))
    predictor = compile(model, arguments.engine)
    return Classifier(predictor.predict, size, None if mode == "none" else mode, classes)


def _side(model: Any) -> int:
    """The side of the square images that a saved model takes, pixels."""
    if isinstance(model.input_shape, list) or len(model.input_shape) != 4 or model.input_shape[-1] != 3:
        raise ValueError(f"{model.name} takes {model.input_shape}: expected (batch, height, width, 3), RGB images.")
    height, width = model.input_shape[1:3]
    if height != width:
        raise ValueError(f"{model.name} takes images of {height} x {width} pixels: expected square ones.")
    return height or 224


def _answer(inputs: Iterable[str], classifier: Classifier, top: int, batch_size: int) -> Iterator[Result]:
    """Answers in the order of the inputs; no more than a batch is in memory at a time."""
    remaining = iter(inputs)
    with ThreadPoolExecutor() as threads:
        while batch := list(itertools.islice(remaining, batch_size)):
            loaded = list(threads.map(lambda image: _load(image, classifier), batch))
            readable = [array for array in loaded if isinstance(array, np.ndarray)]
            answers = iter(np.asarray(classifier.answer(np.stack(readable))) if readable else ())
            for image, array in zip(batch, loaded, strict=True):
                if isinstance(array, np.ndarray):
                    yield Result(image, _best(next(answers), classifier.classes, top))
                else:
                    yield Result(image, (), error=array)


def _load(image: str, classifier: Classifier) -> np.ndarray | str:
    """The network's input for one image, or why there is none."""
    from .images import load_image

    try:
        pixels = load_image(sys.stdin.buffer.read() if image == "-" else image)
    except (OSError, ValueError) as error:
        return str(error)
    square = center_crop_and_resize(pixels, classifier.size)
    return np.asarray(preprocess_input(square, mode=classifier.mode) if classifier.mode else square, np.float32)


def _best(scores: np.ndarray, classes: Sequence[tuple[str, str]], top: int) -> list[tuple[str, str, float]]:
    order = np.argsort(-scores, kind="stable")[:top]
    return [(*classes[index], float(scores[index])) for index in order]


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
