"""Names and layouts of packages for PyTorch: timm, EfficientNet-PyTorch, torchvision, transformers, MMPretrain."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import islice

from ...family.arrays import Layer, Place
from ...family.variants import Variant
from .base import Entry, Origin, same, transposed

# Only training needs it.
_COUNTER = re.compile(r".*\.num_batches_tracked")

_BATCH_NORM = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}


def _entries(layers: Sequence[Layer], name: Callable[[Layer], str]) -> Iterator[Entry]:
    """Yield the table of an implementation that calls its layers by ``name``; what they hold, PyTorch itself names."""
    for layer in layers:
        for role, shape in layer.shapes.items():
            ours = f"{layer.name}/{role}"
            theirs = f"{name(layer)}.{_BATCH_NORM.get(role, 'bias' if role == 'bias' else 'weight')}"
            if role != "kernel":
                yield same(theirs, ours, shape)
            elif layer.place and layer.part.endswith("experts"):
                yield _experts(theirs, ours, layer, layer.place)
            elif layer.kind == "Conv2D":
                yield transposed(theirs, ours, shape, (2, 3, 1, 0))  # (out, in, h, w) -> (h, w, in, out)
            elif layer.kind == "DepthwiseConv2D":
                yield transposed(theirs, ours, shape, (2, 3, 0, 1))  # (channels, 1, h, w) -> (h, w, channels, 1)
            else:
                yield transposed(theirs, ours, shape, (1, 0))


def _experts(theirs: str, ours: str, layer: Layer, place: Place) -> Entry:
    """Return the entry of a row of kernels, each flattened."""
    block, shape = place.block, layer.shapes["kernel"]
    if layer.kind == "DepthwiseConv2D":  # (experts, channels · h · w) -> (h, w, channels, experts)
        view, axes = (block.experts, block.expanded_filters, block.kernel_size, block.kernel_size), (2, 3, 1, 0)
        return Entry(theirs, (block.experts, block.expanded_filters * block.kernel_size**2), ours, shape, view, axes)
    # (experts, out · in) -> (experts, in · out)
    inputs = block.input_filters if layer.part.startswith("expand") else block.expanded_filters
    return Entry(theirs, shape, ours, shape, (block.experts, shape[1] // inputs, inputs), (0, 2, 1))


_TIMM = {"stem_conv": "conv_stem", "stem_bn": "bn1", "top_conv": "conv_head", "top_bn": "bn2", "probs": "classifier"}
_TIMM_BLOCK = {
    "routing": "routing_fn",
    "expand_conv": "conv_pw", "expand_experts": "conv_pw", "expand_bn": "bn1",
    "dwconv": "conv_dw", "dw_experts": "conv_dw", "bn": "bn2",
    "se_reduce": "se.conv_reduce", "se_expand": "se.conv_expand",
    "project_conv": "conv_pwl", "project_experts": "conv_pwl", "project_bn": "bn3",
}  # fmt: skip
# What they call differently in blocks of other kinds.
_TIMM_SEPARABLE = {"bn": "bn1", "project_conv": "conv_pw", "project_bn": "bn2"}
_TIMM_FUSED = {"expand_conv": "conv_exp", "project_bn": "bn2"}
_TIMM_SINGLE = {"project_conv": "conv", "project_bn": "bn1"}


def _timm(layer: Layer) -> str:
    if layer.place is None:
        return _TIMM[layer.part]
    block = layer.place.block
    if block.fused:
        changed = _TIMM_FUSED if block.expands else _TIMM_SINGLE
    else:
        changed = {} if block.expands else _TIMM_SEPARABLE
    return f"blocks.{layer.place.stage}.{layer.place.repeat}.{changed.get(layer.part) or _TIMM_BLOCK[layer.part]}"


_LUKEMELAS = {
    "stem_conv": "_conv_stem", "stem_bn": "_bn0", "top_conv": "_conv_head", "top_bn": "_bn1", "probs": "_fc",
}  # fmt: skip
_LUKEMELAS_BLOCK = {
    "expand_conv": "_expand_conv", "expand_bn": "_bn0",
    "dwconv": "_depthwise_conv", "bn": "_bn1",
    "se_reduce": "_se_reduce", "se_expand": "_se_expand",
    "project_conv": "_project_conv", "project_bn": "_bn2",
}  # fmt: skip


def _numbered(
    layers: Sequence[Layer], parts: Mapping[str, str], blocks: str, block_parts: Mapping[str, str]
) -> Iterator[Entry]:
    """Yield the table of an implementation that numbers all blocks through, as ``blocks``."""

    def name(layer: Layer) -> str:
        if layer.place is None:
            return parts[layer.part]
        # Kinds of blocks that the package does not have keep our names, and so no file has them.
        return f"{blocks}.{layer.place.number}.{block_parts.get(layer.part, layer.part)}"

    return _entries(layers, name)


def _torchvision(layer: Layer, stages: int) -> str:
    if layer.place is None:
        head = f"features.{stages + 1}"
        return {
            "stem_conv": "features.0.0", "stem_bn": "features.0.1", "top_conv": f"{head}.0", "top_bn": f"{head}.1",
            "probs": "classifier.1",
        }[layer.part]  # fmt: skip
    block = layer.place.block
    # The steps of a block are numbered; those that it does not have are not counted.
    steps = ["expand"] * block.expands + ["dw"] * (not block.fused) + ["se"] * (block.se_filters > 0) + ["project"]
    step, inner = {
        "expand_conv": ("expand", "0"), "expand_bn": ("expand", "1"), "dwconv": ("dw", "0"), "bn": ("dw", "1"),
        "se_reduce": ("se", "fc1"), "se_expand": ("se", "fc2"),
        "project_conv": ("project", "0"), "project_bn": ("project", "1"),
    }.get(layer.part, ("project", layer.part))  # fmt: skip
    return f"features.{layer.place.stage + 1}.{layer.place.repeat}.block.{steps.index(step)}.{inner}"


def _torchvision_entries(layers: Sequence[Layer]) -> Iterator[Entry]:
    stages = 1 + max(layer.place.stage for layer in layers if layer.place)
    return _entries(layers, lambda layer: _torchvision(layer, stages))


_TRANSFORMERS = {
    "stem_conv": "embeddings.convolution", "stem_bn": "embeddings.batchnorm",
    "top_conv": "encoder.top_conv", "top_bn": "encoder.top_bn", "probs": "classifier",
}  # fmt: skip
_TRANSFORMERS_BLOCK = {
    "expand_conv": "expansion.expand_conv", "expand_bn": "expansion.expand_bn",
    "dwconv": "depthwise_conv.depthwise_conv", "bn": "depthwise_conv.depthwise_norm",
    "se_reduce": "squeeze_excite.reduce", "se_expand": "squeeze_excite.expand",
    "project_conv": "projection.project_conv", "project_bn": "projection.project_bn",
}  # fmt: skip


_MMPRETRAIN_BLOCK = {
    "expand_conv": "expand_conv.conv", "expand_bn": "expand_conv.bn",
    "dwconv": "depthwise_conv.conv", "bn": "depthwise_conv.bn",
    "se_reduce": "se.conv1.conv", "se_expand": "se.conv2.conv",
    "project_conv": "linear_conv.conv", "project_bn": "linear_conv.bn",
}  # fmt: skip
_MMPRETRAIN_FUSED = {
    "expand_conv": "conv1.conv", "expand_bn": "conv1.bn", "project_conv": "conv2.conv", "project_bn": "conv2.bn",
}  # fmt: skip
_MMPRETRAIN_SINGLE = {"project_conv": "conv", "project_bn": "bn"}


def _mmpretrain(layers: Sequence[Layer]) -> Iterator[Entry]:
    """Yield V2's table, whose stages are numbered; elsewhere a stage without a stride continues the one before it."""
    places = {layer.place.number: layer.place for layer in layers if layer.place}
    is_v2 = any(place.block.fused and not place.block.expands for place in places.values())
    paths: dict[int, str] = {}
    stage = index = 0
    for number, place in places.items():
        is_new = place.repeat == 0 and (is_v2 or number == 0 or place.block.strides > 1)
        stage, index = (stage + 1, 0) if is_new else (stage, index + 1)
        paths[number] = f"layers.{stage}.{index}"
    parts = {
        "stem_conv": "layers.0.conv", "stem_bn": "layers.0.bn",
        "top_conv": f"layers.{stage + 1}.conv", "top_bn": f"layers.{stage + 1}.bn", "probs": "head.fc",
    }  # fmt: skip

    def name(layer: Layer) -> str:
        if layer.place is None:
            return parts[layer.part]
        block, changed = layer.place.block, {}
        if block.fused:
            changed = _MMPRETRAIN_FUSED if block.expands else _MMPRETRAIN_SINGLE
        part = changed.get(layer.part) or _MMPRETRAIN_BLOCK.get(layer.part, layer.part)
        return f"{paths[layer.place.number]}.{part}"

    return _entries(layers, name)


