"""What a network is built with beside its variant."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..common import arguments
from ..common.text import get_logger
from ..family import features
from ..family.variants import Variant

logger = get_logger()

_POOLINGS = (None, "avg", "max")


@dataclass(frozen=True)
class Options:
    """Options of a network, which ``efficientnet.model.create`` describes.

    ``classes=None`` takes the variant's number of them, ``name=None`` the variant's name.
    """

    include_top: bool = True
    input_tensor: Any = None
    input_shape: Sequence[int | None] | None = None
    pooling: str | None = None
    classes: int | None = None
    in_channels: int | None = None
    classifier_activation: str | Callable[[Any], Any] | None = "softmax"
    dropout_rate: float | None = None
    drop_connect_rate: float = 0.2
    features_only: bool = False
    out_strides: Sequence[int] | None = None
    output_stride: int = 32
    named_features: bool = False
    name: str | None = None

    @property
    def has_classifier(self) -> bool:
        """Whether the network ends in the classifier."""
        return self.include_top and not self.features_only

    def check(self, variant: Variant, layers: Any) -> None:
        """Refuse options that cannot be, or not together, before weights are fetched."""
        for name in ("include_top", "features_only", "named_features"):
            arguments.flag(name, getattr(self, name))
        if self.name is not None and not (isinstance(self.name, str) and self.name and "/" not in self.name):
            raise ValueError(f"name={self.name!r}: expected a name without '/', or None.")
        arguments.choice("pooling", self.pooling, _POOLINGS)
        if self.features_only and self.pooling is not None:
            raise ValueError(
                f"pooling={self.pooling!r} with features_only=True: feature maps are not pooled; leave one out."
            )
        for name in ("in_channels", "classes"):
            if getattr(self, name) is not None:
                arguments.whole(name, getattr(self, name))
        if self.dropout_rate is not None:
            arguments.fraction("dropout_rate", self.dropout_rate)
        arguments.fraction("drop_connect_rate", self.drop_connect_rate)
        _check_activation(layers, self.classifier_activation)
        features.chosen_strides(variant, self.out_strides)
        arguments.choice("output_stride", self.output_stride, features.OUTPUT_STRIDES)
        given = {"out_strides": self.out_strides is not None, "named_features": self.named_features}
        if not self.features_only and any(given.values()):
            option = next(name for name, is_given in given.items() if is_given)
            raise ValueError(f"{option}= is for feature maps: add features_only=True, or leave it out.")
        classes = variant.classes if self.classes is None else self.classes
        if self.has_classifier and classes == 1 and self.classifier_activation == "softmax":
            logger.warning(
                "A softmax over one class is always 1: pass classifier_activation='sigmoid' for the probability of "
                "that class, or None for a number."
            )


def _check_activation(layers: Any, activation: Any) -> None:
    """Refuse an activation that Keras does not know, before the network is built."""
    try:
        if isinstance(activation, type):
            raise TypeError
        layers.Activation(activation)
    except (ValueError, TypeError):
        raise ValueError(
            f"classifier_activation={activation!r}: expected the name of one of Keras' activations, such as 'softmax' "
            "or 'sigmoid', a function, or None for logits."
        ) from None
