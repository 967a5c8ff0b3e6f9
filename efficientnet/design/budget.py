"""Scaling a baseline to a budget: how far it can grow, and how far in one dimension alone (arXiv 1905.11946, 3.3)."""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ..common import arguments
from ..family.scaling import PAPER_COEFFICIENTS, Coefficients, Cost, Factors, checked_coefficients
from .baselines import Baseline, checked

# One number that says how far a network has grown -> its factors.
Path = Callable[[float], Factors]

_MOST = 32  # steps on a path, each φ + 1 or once more the baseline's size; beyond them the search gives up
_PRECISION = 1e-3  # of φ, or of a factor
_MILLISECONDS_PRECISION = 0.05  # a timing tells no finer steps apart
_TIMINGS = 20


class Fit(NamedTuple):
    """A baseline grown as far as a budget lets it.

    Attributes:
        phi: compound coefficient φ.
        factors: of width, depth and resolution.
        resolution: side of the input, pixels.
        cost: of the network as it is, rounding included.
        milliseconds: it takes for one image, where that was the budget; else None.
    """

    phi: float
    factors: Factors
    resolution: int
    cost: Cost
    milliseconds: float | None = None


def fit_budget(
    baseline: Baseline,
    coefficients: Coefficients = PAPER_COEFFICIENTS,
    *,
    macs: float | None = None,
    parameters: float | None = None,
    milliseconds: float | None = None,
) -> Fit:
    """Find the largest network that compound scaling makes of a baseline within a budget (section 3.3, step 2).

    The network itself is compared with the budget, with its numbers of filters, repeats and pixels rounded,
    not the formula. Rounding repeats up makes the cost jump, so the result can lie some way below the budget.

    Args:
        baseline: Network to scale.
        coefficients: Coefficients α, β, γ; the paper's by default.
        macs: Most multiply-adds for one image.
        parameters: Most trainable parameters.
        milliseconds: Most time for one image, in float32 on this machine (median of several).

    Returns:
        The fit with the largest φ, to a thousandth (a twentieth for milliseconds).

    Raises:
        ValueError: not exactly one budget, one below the baseline's own cost, or one that the coefficients never reach.
    """
    baseline, coefficients = checked(baseline), checked_coefficients(coefficients)
    budgets = {"macs": macs, "parameters": parameters, "milliseconds": milliseconds}
    given = {kind: budget for kind, budget in budgets.items() if budget is not None}
    if len(given) != 1:
        raise ValueError(f"Got {len(given)} budgets: give exactly one of {', '.join(budgets)}.")
    kind, budget = next(iter(given.items()))
    arguments.factor(kind, budget)
    if milliseconds is None:
        phi = _largest(lambda factors: getattr(baseline.cost(factors), kind), coefficients.factors, budget, kind)
        took = None
    else:
        timed = functools.cache(lambda factors: _milliseconds(baseline, factors))
        phi = _largest(timed, coefficients.factors, milliseconds, kind, _MILLISECONDS_PRECISION)
        took = timed(coefficients.factors(phi))
    factors = coefficients.factors(phi)
    return Fit(phi, factors, baseline.pixels(factors), baseline.cost(factors), took)


def _largest(
    cost: Callable[[Factors], float], path: Path, budget: float, kind: str, precision: float = _PRECISION
) -> float:
    """How far to go on a path for the cost to stay within the budget; cost never falls on the way."""
    least = cost(path(0.0))
    if not least <= budget:
        raise ValueError(
            f"The budget of {budget:,.6g} {kind} is below what the baseline itself takes, {least:,.6g}: raise it, or "
            "start from a smaller baseline."
        )
    low, high = 0.0, 1.0
    try:
        while high <= _MOST and cost(path(high)) <= budget:
            low, high = high, high + 1
    except ValueError:  # a network so large is not built
        high = _MOST + 1
    if high > _MOST:
        grown = ", ".join(f"{name} × {value:.3g}" for name, value in path(low)._asdict().items())
        raise ValueError(
            f"The budget of {budget:,.6g} {kind} is not reached however far the network grows: at {grown} it takes "
            f"{cost(path(low)):,.6g}. Raise the coefficient of a dimension that costs {kind}."
        )
    while high - low > precision:
        middle = (low + high) / 2
        low, high = (middle, high) if cost(path(middle)) <= budget else (low, middle)
    return low


