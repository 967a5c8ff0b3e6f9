"""The method's experiments (arXiv 1905.11946): finding α, β, γ (3.3, step 1), and comparing ways to scale (5.1)."""

from __future__ import annotations

import dataclasses
import functools
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..common import arguments
from ..common.files import replacing
from ..common.text import get_logger
from ..datasets.data import Data
from ..errors import DivergedError
from ..family.compound import PAPER_COEFFICIENTS, Coefficients, candidates
from ..family.scaling import Factors
from ..network.backends import import_keras
from .baselines import UNSCALED, Baseline, checked_baseline
from .budget import at_equal_cost, growths, widths
from .recipe import ShortTraining, checked_data, checked_recipe, train
from .results import Network, Results
from .trials import Stopped, Study, import_optuna

logger = get_logger()

_IMAGES = 6  # images that are kept for the class activation maps


def _network(method: str, baseline: Baseline, factors: Factors = UNSCALED) -> Network:
    cost = baseline.cost(factors)
    return Network(method, factors.width, factors.depth, baseline.pixels(factors), cost.parameters, cost.macs)


def search_networks(
    baseline: Baseline, grid: Sequence[Coefficients], target: float, cost_tolerance: float
) -> list[Network]:
    """Return the baseline and the candidates of :func:`search` whose rounded networks differ and are near the target.

    Raises:
        ValueError: No candidate is near enough.
    """
    least = baseline.cost().macs
    networks: dict[tuple[int, int, int], Network] = {}
    for coefficients in grid:
        network = _network("candidate", baseline, coefficients.factors(1.0))
        if abs(network.macs / (target * least) - 1) <= cost_tolerance:
            # Candidates that round to the same filters, repeats and pixels are one network.
            networks.setdefault((network.parameters, network.macs, network.resolution), network)
    if not networks:
        raise ValueError(
            f"None of {len(grid)} candidates makes of {baseline.name} a network within {cost_tolerance:.0%} of "
            f"{target:g} times its multiply-adds, since numbers are rounded: take finer steps, a greater "
            "tolerance, or a baseline with more repeats."
        )
    return [_network("baseline", baseline), *networks.values()]


def search(
    baseline: Baseline,
    data: Data,
    folder: str | os.PathLike[str],
    *,
    grid: Sequence[Coefficients] | None = None,
    target: float = 2.0,
    cost_tolerance: float = 0.1,
    seeds: Sequence[int] = (0, 1, 2),
    recipe: ShortTraining | None = None,
    prune: bool = True,
) -> Results:
    """Train the candidates of step 1 at φ = 1 and find the best α, β, γ.

    The trainings are the trials of an Optuna study in ``folder``. After an interruption the same call resumes;
    several processes that make the same call share the trainings.

    Args:
        baseline: Network to scale.
        data: Images to train on and to validate with.
        folder: Folder of the run; gets ``study.db`` and, in the end, ``search.json``.
        grid: Candidates; those of ``candidates(target)`` by default.
        target: Factor of the multiply-adds at φ = 1.
        cost_tolerance: Deviation allowed between a candidate's cost and the target, as a fraction.
        seeds: Random seeds; each network is trained once for each.
        recipe: Hyperparameters of each training.
        prune: Whether to give up, for all seeds, networks that lie behind the median of the others at the same epoch
            of the first seed.

    Returns:
        All networks with their accuracies; ``finished[0]`` is the best one.

    Raises:
        ValueError: The data cannot be learned from, no candidate is near the target, or ``folder`` holds another run.
        ImportError: Optuna is not installed.

    Example:
        >>> from dataclasses import replace
        >>> from efficientnet import get_variant
        >>> from efficientnet.datasets import load
        >>> small = replace(get_variant("lite0"), name="small", width=0.25, depth=0.25, resolution=32)
        >>> baseline = Baseline.from_variant(small, classes=3)
        >>> options = {"grid": [Coefficients(1.0, 1.0, 1.4)], "seeds": [0], "recipe": ShortTraining(epochs=1)}
        >>> found = search(baseline, load("flowers", size=32), "searched", cost_tolerance=0.5, **options)
        1 of 2 trainings, ...
        2 of 2 trainings, ...
        >>> [network.method for network in found.networks]
        ['baseline', 'candidate']
    """
    baseline, place, seeds, recipe = _checked(baseline, data, folder, seeds, recipe)
    if grid is not None:
        grid = arguments.items("grid", grid, Coefficients, "what candidates gives")
    arguments.factor("target", target)
    arguments.fraction("cost_tolerance", cost_tolerance)
    arguments.flag("prune", prune)
    networks = search_networks(baseline, candidates(target) if grid is None else grid, target, cost_tolerance)
    return _Experiment("search", baseline, data, place, networks, seeds, recipe, prune).run()


