"""Names in Keras' own files: ours (and the older package's), those of keras.applications, and mere numbers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from ...family.arrays import Layer
from ..keras_h5 import number_layers
from .base import Entry, Origin, same

# What keras.applications' networks do to raw pixels by themselves; no array of the network proper.
# (Keras numbers such layers where a process makes several.)
NORMALIZATION = re.compile(r"normalization(_\d+)?/(mean|variance|count|[012])")


def _by_name(layers: Sequence[Layer]) -> Iterator[Entry]:
    for layer in layers:
        for role, shape in layer.shapes.items():
            yield same(f"{layer.name}/{role}", f"{layer.name}/{role}", shape)


def _applications(layers: Sequence[Layer]) -> Iterator[Entry]:
    is_v2 = any(layer.place.block.fused for layer in layers if layer.place)
    for layer in layers:
        name = "predictions" if layer.name == "probs" else layer.name
        if is_v2 and layer.part == "dwconv":
            name += "2"
        for role, shape in layer.shapes.items():
            yield same(f"{name}/{role}", f"{layer.name}/{role}", shape)


def _by_number(layers: Sequence[Layer]) -> Iterator[Entry]:
    numbers = {name: group for group, name in number_layers((layer.name, layer.kind) for layer in layers).items()}
    for layer in layers:
        for index, (role, shape) in enumerate(layer.shapes.items()):
            yield same(f"{numbers[layer.name]}/{index}", f"{layer.name}/{role}", shape)


def _numbered_within(before: str, name: str) -> str | None:
    """The name of a numbered array in the model that stands ``before`` it, or that of a layer around that model."""
    group, _, layer = name.rpartition("/")[0].rpartition("/")
    is_within = before.startswith(f"{group}/" if group else "")
    return f"{layer}/{name.rpartition('/')[2]}" if is_within and (not group or before) else None


_BODY = re.compile(r"(stem|top|block\d+[a-z]+)_.*")

OURS = Origin("efficientnet", landmark=re.compile(r"(?P<before>.*/)?stem_conv/kernel"), body=_BODY, entries=_by_name)
APPLICATIONS = Origin(
    "keras.applications",
    landmark=re.compile(r"normalization(_\d+)?/mean|predictions/kernel|block\d+[a-z]+_dwconv2/kernel"),
    body=_BODY,
    entries=_applications,
    ignored=NORMALIZATION,
)
# Keras 3's files of weights, ours or keras.applications'.
NUMBERED = Origin(
    "Keras",
    landmark=re.compile(r"(?P<before>.*/)?conv2d/0"),
    body=re.compile(r"depthwise_conv2d(_\d+)?/.*"),  # decoders have convolutions, too
    entries=_by_number,
    # The network may be a part of a model, whose own classifier then counts as that of the network.
    within=_numbered_within,
    ignored=NORMALIZATION,
)
