"""The fastest proportions at equal multiply-adds: growth is taken from the resolution, and given to width and depth.

That is where EfficientNet-X (arXiv 2102.05610), fast scaling (arXiv 2103.06877) and EfficientNetV2 (arXiv 2104.00298)
went from compound scaling, with about the same accuracy at the same multiply-adds, and less time. A latency model
predicts the times of two thousand networks on this machine; the best few are measured. Accuracy does not count.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ..common import arguments
from ..family.compound import PAPER_COEFFICIENTS
from ..family.scaling import Factors, head_filters, scale_filters, stage_repeats, stem_filters
from ..family.variants import Variant
from .baselines import Baseline, checked_baseline
from .budget import fit_budget
from .latency import LatencyModel, checked_latency
from .timing import by_turns

# Shares of the growth of the multiply-adds: the resolution keeps the least, as in fast scaling; none exceeds the most.
_LEAST_SHARE, _MOST_SHARE = 0.1, 0.5
_CLOSE = 0.01  # relative difference of multiply-adds that is near enough
_CORRECTIONS = 3
_NEARBY = 0.5  # difference of φ, which changes the factors by 10%


class Fastest(NamedTuple):
    """A network with its predicted and its measured time.

    Attributes:
        factors: Factors of width, depth and resolution.
        macs: Multiply-adds for one image.
        predicted: Milliseconds by the latency model.
        measured: Milliseconds as measured by turns with the network of compound scaling.

    Example:
        >>> Fastest(Factors(3.11, 3.5, 1.71), macs=37_482_518_272, predicted=512.2, measured=530.1).factors.width
        3.11
    """

    factors: Factors
    macs: int
    predicted: float
    measured: float


def find_fastest(
    baseline: Baseline, macs: float, latency: LatencyModel, *, finalists: int = 3, steps: int = 50
) -> list[Fastest]:
    """Compare the proportions that scale an EfficientNet to a cost, and measure the fastest of them.

    Width and depth grow at least as much as by compound scaling, and the resolution at most as much.

    Args:
        baseline: Network to scale.
        macs: Multiply-adds of all networks, more than the baseline's; they keep them within 1%, that of compound
            scaling where rounding allows it.
        latency: Latency model of this machine.
        finalists: Number of networks to measure.
        steps: Shares of the growth that are tried for width, and for depth.

    Returns:
        The network of compound scaling, and then the finalists, the fastest first.

    Raises:
        ValueError: The baseline is not an EfficientNet, or no other proportions bring it to this cost.

    Example:
        >>> from dataclasses import replace
        >>> from efficientnet import get_variant
        >>> from efficientnet.design.timing import Timed
        >>> model = LatencyModel(Timed(), {"pointwise": 1e-11, "moved": 1e-10}, error=0.03)
        >>> small = Baseline.from_variant(replace(get_variant("lite0"), width=0.5, depth=0.5, resolution=64))
        >>> compound, fastest = find_fastest(small, 50e6, model, finalists=1, steps=5)
        >>> fastest.factors.width > compound.factors.width
        True
    """
    latency = checked_latency(latency, baseline)
    arguments.whole("finalists", finalists)
    arguments.whole("steps", steps)
    check_grows(baseline, macs)
    compound = _compound(baseline, macs)
    candidates = list(_candidates(baseline, compound, macs, steps))
    if not candidates:
        raise ValueError(f"No proportions bring {baseline.name} to {macs:,.0f} multiply-adds. Take another number.")

    def predicted(factors: Factors) -> float:
        return latency.milliseconds(baseline.scaled(factors))

    best = sorted(candidates, key=predicted)[:finalists]
    with latency.timed.compiled(baseline.build(compound)) as reference:
        pairs = []
        for factors in best:  # two at a time: each takes gigabytes at B7's cost
            with latency.timed.compiled(baseline.build(factors)) as run:
                pairs.append(by_turns([reference, run]))
    usual = 1000 * pairs[0][0].seconds
    measured = [usual, *(usual * times.seconds / beside.seconds for beside, times in pairs)]
    first, *others = (
        Fastest(factors, baseline.cost(factors).macs, predicted(factors), one)
        for factors, one in zip((compound, *best), measured, strict=True)
    )
    return [first, *sorted(others, key=lambda one: one.measured)]


def check_grows(baseline: Baseline, macs: float) -> None:
    """Check that a cost is more than the baseline's.

    Raises:
        ValueError: It is not.
    """
    if arguments.factor("macs", macs) <= (least := checked_baseline(baseline).cost().macs):
        raise ValueError(f"macs={macs:,.0f}: expected more than those of {baseline.name}, {least:,}, which grows.")


def _compound(baseline: Baseline, macs: float) -> Factors:
    """Return the network of compound scaling at a cost, of the φ next to the formula's that comes within 1%, if any.

    An input of one pixel more may make each map a row longer, and cost 10% more.
    """
    phi = fit_budget(baseline, macs=macs).phi
    nearby = (phi + step for step in sorted(np.linspace(-_NEARBY, _NEARBY, 41), key=abs))
    networks = (_brought_to(macs, baseline, PAPER_COEFFICIENTS.factors(float(one))) for one in nearby if one >= 0)
    return min(networks, key=lambda factors: max(_CLOSE, abs(baseline.cost(factors).macs / macs - 1)))


def _candidates(baseline: Baseline, compound: Factors, macs: float, steps: int) -> Iterator[Factors]:
    """Yield factors at equal multiply-adds, for all shares of the growth that width and depth may take."""
    growth = math.log(macs / baseline.cost().macs)
    least = math.log(compound.depth) / growth, 2 * math.log(compound.width) / growth
    seen = {_rounded(baseline.scaled(compound))}
    for depth, width in itertools.product(*(np.linspace(share, _MOST_SHARE, steps) for share in least)):
        rest = 1 - depth - width
        factors = Factors(*(float(math.exp(growth * share)) for share in (width / 2, depth, rest / 2)))
        # Proportions that round to the same filters and repeats get the same resolution, too.
        rounded = _rounded(baseline.scaled(factors))
        if rest >= _LEAST_SHARE and rounded not in seen:
            seen.add(rounded)
            factors = _brought_to(macs, baseline, factors)
            is_close = abs(baseline.cost(factors).macs / macs - 1) <= _CLOSE
            if is_close and baseline.pixels(factors) <= baseline.pixels(compound):
                yield factors


def _rounded(variant: Variant) -> tuple[int, ...]:
    """Return the repeats and filters of a network."""
    stages = (scale_filters(variant, stage.output_filters) for stage in variant.blocks)
    return *stage_repeats(variant), *stages, stem_filters(variant), head_filters(variant)


def _brought_to(macs: float, baseline: Baseline, factors: Factors) -> Factors:
    """Return the factors with another resolution, which makes up for what the rounding of filters and repeats adds."""
    for _ in range(_CORRECTIONS):
        share = macs / baseline.cost(factors).macs
        if abs(share - 1) <= _CLOSE:
            break
        factors = factors._replace(resolution=factors.resolution * math.sqrt(share))
    return factors