def compare(
    baseline: Baseline,
    budgets: Sequence[float],
    data: Data,
    folder: str | os.PathLike[str],
    *,
    coefficients: Coefficients = PAPER_COEFFICIENTS,
    seeds: Sequence[int] = (0, 1, 2),
    recipe: ShortTraining | None = None,
    tolerance: float = 0.03,
    widths_at: Sequence[tuple[float, float]] = (),
) -> Results:
    """Train networks scaled in width, depth or resolution alone and in all three, at equal multiply-adds.

    Args:
        baseline: Network to scale.
        budgets: Multiply-adds for one image; each is moved to the nearest that all four ways reach.
        data, folder, seeds, recipe: Arguments as for :func:`search`; the folder gets ``compare.json``, and for class
            activation maps ``images.npz`` and, of the largest budget, ``models/``.
        coefficients: Coefficients α, β, γ of compound scaling.
        tolerance: Deviation allowed between a network's cost and its budget, as a fraction.
        widths_at: Pairs of a depth and a resolution factor. Each is grown in width, too, to the budgets that it does
            not exceed by itself; the paper's figure 4 has (2, 1), (1, 1.3) and (2, 1.3).

    Returns:
        All networks with their accuracies, the baseline first.

    Raises:
        ValueError: As for :func:`search`; or the ways have no cost in common near a budget.
        ImportError: Optuna is not installed.

    Example:
        >>> from dataclasses import replace
        >>> from efficientnet import get_variant
        >>> from efficientnet.datasets import load
        >>> small = replace(get_variant("lite0"), name="small", width=0.25, depth=0.25, resolution=32)
        >>> baseline = Baseline.from_variant(small, classes=3)
        >>> options = {"tolerance": 0.3, "seeds": [0], "recipe": ShortTraining(epochs=1)}
        >>> found = compare(baseline, [2e6], load("flowers", size=32), "compared", **options)
        1 of 5 trainings, ...
        2 of 5 trainings, ...
        3 of 5 trainings, ...
        4 of 5 trainings, ...
        5 of 5 trainings, ...
        >>> [network.method for network in found.networks]
        ['baseline', 'width', 'depth', 'resolution', 'compound']
    """
    baseline, place, seeds, recipe = _checked(baseline, data, folder, seeds, recipe)
    costs = arguments.iterable("budgets", budgets, "a list of multiply-adds")
    budgets = [arguments.factor("budgets", macs) for macs in costs]
    if not budgets:
        raise ValueError("budgets has no items: expected at least one number of multiply-adds.")
    for pair in arguments.iterable("widths_at", widths_at, "pairs of factors"):
        if not (isinstance(pair, (tuple, list)) and len(pair) == 2):
            raise ValueError(f"widths_at holds {pair!r}: expected pairs of a depth and a resolution factor.")
        Factors(depth=pair[0], resolution=pair[1]).checked()
    networks, further = [_network("baseline", baseline)], []
    for budget in sorted(budgets):
        equal = at_equal_cost(baseline, growths(coefficients), budget, tolerance)
        networks += [_network(way, baseline, factors) for way, factors in equal.items()]
        for depth, resolution in widths_at:
            grow = widths(depth, resolution)
            if baseline.cost(grow(0.0)).macs <= budget:
                name = f"width at depth {depth:g}, resolution {resolution:g}"
                factors = at_equal_cost(baseline, {name: grow}, networks[-1].macs, tolerance)[name]
                further.append(_network(name, baseline, factors))
    kept = [networks[0], *networks[-len(growths()) :]]
    experiment = _Experiment("compare", baseline, data, place, networks + further, seeds, recipe, kept=kept)
    experiment.keep_images()
    return experiment.run()


def _checked(
    baseline: Any, data: Any, folder: Any, seeds: Any, recipe: Any
) -> tuple[Baseline, Path, list[int], ShortTraining]:
    """Check the arguments that a search and a comparison share; the baseline gets the classes of the data."""
    baseline = dataclasses.replace(checked_baseline(baseline), classes=len(checked_data(data).classes))
    place = Path(arguments.path("folder", folder, "the folder of the run"))
    found = [arguments.whole("seeds", seed, 0) for seed in arguments.iterable("seeds", seeds, "a list of integers")]
    if not found:
        raise ValueError("seeds has no items: expected at least one integer.")
    return baseline, place, found, checked_recipe(recipe)


