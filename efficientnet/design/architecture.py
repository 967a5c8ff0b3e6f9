"""A search for a baseline, as the authors did on a larger scale: accuracy at few multiply-adds (arXiv 1905.11946, 4).

The space is MnasNet's (arXiv 1807.11626), stage by stage: kernel, expansion, squeeze-and-excite, filters, repeats.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..common import arguments
from ..common.files import write_file
from ..datasets.data import Data
from ..errors import DivergedError
from ..family import costs
from ..family.compound import efficiency
from ..family.costs import CURRENCIES
from ..family.scaling import scale_resolution
from ..family.variants import BlockArgs, Variant, get_variant
from ..reports.theme import LIGHT, new_figure, render, style
from .baselines import Baseline
from .budget import widest
from .latency import LatencyModel, checked_latency
from .probes import build as build_variant
from .recipe import ShortTraining, checked_data, checked_recipe, train
from .timing import Timed
from .trials import Stopped, Study, import_optuna

# What a stage may have: repeats added to its own, a factor of its filters, kernel, expansion, squeeze-and-excite.
_SPACE: dict[str, tuple[float, ...]] = {
    "repeats": (-1, 0, 1), "filters": (0.75, 1.0, 1.25), "kernel": (3, 5), "expansion": (1, 3, 6), "se": (0.0, 0.25),
}  # fmt: skip
_RESOLUTIONS = (0.8, 0.9, 1.0, 1.1, 1.25)  # factors of the network's
CHANGES = (*_SPACE, "resolution")


class Found(NamedTuple):
    """A network that an architecture search has trained.

    Attributes:
        variant: Description of the network; ``variant.blocks`` are its stages.
        accuracy: Top-1 accuracy on the validation images, 0..1.
        price: What it costs, in the currency of the search; milliseconds are measured on the Pareto front, and
            elsewhere predicted.
        efficiency: Objective that the paper's search maximizes: accuracy · (price / target)^w.

    Example:
        >>> from efficientnet import get_variant
        >>> found = Found(get_variant("b0"), accuracy=0.77, price=390_000_000, efficiency=0.77)
        >>> found.variant.blocks[0].output_filters
        16
    """

    variant: Variant
    accuracy: float
    price: float
    efficiency: float


def search_architecture(
    baseline: Variant,
    data: Data,
    folder: str | os.PathLike[str],
    *,
    trials: int = 50,
    changes: Sequence[str] = tuple(_SPACE),
    budgets: Mapping[str, float] | None = None,
    cost: str = "macs",
    precision: str = "f32",
    latency: LatencyModel | None = None,
    target: float | None = None,
    w: float = -0.07,
    recipe: ShortTraining | None = None,
    seed: int = 0,
) -> list[Found]:
    """Change a baseline stage by stage by Optuna's NSGA-II, and keep the networks that are more accurate or cheaper.

    Each network is trained briefly: a proxy of the accuracy that it can reach. With budgets, all of its stages are
    first made wider or narrower until it uses them up, so that networks of equal cost compete. The baseline itself is
    the first trial. After an interruption the same call resumes; several processes that make the same call share the
    trials.

    Args:
        baseline: Variant whose stages are changed; each keeps its stride.
        data: Images to train on and to validate with.
        folder: Folder of the run; gets ``study.db`` and ``pareto.png``.
        trials: Number of networks to try.
        changes: What may change: of each stage ``"repeats"`` and ``"filters"`` (its depth and width), ``"kernel"``,
            ``"expansion"`` and ``"se"``; of the network ``"resolution"``.
        budgets: Most of each currency of :func:`fit_budget`, such as ``{"macs": 20e6}``.
        cost: Currency that the search minimizes.
        precision: Precision that file and memory are of: ``"f32"``, ``"f16"`` or ``"int8"``.
        latency: Latency model that predicts milliseconds, as the cost or as a budget.
        target: Target T of the objective, in the currency of the cost; the first trial's by default.
        w: Exponent of the objective: the weight of the cost.
        recipe: Hyperparameters of each training.
        seed: Seed of the search and of each training.

    Returns:
        The Pareto front, cheapest first: no other network found is both more accurate and cheaper.

    Raises:
        ValueError: ``trials`` is below 1, the data cannot be learned from, no network is within the budgets, or
            ``folder`` holds another run.
        ImportError: Optuna is not installed.

    Example:
        >>> from dataclasses import replace
        >>> from efficientnet import get_variant
        >>> from efficientnet.datasets import load
        >>> small = replace(get_variant("lite0"), name="small", width=0.25, depth=0.25, resolution=32)
        >>> data, recipe = load("flowers", size=32), ShortTraining(epochs=1)
        >>> found = search_architecture(small, data, "found", trials=1, budgets={"macs": 1e6}, recipe=recipe)
        1 of 1 networks
        >>> [network.variant.name for network in found]
        ['small-trial0']
    """
    baseline, recipe = get_variant(baseline), checked_recipe(recipe)
    arguments.whole("trials", trials)
    arguments.whole("seed", seed, 0)
    arguments.number("w", w, math.isfinite, "a finite exponent, such as -0.07")
    target = None if target is None else arguments.factor("target", target)
    folder = Path(arguments.path("folder", folder, "the folder of the run"))
    arguments.choice("cost", cost, CURRENCIES)
    timed = Timed(precision).checked()
    budgets = arguments.instance(
        "budgets", budgets or {}, Mapping, "a dictionary of currencies, such as {'macs': 20e6}"
    )
    for currency, most in budgets.items():
        arguments.factor(f"budgets[{arguments.choice('budgets', currency, CURRENCIES)!r}]", most)
    changed = [arguments.choice("changes", one, CHANGES) for one in arguments.iterable("changes", changes, "a list")]
    if latency is not None:
        timed = checked_latency(latency, Baseline.from_variant(baseline)).timed
    elif "milliseconds" in (cost, *budgets):
        raise ValueError("milliseconds need a latency model: expected latency=latency_model().")
    space = _Space(baseline, len(checked_data(data).classes), changed, budgets, cost, timed.precision, latency)
    space.network(import_optuna().trial.FixedTrial(space.unchanged()))  # raises if no budget is reached
    resized = functools.lru_cache(maxsize=2)(data.resized)

    def objective(trial: Any) -> tuple[float, float]:
        try:
            network = space.network(trial)
        except ValueError:  # too large, or too small, for the budgets
            raise Stopped from None
        build = Baseline.from_variant(network, len(data.classes)).build
        try:
            accuracy, _ = train(build, resized(network.resolution), recipe, seed)
        except DivergedError:
            accuracy = 0.0
        return accuracy, space.price(network)

    settings = {
        "kind": "architecture",
        "baseline": dataclasses.asdict(baseline),
        "changes": changed,
        "budgets": dict(budgets),
        "cost": cost,
        "precision": timed.precision,
        "recipe": dataclasses.asdict(recipe),
        "data": data.fingerprint(),
        "seed": seed,
        # It decides how wide a budget lets a network be; another machine's makes other networks of the same draw.
        "latency": None if latency is None else dataclasses.asdict(latency),
    }

    def sampler(number: int) -> Any:
        (of_trial,) = np.random.SeedSequence((seed, number)).generate_state(1)
        return import_optuna().samplers.NSGAIISampler(seed=int(of_trial))

    study = Study(folder, settings, trials, [space.unchanged()], ("maximize", "minimize"), sampler)
    study.run(objective, lambda study: print(f"{len(study.finished())} of {trials} networks", flush=True))
    trained = [trial for trial in study.finished() if trial.values]
    target = target or trained[0].values[1]

    def found(variant: Variant, accuracy: float, price: float) -> Found:
        return Found(variant, accuracy, price, efficiency(accuracy, price, target, w))

    everything = [found(space.network(trial), *trial.values) for trial in trained]
    front = pareto_front(everything)
    if cost == "milliseconds" and latency is not None:  # predicted so far
        times = [latency.timed.milliseconds(build_variant(one.variant)) for one in front]
        front = pareto_front([found(*one[:2], spent) for one, spent in zip(front, times, strict=True)])
    _draw(folder / "pareto.png", everything, front, CURRENCIES[cost], target, w)
    return front


def pareto_front(found: Sequence[Found]) -> list[Found]:
    """Return the networks that no other one beats in both accuracy and cost, cheapest first.

    Args:
        found: Networks of a search.

    Example:
        >>> from efficientnet import get_variant
        >>> b0 = get_variant("b0")
        >>> networks = [Found(b0, 0.7, 100, 0.0), Found(b0, 0.6, 200, 0.0), Found(b0, 0.8, 300, 0.0)]
        >>> [network.price for network in pareto_front(networks)]
        [100, 300]
    """
    front: list[Found] = []
    networks = arguments.items("found", found, Found, "networks of a search")
    for candidate in sorted(networks, key=lambda one: (one.price, -one.accuracy)):
        if not front or candidate.accuracy > front[-1].accuracy:
            front.append(candidate)
    return front


@dataclasses.dataclass(frozen=True)
class _Space:
    """The networks of a search, and their costs."""

    baseline: Variant
    classes: int
    changes: Sequence[str]
    budgets: Mapping[str, float]
    cost: str
    precision: str
    latency: LatencyModel | None

    def network(self, trial: Any) -> Variant:
        """Return a trial's network; with budgets the widest that they allow.

        Raises:
            ValueError: No width is within the budgets.
        """
        blocks: list[BlockArgs] = []
        for index, block in enumerate(self.baseline.blocks, start=1):
            drawn = {
                name: trial.suggest_categorical(f"{name}{index}", _SPACE[name]) if name in self.changes else own
                for name, own in _own(block).items()
            }
            changed = dataclasses.replace(
                block,
                kernel_size=drawn["kernel"],
                expand_ratio=drawn["expansion"],
                se_ratio=drawn["se"] or None,
                num_repeat=max(1, block.num_repeat + drawn["repeats"]),
                input_filters=blocks[-1].output_filters if blocks else block.input_filters,
                output_filters=round(block.output_filters * drawn["filters"]),
            )
            blocks.append(changed)
        factor = trial.suggest_categorical("resolution", _RESOLUTIONS) if "resolution" in self.changes else 1.0
        variant = dataclasses.replace(
            self.baseline, name=f"{self.baseline.name}-trial{trial.number}", blocks=tuple(blocks),
            resolution=scale_resolution(self.baseline.resolution, factor),
        )  # fmt: skip
        if not self.budgets:
            return variant
        return widest(Baseline.from_variant(variant, self.classes), self.budgets, self.precision, self.latency)

    def price(self, variant: Variant) -> float:
        """Return what a network costs, in the currency of the search."""
        if self.latency is not None and self.cost == "milliseconds":
            return self.latency.milliseconds(variant)
        return costs.cost(variant, classes=self.classes).prices(self.precision)[self.cost]

    def unchanged(self) -> dict[str, float]:
        """Return the suggestions that give the baseline, or the nearest network of the space."""
        parameters = {"resolution": 1.0}
        for index, block in enumerate(self.baseline.blocks, start=1):
            for name, own in _own(block).items():
                parameters[f"{name}{index}"] = min(_SPACE[name], key=lambda choice: abs(choice - own))
        return {name: value for name, value in parameters.items() if name.rstrip("0123456789") in self.changes}


def _own(block: BlockArgs) -> dict[str, Any]:
    """Return the suggestions that leave a stage unchanged."""
    return {
        "repeats": 0, "filters": 1.0, "kernel": block.kernel_size, "expansion": block.expand_ratio,
        "se": block.se_ratio or 0.0,
    }  # fmt: skip


def _draw(path: Path, found: Sequence[Found], front: Sequence[Found], currency: str, target: float, w: float) -> None:
    """Draw the networks as points and the Pareto front as a line, and mark the network of the best objective."""
    figure = new_figure(5, LIGHT, width=8)
    axes = figure.subplots()
    best = max(found, key=lambda one: one.efficiency)
    for networks, color, line, label in (
        (found, LIGHT.faint, "", "tried"),
        (front, LIGHT.series[0], "-", "Pareto front"),
    ):
        prices, accuracies = ([one.price for one in networks], [100 * one.accuracy for one in networks])
        axes.plot(prices, accuracies, color=color, marker="o", linestyle=line, label=label)
    axes.scatter(
        best.price, 100 * best.accuracy, s=200, facecolors="none", edgecolors=LIGHT.methods["compound"],
        label=f"best accuracy · ({currency} / {target:,.3g})^{w:g}",
    )  # fmt: skip
    axes.set(xlabel=currency, ylabel="top-1 accuracy, %", xscale="log")
    style(axes, LIGHT, grid="y")
    axes.legend(frameon=False)
    write_file(path, render(figure))
