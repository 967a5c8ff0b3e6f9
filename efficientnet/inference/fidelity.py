"""How well a model in 8 bits keeps the predictions of the one in float, and what is good enough."""

from __future__ import annotations

from typing import NamedTuple

from ..common import arguments

DEFAULT_AGREEMENT = 0.99
MOST_IMAGES = 300  # to calibrate and to measure on


class Fidelity(NamedTuple):
    """How well a model in 8 bits keeps the predictions of the one in float.

    Attributes:
        difference: Largest difference of an output, relative to the largest output if that is above 1.
        agreement: Share of the views with the same prediction, the best class or all labels, 0..1; None for a model
            without classes.
        shift: Mean absolute shift of the probability of the class that is best in float, 0..1; None without classes.
        views: Number of views, the held-out images and seeded crops of them.
        held_out: Number of held-out images; 0 if there was a single image, which was calibrated on too.
        layers: Number of layers that can compute in 8 bits; 0 if none had to be kept in float.
        floating: Names of the layers that stay in float, the most sensitive first.
        kept: Share of the variance of the outputs over the views that is the same, at most 1; None for a model with
            classes.

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
    kept: float | None = None

    def __str__(self) -> str:
        of = f"{self.held_out} images that it was not calibrated on" if self.held_out else "the only calibration image"
        if self.agreement is not None:
            text = (
                f"{self.agreement:.1%} of {self.views:,} views of {of} keep their prediction, whose probability shifts "
                f"by {self.shift:.3f} on average"
            )
        elif self.kept is not None:
            text = (
                f"the outputs for {self.views:,} views of {of} keep {self.kept:.1%} of their variance, and differ from "
                f"those in float by up to {self.difference:.2g}"
            )
        else:
            text = f"the outputs for {self.views:,} views of {of} are not all finite"
        if not self.floating:
            return f"{text}; no layer is kept in float"
        return f"{text}; {len(self.floating)} of {self.layers} layers are kept in float: {', '.join(self.floating)}"

    def reaches(self, agreement: float) -> bool:
        """Return whether this is good enough for a least agreement."""
        if self.agreement is not None and self.shift is not None:
            return self.agreement >= agreement and self.shift <= most_shift(agreement)
        return self.kept is not None and self.kept >= agreement

    @property
    def share(self) -> float:
        """Return the share of views, or of variance, that an agreement is asked of; 0 if outputs are not finite."""
        return self.agreement or self.kept or 0.0

    def asked(self, agreement: float) -> str:
        """Return what :meth:`reaches` asks for, in words."""
        if self.agreement is None:
            return f"{agreement:.1%} of the variance"
        return f"{agreement:.1%}, and a shift of at most {most_shift(agreement):.3f}"


def most_shift(agreement: float) -> float:
    """Return the mean shift of the best class's probability that goes with a least agreement: twice the rest."""
    return round(2 * (1 - agreement), 6)


def least_agreement(agreement: float | None, precision: str) -> float:
    """Return the agreement that is asked for, the default for None.

    Raises:
        ValueError: It is not a share, or the precision is none of 8 bits.
    """
    if agreement is None:
        return DEFAULT_AGREEMENT
    if precision != "int8":
        raise ValueError(
            f"agreement={agreement!r} is for precision='int8', not for {precision!r}: leave it out (--agreement)."
        )
    return arguments.share("agreement", agreement)
