"""The command ``efficientnet export``: a model as a file for another runtime."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..common.files import check_writable
from ..export.options import FORMATS, INPUT_TYPES, PRECISIONS
from . import pixel_options
from .exit_statuses import SUCCESS
from .model_options import (
    add_agreement,
    add_network_options,
    calibration_images,
    find_source,
    network_facts,
    require_preprocessing,
)
from .number_types import positive


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``export`` and its function."""
    parser.description = (
        "Writes a model for another runtime, with class names and preprocessing in it; a page that predicts in the "
        "browser (web); or a model repository for a server (triton, ovms). Then predicts the same images with it, "
        "in that runtime, and with Keras, and prints how far the predictions differ. A file whose predictions differ "
        "more than the precision explains is not kept. In int8, sensitive layers stay in float until views of "
        "images that were not calibrated on keep their prediction."
    )
    parser.add_argument("model", metavar="MODEL", help="variant, or a saved model (.keras, .h5)")
    parser.add_argument(
        "out", metavar="OUT", help="file to write (.onnx, .xml, .tflite), or folder (saved_model, web, triton, ovms)"
    )
    parser.add_argument("--format", required=True, choices=FORMATS, help="format to write")
    parser.add_argument("--precision", default="f32", choices=PRECISIONS, help="precision of weights (default: f32)")
    parser.add_argument(
        "--calibrate", metavar="FOLDER", help="folder of some hundred images, for int8 only (default: none)"
    )
    add_agreement(parser)
    parser.add_argument(
        "--batch", type=_batch, default="dynamic", metavar="N",
        help="batch size, or dynamic for any (default: dynamic)",
    )  # fmt: skip
    parser.add_argument("--raw-pixels", action="store_true", help="make the file take pixels 0..255 and scale them")
    parser.add_argument("--input", default="float32", choices=INPUT_TYPES, help="type of raw pixels (default: float32)")
    parser.add_argument("--runtime", metavar="FOLDER",
        help="for web: unpacked npm package onnxruntime-web, to copy (default: the page downloads it)")  # fmt: skip
    parser.add_argument("--weights", help="published set or file of weights (default: the variant's first set)")
    add_network_options(parser)
    pixel_options.add_options(parser)
    parser.set_defaults(run=_run)


def _batch(text: str) -> int | str:
    return text if text == "dynamic" else positive(text)


def _run(arguments: argparse.Namespace) -> int:
    from ..export import export

    check_writable(Path(arguments.out))
    source = find_source(arguments.model, arguments.weights, network_facts(arguments))
    if arguments.raw_pixels or arguments.calibrate is not None:
        require_preprocessing(source.load()[1].scaling, arguments.model)
    images = () if arguments.calibrate is None else calibration_images(arguments.calibrate)
    report = export(
        source, arguments.out, arguments.format, arguments.precision, images, arguments.batch,
        raw_pixels=arguments.raw_pixels, input_type=arguments.input, runtime=arguments.runtime,
        agreement=arguments.agreement,
    )  # fmt: skip
    print(report)
    return SUCCESS
