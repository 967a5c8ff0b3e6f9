"""What the commands that ask a model have in common: their options, and the predictor that these make."""

from __future__ import annotations

import argparse
import glob
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from .folders import find_images
from .preprocessing import MODES
from .saved_models import is_saved_model
from .text import tell

if TYPE_CHECKING:
    from .inference import Predictor, Source


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds what :func:`open_predictor` reads besides ``model``."""
    add = parser.add_argument
    add("--weights", help="published set or file of weights (default: the variant's first set)")
    add("--preprocessing", choices=MODES, help="of a saved model that has none inside")
    add("--engine", default="auto", help="openvino, onnxruntime, litert, keras, fastest (measured), or auto (default)")
    add("--precision", default="f32", help="f32 (default), bf16 or int8")
    add("--calibrate", metavar="FOLDER", help="of pictures for --precision int8")
    add("--batch-size", type=positive, metavar="N", help="pictures at a time (default: the engine's)")
    add("--threads", type=positive, metavar="N", help="of the processor (default: the engine's)")


def positive(text: str) -> int:
    """A whole number of at least 1."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return value


def share(text: str) -> float:
    """A number from 0 to 1."""
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return value


def expand(given: str, recursive: bool) -> list[str]:
    """What one argument stands for: a folder's pictures, a glob's files, or itself."""
    if given == "-" or "://" in given:
        return [given]
    if os.path.isdir(given):  # which says no of a name that no file system takes, where Path.is_dir raises
        found = [str(file) for file in pictures_in(Path(given), recursive)]
    elif os.path.exists(given) or not glob.has_magic(given):
        found = [given]
    else:
        found = sorted(glob.glob(given, recursive=True))
    return found or [given]  # which cannot be read, and so is told like any other bad file


def find_source(model: str, weights: str | None, preprocessing: str | None) -> Source:
    """Where the model comes from that a command line names.

    Raises:
        ValueError, OSError: nothing of that name, or weights for a model that has its own.
    """
    from .inference import Source

    if not is_saved_model(model):
        return Source.of_variant(model, weights or "imagenet")
    if weights:
        raise ValueError(f"--weights={weights}: {model} is a whole model with its own weights.")
    return Source.of_file(model, preprocessing)


def pictures_in(folder: Path, recursive: bool) -> list[Path]:
    """A folder's images in the order of their names; one line on stderr says what is left out."""
    found = find_images(folder, recursive)
    if note := found.note(folder):
        hint = "; --recursive looks into folders" if "folders" in found.left_out else ""
        tell(f"{note}{hint}")
    return found.images


def open_predictor(arguments: argparse.Namespace) -> Predictor:
    """The predictor of the model that the command line names."""
    # Answering needs little of what TensorFlow has to say.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from .inference import compile

    predictor = compile(
        find_source(arguments.model, arguments.weights, arguments.preprocessing),
        engine=arguments.engine,
        batch_size=arguments.batch_size,
        precision=arguments.precision,
        threads=arguments.threads,
        calibration=expand(arguments.calibrate, recursive=True) if arguments.calibrate else (),
    )
    for what, milliseconds in predictor.timings.items():
        print(f"efficientnet: {what}: {milliseconds:.2f} ms per image", file=sys.stderr)
    if predictor.deviation is not None:
        print(
            f"efficientnet: in {predictor.precision}, answers differ from float32's by up to {predictor.deviation:.2g}",
            file=sys.stderr,
        )
    return predictor
