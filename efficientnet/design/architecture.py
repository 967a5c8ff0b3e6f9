"""Search a baseline as the authors did, on a small scale: accuracy at few multiply-adds (arXiv 1905.11946, section 4).

The space is MnasNet's (arXiv 1807.11626), stage by stage: kernel, expansion, squeeze-and-excite, filters, repeats.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..common import arguments
from ..common.files import write_file
from ..datasets.data import Data
from ..errors import DivergedError
from ..family import costs
from ..family.compound import efficiency
from ..family.scaling import Factors
from ..family.variants import BlockArgs, Variant, get_variant
from ..reports.theme import LIGHT, new_figure, render, style
from .baselines import Baseline
from .recipe import ShortTraining, checked, checked_data, train
from .trials import Study, import_optuna

# What a stage may have: repeats added to its own, a factor of its filters, kernel, expansion, squeeze-and-excite.
_SPACE: dict[str, tuple[float, ...]] = {
    "repeats": (-1, 0, 1), "filters": (0.75, 1.0, 1.25), "kernel": (3, 5), "expansion": (1, 3, 6), "se": (0.0, 0.25),
}  # fmt: skip


class Found(NamedTuple):
    """A network of the search.

    Attributes:
        variant: Description of the network; ``variant.blocks`` are its stages.
        accuracy: Top-1 accuracy on the validation images, 0..1.
        macs: Multiply-adds for one image.
        efficiency: Objective that the paper's search maximises: accuracy · (macs / target)^w.

    Example:
        >>> from efficientnet import get_variant
        >>> found = Found(get_variant("b0"), accuracy=0.77, macs=390_000_000, efficiency=0.77)
        >>> found.variant.blocks[0].output_filters
        16
    """

    variant: Variant
    accuracy: float
    macs: int
    efficiency: float


def search_architecture(
    baseline: Variant,
    data: Data,
    folder: str | os.PathLike[str],
    *,
    trials: int = 50,
    target: float | None = None,
    w: float = -0.07,
    recipe: ShortTraining | None = None,
    seed: int = 0,
) -> list[Found]:
    """Change a baseline's stages by Optuna's NSGA-II, and keep the networks that are more accurate or cheaper.

    The baseline itself is the first trial. After an interruption the same call resumes; several processes that make
    the same call share the trials.

    Args:
        baseline: Variant whose stages are changed; each keeps its stride.
        data: Images to train on and to validate with.
        folder: Folder of the run; gets ``study.db`` and ``pareto.png``.
        trials: Number of networks to train.
        target: Target T of the objective, multiply-adds; the baseline's by default.
        w: Exponent of the objective: the weight of the cost.
        recipe: Hyperparameters of each training.
        seed: Seed of the search and of each training.

    Returns:
        The Pareto front, cheapest first: no other network found is both more accurate and cheaper.

    Raises:
        ValueError: ``trials`` is below 1, the data cannot be learnt from, or ``folder`` holds another run.
        ImportError: Optuna is not installed.

    Example:
        >>> from dataclasses import replace
        >>> from efficientnet import get_variant
        >>> from efficientnet.datasets import load
        >>> small = replace(get_variant("lite0"), name="small", width=0.25, depth=0.25, resolution=32)
        >>> data, recipe = load("flowers", size=32), ShortTraining(epochs=1)
        >>> found = search_architecture(small, data, "found", trials=1, recipe=recipe)
        1 of 1 networks
        >>> [network.variant.name for network in found]
        ['small-trial0']
    """
    baseline, recipe = get_variant(baseline), checked(recipe)
    arguments.whole("trials", trials)
    arguments.whole("seed", seed, 0)
    arguments.number("w", w, math.isfinite, "a finite exponent, such as -0.07")
    target = None if target is None else arguments.factor("target", target)
    folder = Path(arguments.path("folder", folder, "the folder of the run"))
    target = target or costs.cost(baseline, classes=len(checked_data(data).classes)).macs
    small = data.resized(baseline.resolution)

    def objective(trial: Any) -> tuple[float, float]:
        variant = Baseline.from_variant(_suggest(trial, baseline), len(data.classes))
        try:
            accuracy, _ = train(lambda: variant.build(Factors()), small, recipe, seed)
        except DivergedError:
            accuracy = 0.0
        return accuracy, variant.cost(Factors()).macs

    settings = {
        "kind": "architecture",
        "baseline": dataclasses.asdict(baseline),
        "recipe": dataclasses.asdict(recipe),
        "data": data.fingerprint(),
        "seed": seed,
    }
    study = Study(
        folder, settings, trials, [_unchanged(baseline)], ("maximize", "minimize"),
        sampler=import_optuna().samplers.NSGAIISampler(seed=seed),
    )  # fmt: skip
    study.run(objective, lambda study: print(f"{len(study.finished())} of {trials} networks", flush=True))
    everything = [_found(trial, baseline, target, w) for trial in study.finished()]
    front = pareto_front(everything)
    _draw(folder / "pareto.png", everything, front, target, w)
    return front


def pareto_front(found: Sequence[Found]) -> list[Found]:
    """Return the networks that no other one beats in both accuracy and cost, cheapest first.

    Example:
        >>> from efficientnet import get_variant
        >>> b0 = get_variant("b0")
        >>> networks = [Found(b0, 0.7, 100, 0.0), Found(b0, 0.6, 200, 0.0), Found(b0, 0.8, 300, 0.0)]
        >>> [network.macs for network in pareto_front(networks)]
        [100, 300]
    """
    front: list[Found] = []
    networks = arguments.items("found", found, Found, "networks of a search")
    for candidate in sorted(networks, key=lambda one: (one.macs, -one.accuracy)):
        if not front or candidate.accuracy > front[-1].accuracy:
            front.append(candidate)
    return front


def _suggest(trial: Any, baseline: Variant) -> Variant:
    blocks: list[BlockArgs] = []
    for index, block in enumerate(baseline.blocks, start=1):
        drawn = {name: trial.suggest_categorical(f"{name}{index}", choices) for name, choices in _SPACE.items()}
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
    return dataclasses.replace(baseline, name=f"{baseline.name}-trial{trial.number}", blocks=tuple(blocks))


def _unchanged(baseline: Variant) -> dict[str, float]:
    """Return the suggestions that give the baseline, or the nearest network of the space."""
    parameters = {}
    for index, block in enumerate(baseline.blocks, start=1):
        own = {"repeats": 0, "filters": 1, "kernel": block.kernel_size, "expansion": block.expand_ratio}
        for name, value in {**own, "se": block.se_ratio or 0}.items():
            parameters[f"{name}{index}"] = min(_SPACE[name], key=lambda choice: abs(choice - value))
    return parameters


def _found(trial: Any, baseline: Variant, target: float, w: float) -> Found:
    accuracy, macs = trial.values
    variant = _suggest(trial, baseline)
    return Found(variant, accuracy, round(macs), efficiency(accuracy, macs, target, w))


def _draw(path: Path, found: Sequence[Found], front: Sequence[Found], target: float, w: float) -> None:
    """Draw the networks as points and the Pareto front as a line, and mark the network of the best objective."""
    figure = new_figure(5, LIGHT, width=8)
    axes = figure.subplots()
    best = max(found, key=lambda one: one.efficiency)
    for networks, colour, line, label in (
        (found, LIGHT.faint, "", "tried"),
        (front, LIGHT.series[0], "-", "Pareto front"),
    ):
        macs, accuracies = ([one.macs / 1e6 for one in networks], [100 * one.accuracy for one in networks])
        axes.plot(macs, accuracies, color=colour, marker="o", linestyle=line, label=label)
    axes.scatter(
        best.macs / 1e6, 100 * best.accuracy, s=200, facecolors="none", edgecolors=LIGHT.methods["compound"],
        label=f"best accuracy · (multiply-adds / {target / 1e6:.3g} M)^{w:g}",
    )  # fmt: skip
    axes.set(xlabel="multiply-adds, millions", ylabel="top-1 accuracy, %", xscale="log")
    style(axes, LIGHT, grid="y")
    axes.legend(frameon=False)
    write_file(path, render(figure))
