"""Names in KerasHub's files: layers of Keras by number, and around some of them KerasHub's own blocks, by number too.

A backbone consists of blocks of four types: ``v1``, whose layers stand in the network itself; ``unfused``, ``fused``
and ``cba``, each a layer that holds the others. If all blocks are ``v1``, the names are those of Keras itself, which
``names.keras.NUMBERED`` has.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from ...family.arrays import Layer
from ...family.scaling import Block
from ..keras_h5 import number_layers
from .base import Entry, Origin, same
from .keras import NUMBERED

_ATTRIBUTES = {
    "unfused": {
        "expand_conv": "conv1", "expand_bn": "bn1", "dwconv": "depthwise", "bn": "bn2",
        "se_reduce": "se_conv1", "se_expand": "se_conv2", "project_conv": "output_conv", "project_bn": "bn3",
    },
    "fused": {
        "expand_conv": "conv1", "expand_bn": "bn1", "se_reduce": "se_conv1", "se_expand": "se_conv2",
        "project_conv": "output_conv", "project_bn": "bn2",
    },
    "cba": {"project_conv": "conv1", "project_bn": "bn1"},
}  # fmt: skip
_CLASSES = {"unfused": "MBConvBlock", "fused": "FusedMBConvBlock", "cba": "CBABlock"}

# An unfused block of KerasHub's that does not expand projects by a larger kernel, which no EfficientNet has.
TYPES: dict[bool, Callable[[Block], str]] = {
    # Whether depthwise convolutions with a stride pad equally on all sides.
    True: lambda block: ("fused" if block.expands else "cba") if block.fused else "v1",
    False: lambda block: TYPES[True](block) if block.fused or not block.expands else "unfused",
}


def _entries(layers: Sequence[Layer], type_of: Callable[[Block], str]) -> Iterator[Entry]:
    kinds: dict[str, str] = {}  # by name, of the layers that stand in the network itself
    for layer in layers:
        if layer.place is None or (kind := type_of(layer.place.block)) == "v1":
            kinds[layer.name] = layer.kind
        else:
            kinds[layer.place.block.name] = _CLASSES[kind]
    groups = {name: group for group, name in number_layers(kinds.items()).items()}
    for layer in layers:
        if layer.name in groups:
            path = groups[layer.name]
        else:
            assert layer.place is not None
            block = layer.place.block
            path = f"{groups[block.name]}/{_ATTRIBUTES[type_of(block)].get(layer.part, layer.part)}"
        for index, (role, shape) in enumerate(layer.shapes.items()):
            yield same(f"{path}/{index}", f"{layer.name}/{role}", shape)


def _within(before: str, name: str) -> str | None:
    """Return a name relative to ``before``; the classifier stands beside the backbone."""
    return name.removeprefix(before) if name.startswith(before) else NUMBERED.within(before, name)


_BODY = re.compile(r"(depthwise_conv2d|(fused_)?mb_conv_block|cba_block)(_\d+)?/.*")


def _origin(blocks: str, type_of: Callable[[Block], str]) -> Origin:
    return Origin(
        "KerasHub",
        landmark=re.compile(rf"(?P<before>.*/)?{blocks}_block/conv1/0"),
        body=_BODY,
        entries=lambda layers: _entries(layers, type_of),
        within=_within,
    )


# By whether depthwise convolutions with a stride pad equally on all sides.
KERASHUB = {True: _origin("(fused_mb_conv|cba)", TYPES[True]), False: _origin("mb_conv", TYPES[False])}