@dataclass
class _Experiment:
    """Networks that are trained in the same way, once for each seed."""

    kind: str
    baseline: Baseline
    data: Data
    folder: Path
    networks: Sequence[Network]
    seeds: Sequence[int]
    recipe: ShortTraining
    prune: bool = False
    kept: Sequence[Network] = ()  # networks whose first model is saved

    def __post_init__(self) -> None:
        pruners = import_optuna().pruners
        self.resized = functools.lru_cache(maxsize=2)(self.data.resized)
        numbers = {part: len(getattr(self.data, part)) for part in ("classes", "training", "validation")}
        self.about = {"name": self.data.name, **numbers}
        settings = {
            "kind": self.kind,
            "baseline": self.baseline.name,
            "networks": [dataclasses.asdict(network) for network in self.networks],
            "seeds": list(self.seeds),
            "recipe": dataclasses.asdict(self.recipe),
            "data": {**self.about, "fingerprint": self.data.fingerprint()},
            "prune": self.prune,
            "backend": import_keras().backend.backend(),
        }
        # One seed of all networks before the next: so the pruner soon detects hopeless ones.
        queue = [{"network": index, "seed": seed} for seed in self.seeds for index in range(len(self.networks))]
        median = pruners.MedianPruner(len(self.networks) // 2, n_warmup_steps=self.recipe.epochs // 3)
        pruner = median if self.prune else pruners.NopPruner()
        self.study = Study(self.folder, settings, len(queue), queue, pruner=pruner)

    def run(self) -> Results:
        self.study.run(self.train, self.print_progress)
        results = self.results()
        results.save(self.folder / f"{self.kind}.json")
        return results

    def train(self, trial: Any) -> float:
        index = trial.suggest_int("network", 0, len(self.networks) - 1)
        seed = trial.suggest_int("seed", 0, max(self.seeds))
        network = self.networks[index]
        if self.prune and self.stopped(index):
            raise Stopped
        begun = time.monotonic()
        try:
            accuracy, model = train(
                functools.partial(self.build, network), self.resized(network.resolution), self.recipe,
                seed, functools.partial(self.report, trial),
            )  # fmt: skip
        except DivergedError as error:
            logger.warning("%s, seed %d: %s", network, seed, error)
            raise Stopped from None
        if network in self.kept and seed == self.seeds[0]:
            self.save(model, network.method)
        trial.set_user_attr("seconds", time.monotonic() - begun)
        return accuracy

    def build(self, network: Network) -> Any:
        return self.baseline.build(Factors(network.width, network.depth, network.resolution / self.baseline.resolution))

    def report(self, trial: Any, epoch: int, accuracy: float) -> None:
        """Report an epoch of the first seed to the pruner, and follow its decision.

        A network that passes the first seed is trained with all seeds: otherwise one in two would fail by chance each
        time. The baseline is the reference and always goes on.
        """
        if trial.params["seed"] == self.seeds[0]:
            self.study.report(trial, epoch, accuracy)
            if self.networks[trial.params["network"]].method != "baseline" and trial.should_prune():
                raise Stopped

    def stopped(self, index: int) -> int:
        """Return the number of a network's trainings that were given up."""
        return sum(trial.params["network"] == index for trial in self.study.finished() if trial.state.name == "PRUNED")

    def results(self) -> Results:
        """Return the results so far."""
        accuracies: dict[int, list[float]] = {index: [] for index in range(len(self.networks))}
        for trial in self.study.finished():
            if trial.state.name == "COMPLETE":
                accuracies[trial.params["network"]].append(trial.value)
        networks = [
            dataclasses.replace(network, accuracies=tuple(accuracies[index]), stopped=self.stopped(index))
            for index, network in enumerate(self.networks)
        ]
        recipe = {**dataclasses.asdict(self.recipe), "seeds": len(self.seeds)}
        return Results(self.kind, self.baseline.name, self.about, recipe, tuple(networks))

    def print_progress(self, study: Study) -> None:
        """Print what is done and how long the rest will take, estimated from the multiply-adds."""
        finished = study.finished()
        timed = [trial for trial in finished if "seconds" in trial.user_attrs]

        def macs(trials: Sequence[Any]) -> int:
            return sum(self.networks[trial.params["network"]].macs for trial in trials)

        left = len(self.seeds) * sum(network.macs for network in self.networks) - macs(finished)
        rate = sum(trial.user_attrs["seconds"] for trial in timed) / max(1, macs(timed))
        best = max((trial.value for trial in timed if trial.value is not None), default=float("nan"))
        given_up = len(finished) - len(timed)
        print(
            f"{len(finished)} of {study.count} trainings, {given_up} given up early; best {best:.4f}; "
            f"about {left * rate / 60 / (1 + study.elsewhere()):.0f} min left",
            flush=True,
        )

    def save(self, model: Any, method: str) -> None:
        (self.folder / "models").mkdir(exist_ok=True)
        with replacing(self.folder / "models" / f"{method}.keras") as part:
            model.save(part)

    def keep_images(self) -> None:
        """Save a few validation images, of as many classes as possible."""
        rows = self.data.validation
        labels = self.data.targets.values
        _, first = np.unique(labels[rows], return_index=True)
        chosen = rows[first[:_IMAGES]]
        pixels, labels, classes = self.data.pixels[chosen], labels[chosen], np.array(self.data.classes)
        with replacing(self.folder / "images.npz") as part:
            np.savez(part, pixels=pixels, labels=labels, classes=classes)
