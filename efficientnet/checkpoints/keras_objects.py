"""Names of a Keras 2 model's layers in TensorFlow's checkpoints: these number them in one row, Keras 3 by class."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection

from ..family import arrays as layout
from .arrays import Stored
from .keras_h5 import number_layers

_NUMBERED = re.compile(r"(?P<path>(.*/)?)layer_with_weights-(?P<number>\d{1,6})/(?P<role>[^/]+)")

# Role of an array, and its number of axes, by which the class of its layer is known.
_KINDS = {
    ("kernel", 4): "Conv2D",
    ("depthwise_kernel", 4): "DepthwiseConv2D",
    ("kernel", 2): "Dense",
    ("moving_mean", 1): "BatchNormalization",
    ("mean", 1): "Normalization",
}
_ROLES = {**layout.ROLES, "Normalization": ("mean", "variance", "count")}


def number(arrays: dict[str, Stored]) -> dict[str, Stored]:
    """Return the arrays, those of known layers under the names that :mod:`keras_h5` gives them.

    Args:
        arrays: Arrays by the names of a checkpoint: ``"layer_with_weights-0/kernel"``, ``"body/…"``.

    Returns:
        The same arrays by new names, ``"conv2d/0"``, ``"body/conv2d/0"``; other names are unchanged.
    """
    models: dict[str, dict[int, dict[str, str]]] = defaultdict(lambda: defaultdict(dict))
    for name in arrays:
        if match := _NUMBERED.fullmatch(name):
            models[match["path"]][int(match["number"])][match["role"]] = name
    renamed: dict[str, str] = {}
    for path, layers in models.items():
        kinds = {number: _kind(arrays, layers[number]) for number in sorted(layers)}
        groups = number_layers((str(number), kind) for number, kind in kinds.items() if kind)
        for group, number in groups.items():
            names = {layout.role(role): name for role, name in layers[int(number)].items()}
            present = [role for role in _ROLES[kinds[int(number)]] if role in names]
            renamed |= {names[role]: f"{path}{group}/{index}" for index, role in enumerate(present)}
    free = {name: new for name, new in renamed.items() if new not in arrays}
    return {free.get(name, name): stored for name, stored in arrays.items()}


def _kind(arrays: dict[str, Stored], names: dict[str, str]) -> str:
    """Return the class of a layer by its arrays; empty for another one than the network has."""
    kinds = {kind for role, name in names.items() if (kind := _KINDS.get((role, len(arrays[name].shape))))}
    kind = kinds.pop() if len(kinds) == 1 else ""
    known: Collection[str] = _ROLES.get(kind, ())
    return kind if all(layout.role(role) in known for role in names) else ""
