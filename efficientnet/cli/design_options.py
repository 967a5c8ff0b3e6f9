"""Options that several commands ``efficientnet design …`` share, and what they are read into."""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ..common.files import check_writable
from ..family import compound
from ..family.compound import Coefficients, Rule
from ..family.costs import PRECISIONS
from ..family.variants import check_variant_file
from . import pixel_options
from .number_types import amount, milliseconds, positive, share, size
from .paths import given_path
from .train import VALIDATION, fraction_or_path

if TYPE_CHECKING:
    from ..design import Baseline, ShortTraining

NETWORK = "network to scale"
BUDGETS = {
    "macs": "most multiply-adds, such as 1.8G",
    "parameters": "most parameters, such as 12M",
    "activations": "most outputs of convolutions for an image, such as 5M",
    "bytes": "largest exported file (ONNX), such as 20M or 20MB",
    "memory": "most memory for weights and feature maps while an image is predicted, such as 8MB",
    "milliseconds": "most time per image, measured on this machine",
}
_TYPES = {"bytes": size, "memory": size, "milliseconds": milliseconds}  # others are amounts
CHANGES = ("repeats", "filters", "kernel", "expansion", "se", "resolution")
# Fields of ShortTraining, which is not imported here: its package would delay even the help. A test compares.
TRAINING = (
    ("epochs", int, "N", "epochs per training (default: 10)"),
    ("batch_size", int, "N", "images per step (default: 64)"),
    ("learning_rate", float, "RATE", "peak learning rate (default: 0.003)"),
)


def add_budgets(parser: argparse.ArgumentParser, title: str) -> None:
    """Add an option for the budget of each cost."""
    group = parser.add_argument_group(title)
    for name, help_text in BUDGETS.items():
        group.add_argument(f"--{name}", type=_TYPES.get(name, amount), metavar="N",
            help=f"{help_text} (default: no limit)")  # fmt: skip


def read_budgets(arguments: argparse.Namespace) -> dict[str, float]:
    """Return the budgets that are given, by cost."""
    return {name: most for name in BUDGETS if (most := getattr(arguments, name)) is not None}


def add_timing(parser: argparse.ArgumentParser, more: str = "") -> None:
    """Add what times depend on."""
    add = parser.add_argument
    add("--precision", choices=PRECISIONS, default="f32", help="precision of file, memory and time (default: f32)")
    add("--engine", default="auto", help=f"runtime whose time counts: openvino, onnxruntime, litert, keras{more}, or "
        "auto (default: auto)")  # fmt: skip
    add("--threads", type=positive, metavar="N", help="processor threads (default: the engine's choice)")


def add_resolution(parser: argparse.ArgumentParser) -> None:
    """Add the baseline's input size."""
    parser.add_argument("--resolution", type=positive, metavar="PIXELS",
        help="input size of the baseline (default: the network's, or 224)")  # fmt: skip


def add_grid(parser: argparse.ArgumentParser) -> None:
    """Add the grid of candidates for α, β and γ."""
    add = parser.add_argument
    add("--target", type=float, default=2.0, metavar="FACTOR", help="cost factor α·β²·γ² (default: 2)")
    add("--tolerance", type=float, default=0.05, metavar="SHARE",
        help="deviation allowed from the target, as a fraction (default: 0.05)")  # fmt: skip
    add("--steps", type=float, default=0.05, metavar="STEP", help="spacing of the grid (default: 0.05)")


def add_rule(parser: argparse.ArgumentParser, names: str) -> None:
    """Add the rule of scaling."""
    add = parser.add_mutually_exclusive_group().add_argument
    add("--rule", metavar="RULE", default="compound",
        help=f"rule of scaling: {names}, or coefficients α,β,γ such as 1.2,1.1,1.15 (default: compound)")  # fmt: skip
    add(
        "--search", type=given_path, metavar="FOLDER", help="folder of a search: use its best α, β, γ (default: --rule)"
    )
    parser.add_argument("--alpha", type=share, metavar="A",
        help="share of the width in the rule fast, 0..1 (default: 0.8)")  # fmt: skip