def _milliseconds(baseline: Baseline, factors: Factors) -> float:
    from ..inference import compile

    model = baseline.build(factors)
    image = np.zeros((1, *model.input_shape[1:]), np.float32)
    seconds = []
    with compile(model, cache=False) as predictor:
        for _ in range(3):
            predictor(image)
        for _ in range(_TIMINGS):
            begin = time.perf_counter()
            predictor(image)
            seconds.append(time.perf_counter() - begin)
    return 1000 * statistics.median(seconds)


def widths(depth: float, resolution: float) -> Path:
    """Growing in width on a network that is deeper and sees more pixels than the baseline (the paper's figure 4)."""
    return lambda t: Factors(width=1 + t, depth=depth, resolution=resolution)


def paths(coefficients: Coefficients = PAPER_COEFFICIENTS) -> dict[str, Path]:
    """The four ways to grow that the paper compares (section 5.1, table 3); each starts at the baseline.

    A single dimension's way is told by its factor less 1, compound scaling's by φ.
    """
    coefficients = checked_coefficients(coefficients)
    return {
        "width": lambda t: Factors(width=1 + t),
        "depth": lambda t: Factors(depth=1 + t),
        "resolution": lambda t: Factors(resolution=1 + t),
        "compound": coefficients.factors,
    }


def at_equal_cost(
    baseline: Baseline, ways: dict[str, Path], macs: float, tolerance: float = 0.03, samples: int | None = None
) -> dict[str, Factors]:
    """Networks that cost the same, one for each way of growing.

    Rounding lets each way reach only some costs. So where there is no network of each within the tolerance of the
    budget asked for, the nearest budget is taken at which there is.

    Args:
        baseline: what grows.
        ways: from :func:`paths`.
        macs: multiply-adds for one image that are asked for.
        tolerance: how far each may be from the common budget, as a fraction of it.
        samples: networks that are looked at on each way; by default 200, or 40 where each has to be built.

    Returns:
        The factors of each way's network.

    Raises:
        ValueError: there is no such budget between 0.75 and 1.33 times the one asked for.
    """
    baseline = checked(baseline)
    for way, path in arguments.instance("ways", ways, dict, "what paths gives").items():
        arguments.function(f"ways[{way!r}]", path, "a function from a number to Factors")
    if not ways:
        raise ValueError("ways has no items: expected what paths gives.")
    arguments.factor("macs", macs)
    arguments.fraction("tolerance", tolerance)
    if samples is None:
        samples = 200 if baseline.variant else 40
    arguments.whole("samples", samples)
    reachable: dict[str, dict[int, Factors]] = {}
    for way, path in ways.items():
        budgets = max(0.75 * macs, baseline.cost(path(0.0)).macs), 4 / 3 * macs
        ends = [_largest(lambda factors: baseline.cost(factors).macs, path, end, "macs") for end in budgets]
        # Of several factors that round to the same network, the smallest stays.
        grown = [path(t) for t in np.linspace(ends[1], ends[0], samples)]
        reachable[way] = {baseline.cost(factors).macs: factors for factors in grown}
    costs = {cost for found in reachable.values() for cost in found}
    for budget in [macs, *sorted(costs, key=lambda cost: abs(np.log(cost / macs)))]:
        nearest = {way: min(found, key=lambda cost: abs(cost - budget)) for way, found in reachable.items()}
        if all(abs(cost / budget - 1) <= tolerance for cost in nearest.values()):
            return {way: reachable[way][cost] for way, cost in nearest.items()}
    raise ValueError(
        f"{baseline.name} cannot be brought to the same multiply-adds in each of {', '.join(ways)} anywhere near "
        f"{macs:,.6g}: its steps are too coarse. Ask for a larger budget, or take a baseline with more repeats, "
        "a larger input, or a smaller depth_divisor."
    )
