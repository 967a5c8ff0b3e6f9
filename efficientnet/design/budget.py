"""Scaling a baseline to a budget: how far it can grow, and how far in one dimension alone (arXiv 1905.11946, 3.3)."""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ..common import arguments
from ..family.compound import PAPER_COEFFICIENTS, Coefficients, checked_coefficients
from ..family.scaling import Cost, Factors
from .baselines import Baseline, checked

# From one number, how far a network has grown, to its factors.
Growth = Callable[[float], Factors]

_MOST = 32  # steps on a path, each φ + 1 or once more the baseline's size; then the search gives up
_PRECISION = 1e-3  # of φ, or of a factor
_MILLISECONDS_PRECISION = 0.05  # a timing does not resolve finer steps
_TIMINGS = 20


class Fit(NamedTuple):
    """A baseline grown as far as a budget allows.

    Attributes:
        phi: Compound coefficient φ.
        factors: Factors of width, depth and resolution.
        resolution: Side of the input, pixels.
        cost: Cost of the network itself, rounding included.
        milliseconds: Time for one image if that was the budget; else None.

    Example:
        >>> fit = fit_budget(get_baseline("b0"), macs=1e9)
        >>> fit.resolution, round(fit.factors.width, 2), round(fit.factors.depth, 2)
        (259, 1.1, 1.21)
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
        ValueError: There is not exactly one budget, or it is below the baseline's cost, or the coefficients never
            reach it.

    Example:
        >>> fit_budget(get_baseline("b0"), macs=1e9).resolution
        259
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
    cost: Callable[[Factors], float], grow: Growth, budget: float, kind: str, precision: float = _PRECISION
) -> float:
    """Return how far to go on a path within the budget; the cost never falls on the way."""
    least = cost(grow(0.0))
    if not least <= budget:
        raise ValueError(
            f"The budget of {budget:,.6g} {kind} is below what the baseline itself takes, {least:,.6g}: raise it, or "
            "start from a smaller baseline."
        )
    low, high = 0.0, 1.0
    try:
        while high <= _MOST and cost(grow(high)) <= budget:
            low, high = high, high + 1
    except ValueError:  # a network so large is not built
        high = _MOST + 1
    if high > _MOST:
        grown = ", ".join(f"{name} × {value:.3g}" for name, value in grow(low)._asdict().items())
        raise ValueError(
            f"The budget of {budget:,.6g} {kind} is not reached however far the network grows: at {grown} it takes "
            f"{cost(grow(low)):,.6g}. Raise the coefficient of a dimension that costs {kind}."
        )
    while high - low > precision:
        middle = (low + high) / 2
        low, high = (middle, high) if cost(grow(middle)) <= budget else (low, middle)
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


def widths(depth: float, resolution: float) -> Growth:
    """Return a path that grows the width of a network of this depth and resolution factor (the paper's figure 4)."""
    return lambda t: Factors(width=1 + t, depth=depth, resolution=resolution)


def growths(coefficients: Coefficients = PAPER_COEFFICIENTS) -> dict[str, Growth]:
    """Return the four ways to grow that the paper compares (section 5.1, table 3); each starts at the baseline.

    The number of a single dimension's path is its factor less 1, that of compound scaling is φ.

    Example:
        >>> growths()["depth"](0.5)
        Factors(width=1.0, depth=1.5, resolution=1.0)
    """
    coefficients = checked_coefficients(coefficients)
    return {
        "width": lambda t: Factors(width=1 + t),
        "depth": lambda t: Factors(depth=1 + t),
        "resolution": lambda t: Factors(resolution=1 + t),
        "compound": coefficients.factors,
    }


def at_equal_cost(
    baseline: Baseline, ways: dict[str, Growth], macs: float, tolerance: float = 0.03, samples: int | None = None
) -> dict[str, Factors]:
    """Return networks of equal cost, one for each way of growing.

    Rounding lets each way reach only some costs. If some way has no network within the tolerance of the budget, the
    nearest budget at which all have one is taken.

    Args:
        baseline: Network to scale.
        ways: Ways of growing, from :func:`growths`.
        macs: Budget, multiply-adds for one image.
        tolerance: Deviation allowed from the common budget, as a fraction of it.
        samples: Number of networks to try on each way; by default 200, or 40 if each has to be built.

    Returns:
        The factors of each way's network.

    Raises:
        ValueError: There is no common budget between 0.75 and 1.33 times ``macs``.

    Example:
        >>> networks = at_equal_cost(get_baseline("b0"), growths(), macs=2e9, samples=20, tolerance=0.1)
        >>> sorted(networks)
        ['compound', 'depth', 'resolution', 'width']
    """
    baseline = checked(baseline)
    for way, grow in arguments.instance("ways", ways, dict, "what growths returns").items():
        arguments.function(f"ways[{way!r}]", grow, "a function from a number to Factors")
    if not ways:
        raise ValueError("ways has no items: expected what growths returns.")
    arguments.factor("macs", macs)
    arguments.fraction("tolerance", tolerance)
    if samples is None:
        samples = 200 if baseline.variant else 40
    arguments.whole("samples", samples)
    reachable: dict[str, dict[int, Factors]] = {}
    for way, grow in ways.items():
        budgets = max(0.75 * macs, baseline.cost(grow(0.0)).macs), 4 / 3 * macs
        ends = [_largest(lambda factors: baseline.cost(factors).macs, grow, end, "macs") for end in budgets]
        # Of several factors that round to the same network, the smallest stays.
        grown = [grow(t) for t in np.linspace(ends[1], ends[0], samples)]
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
