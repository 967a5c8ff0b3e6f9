"""Baselines: networks that can be scaled, as functions of width, depth and resolution."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..common import arguments
from ..common.text import some
from ..family import costs, scaling
from ..family.costs import Cost
from ..family.scaling import MIN_RESOLUTION, Factors, checked_factors, scale_resolution
from ..family.variants import Variant, get_variant
from ..keras_graph.profile import profile
from ..network.backends import deep_recursion
from .networks import mobilenet_v1, mobilenet_v2, resnet50

# (width, depth, resolution in pixels, classes) -> Keras model
Build = Callable[[float, float, int, int], Any]

UNSCALED = Factors()


@dataclass(frozen=True)
class Baseline:
    """A network that can be scaled; made by :meth:`from_variant`, :meth:`from_function` or :func:`get_baseline`.

    Attributes:
        name: Name of the network.
        resolution: Side of the input at factor 1, pixels.
        classes: Number of outputs that the cost includes.
        variant: Description of an EfficientNet; None for other networks.
        function: Builder of another network; None for an EfficientNet.

    Example:
        >>> baseline = Baseline.from_variant("b0", classes=10)
        >>> baseline.cost(Factors(width=2)).macs > baseline.cost(Factors(depth=2)).macs
        True
    """

    name: str
    resolution: int
    classes: int
    variant: Variant | None = None
    function: Build | None = None

    def __post_init__(self) -> None:
        arguments.path("name", self.name, "the name of a network")
        arguments.whole("classes", self.classes)
        if arguments.whole("resolution", self.resolution) < MIN_RESOLUTION:
            raise ValueError(
                f"{self.name}: resolution={self.resolution}: expected at least {MIN_RESOLUTION} pixels. Enlarge the "
                "baseline's input; the images are resized to it."
            )

    @classmethod
    def from_variant(cls, variant: Variant, classes: int | None = None) -> Baseline:
        """Return an EfficientNet as a baseline: a row of the table or a custom variant."""
        variant = get_variant(variant)
        return cls(variant.name, variant.resolution, variant.classes if classes is None else classes, variant=variant)

    @classmethod
    def from_function(
        cls, function: Callable[..., Any], resolution: int = 224, name: str | None = None, classes: int = 1000
    ) -> Baseline:
        """Return any network that can be written as a function as a baseline.

        Args:
            function: Builder ``function(width, depth, resolution)``, with ``classes`` as an optional further argument
                of that name, or a fourth one without a default; others need defaults. It returns a Keras model from
                (batch, resolution, resolution, 3) raw pixels 0..255 to (batch, classes) probabilities. ``width`` and
                ``depth`` are factors, below 1 for smaller networks; ``resolution`` is in pixels.
            resolution: Side of the baseline's input, pixels, at least 32.
            name: Name of the baseline; the function's by default.
            classes: Number of outputs that the cost includes.

        Raises:
            ValueError: The function ignores a factor, as its cost shows, or has layers whose cost is unknown.
            TypeError: The function does not take those arguments.
        """
        arguments.function("function", function, "a function of width, depth and resolution")
        name = str(getattr(function, "__name__", "network")) if name is None else name
        baseline = cls(name, resolution, classes, function=_builder(function, name))
        cost = baseline.cost()
        for dimension in Factors._fields:
            if baseline.cost(UNSCALED._replace(**{dimension: 2.0})) == cost:
                raise ValueError(
                    f"{name} ignores {dimension}: at a factor of 2 it costs the same, {cost.macs:,} multiply-adds. Use "
                    f"the argument {dimension} in the function."
                )
        return baseline

    def scaled(self, factors: Factors = UNSCALED, name: str | None = None) -> Variant:
        """Return the scaled network as a variant.

        Args:
            factors: Factors of width, depth and resolution.
            name: Name of the variant; by default the baseline's, followed by the factors.

        Raises:
            ValueError: The baseline is not an EfficientNet, or a factor is out of its range.
        """
        if self.variant is None:
            raise ValueError(f"Only EfficientNets are variants, and {self.name} is none.")
        return scaling.scale(self.variant, checked_factors(factors), name)

    def pixels(self, factors: Factors = UNSCALED) -> int:
        """Return the side of the scaled network's input, pixels; at least 32."""
        return scale_resolution(self.resolution, checked_factors(factors).resolution)

    def cost(self, factors: Factors = UNSCALED) -> Cost:
        """Return the cost of the scaled network, all rounding included.

        Args:
            factors: Factors of width, depth and resolution.

        Raises:
            ValueError: A factor is not greater than 0 or not finite, or so small a network cannot be built.
        """
        factors = checked_factors(factors)
        if self.variant is not None:
            return costs.cost(self.scaled(factors), classes=self.classes)
        return _measured(self, factors.width, factors.depth, self.pixels(factors))

    def build(self, factors: Factors = UNSCALED, classes: int | None = None) -> Any:
        """Build the scaled network with random weights.

        Args:
            factors: Factors of width, depth and resolution.
            classes: Number of outputs; the baseline's by default.

        Returns:
            A Keras model from (batch, pixels, pixels, 3) raw pixels 0..255 to (batch, classes) probabilities.

        Raises:
            ValueError: A factor is out of its range, or a function returned another number of outputs.
        """
        factors = checked_factors(factors)
        classes = self.classes if classes is None else arguments.whole("classes", classes)
        if self.variant is not None:
            from .. import keras

            # Without stochastic depth: it keeps long trainings from overfitting, but short ones from learning.
            return keras.create(
                self.scaled(factors), weights=None, classes=classes, include_preprocessing=True, drop_connect_rate=0.0
            )
        model = self.call_function(factors.width, factors.depth, self.pixels(factors), classes)
        if model.output_shape != (None, classes):
            raise ValueError(
                f"{self.name} gives outputs of shape {model.output_shape}: expected (None, {classes}), a probability "
                "for each class. Let the function take classes as its fourth argument."
            )
        return model

    def call_function(self, width: float, depth: float, pixels: int, classes: int) -> Any:
        """Return the model of the baseline's function.

        Raises:
            ValueError: The function failed, whatever its error, or returned something else.
        """
        assert self.function is not None  # or else there is a variant
        called = f"{self.name} with width={width:g}, depth={depth:g}, resolution={pixels}"
        try:
            with deep_recursion():
                model = self.function(width, depth, pixels, classes)
        except MemoryError:
            raise
        except Exception as error:
            raise ValueError(f"{called} failed with {type(error).__name__}: {error}") from error
        if not hasattr(model, "layers"):
            raise ValueError(f"{called} returned {model!r}: expected a Keras model.")
        return model


