"""Memory for feature maps: how much of them is alive at once while a model predicts, or kept while it is trained."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from .walk import Tensor, keras_layer

# Layers whose gradient depends on no number that they take.
_LINEAR = re.compile(
    r"Add|Subtract|Average|Concatenate|Identity|Flatten|Reshape|Permute|RepeatVector|Normalization|Rescaling|.*Dropout.*"
    r"|(ZeroPadding|Cropping|UpSampling|AveragePooling|GlobalAveragePooling)[123]D"
)
# Activations whose gradient is computed from what they give.
_FROM_OUTPUT = ("relu", "relu6", "sigmoid", "softmax", "tanh")


class Step(NamedTuple):
    """One call of a layer.

    Attributes:
        takes, gives: Its inputs and outputs; all sides are known.
        has_kernel: Whether it is a convolution or a dense layer, whose output cannot take the place of its input.
        layer: Layer itself.
    """

    takes: Sequence[Tensor]
    gives: Sequence[Tensor]
    has_kernel: bool
    layer: Any


def peak(steps: Sequence[Step]) -> int:
    """Return the most numbers that are in memory at once, if each tensor is freed after its last use.

    A layer without a kernel, such as an activation or an addition, works in place, in an input of its output's size
    that no later layer takes: runtimes fuse it into the convolution before it.
    """
    last = {tensor.key: place for place, step in enumerate(steps) for tensor in step.takes}
    alive: dict[int, int] = {}
    most = 0
    for place, step in enumerate(steps):
        alive |= {tensor.key: _size(tensor) for tensor in step.takes}
        made = {tensor.key: _size(tensor) for tensor in step.gives if tensor.key not in alive}
        dying = {tensor.key for tensor in step.takes if last[tensor.key] == place}
        is_in_place = not step.has_kernel and sum(made.values()) in {alive[key] for key in dying}
        most = max(most, sum(alive.values()) + (0 if is_in_place else sum(made.values())))
        alive = {key: size for key, size in alive.items() if key not in dying} | made
    return most


def kept(steps: Sequence[Step]) -> int:
    """Return how many numbers the gradients need: those from which layers compute them, each tensor once.

    A layer that is not known needs all that it takes.
    """
    needed: dict[int, int] = {}
    within = 0  # layers, between a kernel and an activation
    for step in steps:
        activation = _activation(step.layer)
        is_known = activation in ("linear", *_FROM_OUTPUT) or _LINEAR.fullmatch(keras_layer(step.layer) or "")
        if step.has_kernel or not is_known:
            needed |= {tensor.key: _size(tensor) for tensor in step.takes}
        if activation in _FROM_OUTPUT:
            needed |= {tensor.key: _size(tensor) for tensor in step.gives}
        elif step.has_kernel and activation not in (None, "linear"):
            within += sum(map(_size, step.gives))
    return sum(needed.values()) + within


def _activation(layer: Any) -> str | None:
    """Return the name of a layer's activation; None if it has none, or a custom one."""
    if keras_layer(layer) in ("ReLU", "Softmax"):
        return "relu"
    return getattr(getattr(layer, "activation", None), "__name__", None)


def _size(tensor: Tensor) -> int:
    return math.prod(side or 1 for side in tensor.shape)
