"""The command ``efficientnet export``: a model as a file for another runtime."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from ..common.files import check_writable
from ..export.options import FORMATS, INPUT_TYPES, PRECISIONS
from . import pixel_options
from .model_options import (
    add_network_options,
    calibration_pictures,
    find_source,
    network_facts,
    positive,
    require_preprocessing,
)


def add_parser(commands: Any) -> None:
    """Adds ``export``."""
    parser = commands.add_parser(
        "export",
        help="write a model for another runtime",
        description="Writes a model for another runtime, with class names and preprocessing in it. Then asks the file, "
        "in that runtime, and Keras the same, and prints how far their answers differ. What differs more than the "
        "precision explains is not written.",
    )
    parser.add_argument("model", metavar="MODEL", help="variant, or a saved model (.keras, .h5)")
    parser.add_argument("out", metavar="OUT", help="file to write (.onnx, .xml, .tflite), or folder of a SavedModel")
    parser.add_argument("--format", required=True, choices=FORMATS)
    parser.add_argument("--precision", default="f32", choices=PRECISIONS, help="of weights (default: f32)")
    parser.add_argument("--calibrate", metavar="FOLDER", help="of some hundred pictures, which int8 needs")
    parser.add_argument(
        "--batch", type=_batch, default="dynamic", metavar="N", help="images at a time, or dynamic (default) for any"
    )
    parser.add_argument(
        "--raw-pixels", action="store_true", help="have the file take pixels 0..255 and scale them itself"
    )
    parser.add_argument("--input", default="float32", choices=INPUT_TYPES, help="type of raw pixels (default: float32)")
    parser.add_argument("--weights", help="published set or file of weights (default: the variant's first set)")
    add_network_options(parser)
    pixel_options.add_options(parser)
    parser.set_defaults(run=_run)


def _batch(text: str) -> int | str:
    return text if text == "dynamic" else positive(text)


def _run(arguments: argparse.Namespace) -> int:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from ..export import export

    check_writable(Path(arguments.out))
    source = find_source(arguments.model, arguments.weights, network_facts(arguments))
    if arguments.raw_pixels or arguments.calibrate is not None:
        require_preprocessing(source.load()[1].scaling, arguments.model)
    pictures = () if arguments.calibrate is None else calibration_pictures(arguments.calibrate)
    report = export(
        source, arguments.out, arguments.format, arguments.precision, pictures, arguments.batch,
        raw_pixels=arguments.raw_pixels, input_type=arguments.input,
    )  # fmt: skip
    print(report)
    return 0
