"""The command ``efficientnet convert``: files of weights in another format."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..common.files import check_writable
from ..common.text import plain
from . import model_options
from .exit_statuses import SUCCESS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``convert`` and its function."""
    parser.description = (
        "Writes the weights of a file in another format, without changing a bit of them but by --in-channels. The "
        "format of the source is detected from its content, that of the target from its suffix: .keras or .h5 (a whole "
        "model), .weights.h5, .safetensors, .pth. With --to it writes a folder that another package opens."
    )
    parser.add_argument("source", metavar="IN", help="file or folder of weights, or hf://… or kaggle://…")
    parser.add_argument("target", metavar="OUT", help="file to write, or with --to a folder")
    parser.add_argument("--variant", help="variant of the weights, or its .json file (default: detected from the file)")
    parser.add_argument(
        "--to",
        metavar="PACKAGE",
        help="package to write for: keras, transformers, kerashub, timm, torchvision or lukemelas; OUT is then a "
        "folder with weights, configuration and model card, or a state dict with the package's names (default: timm's)",
    )
    parser.add_argument(
        "--in-channels",
        type=int,
        metavar="N",
        help="channels of the images that OUT is for: the first kernel is summed over the colors for 1, and repeated "
        "and scaled by 3 / N for others (default: those of IN)",
    )
    model_options.add_network_options(parser)
    parser.add_argument(
        "--check", action="store_true", help="predict a random image with both and print the largest difference"
    )
    parser.set_defaults(run=_convert)


def _convert(arguments: argparse.Namespace) -> int:
    from ..checkpoints.channels import with_channels
    from ..export import convert

    check_writable(Path(arguments.target))
    given = model_options.network_facts(arguments)
    reading = convert.convert_weights(
        arguments.source,
        arguments.target,
        variant=arguments.variant,
        to=arguments.to,
        padding=given.padding,
        batch_norm_epsilon=given.epsilon,
        preprocessing=given.preprocessing,
        class_names=given.class_names,
        in_channels=arguments.in_channels,
    )
    print(f"{plain(arguments.target)}: {reading.variant.name}, {classes_text(reading.classes)}")
    if arguments.check:
        models = [
            convert.open_model(with_channels(convert.read_weights(path, reading.variant), reading.channels), given)
            for path in (arguments.source, arguments.target)
        ]
        print(f"largest difference of the predictions for a random image: {convert.largest_difference(*models):.3g}")
    return SUCCESS


def classes_text(classes: int | None) -> str:
    """Return how many classes weights have, in words."""
    return "no classifier" if classes is None else f"{classes:,} classes"
