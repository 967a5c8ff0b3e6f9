"""The commands ``efficientnet convert`` and ``efficientnet inspect``: files of weights, whoever saved them.

Of exported models, ``inspect_exported`` has the report.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

from ..checkpoints.soundness import check_array
from ..common.files import check_writable
from ..common.text import plain
from ..exported_files.formats import format_of
from ..family.variants import get_variant
from ..images.pixel_scaling import formula
from . import inspect_exported, model_options


def add_parsers(commands: Any) -> None:
    """Adds ``convert`` and ``inspect``."""
    add_convert_arguments(
        commands.add_parser(
            "convert",
            help="write a file of weights in another format",
            description="Writes the weights of a file in another format, without changing a bit of them but by "
            "--in-channels. The format of the source is detected from its content, that of the target from its suffix: "
            ".keras or .h5 (a whole model), .weights.h5, .safetensors, .pth. With --to it writes a folder that another "
            "package opens.",
        )
    )
    inspect = commands.add_parser(
        "inspect",
        help="report what a file of weights or an exported model holds",
        description="Reports the format, origin and variant of a file of weights, and which arrays are missing or left "
        "over. The exit status is 1 unless the file fits one variant completely. Of an exported model it reports "
        "runtime, inputs, outputs, classes and scaling, and what it records.",
    )
    inspect.add_argument(
        "file", metavar="FILE",
        help="file or folder of weights, hf://… or kaggle://…, or an exported model (.onnx, .xml, .tflite, SavedModel)",
    )  # fmt: skip
    inspect.add_argument("--variant", help="variant to compare with (default: the one that fits best)")
    model_options.add_network_options(inspect)
    inspect.add_argument("--json", action="store_true", help="print one JSON object")
    inspect.set_defaults(run=_inspect)


def add_convert_arguments(parser: argparse.ArgumentParser) -> None:
    """What ``efficientnet convert`` and ``scripts/convert_checkpoint.py`` take."""
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
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
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
    print(f"{plain(arguments.target)}: {reading.variant.name}, {_classes(reading.classes)}")
    if arguments.check:
        models = [
            convert.open_model(with_channels(convert.read_weights(path, reading.variant), reading.channels), given)
            for path in (arguments.source, arguments.target)
        ]
        print(f"largest difference of the predictions for a random image: {convert.largest_difference(*models):.3g}")
    return 0


def _inspect(arguments: argparse.Namespace) -> int:
    if (format := format_of(arguments.file)) is not None:
        return inspect_exported.report(arguments, format)
    from .. import checkpoints
    from ..weights import finding, loading

    variant = None if arguments.variant is None else get_variant(arguments.variant)
    reading = checkpoints.read_checkpoint(loading.locate(arguments.file), variant)
    problem = checkpoints.explain(reading)
    given, said = model_options.network_facts(arguments), finding.of_reading(reading)
    trained = finding.trained_with(said, reading.variant, given)
    names = trained.facts.class_names
    if reading.miscounted:
        problem = problem or f"{', '.join(reading.miscounted)}, and {reading.classes} classes in the file."
    if names is not None and len(names) != (reading.classes or 0):
        problem = problem or f"{len(names)} names of classes, and {reading.classes or 'no'} classes in the file."
    try:
        for name, array in reading.arrays.items():
            check_array(name, array, plain(arguments.file))
    except ValueError as error:
        problem = problem or str(error)
    stored = reading.checkpoint.arrays.values()
    size = sum(array.nbytes for array in stored)
    facts: dict[str, Any] = {
        "file": str(Path(arguments.file)),
        "format": reading.checkpoint.format,
        "origin": reading.origin.name,
        "variant": reading.variant.name,
        "fits": not problem,
        "classes": reading.classes,
        "class names": names,
        "channels": reading.channels,
        "padding": trained.padding,
        "epsilon": trained.epsilon,
        "preprocessing": trained.preprocessing,
        "assumed": trained.unknown,
        "contradictions": finding.contradictions(said, given),
        "moving averages": reading.checkpoint.averaged,
        "arrays": len(reading.checkpoint.arrays),
        "bytes": size,
        "types": sorted({array.dtype.name for array in stored}),
    }
    if arguments.json:
        differences = {
            "unequal": {entry.ours: {"file": shape, "network": entry.shape} for entry, shape in reading.unequal},
            "missing": {entry.ours: entry.shape for entry in reading.missing},
            "left over": reading.left_over,
            "left aside": reading.aside,
        }
        print(json.dumps({**facts, **differences}))
        return int(not facts["fits"])
    fit = f", but {reading.differences} arrays differ" if reading.differences else ""
    averaged = "moving averages of the weights" if facts["moving averages"] else "the weights themselves"
    print(plain(f"file      {facts['file']}"))
    print(plain(f"format    {facts['format']}"))
    print(plain(f"origin    {facts['origin']}"))
    print(plain(f"variant   {facts['variant']}{fit}"))
    print(plain(f"classes   {_classes(reading.classes)}, for inputs of {reading.channels} channels"))
    for name, value in (
        ("padding", trained.padding), ("epsilon", trained.epsilon), ("preprocessing", formula(trained.preprocessing)),
    ):  # fmt: skip
        source = "given" if getattr(given, name) is not None else "assumed" if name in trained.unknown else "known"
        print(plain(f"{name if len(name) < 10 else 'scaling':<9} {value} ({source})"))
    for contradiction in facts["contradictions"]:
        print(plain(f"but       {contradiction}"))
    print(plain(f"arrays    {facts['arrays']}, {size / 1e6:.1f} MB of {', '.join(facts['types'])}; {averaged}"))
    if missing := [entry.ours for entry in reading.missing]:
        print(plain(f"missing   {_some(missing)}"))
    if reading.left_over:
        print(plain(f"left over {_some(list(reading.left_over))}"))
    if reading.aside:
        print(plain(f"aside     {_some(list(reading.aside))}"))
    if problem:
        print(plain(problem))
    return int(not facts["fits"])


def _classes(classes: int | None) -> str:
    return "no classifier" if classes is None else f"{classes:,} classes"


def _some(names: list[str]) -> str:
    more = f", and {len(names) - 8} more" if len(names) > 8 else ""
    return ", ".join(names[:8]) + more
