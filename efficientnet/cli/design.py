"""The commands ``efficientnet design …``: compound scaling of any network on any data."""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..common.files import check_writable
from ..family import compound
from ..family.compound import Coefficients, Rule
from ..family.costs import PRECISIONS
from ..family.scaling import Factors
from ..family.variants import save_variant
from ..reports.tables import table
from . import pixel_options
from .number_types import amount, positive, share
from .train import VALIDATION, fraction_or_path

if TYPE_CHECKING:
    from ..datasets.data import Data
    from ..design import Baseline, Fit, Network, Results

_NETWORK = "network to scale"
_BUDGETS = {
    "macs": "most multiply-adds, such as 1.8G",
    "parameters": "most parameters, such as 12M",
    "activations": "most numbers that convolutions give out for an image, such as 5M",
    "bytes": "largest exported file (ONNX), such as 20M",
    "memory": "most memory for weights and feature maps while an image is predicted, in bytes",
    "milliseconds": "most time per image, measured on this machine",
}
# Fields of ShortTraining, which is not imported here: its package would delay every command. A test compares.
_TRAINING = (
    ("epochs", int, "epochs per training (default: 10)"),
    ("batch_size", int, "images per step (default: 64)"),
    ("learning_rate", float, "peak learning rate (default: 0.003)"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``design`` and its function."""
    parser.description = (
        "Applies compound scaling (arXiv 1905.11946) to any network: a variant's name, a variant's .json "
        "file, mobilenet-v1, mobilenet-v2, resnet-50, or module:function for a custom function "
        "(width, depth, resolution, classes) that returns a Keras model."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    parser = commands.add_parser("candidates", help="list the grid of step 1, and the cost of a network scaled by it")
    parser.add_argument("baseline", nargs="?", metavar="NETWORK", help=f"{_NETWORK} (default: list only the grid)")
    _add_grid(parser)
    _add_resolution(parser)
    parser.set_defaults(run=_candidates)

    parser = commands.add_parser("fit", help="find the largest network within budgets")
    parser.add_argument("baseline", metavar="NETWORK", help=_NETWORK)
    budget = parser.add_argument_group("budgets, one or several")
    for name, help_text in _BUDGETS.items():
        budget.add_argument(f"--{name}", type=amount, metavar="N", help=help_text)
    add = parser.add_argument
    add("--precision", choices=PRECISIONS, default="f32", help="precision of file, memory and time (default: f32)")
    add("--engine", default="auto", help="runtime whose time counts: openvino, onnxruntime, litert, keras, fastest "
        "(measured), or auto (default: auto)")  # fmt: skip
    add("--measure", action="store_true", help="time the result even if milliseconds are no budget")
    add("--threads", type=positive, metavar="N", help="processor threads (default: the engine's choice)")
    _add_rule(parser, "compound, fast, tiny (which only shrinks)")
    _add_resolution(parser)
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="file to save the network to, as a variant")
    parser.set_defaults(run=_fit)

    parser = commands.add_parser("search", help="train the candidates of step 1 and find α, β, γ")
    _add_training(parser)
    _add_grid(parser)
    parser.add_argument("--cost-tolerance", type=float, default=0.1,
        help="deviation allowed between a candidate's cost and the target, as a fraction (default: 0.1)")  # fmt: skip
    parser.add_argument("--no-prune", action="store_true", help="finish hopeless trainings too")
    parser.set_defaults(run=_search)

    parser = commands.add_parser("compare", help="train single-dimension and compound scaling at equal cost")
    _add_training(parser)
    parser.add_argument("--macs", type=amount, nargs="+", action="extend", required=True, metavar="N",
        help="budgets in multiply-adds, such as 20M 40M")  # fmt: skip
    _add_rule(parser, "compound, fast")
    parser.add_argument("--widths-at", type=_pair, nargs="+", action="extend", default=[], metavar="D,R",
        help="depth and resolution factors at which to scale the width too, as in the paper's figure 4, such as "
        "2,1 1,1.3 2,1.3 (default: none)")  # fmt: skip
    parser.set_defaults(run=_compare)

    parser = commands.add_parser(
        "report", help="write report.html and report.md from the results of search and compare"
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="output folder of search or compare")
    parser.set_defaults(run=_report)


def _add_resolution(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--resolution", type=positive, metavar="PIXELS",
        help="input size of the baseline (default: the network's, or 224)")  # fmt: skip


def _add_grid(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--target", type=float, default=2.0, help="cost factor α·β²·γ² (default: 2)")
    add("--tolerance", type=float, default=0.05, help="deviation allowed from the target, as a fraction "
        "(default: 0.05)")  # fmt: skip
    add("--steps", type=float, default=0.05, help="spacing of the grid (default: 0.05)")


def _add_rule(parser: argparse.ArgumentParser, names: str) -> None:
    add = parser.add_mutually_exclusive_group().add_argument
    add("--rule", metavar="RULE", default="compound",
        help=f"rule of scaling: {names}, or coefficients α,β,γ such as 1.2,1.1,1.15 (default: compound)")  # fmt: skip
    add("--search", type=Path, metavar="FOLDER", help="output folder of the search whose best to use")
    parser.add_argument("--alpha", type=share, metavar="A",
        help="share of the width in the rule fast, 0..1 (default: 0.8)")  # fmt: skip


def _add_training(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("baseline", metavar="NETWORK", help=_NETWORK)
    add("--data", required=True, metavar="DATA",
        help="images to train on, as in train: folder with a folder per class, CSV file, digits, fashion-mnist, "
        "…")  # fmt: skip
    add("--out", type=Path, required=True, metavar="FOLDER", help="folder of the run; the same command resumes it")
    add("--validation", type=fraction_or_path, metavar="PART", help=VALIDATION)
    for part in ("training", "validation"):
        add(f"--{part}-images", type=positive, metavar="N",
            help=f"{part} images to draw at random (default: all)")  # fmt: skip
    add("--seeds", type=positive, default=3, metavar="N",
        help="trainings per network, with different random seeds (default: 3)")  # fmt: skip
    for name, kind, help_text in _TRAINING:
        add(f"--{name.replace('_', '-')}", type=kind, help=help_text)
    pixel_options.add_options(parser)
    _add_resolution(parser)


def _pair(text: str) -> tuple[float, float]:
    try:
        depth, resolution = map(float, text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no pair of factors such as 2,1.3") from None
    return depth, resolution


def _baseline(arguments: argparse.Namespace) -> Baseline:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
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
        return Baseline.from_function(found, arguments.resolution or 224)
    baseline = get_baseline(name)
    if arguments.resolution is None:
        return baseline
    if baseline.variant is None:
        return dataclasses.replace(baseline, resolution=arguments.resolution)
    return Baseline.from_variant(dataclasses.replace(baseline.variant, resolution=arguments.resolution))


def _rule(arguments: argparse.Namespace, baseline: Baseline) -> Rule:
    from ..design import load_results

    if arguments.alpha is not None and arguments.rule != "fast":
        raise ValueError(f"--alpha {arguments.alpha:g} belongs to the rule fast: give --rule fast, too.")
    if arguments.search:
        path = arguments.search / "search.json"
        found = load_results(path).finished_of("candidate")
        if not found:
            raise ValueError(f"{path}: no training of a candidate was finished; give α, β and γ by --rule.")
        best = found[0]
        return Coefficients(best.depth, best.width, best.resolution / baseline.resolution)
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


def _candidates(arguments: argparse.Namespace) -> int:
    grid = compound.candidates(arguments.target, arguments.tolerance, arguments.steps)
    header = ["α", "β", "γ", "α·β²·γ²"]
    rows: list[list[object]] = [[c.alpha, c.beta, c.gamma, f"{compound.cost_factor(c):.3f}"] for c in grid]
    if arguments.baseline:
        baseline = _baseline(arguments)
        least = baseline.cost(Factors()).macs
        header += ["input", "multiply-adds", "× the baseline's"]
        for row, coefficients in zip(rows, grid, strict=True):
            factors = coefficients.factors(1.0)
            macs = baseline.cost(factors).macs
            row += [baseline.pixels(factors), f"{macs:,}", f"{macs / least:.3f}"]
    print(table(header, rows))
    return 0


def _fit(arguments: argparse.Namespace) -> int:
    from ..design import expected_top1, fit_budget

    baseline = _baseline(arguments)
    if arguments.out:
        check_writable(arguments.out)
    if arguments.out and baseline.variant is None:
        raise ValueError(
            f"--out {arguments.out}: only EfficientNets are saved as variants, and {baseline.name} is none."
        )
    fit = fit_budget(
        baseline, _rule(arguments, baseline),
        **{name: getattr(arguments, name) for name in _BUDGETS},
        precision=arguments.precision, engine=arguments.engine, threads=arguments.threads,
        measure=arguments.measure,
    )  # fmt: skip
    factors = fit.factors
    print(f"φ = {fit.phi:.3f}: width × {factors.width:.3f}, depth × {factors.depth:.3f}, {fit.resolution} pixels")
    print(_prices_table(fit))
    if baseline.variant is not None:
        print(expected_top1(fit.prices["macs"]))
    if arguments.out:
        save_variant(fit.variant(arguments.out.stem), arguments.out)
        print(f"saved as {arguments.out}, which stands wherever a variant's name does")
    return 0


def _prices_table(fit: Fit) -> str:
    """List what a network costs in each currency; beside it, where it is not near the budget, the next larger one."""
    from ..design.budget import CURRENCIES
    from ..design.budget import amount as in_words

    header = ["", "network", "budget", "used", *([] if fit.is_close else ["next larger"])]
    rows = []
    for currency, price in fit.prices.items():
        budget = fit.budgets.get(currency)
        used = "" if budget is None else f"{price / budget:.1%}" + (" (binding)" if currency == fit.binding else "")
        shown = [price, budget, used, fit.above.get(currency)][: len(header) - 1]
        cells = ["" if cell is None else cell if isinstance(cell, str) else in_words(cell) for cell in shown]
        rows.append([CURRENCIES[currency], *cells])
    return table(header, rows)


def _training_arguments(arguments: argparse.Namespace) -> dict[str, Any]:
    from ..design import ShortTraining

    given = {name: value for name, *_ in _TRAINING if (value := getattr(arguments, name)) is not None}
    return {"seeds": range(arguments.seeds), "recipe": ShortTraining(**given)}


def _data(arguments: argparse.Namespace, size: int) -> Data:
    from .. import datasets

    check_writable(arguments.out, is_folder=True)
    data = datasets.load(arguments.data, arguments.validation, size)
    return data.subset(arguments.training_images, arguments.validation_images, seed=0)


def _search(arguments: argparse.Namespace) -> int:
    from ..design import search

    baseline = _baseline(arguments)
    grid = compound.candidates(arguments.target, arguments.tolerance, arguments.steps)
    largest = round(baseline.resolution * max((c.gamma for c in grid), default=1.0))
    results = search(
        baseline, _data(arguments, largest), arguments.out,
        grid=grid, target=arguments.target, cost_tolerance=arguments.cost_tolerance, prune=not arguments.no_prune,
        **_training_arguments(arguments),
    )  # fmt: skip
    return _print_results(results, arguments.out)


def _compare(arguments: argparse.Namespace) -> int:
    from ..design import compare, fit_budget

    baseline = _baseline(arguments)
    rule = _rule(arguments, baseline)
    if not isinstance(rule, Coefficients):
        raise ValueError("--rule tiny only shrinks: compare takes compound, fast, or three numbers α β γ.")
    # Resolution alone makes the largest images.
    only_resolution = Coefficients(1.0, 1.0, 1.1)
    largest = fit_budget(baseline, only_resolution, macs=1.1 * max(arguments.macs)).resolution
    results = compare(
        baseline, arguments.macs, _data(arguments, largest), arguments.out,
        coefficients=rule, widths_at=arguments.widths_at,
        **_training_arguments(arguments),
    )  # fmt: skip
    return _print_results(results, arguments.out)


def _print_results(results: Results, folder: Path) -> int:
    best = next(iter(results.finished), None)

    def place(network: Network) -> str:
        if network is best or best is None:
            return "best"
        return "within the noise" if results.within_noise(best, network) else ""

    rows = [
        [
            n.method, f"{n.width:.3f}", f"{n.depth:.3f}", n.resolution, f"{n.macs:,}",
            *([f"{n.mean:.2%}", f"± {n.standard_error:.2%}", place(n)] if n.accuracies else ["given up", "", ""]),
        ]
        for n in sorted(results.networks, key=lambda n: -n.mean if n.accuracies else 0)
    ]  # fmt: skip
    print(table(["", "width", "depth", "input", "multiply-adds", "top-1", "s.e.", ""], rows))
    print(f"\n`efficientnet design report {folder}` makes pages and figures of it.")
    return 0


def _report(arguments: argparse.Namespace) -> int:
    from ..design.report import write_report

    print(write_report(arguments.folder))
    return 0
