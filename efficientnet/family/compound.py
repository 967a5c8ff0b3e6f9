"""Rules of scaling: how a network's depth, width and resolution change together, from one number φ.

Compound scaling (arXiv 1905.11946), fast scaling (arXiv 2103.06877), and TinyNet's relation (arXiv 2010.14819).
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..common import arguments
from .description import Variant
from .scaling import Factors, head_filters, stage_repeats, stem_filters

_MOST_POINTS = 1_000_000  # a grid of so many takes seconds


class Rule:
    """A rule of scaling: how a network changes with one number φ, which is 0 for the baseline's cost."""

    def factors(self, phi: float) -> Factors:
        """Return the factors of width, depth and resolution.

        Args:
            phi: Number φ of the rule.

        Raises:
            ValueError: φ is not finite, or the rule does not reach it.
        """
        raise NotImplementedError

    def prepare(self, variant: Variant) -> Variant:
        """Return the network to scale: the variant, here with its own rules of rounding."""
        return variant


@dataclass(frozen=True)
class Coefficients(Rule):
    """The joint change of a network's depth, width and resolution (arXiv 1905.11946, equation 3).

    Attributes:
        alpha: Factor of the depth at φ = 1, at least 1.
        beta: Factor of the width at φ = 1, at least 1.
        gamma: Factor of the resolution at φ = 1, at least 1.

    Raises:
        ValueError: A number is below 1 or not finite.

    Example:
        >>> Coefficients(alpha=1.2, beta=1.1, gamma=1.15).factors(1)
        Factors(width=1.1, depth=1.2, resolution=1.15)
    """

    alpha: float
    beta: float
    gamma: float

    def __post_init__(self) -> None:
        for field, value in dataclasses.asdict(self).items():
            arguments.factor(field, value, 1)

    def factors(self, phi: float) -> Factors:
        """Return α^φ, β^φ, γ^φ as factors of depth, width and resolution; a negative φ shrinks.

        Raises:
            ValueError: φ is not finite.
        """
        arguments.number("phi", phi, math.isfinite, "a finite exponent")
        return Factors(width=self.beta**phi, depth=self.alpha**phi, resolution=self.gamma**phi)


# Result of the authors' small grid search on B0 (arXiv 1905.11946, section 3.3).
PAPER_COEFFICIENTS = Coefficients(alpha=1.2, beta=1.1, gamma=1.15)


def fast(alpha: float = 0.8) -> Coefficients:
    """Return the coefficients of fast scaling, whose activations and run time grow less (arXiv 2103.06877, section 4).

    Where the multiply-adds grow by s, depth takes s^((1-α)/2) of it, the square of the resolution as much, and the
    square of the width s^α. So activations grow by s^(1-α/2).

    Args:
        alpha: Share α of the width, 0..1: 1/3 is about compound scaling, 0.8 the paper's fast scaling, 1 width alone.

    Returns:
        Coefficients that double the multiply-adds at φ = 1.

    Raises:
        ValueError: α is not between 0 and 1.

    Example:
        >>> fast(1.0)
        Coefficients(alpha=1.0, beta=1.4142135623730951, gamma=1.0)
    """
    other = (1 - arguments.share("alpha", alpha)) / 2
    return Coefficients(alpha=2**other, beta=2 ** (alpha / 2), gamma=2 ** (other / 2))


class _Point(NamedTuple):
    """A network of a published family, shrunk from B0."""

    macs: float  # relative to B0's
    factors: Factors


class TinyNet(NamedTuple):
    """A published TinyNet: multiply-adds, ImageNet top-1, factors of width and depth, pixels of the input."""

    macs: float
    top1: float
    width: float
    depth: float
    resolution: int


# A to E (arXiv 2010.14819). The paper gives its curves of depth and resolution as figures only, so these networks
# stand for them.
TINYNETS = (
    TinyNet(339e6, 0.777, 1.0, 1.2, 192),
    TinyNet(202e6, 0.749, 0.75, 1.1, 188),
    TinyNet(100e6, 0.712, 0.54, 0.85, 184),
    TinyNet(52e6, 0.669, 0.54, 0.695, 152),
    TinyNet(24e6, 0.599, 0.51, 0.6, 106),
)
_POINTS = tuple(_Point(net.macs / 385.8e6, Factors(net.width, net.depth, net.resolution / 224)) for net in TINYNETS)