# Before the names of all layers but the classifier, which stands beside the body.
TRANSFORMERS_BODY, _MMPRETRAIN_BODY = "efficientnet.", "backbone."


def _beside(body: str, classifier: str) -> Callable[[str, str], str | None]:
    """Return the function ``within`` of an origin whose classifier stands beside its body."""

    def within(before: str, name: str) -> str | None:
        if name.startswith(before):
            return name.removeprefix(before)
        around = before.removesuffix(body)
        is_classifier = around != before and name.startswith(around + classifier)
        return name.removeprefix(around) if is_classifier else None

    return within


def _torchvision_epsilon(variant: Variant) -> float:
    """Return the epsilon of torchvision's training: PyTorch's for B0 to B4, the authors' for the others."""
    small = re.fullmatch(r"efficientnet-b[0-4]", variant.name)
    return 1e-5 if small else variant.batch_norm_epsilon


TIMM = Origin(
    "timm",
    landmark=re.compile(r"(?P<before>.*\.)?conv_stem\.weight"),
    body=re.compile(r"(conv_stem|bn1|blocks|conv_head|bn2)\..*"),
    entries=lambda layers: _entries(layers, _timm),
    ignored=_COUNTER,
)
LUKEMELAS = Origin(
    "lukemelas",
    landmark=re.compile(r"(?P<before>.*\.)?_conv_stem\.weight"),
    body=re.compile(r"(_conv_stem|_bn0|_blocks|_conv_head|_bn1)\..*"),
    entries=lambda layers: _numbered(layers, _LUKEMELAS, "_blocks", _LUKEMELAS_BLOCK),
    ignored=_COUNTER,
)
TORCHVISION = Origin(
    "torchvision",
    landmark=re.compile(r"(?P<before>.*\.)?features\.0\.0\.weight"),
    body=re.compile(r"features\..*"),
    entries=_torchvision_entries,
    ignored=_COUNTER,
    padding="symmetric",
    epsilon=_torchvision_epsilon,
)
TRANSFORMERS = Origin(
    "transformers",
    landmark=re.compile(r"(?P<before>.*\.)?embeddings\.convolution\.weight"),
    body=re.compile(r"(embeddings|encoder)\..*"),
    entries=lambda layers: _numbered(layers, _TRANSFORMERS, "encoder.blocks", _TRANSFORMERS_BLOCK),
    within=_beside(TRANSFORMERS_BODY, "classifier."),
    ignored=_COUNTER,
)
MMPRETRAIN = Origin(
    "MMPretrain",
    landmark=re.compile(r"(?P<before>.*\.)?layers\.0\.conv\.weight"),
    body=re.compile(r"layers\..*"),
    entries=_mmpretrain,
    within=_beside(_MMPRETRAIN_BODY, "head.fc."),
    ignored=_COUNTER,
)

