"""The accuracy that a cost can be expected to give: a curve through all published EfficientNets trained on ImageNet."""

from __future__ import annotations

import functools
import math
import re
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..common import arguments
from ..family.compound import TINYNETS
from ..family.costs import cost
from ..family.variants import get_variant, list_variants
from ..weights.published import list_weights

# Weights that were trained on more than ImageNet's 1,000 classes, and timm's network for its tests.
_OTHERS = re.compile(r"noisy|21k|12k|r160")
# Standard deviations of a normal distribution on either side of its mean that hold nine in ten.
_DEVIATIONS = 1.645
_MIDDLE = 9  # logarithm of the multiply-adds at which the parabola has its origin: a billion


class Expected(NamedTuple):
    """The top-1 accuracy that is expected on ImageNet.

    Attributes:
        top1: Middle of the published networks of this cost, 0..1.
        low, high: Interval that should hold nine in ten networks of this cost, whatever their family and training.
        is_extrapolated: Whether no published network is so small, or none so large.

    Example:
        >>> print(Expected(0.7, 0.65, 0.75, is_extrapolated=False))
        Published EfficientNets with as many multiply-adds reach 70.0% top-1 on ImageNet, nine in ten 65.0% to ...
    """

    top1: float
    low: float
    high: float
    is_extrapolated: bool

    def __str__(self) -> str:
        text = (
            f"Published EfficientNets with as many multiply-adds reach {self.top1:.1%} top-1 on ImageNet, nine in ten "
            f"{self.low:.1%} to {self.high:.1%}."
        )
        return text + (" None has so few, or so many: this is extrapolated." if self.is_extrapolated else "")


def expected_top1(macs: float) -> Expected:
    """Return the ImageNet accuracy that published EfficientNets of this cost have.

    A parabola is fitted through the logarithms of error and multiply-adds of all published networks that were trained
    on ImageNet alone, and of the TinyNets. Its interval comes from their distances, and widens where there are few.

    Args:
        macs: Multiply-adds for one image.

    Raises:
        ValueError: The number is not greater than 0.

    Example:
        >>> expected = expected_top1(100e6)
        >>> expected.low < 0.712 < expected.high, expected.is_extrapolated  # TinyNet-C
        (True, False)
    """
    curve = _curve()
    decades = math.log10(arguments.factor("macs", macs)) - _MIDDLE
    x = np.vander([decades], 3)[0]
    error, spread = x @ curve.coefficients, _DEVIATIONS * math.sqrt(curve.variance + x @ curve.covariance @ x)
    # Far from the published networks the curve has errors above 1, which do not exist.
    top1, low, high = (1 - 10 ** min(0.0, float(value)) for value in (error, error + spread, error - spread))
    return Expected(top1, low, high, not curve.least <= macs <= curve.most)


class _Curve(NamedTuple):
    coefficients: NDArray[np.floating[Any]]
    covariance: NDArray[np.floating[Any]]  # the coefficients' covariance
    variance: float  # the networks' variance around the curve
    least: float
    most: float


def published_points() -> list[tuple[float, float]]:
    """Return multiply-adds and top-1 of the networks that the curve goes through."""
    rows = [row for name in list_variants() for row in list_weights(get_variant(name))]
    found = {(cost(row.variant, row.resolution).macs, row.top1) for row in rows if not _OTHERS.search(row.name)}
    tiny = [(net.macs, net.top1) for net in TINYNETS]  # the package has no weights of these
    return [*sorted((macs, top1) for macs, top1 in found if top1 is not None), *tiny]


@functools.cache
def _curve() -> _Curve:
    macs, top1 = np.array(published_points()).T
    x, y = np.log10(macs) - _MIDDLE, np.log10(1 - top1)
    coefficients, covariance = np.polyfit(x, y, 2, cov=True)
    squares = (y - np.polyval(coefficients, x)) ** 2
    variance = squares.sum() / (len(y) - len(coefficients))
    return _Curve(coefficients, covariance, float(variance), float(macs.min()), float(macs.max()))
