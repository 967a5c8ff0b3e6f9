"""The command ``efficientnet inspect``: what a file holds.

Of exported models, ``inspect_exported`` has the report.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..checkpoints.soundness import check_array
from ..common.text import plain, print_json
from ..exported_files.formats import format_of
from ..family.variants import get_variant
from ..images.pixel_scaling import formula
from . import inspect_exported, model_options
from .convert import classes_text
from .exit_statuses import SOME_FAILED, SUCCESS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``inspect`` and its function."""
    parser.description = (
        "Reports the format, origin and variant of a file of weights, and which arrays are missing or left over. The "
        "exit status is 1 unless the file fits one variant completely. Of an exported model it reports runtime, "
        "inputs, outputs, classes and scaling, and what it records."
    )
    parser.add_argument(
        "file", metavar="FILE",
        help="file or folder of weights, hf://… or kaggle://…, or an exported model (.onnx, .xml, .tflite, SavedModel)",
    )  # fmt: skip
    parser.add_argument("--variant", help="variant to compare with (default: the one that fits best)")
    model_options.add_network_options(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=_inspect)


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
        "targets": trained.facts.targets,
        "thresholds": trained.facts.thresholds,
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
            "other settings": reading.contradictions,
        }
        print_json({**facts, **differences})
        return SUCCESS if facts["fits"] else SOME_FAILED
    what = "arrays or settings" if reading.contradictions else "arrays"
    fit = f", but {reading.differences} {what} differ" if reading.differences else ""
    averaged = "moving averages of the weights" if facts["moving averages"] else "the weights themselves"
    print(plain(f"file      {facts['file']}"))
    print(plain(f"format    {facts['format']}"))
    print(plain(f"origin    {facts['origin']}"))
    print(plain(f"variant   {facts['variant']}{fit}"))
    print(plain(f"classes   {classes_text(reading.classes)}, for inputs of {reading.channels} channels"))
    if facts["targets"]:
        least = ", ".join(f"{value:.3g}" for value in facts["thresholds"] or ())
        print(plain(f"targets   {facts['targets']}{f', from these probabilities on: {least}' if least else ''}"))
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
    return SUCCESS if facts["fits"] else SOME_FAILED


def _some(names: list[str]) -> str:
    more = f", and {len(names) - 8} more" if len(names) > 8 else ""
    return ", ".join(names[:8]) + more
