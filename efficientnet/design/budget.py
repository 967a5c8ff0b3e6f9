"""Scaling a baseline to budgets, up and down: as far as they allow, or in one dimension (arXiv 1905.11946, 3.3)."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NoReturn

import numpy as np

from ..common import arguments
from ..family.compound import PAPER_COEFFICIENTS, Coefficients, Rule, checked_coefficients, checked_rule
from ..family.costs import CURRENCIES, Cost, amount
from ..family.scaling import Factors
from ..family.variants import Variant
from .baselines import Baseline, checked_baseline
from .latency import LatencyModel, checked_latency
from .timing import Timed

# From one number, how far a network has grown, to its factors.
Growth = Callable[[float], Factors]

_MOST = 32  # largest φ, or growth as a multiple of the baseline's size, before the search gives up
_PRECISION = 1e-3  # interval of φ, or of a factor, at which the search ends
_MILLISECONDS_PRECISION = 0.01  # a timing does not resolve finer steps
_CLOSE = 0.99  # share of a budget from which on a result is near enough
_TRIED = 4  # networks that are measured to correct a latency model


@dataclass(frozen=True)
class Fit:
    """A baseline scaled as far as its budgets allow.

    Attributes:
        baseline: Network that was scaled; for the rule ``"tiny"`` with TinyNet's rounding.
        phi: Number φ of the rule of scaling; negative for a network that is smaller than the baseline.
        factors: Factors of width, depth and resolution.
        budgets: Given budgets, by currency.
        prices: Costs of the network itself, rounding included, by currency; milliseconds only if they were measured.
        above: Costs of the next larger network that rounding allows; it exceeds a budget.

    Example:
        >>> fit = fit_budget(get_baseline("b0"), macs=1e9)
        >>> fit.resolution, round(fit.factors.width, 2), round(fit.factors.depth, 2), fit.binding
        (259, 1.1, 1.21, 'macs')
    """

    baseline: Baseline
    phi: float
    factors: Factors
    budgets: Mapping[str, float]
    prices: Mapping[str, float]
    above: Mapping[str, float]

    @property
    def resolution(self) -> int:
        """Side of the input, pixels."""
        return self.baseline.pixels(self.factors)

    @property
    def cost(self) -> Cost:
        """What is counted of the network."""
        return self.baseline.cost(self.factors)

    @property
    def binding(self) -> str:
        """Currency whose budget is used up most."""
        return max(self.budgets, key=lambda currency: self.prices[currency] / self.budgets[currency])

    @property
    def is_close(self) -> bool:
        """Whether the network is within 1% of the binding budget."""
        return self.prices[self.binding] >= _CLOSE * self.budgets[self.binding]

    def variant(self, name: str | None = None) -> Variant:
        """Return the network as a variant.

        Args:
            name: Name of the variant; by default the baseline's, followed by the factors.

        Raises:
            ValueError: The baseline is not an EfficientNet.
        """
        return self.baseline.scaled(self.factors, name)


def fit_budget(
    baseline: Baseline,
    rule: Rule | str = "compound",
    *,
    macs: float | None = None,
    parameters: float | None = None,
    activations: float | None = None,
    bytes: float | None = None,
    memory: float | None = None,
    milliseconds: float | None = None,
    training_batch: int | None = None,
    precision: str = "f32",
    engine: str = "auto",
    threads: int | None = None,
    measure: bool = False,
    latency: LatencyModel | None = None,
) -> Fit:
    """Find the largest network that a rule of scaling makes of a baseline within one or several budgets.

    The network itself is compared with the budgets, with its numbers of filters, repeats and pixels rounded, not the
    formula. Rounding makes the cost jump, so the result can lie some way below the budget; ``Fit.above`` holds the
    costs of the next larger network. A budget below the baseline's cost shrinks it.

    Args:
        baseline: Network to scale.
        rule: Rule of scaling: ``"compound"`` with the paper's coefficients, ``"fast"``, ``"tiny"``, which only shrinks,
            or ``Coefficients``, such as those of :func:`efficientnet.design.fast`.
        macs: Most multiply-adds for one image.
        parameters: Most trainable parameters.
        activations: Most numbers that convolutions and dense layers give out for one image.
        bytes: Largest exported file (ONNX, batch norms folded).
        memory: Most bytes for predicting one image: weights, and the feature maps that are alive at once.
        milliseconds: Most time for one image on this machine (median over a second).
        training_batch: Number of images of a training step, whose memory counts in place of a prediction's: weights,
            gradients, the optimizer's two moments, and the feature maps that the gradients need.
        precision: Precision that file, memory and time are of: ``"f32"``, ``"f16"`` or ``"int8"``. The engines of this
            package compute files of ``"f16"`` in float32, and are timed so. In training ``"f16"`` is mixed precision.
        engine: Engine that is timed, as for ``efficientnet.inference.compile``.
        threads: Processor threads that are timed; by default the engine's choice.
        measure: Whether the result is timed even if milliseconds are no budget.
        latency: Latency model of the same precision, engine and threads, to search by. The networks that it finds are
            measured, which corrects it, so that the result is within the budget as measured.

    Returns:
        The fit with the largest φ, to a thousandth; for milliseconds, and for a function's networks, which have to be
        built, one that is within 1% of the binding budget, if rounding allows it.

    Raises:
        ValueError: There is no budget, no network of the rule is so small, or none so large.

    Example:
        >>> fit_budget(get_baseline("b0"), macs=1e9).resolution
        259
        >>> fit_budget(get_baseline("b0"), "tiny", macs=100e6).resolution
        184
        >>> fit_budget(get_baseline("b0"), memory=8e9, training_batch=32).resolution
        272
    """
    baseline, rule = checked_baseline(baseline), checked_rule(rule)
    given = {
        "macs": macs, "parameters": parameters, "activations": activations, "bytes": bytes, "memory": memory,
        "milliseconds": milliseconds,
    }  # fmt: skip
    budgets = {currency: arguments.factor(currency, most) for currency, most in given.items() if most is not None}
    if not budgets:
        raise ValueError(f"There is no budget: give at least one of {', '.join(CURRENCIES)}.")
    if baseline.variant is not None:
        baseline = dataclasses.replace(baseline, variant=rule.prepare(baseline.variant))
    timed = Timed(precision, engine, threads).checked()
    if training_batch is not None:
        training_batch = arguments.whole("training_batch", training_batch)
    if latency is not None:
        checked_latency(latency, baseline, timed)
        if milliseconds is None:
            raise ValueError("latency is for a budget of milliseconds: expected milliseconds, too, or none of both.")
    path = _Path(baseline, rule.factors, budgets, timed, training_batch)
    phi, above = path.largest() if latency is None else _largest_by_model(path, latency)
    prices, higher = path.prices(phi), path.prices(above)
    if measure:
        prices["milliseconds"] = path.milliseconds(phi)
    return Fit(baseline, phi, rule.factors(phi), budgets, prices, higher)


def _largest_by_model(path: _Path, latency: LatencyModel) -> tuple[float, float]:
    """Return what ``path.largest`` does, searched by a latency model, which is corrected by what it finds."""
    correction = 1.0
    for _ in range(_TRIED):
        model = _Path(path.baseline, path.grow, path.budgets, path.timed, path.training_batch, latency, correction)
        phi, above = model.largest()
        load = path.load(phi)  # measured
        if _CLOSE <= load <= 1 or load <= 1 < path.load(above):
            return phi, above
        correction *= path.milliseconds(phi) / model.milliseconds(phi)
    return path.largest()


class _Path:
    """The networks that a baseline becomes, from small to large; their costs never fall on the way.

    Their milliseconds are ``correction`` times what a model predicts or, without one, measured.
    """

    def __init__(
        self, baseline: Baseline, grow: Growth, budgets: Mapping[str, float], timed: Timed,
        training_batch: int | None = None, latency: LatencyModel | None = None, correction: float = 1.0,
    ) -> None:  # fmt: skip
        self.baseline, self.grow, self.budgets, self.timed = baseline, grow, budgets, timed
        self.training_batch, self.latency, self.correction = training_batch, latency, correction
        self._times: dict[Cost, float] = {}
        self._limit = ""  # why no smaller, or no larger, network is built
        self.prices = functools.cache(self._prices)
        self.load = functools.cache(self._load)

    def _prices(self, place: float) -> dict[str, float]:
        """Return the costs by currency; of a network that cannot be built, none."""
        try:
            cost = self.baseline.cost(self.grow(place))
        except ValueError as error:
            if not place:
                raise
            self._limit = f" ({str(error).rstrip('.')})"
            return {}
        prices = cost.prices(self.timed.precision, self.training_batch)
        # Measured last, and only where it matters, since it takes seconds.
        if "milliseconds" in self.budgets and not self._exceeded(prices):
            prices["milliseconds"] = self.milliseconds(place)
        return prices

    def milliseconds(self, place: float) -> float:
        """Return the time of a network; places whose networks round to the same have one."""
        factors = self.grow(place)
        cost = self.baseline.cost(factors)
        if cost not in self._times:
            self._times[cost] = (
                self.timed.milliseconds(self.baseline.build(factors))
                if self.latency is None
                else self.correction * self.latency.milliseconds(self.baseline.scaled(factors))
            )
        return self._times[cost]

    def _exceeded(self, prices: Mapping[str, float]) -> list[str]:
        return [currency for currency, price in prices.items() if price > self.budgets.get(currency, math.inf)]

    def _load(self, place: float) -> float:
        """Return the share of its budget that is used, in the currency where this is most.

        A network that is too small to be built uses nothing, and one that is too large has an infinite load.
        """
        prices = self.prices(place)
        if not prices:
            return 0.0 if place < 0 else math.inf
        return max(prices[currency] / most for currency, most in self.budgets.items() if currency in prices)

    def largest(self, or_smallest: bool = False) -> tuple[float, float]:
        """Return the place of the largest network within the budgets, and one just above it.

        Args:
            or_smallest: Whether the smallest network is returned where not even that is within the budgets.

        Raises:
            ValueError: Not even the smallest network is within the budgets, or not even the largest uses one up.
        """
        low, high = 0.0, 0.0
        if self.load(0.0) <= 1:
            while high < _MOST and self.load(high) <= 1:
                low, high = high, high + 1
        else:
            while low > -_MOST and self.load(low) > 1:
                low, high = min(-1.0, 2 * low), low
        is_timed = "milliseconds" in self.budgets and self.latency is None
        is_built = is_timed or self.baseline.variant is None  # building takes seconds for each network
        while high - low > (_MILLISECONDS_PRECISION if is_timed else _PRECISION):
            if is_built and _CLOSE <= self.load(low) <= 1:
                break
            middle = (low + high) / 2
            low, high = (middle, high) if self.load(middle) <= 1 else (low, middle)
        if not 0 < self.load(low) <= 1:
            smallest = low if self.prices(low) else high
            if or_smallest:
                return smallest, smallest
            self._refuse(smallest, "too small for the smallest network that this makes of")
        if self.load(high) <= 1 or (self.load(high) == math.inf and self.load(low) < _CLOSE):
            self._refuse(high if self.prices(high) else low, "not reached by the largest network that this makes of")
        return low, high

    def _refuse(self, place: float, problem: str) -> NoReturn:
        prices = self.prices(place)
        currencies = self._exceeded(prices) or list(self.budgets)
        budgets, takes = (
            " and ".join(f"{amount(costs[currency])} {CURRENCIES[currency]}" for currency in currencies)
            for costs in (self.budgets, prices)
        )
        factors = self.grow(place)
        sizes = f"width × {factors.width:.3g}, depth × {factors.depth:.3g}, {self.baseline.pixels(factors)} pixels"
        raise ValueError(
            f"The budget of {budgets} is {problem} {self.baseline.name}: with {sizes} it takes {takes}{self._limit}. "
            "Give that, or take another baseline or rule."
        )


def widest(
    baseline: Baseline, budgets: Mapping[str, float], precision: str = "f32", latency: LatencyModel | None = None
) -> Variant:
    """Return the widest network of an EfficientNet's depth and resolution within budgets; times are predicted.

    Raises:
        ValueError: No width is within the budgets, or none uses them up.
    """
    place, _ = _Path(baseline, widths(1.0, 1.0), budgets, Timed(precision), latency=latency).largest()
    return baseline.scaled(widths(1.0, 1.0)(place), baseline.name)


def widths(depth: float, resolution: float) -> Growth:
    """Return a path that grows the width of a network of this depth and resolution factor (the paper's figure 4)."""
    return lambda t: Factors(width=1 + t, depth=depth, resolution=resolution)


def growths(coefficients: Coefficients = PAPER_COEFFICIENTS) -> dict[str, Growth]:
    """Return the four ways to grow that the paper compares (section 5.1, table 3); each starts at the baseline.

    The number of a single dimension's path is its factor less 1, that of compound scaling is φ; below 0 they shrink.

    Args:
        coefficients: Coefficients α, β, γ of compound scaling.

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
    baseline = checked_baseline(baseline)
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
        least, most = (_Path(baseline, grow, {"macs": end}, Timed()) for end in (0.75 * macs, 4 / 3 * macs))
        ends = least.largest(or_smallest=True)[0], most.largest()[0]
        # If several factors round to the same network, the smallest stays.
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