def add_training(parser: argparse.ArgumentParser) -> None:
    """Add the network, the data, and how networks are trained."""
    add = parser.add_argument
    add("baseline", metavar="NETWORK", help=NETWORK)
    add("--data", required=True, metavar="DATA",
        help="images to train on, as in train: folder with a folder per class, CSV file, digits, fashion-mnist, "
        "…")  # fmt: skip
    add(
        "--out", type=given_path, required=True, metavar="FOLDER", help="folder of the run; the same command resumes it"
    )
    add("--validation", type=fraction_or_path, metavar="PART", help=VALIDATION)
    for part in ("training", "validation"):
        add(f"--{part}-images", type=positive, metavar="N",
            help=f"{part} images to draw at random (default: all)")  # fmt: skip
    for name, kind, metavar, help_text in TRAINING:
        add(f"--{name.replace('_', '-')}", type=kind, metavar=metavar, help=help_text)
    pixel_options.add_options(parser)
    add_resolution(parser)


def add_seeds(parser: argparse.ArgumentParser) -> None:
    """Add the number of trainings per network."""
    parser.add_argument("--seeds", type=positive, default=3, metavar="N",
        help="trainings per network, with different random seeds (default: 3)")  # fmt: skip


def pair(text: str) -> tuple[float, float]:
    """Read a pair of factors of depth and resolution."""
    try:
        depth, resolution = map(float, text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a pair of factors such as 2,1.3") from None
    return depth, resolution


def read_baseline(arguments: argparse.Namespace) -> Baseline:
    """Return the network to scale."""
    from ..design import Baseline, get_baseline

    name = arguments.baseline
    module, colon, function = name.partition(":")
    if colon and module.replace(".", "").isidentifier():
        sys.path.insert(0, os.getcwd())
        try:
            found = getattr(importlib.import_module(module), function)
        except (ImportError, AttributeError) as error:
            raise ValueError(
                f"{name}: {error}. Expected module:function, importable from the current folder."
            ) from None
        except Exception as error:  # the user's own code may raise anything
            raise ValueError(f"{name}: importing {module} failed with {type(error).__name__}: {error}") from error
        return Baseline.from_function(found, arguments.resolution or 224)
    baseline = get_baseline(name)
    if arguments.resolution is None:
        return baseline
    if baseline.variant is None:
        return dataclasses.replace(baseline, resolution=arguments.resolution)
    return Baseline.from_variant(dataclasses.replace(baseline.variant, resolution=arguments.resolution))


def check_out(path: Path | None, baseline: Baseline) -> None:
    """Check before any work that the network can be saved.

    Raises:
        ValueError, OSError: It is not a variant, or the file has another suffix or cannot be written.
    """
    if path is None:
        return
    if baseline.variant is None:
        raise ValueError(f"--out {path}: only EfficientNets are saved as variants, and {baseline.name} is none.")
    check_writable(check_variant_file(path))


def check_timing(arguments: argparse.Namespace, is_timed: bool, by: str) -> None:
    """Check that options about the time are given only where times count, by other options.

    Raises:
        ValueError: No time is measured.
    """
    given = {"--engine": arguments.engine != "auto", "--threads": arguments.threads is not None}
    if not is_timed and (names := [name for name, is_given in given.items() if is_given]):
        raise ValueError(f"{' and '.join(names)}: no time is measured, so give {by}, too, or leave it out.")


def read_rule(arguments: argparse.Namespace) -> Rule:
    """Return the rule of scaling."""
    from ..design import load_results

    if arguments.alpha is not None and arguments.rule != "fast":
        raise ValueError(f"--alpha {arguments.alpha:g} belongs to the rule fast: give --rule fast, too.")
    if arguments.search:
        path = arguments.search / "search.json"
        results = load_results(path)
        found = results.finished_of("candidate")
        # The baseline of the search may have another input size than the network to scale.
        own = next((network for network in results.networks if network.method == "baseline"), None)
        if not found or own is None:
            raise ValueError(
                f"{path}: no training of a candidate was finished beside a baseline; give α, β and γ by --rule."
            )
        return Coefficients(found[0].depth, found[0].width, found[0].resolution / own.resolution)
    if arguments.alpha is not None:
        return compound.fast(arguments.alpha)
    if arguments.rule in compound.RULES:
        return compound.RULES[arguments.rule]
    try:
        alpha, beta, gamma = map(float, arguments.rule.split(","))
    except ValueError:
        raise ValueError(
            f"--rule {arguments.rule}: expected {', '.join(compound.RULES)}, or three numbers α,β,γ such as "
            "1.2,1.1,1.15."
        ) from None
    return Coefficients(alpha, beta, gamma)


def read_training(arguments: argparse.Namespace) -> ShortTraining:
    """Return how networks are trained."""
    from ..design import ShortTraining

    given = {name: value for name, *_ in TRAINING if (value := getattr(arguments, name)) is not None}
    return ShortTraining(**given)
