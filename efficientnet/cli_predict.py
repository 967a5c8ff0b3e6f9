"""The command ``efficientnet predict``: name what is in pictures."""

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

from . import notes
from .imagenet import class_names as imagenet_class_names
from .preprocessing import MODES, center_crop_and_resize, preprocess_input
from .saved_models import is_saved_model
from .variants import get_variant
from .weights import find

IMAGE_SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})
# Of the shorter side, for a model whose own is not known: what the paper's crop leaves of 256 pixels.
DEFAULT_CROP = 224 / 256
SUCCESS, SOME_FAILED = 0, 1


class Classifier(NamedTuple):
    """A model ready to answer.

    Attributes:
        answer: from (batch, size, size, 3) to (batch, classes).
        prepare: an image, (height, width, 3), to what the model takes of it.
        classes: each output's id and label.
    """

    answer: Callable[[np.ndarray], Any]
    prepare: Callable[[np.ndarray], np.ndarray]
    classes: Sequence[tuple[str, str]]


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
    predict.add_argument("--batch-size", type=_positive, default=8, metavar="N", help="pictures at a time (default: 8)")
    predict.add_argument("--recursive", action="store_true", help="look into folders of folders")
    predict.add_argument("--engine", default="auto", help="openvino, keras, or auto (default)")
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
    from . import keras, registry
    from .inference import compile

    crop, interpolation, names = DEFAULT_CROP, "bicubic", None
    if is_saved_model(arguments.model):
        if arguments.weights:
            raise ValueError(f"--weights={arguments.weights}: {arguments.model} is a whole model with its own weights.")
        model = keras.load_model(arguments.model, compile=False)
        mode = arguments.preprocessing or keras.model_preprocessing(model)
        names = notes.read_class_names(arguments.model)
        size = _side(model)
    else:
        variant = get_variant(arguments.model)
        weights = arguments.weights or "imagenet"
        chosen = registry.resolve(weights, variant)
        size = variant.resolution
        if chosen is not None:
            size, crop, interpolation = chosen.resolution, chosen.crop, chosen.interpolation
        in_file = find(weights, variant).reading.classes or variant.classes
        # Of 1,001 classes the first is the background, which is no answer.
        classes_in = 1000 if in_file == 1001 else in_file
        model = keras.create(variant, weights=weights, classes=classes_in, input_shape=(size, size, 3))
        mode = keras.model_preprocessing(model)
    outputs = model.output_shape[-1]
    if names is None and outputs == len(imagenet_class_names()):
        classes = imagenet_class_names()
    else:
        labels = names or [f"class_{index}" for index in range(outputs)]
        if len(labels) != outputs:
            raise ValueError(f"{arguments.model} has {outputs} outputs but {len(labels)} class names.")
        classes = tuple((str(index), label) for index, label in enumerate(labels))

    def prepare(pixels: np.ndarray) -> np.ndarray:
        square = center_crop_and_resize(pixels, size, crop_padding=size / crop - size, interpolation=interpolation)
        return np.asarray(preprocess_input(square, mode=mode), np.float32)

    return Classifier(compile(model, arguments.engine).predict, prepare, classes)


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
    return classifier.prepare(pixels)


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
