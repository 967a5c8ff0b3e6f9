"""Compound scaling: α, β and γ, which grow a network's depth, width and resolution together (arXiv 1905.11946)."""

from __future__ import annotations

import dataclasses
import itertools
import math
from dataclasses import dataclass
from typing import Any

from ..common import arguments
from .scaling import Factors


@dataclass(frozen=True)
class Coefficients:
    """The joint growth of a network's depth, width and resolution (arXiv 1905.11946, equation 3).

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
        """Return α^φ, β^φ, γ^φ as factors of depth, width and resolution.

        Raises:
            ValueError: φ is negative or not finite.
        """
        arguments.number("phi", phi, lambda value: 0 <= value < math.inf, "a finite exponent of at least 0")
        return Factors(width=self.beta**phi, depth=self.alpha**phi, resolution=self.gamma**phi)


# Result of the authors' small grid search on B0 (arXiv 1905.11946, section 3.3).
PAPER_COEFFICIENTS = Coefficients(alpha=1.2, beta=1.1, gamma=1.15)


def checked_coefficients(coefficients: Any) -> Coefficients:
    """Itself.

    Raises:
        TypeError: The argument is not ``Coefficients``.
    """
    return arguments.instance("coefficients", coefficients, Coefficients, "Coefficients(alpha, beta, gamma)")


def cost_factor(coefficients: Coefficients, phi: float = 1.0) -> float:
    """Return the growth of the multiply-adds without rounding: (α·β²·γ²)^φ (arXiv 1905.11946, section 3.3).

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

    def grid(end: float) -> list[float]:
        # Rounded, so that 1.15 does not become 1.1500000000000001.
        return [round(1 + i * steps, 10) for i in range(math.floor((end - 1) / steps + 1e-9) + 1)]

    sides = grid(math.sqrt(most))
    found = (Coefficients(*triple) for triple in itertools.product(grid(most), sides, sides))
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