# nn.Sequential(*network.children()) puts numbers in place of the names of a network's parts. For each implementation:
# an array of its blocks, the part that these are, and all parts that hold arrays, in order.
_CHILDREN = (
    (r"\.0\.0\.conv(_dw|_exp)?\.weight", "blocks", ("conv_stem", "bn1", "blocks", "conv_head", "bn2", "classifier")),
    (r"\.0\._depthwise_conv\.weight", "_blocks", ("_conv_stem", "_bn0", "_blocks", "_conv_head", "_bn1", "_fc")),
    (r"\.1\.0\.block\.0\.0\.weight", "features", ("features", "classifier")),
    (r"\.0\.block\.0\.0\.weight", "features.1", tuple(f"features.{number}" for number in range(9))),
)
_MOST_PREFIXES = 16  # prefixes of the numbers; only an attack has more


def name_children(names: Collection[str]) -> dict[str, str]:
    """Return the names of a network's parts in place of their numbers, for the arrays of such a network.

    The parts that hold arrays count, in their order: it is the same in all releases of an implementation, while layers
    without arrays (activations, pooling) come and go.

    Args:
        names: Names of all arrays of a file: ``"0.weight"``, ``"3.0.0.conv_dw.weight"``.

    Returns:
        New names by old ones, ``"conv_stem.weight"``; empty if the blocks are not where an implementation has them.
    """
    for block, place, parts in _CHILDREN:
        landmark = re.compile(r"(?P<before>(.*\.)?)(?P<number>\d+)" + block)
        matches = list(islice(filter(None, map(landmark.fullmatch, names)), _MOST_PREFIXES))
        renamed: dict[str, str] = {}
        for before, blocks in dict.fromkeys((match["before"], match["number"]) for match in matches):
            numbered = re.compile(re.escape(before) + r"(\d+)\.(.*)")
            inner = {name: match.groups() for name in names if (match := numbered.fullmatch(name))}
            numbers = sorted({number for number, _ in inner.values()}, key=lambda number: (len(number), number))
            new = dict(zip(numbers, parts, strict=False))  # what else follows is not the network's
            if new.get(blocks) == place:
                renamed |= {name: f"{before}{new[n]}.{rest}" for name, (n, rest) in inner.items() if n in new}
        if renamed:
            return renamed
    return {}