class Tiny(Rule):
    """TinyNet's relation, by which a network shrinks: in width first, in resolution last (arXiv 2010.14819).

    The factors at a cost are those of TinyNet A to E and, between them, of the straight line in logarithms. At the
    baseline's own cost they are TinyNet-A's with the resolution that brings it there, so it is not the baseline. Below
    TinyNet-E, 6% of the baseline's multiply-adds, the last line goes on, which is not published.

    Example:
        >>> Tiny().factors(-1.0)  # half of the multiply-adds
        Factors(width=0.734..., depth=1.081..., resolution=0.838...)
    """

    def factors(self, phi: float) -> Factors:
        """Return the factors at about 2^φ times the multiply-adds.

        Raises:
            ValueError: φ is above 0, or not finite.
        """
        arguments.number(
            "phi", phi, lambda value: -math.inf < value <= 0, "a finite exponent of at most 0: this rule only shrinks"
        )
        largest = _POINTS[0]
        whole = _Point(1.0, largest.factors._replace(resolution=largest.factors.resolution / math.sqrt(largest.macs)))
        above, below = next(
            (pair for pair in itertools.pairwise((whole, *_POINTS)) if pair[1].macs <= 2**phi), _POINTS[-2:]
        )
        share = (phi - math.log2(above.macs)) / math.log2(below.macs / above.macs)
        return Factors(*(a * (b / a) ** share for a, b in zip(above.factors, below.factors, strict=True)))

    def prepare(self, variant: Variant) -> Variant:
        """Return the network to scale: its stem and head keep their filters, and repeats round to the nearest."""
        blocks = tuple(
            dataclasses.replace(stage, num_repeat=repeats)
            for stage, repeats in zip(variant.blocks, stage_repeats(variant), strict=True)
        )
        return dataclasses.replace(
            variant, depth=1.0, blocks=blocks, depth_rounding="nearest", scale_stem_and_head=False,
            stem_filters=stem_filters(variant), head_filters=head_filters(variant),
        )  # fmt: skip


RULES: dict[str, Rule] = {"compound": PAPER_COEFFICIENTS, "tiny": Tiny(), "fast": fast()}


def checked_rule(rule: Any) -> Rule:
    """Return a rule, given as itself or by its name.

    Raises:
        TypeError: The argument is neither a rule nor a text.
        ValueError: There is no rule of that name.
    """
    if isinstance(rule, str):
        return RULES[arguments.choice("rule", rule, RULES)]
    return arguments.instance("rule", rule, Rule, f"Coefficients(alpha, beta, gamma), or one of {', '.join(RULES)}")


def checked_coefficients(coefficients: Any) -> Coefficients:
    """Return the coefficients unchanged.

    Raises:
        TypeError: The argument is not ``Coefficients``.
    """
    return arguments.instance("coefficients", coefficients, Coefficients, "Coefficients(alpha, beta, gamma)")


def cost_factor(coefficients: Coefficients, phi: float = 1.0) -> float:
    """Return the growth of the multiply-adds without rounding: (α·β²·γ²)^φ (arXiv 1905.11946, section 3.3).

    Args:
        coefficients: Coefficients α, β, γ.
        phi: Exponent φ.

    Example:
        >>> round(cost_factor(PAPER_COEFFICIENTS), 3)
        1.92
    """
    factors = checked_coefficients(coefficients).factors(phi)
    return factors.depth * factors.width**2 * factors.resolution**2


def candidates(target: float = 2.0, tolerance: float = 0.05, steps: float = 0.05) -> tuple[Coefficients, ...]:
    """Return the grid of the method's first step: all α, β, γ with α·β²·γ² near the target (section 3.3).

    Args:
        target: Factor of the multiply-adds at φ = 1, more than 1.
        tolerance: Deviation allowed between the product and the target, as a fraction of it, 0..1.
        steps: Distance between neighbours on the grid, which starts at 1.

    Returns:
        The candidates in the order of α, then β, then γ; empty if the grid is too coarse for the tolerance.

    Raises:
        ValueError: An argument is out of its range.

    Example:
        >>> candidates(target=2, steps=0.1)[:2]
        (Coefficients(alpha=1.0, beta=1.0, gamma=1.4), Coefficients(alpha=1.0, beta=1.1, gamma=1.3))
    """
    arguments.number("target", target, lambda value: 1 < value < math.inf, "a finite factor of more than 1, such as 2")
    arguments.fraction("tolerance", tolerance)
    arguments.factor("steps", steps)
    most = target * (1 + tolerance)
    ends = (most, math.sqrt(most), math.sqrt(most))  # the largest α, β, γ
    if math.prod((end - 1) / steps + 1 for end in ends) > _MOST_POINTS:
        raise ValueError(
            f"target={target:g} in steps={steps:g} is a grid of more than {_MOST_POINTS:,} points: take longer steps, "
            "such as 0.05, or a smaller target, such as 2."
        )

    def grid(end: float) -> list[float]:
        # Rounded, so that 1.15 does not become 1.1500000000000001.
        return [round(1 + i * steps, 10) for i in range(math.floor((end - 1) / steps + 1e-9) + 1)]

    found = (Coefficients(*triple) for triple in itertools.product(*map(grid, ends)))
    return tuple(c for c in found if abs(cost_factor(c) / target - 1) <= tolerance + 1e-12)


def efficiency(accuracy: float, cost: float, target: float, w: float = -0.07) -> float:
    """Return the objective of the search for the baseline: ACC · (FLOPS / T)^w (arXiv 1905.11946, section 4).

    Args:
        accuracy: Top-1 accuracy, 0..1.
        cost: Multiply-adds (or any other cost) of the network.
        target: Target cost T, in the same unit.
        w: Exponent, the weight of the cost; -0.07 in the paper.

    Raises:
        ValueError: A cost is not greater than 0, or the accuracy is outside 0..1.

    Example:
        >>> efficiency(accuracy=0.8, cost=400e6, target=400e6)
        0.8
    """
    arguments.share("accuracy", accuracy)
    arguments.factor("cost", cost)
    arguments.factor("target", target)
    arguments.number("w", w, math.isfinite, "a finite exponent, such as -0.07")
    return float(accuracy * (cost / target) ** w)
