"""The commands ``efficientnet design …``: compound scaling of any network on any data."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from ..common.files import check_apart, check_writable
from ..common.text import notify
from ..family import compound
from ..family.compound import Coefficients
from ..family.costs import CURRENCIES, cost
from ..family.costs import amount as in_words
from ..family.scaling import scale_filters, stage_repeats
from ..family.variants import get_variant, save_variant
from ..reports.tables import table
from . import design_options as options
from .exit_statuses import SUCCESS
from .number_types import amount, natural, positive
from .paths import given_path

if TYPE_CHECKING:
    from ..datasets.data import Data
    from ..design import Baseline, Fit, LatencyModel, Network, Results

_BATCH_SIZE = 32  # for the memory of a training step


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``design`` and its function."""
    parser.description = (
        "Applies compound scaling (arXiv 1905.11946) to any network: a variant's name, a variant's .json "
        "file, mobilenet-v1, mobilenet-v2, resnet-50, or module:function for a custom function "
        "(width, depth, resolution, classes) that returns a Keras model."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    parser = commands.add_parser("candidates", help="list the candidates for α, β, γ, and what each costs",
        description="Lists the combinations of α, β and γ (depth, width, resolution) whose cost factor α·β²·γ² is near "
        "--target, and the multiply-adds of the network scaled by each. `design search` trains them.")  # fmt: skip
    parser.add_argument(
        "baseline", nargs="?", metavar="NETWORK", help=f"{options.NETWORK} (default: list only the grid)"
    )
    options.add_grid(parser)
    options.add_resolution(parser)
    parser.set_defaults(run=_candidates)

    parser = commands.add_parser("fit", help="find the largest network within budgets",
        description="Finds the largest network within one or several budgets, by a rule of scaling, and prints what it "
        "costs. A budget below the network's own cost shrinks it.")  # fmt: skip
    parser.add_argument("baseline", metavar="NETWORK", help=options.NETWORK)
    options.add_budgets(parser, "budgets, one or several")
    options.add_timing(parser, ", fastest (measured)")
    add = parser.add_argument
    add("--training", action="store_true", help="count the memory of a training step, not of a prediction")
    add("--batch-size", type=positive, metavar="N", help=f"images of a training step (default: {_BATCH_SIZE})")
    add("--measure", action="store_true", help="time the result even if milliseconds are no budget")
    add("--predict", action="store_true", help="search for a budget of milliseconds by times predicted "
        "by `design latency`, and measure only the result")  # fmt: skip
    options.add_rule(parser, "compound, fast, tiny (which only shrinks)")
    options.add_resolution(parser)
    parser.add_argument("--out", type=given_path, metavar="FILE.json",
        help="file to save the network to, as a variant (default: print only)")  # fmt: skip
    parser.set_defaults(run=_fit)

    parser = commands.add_parser("search", help="train the candidates and find the best α, β, γ",
        description="Trains the network scaled by each candidate for α, β and γ, and prints "
        "which is most accurate.")  # fmt: skip
    options.add_training(parser)
    options.add_seeds(parser)
    options.add_grid(parser)
    parser.add_argument("--cost-tolerance", type=float, default=0.1, metavar="SHARE",
        help="deviation allowed between a candidate's cost and the target, as a fraction (default: 0.1)")  # fmt: skip
    parser.add_argument("--no-prune", action="store_true", help="finish all trainings, also hopeless ones")
    parser.set_defaults(run=_search)

    parser = commands.add_parser("compare", help="train single-dimension and compound scaling at equal cost",
        description="Trains networks of equal cost that are scaled in width, depth or resolution alone, and in all "
        "three, and prints their accuracy.")  # fmt: skip
    options.add_training(parser)
    options.add_seeds(parser)
    parser.add_argument("--macs", type=amount, nargs="+", action="extend", required=True, metavar="N",
        help="budgets in multiply-adds, such as 20M 40M")  # fmt: skip
    options.add_rule(parser, "compound, fast")
    parser.add_argument("--widths-at", type=options.pair, nargs="+", action="extend", default=[], metavar="D,R",
        help="depth and resolution factors at which to scale the width too, as in the paper's figure 4, such as "
        "2,1 1,1.3 2,1.3 (default: none)")  # fmt: skip
    parser.set_defaults(run=_compare)

    parser = commands.add_parser("stages", help="train networks whose stages differ in depth, width and more, and "
        "find the best at each cost",
        description="Changes the depth and width of each stage, trains the networks, and saves as variants those "
        "that no other beats in accuracy and cost.")  # fmt: skip
    options.add_training(parser)
    add = parser.add_argument
    add("--trials", type=positive, default=50, metavar="N", help="networks to try (default: 50)")
    add("--change", nargs="+", choices=options.CHANGES, default=[*options.CHANGES[:2]], metavar="WHAT",
        help=f"what may change: {', '.join(options.CHANGES[:-1])} of each stage, {options.CHANGES[-1]} of the network "
        f"(default: {' '.join(options.CHANGES[:2])})")  # fmt: skip
    add("--cost", choices=options.BUDGETS, default="macs", metavar="COST",
        help=f"cost to keep low: {', '.join(options.BUDGETS)}; milliseconds are predicted, as by `design latency` "
        "(default: macs)")  # fmt: skip
    add("--seed", type=natural, default=0, metavar="N", help="seed of the search and of each training (default: 0)")
    options.add_budgets(parser, "budgets; each network is made as wide as they allow (default: the width unchanged)")
    options.add_timing(parser)
    parser.set_defaults(run=_stages)

    parser = commands.add_parser("latency", help="measure this machine once, and predict the time of any network",
        description="Measures 160 small networks on this machine, which takes some minutes and is kept. From these it "
        "predicts the time of any EfficientNet for one image.")  # fmt: skip
    parser.add_argument("networks", nargs="*", metavar="NETWORK",
        help="variant's name, or its .json file (default: B0 to B7)")  # fmt: skip
    parser.add_argument("--again", action="store_true",
        help="measure again what was measured while the machine was busy")  # fmt: skip
    options.add_timing(parser)
    parser.set_defaults(run=_latency)

    parser = commands.add_parser("fastest", help="find the proportions that are fastest on this machine at equal cost",
        description="Scales a network to a cost in two thousand proportions of width, depth and resolution, predicts "
        "the time of each as `design latency` does, and measures the fastest and compound scaling.")  # fmt: skip
    add = parser.add_argument
    add("baseline", metavar="NETWORK", help=options.NETWORK)
    add("--macs", type=amount, required=True, metavar="N", help="multiply-adds of all networks, such as 1.8G")
    add("--finalists", type=positive, default=3, metavar="N", help="networks to measure (default: 3)")
    options.add_timing(parser)
    options.add_resolution(parser)
    add("--out", type=given_path, metavar="FILE.json",
        help="file to save the fastest network to, as a variant (default: print only)")  # fmt: skip
    parser.set_defaults(run=_fastest)

    parser = commands.add_parser(
        "report", help="write report.html and report.md from the results of search and compare",
        description="Writes report.html and report.md, with tables and figures, into the folder of a search "
        "or comparison.",
    )  # fmt: skip
    parser.add_argument("folder", type=given_path, metavar="FOLDER", help="output folder of search or compare")
    parser.set_defaults(run=_report)


def _candidates(arguments: argparse.Namespace) -> int:
    grid = compound.candidates(arguments.target, arguments.tolerance, arguments.steps)
    header = ["α", "β", "γ", "α·β²·γ²"]
    rows: list[list[object]] = [[c.alpha, c.beta, c.gamma, f"{compound.cost_factor(c):.3f}"] for c in grid]
    if arguments.baseline:
        baseline = options.read_baseline(arguments)
        least = baseline.cost().macs
        header += ["input", "multiply-adds", "× the baseline's"]
        for row, coefficients in zip(rows, grid, strict=True):
            factors = coefficients.factors(1.0)
            macs = baseline.cost(factors).macs
            row += [baseline.pixels(factors), f"{macs:,}", f"{macs / least:.3f}"]
    print(table(header, rows))
    return SUCCESS


def _fit(arguments: argparse.Namespace) -> int:
    from ..design import expected_top1, fit_budget

    baseline = options.read_baseline(arguments)
    options.check_out(arguments.out, baseline)
    budgets = options.read_budgets(arguments)
    is_timed = "milliseconds" in budgets
    options.check_timing(arguments, is_timed or arguments.measure, "--milliseconds or --measure")
    if arguments.batch_size and not arguments.training:
        raise ValueError("--batch-size is that of a training step: give --training, too, or leave it out.")
    if arguments.training and arguments.precision == "int8":
        raise ValueError("--precision int8 is for predictions, and --training in f32 or f16: leave one of them out.")
    training_batch = (arguments.batch_size or _BATCH_SIZE) if arguments.training else None
    if arguments.predict and not is_timed:
        raise ValueError("--predict searches for a budget of milliseconds: give --milliseconds, too, or leave it out.")
    fit = fit_budget(
        baseline, options.read_rule(arguments), **budgets,
        training_batch=training_batch,
        precision=arguments.precision, engine=arguments.engine, threads=arguments.threads,
        measure=arguments.measure, latency=_latency_model(arguments, [baseline]) if arguments.predict else None,
    )  # fmt: skip
    factors = fit.factors
    print(f"φ = {fit.phi:.3f}: width × {factors.width:.3f}, depth × {factors.depth:.3f}, {fit.resolution} pixels")
    print(_prices_table(fit))
    if training_batch:
        print(f"memory is that of a training step of {training_batch} images")
    if baseline.variant is not None:
        print(expected_top1(fit.prices["macs"]))
    if arguments.out:
        save_variant(fit.variant(arguments.out.stem), arguments.out)
        print(f"saved as {arguments.out}, a path that replaces the name of a variant")
    return SUCCESS


def _prices_table(fit: Fit) -> str:
    """List what a network costs in each currency; beside it, where it is not near the budget, the next larger one."""
    header = ["", "network", "budget", "used", *([] if fit.is_close else ["next larger"])]
    rows = []
    for currency, price in fit.prices.items():
        budget = fit.budgets.get(currency)
        used = "" if budget is None else f"{price / budget:.1%}" + (" (binding)" if currency == fit.binding else "")
        shown = [price, budget, used, fit.above.get(currency)][: len(header) - 1]
        cells = ["" if cell is None else cell if isinstance(cell, str) else in_words(cell) for cell in shown]
        rows.append([CURRENCIES[currency], *cells])
    return table(header, rows)


def _data(arguments: argparse.Namespace, size: int) -> Data:
    from .. import datasets

    check_writable(arguments.out, is_folder=True)
    check_apart(arguments.out, Path(arguments.data))
    data = datasets.load(arguments.data, arguments.validation, size)
    return data.subset(arguments.training_images, arguments.validation_images, seed=0)


def _search(arguments: argparse.Namespace) -> int:
    from ..design import search

    baseline = options.read_baseline(arguments)
    grid = compound.candidates(arguments.target, arguments.tolerance, arguments.steps)
    largest = round(baseline.resolution * max((c.gamma for c in grid), default=1.0))
    results = search(
        baseline, _data(arguments, largest), arguments.out,
        grid=grid, target=arguments.target, cost_tolerance=arguments.cost_tolerance, prune=not arguments.no_prune,
        seeds=range(arguments.seeds), recipe=options.read_training(arguments),
    )  # fmt: skip
    return _print_results(results, arguments.out)


def _compare(arguments: argparse.Namespace) -> int:
    from ..design import compare, fit_budget

    baseline = options.read_baseline(arguments)
    rule = options.read_rule(arguments)
    if not isinstance(rule, Coefficients):
        raise ValueError("--rule tiny only shrinks: compare takes compound, fast, or three numbers α β γ.")
    # Resolution alone makes the largest images.
    only_resolution = Coefficients(1.0, 1.0, 1.1)
    largest = fit_budget(baseline, only_resolution, macs=1.1 * max(arguments.macs)).resolution
    results = compare(
        baseline, arguments.macs, _data(arguments, largest), arguments.out,
        coefficients=rule, widths_at=arguments.widths_at,
        seeds=range(arguments.seeds), recipe=options.read_training(arguments),
    )  # fmt: skip
    return _print_results(results, arguments.out)


def _stages(arguments: argparse.Namespace) -> int:
    from ..design import search_architecture

    baseline = options.read_baseline(arguments)
    variant = baseline.variant
    if variant is None:
        raise ValueError(f"{arguments.baseline} has no stages that can be changed: only EfficientNets have.")
    budgets = options.read_budgets(arguments)
    is_timed = "milliseconds" in (arguments.cost, *budgets)
    options.check_timing(arguments, is_timed, "--milliseconds or --cost milliseconds")
    front = search_architecture(
        variant, _data(arguments, 2 * variant.resolution), arguments.out,
        trials=arguments.trials, changes=arguments.change, budgets=budgets, cost=arguments.cost,
        precision=arguments.precision, latency=_latency_model(arguments, [baseline]) if is_timed else None,
        recipe=options.read_training(arguments), seed=arguments.seed,
    )  # fmt: skip
    rows = []
    for network in front:
        save_variant(network.variant, arguments.out / f"{network.variant.name}.json")
        counts = zip(stage_repeats(network.variant), network.variant.blocks, strict=True)
        stages = ", ".join(f"{count} × {scale_filters(network.variant, row.output_filters)}" for count, row in counts)
        rows.append([network.variant.name, stages, in_words(network.price), f"{network.accuracy:.2%}"])
    print(table(["", "blocks × filters", CURRENCIES[arguments.cost], "top-1"], rows))
    print(f"\neach is saved in {arguments.out} as NAME.json, a path that replaces the name of a variant")
    return SUCCESS


def _latency(arguments: argparse.Namespace) -> int:
    from ..design import Baseline

    variants = [get_variant(name) for name in arguments.networks or [f"b{number}" for number in range(8)]]
    model = _latency_model(arguments, map(Baseline.from_variant, variants), arguments.again)
    rows = [[one.name, one.resolution, f"{cost(one).macs:,}", in_words(model.milliseconds(one))] for one in variants]
    print(table(["", "input", "multiply-adds", "milliseconds, predicted"], rows))
    print(f"\nmedian error for the measured networks, each predicted without it: {model.error:.1%}")
    return SUCCESS


def _fastest(arguments: argparse.Namespace) -> int:
    from ..design import find_fastest
    from ..design.fastest import check_grows

    baseline = options.read_baseline(arguments)
    options.check_out(arguments.out, baseline)
    check_grows(baseline, arguments.macs)
    model = _latency_model(arguments, [baseline])
    found = find_fastest(baseline, arguments.macs, model, finalists=arguments.finalists)
    rows = [
        [
            name, f"{one.factors.width:.3f}", f"{one.factors.depth:.3f}", baseline.pixels(one.factors),
            f"{one.macs:,}", in_words(one.predicted), in_words(one.measured),
        ]
        for name, one in zip(["compound", *map(str, range(1, len(found)))], found, strict=True)
    ]  # fmt: skip
    print(table(["", "width", "depth", "input", "multiply-adds", "ms, predicted", "ms, measured"], rows))
    if arguments.out:
        save_variant(baseline.scaled(found[1].factors, arguments.out.stem), arguments.out)
    return SUCCESS


def _latency_model(arguments: argparse.Namespace, baselines: Iterable[Baseline], again: bool = False) -> LatencyModel:
    """Measure this machine, after a check that the times of these networks can then be predicted."""
    from ..design import latency_model
    from ..design.latency import check_predictable

    for baseline in baselines:
        check_predictable(baseline)

    def report(done: int, count: int) -> None:
        if done % 20 == 0:
            notify(f"{done} of {count} small networks measured")

    return latency_model(arguments.engine, arguments.threads, arguments.precision, again=again, report=report)


def _print_results(results: Results, folder: Path) -> int:
    best = next(iter(results.finished), None)

    def place(network: Network) -> str:
        if network is best or best is None:
            return "best"
        return "within the noise" if results.within_noise(best, network) else ""

    def outcome(network: Network) -> list[str]:
        if not network.accuracies:
            return ["given up", "", ""]
        is_known = len(network.accuracies) > 1  # a single seed shows no spread
        return [f"{network.mean:.2%}", f"± {network.standard_error:.2%}" if is_known else "", place(network)]

    rows = [
        [
            n.method, f"{n.width:.3f}", f"{n.depth:.3f}", n.resolution, f"{n.macs:,}", *outcome(n),
        ]
        for n in sorted(results.networks, key=lambda n: -n.mean if n.accuracies else 0)
    ]  # fmt: skip
    print(table(["", "width", "depth", "input", "multiply-adds", "top-1", "s.e.", ""], rows))
    print(f"\n`efficientnet design report {folder}` makes pages and figures of it.")
    return SUCCESS


def _report(arguments: argparse.Namespace) -> int:
    from ..design.report import write_report

    print(write_report(arguments.folder))
    return SUCCESS
