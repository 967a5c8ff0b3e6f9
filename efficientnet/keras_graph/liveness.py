"""Memory for feature maps: how much of them is alive at once while a model predicts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from .walk import Tensor


class Step(NamedTuple):
    """One call of a layer.

    Attributes:
        takes, gives: Its inputs and outputs; all sides are known.
        has_kernel: Whether it is a convolution or a dense layer, whose output cannot take the place of its input.
    """

    takes: Sequence[Tensor]
    gives: Sequence[Tensor]
    has_kernel: bool


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


def _size(tensor: Tensor) -> int:
    return math.prod(side or 1 for side in tensor.shape)