def _builder(function: Callable[..., Any], name: str) -> Build:
    """Return a function that passes the number of classes on to where the given one takes it, if it does.

    Raises:
        TypeError: It does not take width, depth and resolution, or needs more than those and classes.
    """
    signature = inspect.signature(function)
    # A fourth argument with a default, such as an activation, is not taken for the number of classes.
    if "classes" in signature.parameters and _takes(signature, classes=0):
        return lambda width, depth, pixels, classes: function(width, depth, pixels, classes=classes)
    if _takes(signature):
        return lambda width, depth, pixels, _: function(width, depth, pixels)
    if _takes(signature, 0):
        return function
    raise TypeError(
        f"{name}{signature} does not take three arguments, or four: expected function(width, depth, resolution) or "
        "function(width, depth, resolution, classes); further arguments need defaults."
    )


def _takes(signature: inspect.Signature, *more: Any, **named: Any) -> bool:
    """Return whether a function takes width, depth, resolution and these arguments."""
    try:
        signature.bind(0, 0, 0, *more, **named)
    except TypeError:
        return False
    return True


@functools.cache
def _measured(baseline: Baseline, width: float, depth: float, pixels: int) -> Cost:
    """Build a function's network and count its cost."""
    found = profile(baseline.call_function(width, depth, pixels, baseline.classes))
    if found.uncounted:
        layers = some([f"{layer.name} ({layer.kind})" for layer in found.uncounted], most=5)
        raise ValueError(
            f"{baseline.name} cannot be scaled to a budget, since the cost of these layers is unknown: {layers}. "
            "Write it with convolutions, dense layers, and layers without weights."
        )
    counted = [layer for layer in found.layers if layer.macs]
    return Cost(
        found.parameters, found.macs, found.activations,
        weights=sum(layer.weights for layer in counted),
        channels=sum(layer.output_shape[-1] for layer in counted if layer.weights),
        layers=len(counted),
        peak=found.peak,
        kept=found.kept,
    )  # fmt: skip


_FUNCTIONS: dict[str, Build] = {"mobilenet-v1": mobilenet_v1, "mobilenet-v2": mobilenet_v2, "resnet-50": resnet50}


def checked_baseline(baseline: Any) -> Baseline:
    """Return the baseline unchanged.

    Raises:
        TypeError: The argument is not a baseline.
    """
    return arguments.instance("baseline", baseline, Baseline, "what get_baseline gives")


def get_baseline(name: str | os.PathLike[str] | Variant, classes: int | None = None) -> Baseline:
    """Return a baseline by its name.

    Args:
        name: Name ``"mobilenet-v1"``, ``"mobilenet-v2"`` or ``"resnet-50"``, or whatever ``get_variant`` takes.
        classes: Number of outputs that the cost includes; ImageNet's by default.

    Raises:
        ValueError: There is no such network.

    Example:
        >>> get_baseline("mobilenet-v2").resolution
        224
    """
    if isinstance(name, str) and name in _FUNCTIONS:
        return Baseline(name, 224, 1000 if classes is None else classes, function=_FUNCTIONS[name])
    return Baseline.from_variant(get_variant(name), classes)
