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


_KECAM = {"top_conv": "post_conv", "top_bn": "post_bn", "probs": "predictions"}
_KECAM_BLOCK = {
    "expand_conv": "sortcut_conv", "expand_bn": "sortcut_bn", "dwconv": "MB_dw_", "bn": "MB_dw_bn",
    "se_reduce": "se_1_conv", "se_expand": "se_2_conv", "project_conv": "MB_pw_conv", "project_bn": "MB_pw_bn",
}  # fmt: skip
_KECAM_SINGLE = {"project_conv": "fu_conv", "project_bn": "fu_bn"}  # in a fused block that does not expand


def _kecam(layers: Sequence[Layer]) -> Iterator[Entry]:
    for layer in layers:
        if layer.place is None:
            name = _KECAM.get(layer.part, layer.part)
        else:
            is_single = layer.place.block.fused and not layer.place.block.expands
            part = (_KECAM_SINGLE if is_single else _KECAM_BLOCK).get(layer.part, layer.part)
            name = f"stack_{layer.place.stage}_block{layer.place.repeat}_{part}"
        for role, shape in layer.shapes.items():
            yield same(f"{name}/{role}", f"{layer.name}/{role}", shape)


def _by_number(layers: Sequence[Layer]) -> Iterator[Entry]:
    numbers = {name: group for group, name in number_layers((layer.name, layer.kind) for layer in layers).items()}
    for layer in layers:
        for index, (role, shape) in enumerate(layer.shapes.items()):
            yield same(f"{numbers[layer.name]}/{index}", f"{layer.name}/{role}", shape)


def _numbered_within(before: str, name: str) -> str | None:
    """Return the name of a numbered array in the model that stands ``before`` it, or that of a layer around it."""
    group, _, layer = name.rpartition("/")[0].rpartition("/")
    is_within = before.startswith(f"{group}/" if group else "")
    return f"{layer}/{name.rpartition('/')[2]}" if is_within and (not group or before) else None


_BODY = re.compile(r"(stem|top|block\d+[a-z]+)_.*")

# What Keras on PyTorch puts before the names in a state_dict(), and its random states there.
IN_TORCH = "_torch_params."
_SEEDS = re.compile(r"seed_generator(_\d+)?/seed_generator_state")
OURS = Origin(
    "efficientnet",
    landmark=re.compile(r"(?P<before>.*(?:/|_torch_params\.))?stem_conv/kernel"),
    body=_BODY,
    entries=_by_name,
    ignored=_SEEDS,
)
APPLICATIONS = Origin(
    "keras.applications",
    landmark=re.compile(
        r"(?P<before>.*_torch_params\.)?(normalization(_\d+)?/mean|predictions/kernel|block\d+[a-z]+_dwconv2/kernel)"
    ),
    body=_BODY,
    entries=_applications,
    ignored=re.compile(f"{NORMALIZATION.pattern}|{_SEEDS.pattern}"),
)
# The package keras-efficientnet-v2, and keras_cv_attention_models, of V1 and V2.
KECAM = Origin(
    "keras-efficientnet-v2",
    landmark=re.compile(r"stack_0_block0_(fu|MB_pw)_conv/kernel"),
    body=re.compile(r"(stem|post|stack_\d+_block\d+)_.*"),
    entries=_kecam,
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
