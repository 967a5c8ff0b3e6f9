"""How well a model in 8 bits keeps the predictions of the one in float, and what is good enough."""

from __future__ import annotations

from typing import NamedTuple

from ..common import arguments

DEFAULT_AGREEMENT = 0.99
# Allowed difference of a model without classes.
_MOST_DIFFERENCE = 0.5


class Fidelity(NamedTuple):
    """How well a model in 8 bits keeps the predictions of the one in float.

    Attributes:
        difference: Largest difference of an output, relative to the largest output if that is above 1.
        agreement: Share of the views with the same best class, 0..1; None for a model without classes.
        shift: Mean absolute shift of the probability of the class that is best in float, 0..1; None without classes.
        views: Number of views, the held-out images and seeded crops of them.
        held_out: Number of held-out images; 0 if there was a single image, which was calibrated on too.
        layers: Number of layers that can compute in 8 bits; 0 if none had to be kept in float.
        floating: Names of the layers that stay in float, the most sensitive first.

    Example:
        >>> Fidelity(0.02, agreement=0.995, shift=0.004, views=1000, held_out=10).reaches(0.99)
        True
    """

    difference: float
    agreement: float | None
    shift: float | None
    views: int
    held_out: int
    layers: int = 0
    floating: tuple[str, ...] = ()

    def __str__(self) -> str:
        of = f"{self.held_out} images that it was not calibrated on" if self.held_out else "the only calibration image"
        if self.agreement is None:
            text = (
                f"the outputs of {self.views:,} views of {of} differ from those in float by up to {self.difference:.2g}"
            )
        else:
            text = (
                f"{self.agreement:.1%} of {self.views:,} views of {of} keep their class, whose probability shifts by "
                f"{self.shift:.3f} on average"
            )
        if not self.floating:
            return f"{text}; no layer is kept in float"
        return f"{text}; {len(self.floating)} of {self.layers} layers are kept in float: {', '.join(self.floating)}"

    def reaches(self, agreement: float) -> bool:
        """Return whether this is good enough for a least agreement."""
        if self.agreement is None or self.shift is None:
            return self.difference <= _MOST_DIFFERENCE
        return self.agreement >= agreement and self.shift <= most_shift(agreement)

    def asked(self, agreement: float) -> str:
        """Return what :meth:`reaches` asks for, in words."""
        if self.agreement is None:
            return f"a difference of at most {_MOST_DIFFERENCE}"
        return f"{agreement:.1%}, and a shift of at most {most_shift(agreement):.3f}"


def most_shift(agreement: float) -> float:
    """Return the mean shift of the best class's probability that goes with a least agreement: twice the rest."""
    return round(2 * (1 - agreement), 6)


def least_agreement(agreement: float | None, precision: str) -> float:
    """Return the agreement that is asked for, the default for None.

    Raises:
        ValueError: It is no share, or the precision is none of 8 bits.
    """
    if agreement is None:
        return DEFAULT_AGREEMENT
    if precision != "int8":
        raise ValueError(
            f"agreement={agreement!r} is for precision='int8', not for {precision!r}: leave it out (--agreement)."
        )
    return arguments.share("agreement", agreement)
