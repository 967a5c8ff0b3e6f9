"""Names of the authors' TensorFlow checkpoints.

They number the blocks over the whole network, and the layers of a kind within a block.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from ...family.arrays import Layer
from .base import Entry, Origin, same

_STEM_AND_HEAD = {
    "stem_conv": "stem/conv2d", "stem_bn": "stem/batch_normalization",
    "top_conv": "head/conv2d", "top_bn": "head/batch_normalization", "probs": "head/dense",
}  # fmt: skip
_BLOCK = {"routing": "dense", "dwconv": "depthwise_conv2d", "se_reduce": "se/conv2d", "se_expand": "se/conv2d_1"}
_ORDER = {
    "conv2d": ("expand_conv", "project_conv"),
    "batch_normalization": ("expand_bn", "bn", "project_bn"),
}


def _normalize(name: str) -> str:
    """Remove the marks of a Keras model, and of batch norm on a TPU."""
    return name.removeprefix("model/").replace("/tpu_batch", "/batch")


def _entries(layers: Sequence[Layer]) -> Iterator[Entry]:
    parts = {layer.name for layer in layers}
    conditional = [layer.place.number for layer in layers if layer.place and layer.part == "routing"]
    for layer in layers:
        for role, shape in layer.shapes.items():
            ours = f"{layer.name}/{role}"
            if layer.place and layer.part.endswith("experts"):
                yield _experts(layer, conditional.index(layer.place.number))
                continue
            variable = f"depthwise_{role}" if layer.kind == "DepthwiseConv2D" else role
            yield same(f"{_layer(layer, parts)}/{variable}", ours, shape)


def _layer(layer: Layer, names: set[str]) -> str:
    if layer.place is None:
        return _STEM_AND_HEAD[layer.part]
    path = f"blocks_{layer.place.number}"
    for theirs, order in _ORDER.items():
        if layer.part in order:
            there = [part for part in order if f"{layer.place.block.name}_{part}" in names]
            index = there.index(layer.part)
            return f"{path}/{theirs}" + (f"_{index}" if index else "")
    return f"{path}/{_BLOCK[layer.part]}"


def _experts(layer: Layer, number: int) -> Entry:
    """Return the entry of the experts' kernels, each flattened; these layers are numbered over the whole network.

    In each block there is a further pointwise one, whose numbers never came into use.
    """
    assert layer.place is not None
    block, shape = layer.place.block, layer.shapes["kernel"]
    path, ours = f"blocks_{layer.place.number}", f"{layer.name}/kernel"
    if layer.kind != "DepthwiseConv2D":
        index = 3 * number + (1 if layer.part.startswith("expand") else 2)
        return same(f"{path}/cond_conv2d_{index}/condconv_kernel", ours, shape)
    theirs = f"{path}/depthwise_cond_conv2d" + (f"_{number}" if number else "")
    # (experts, h · w · channels) -> (h, w, channels, experts)
    view = (block.experts, block.kernel_size, block.kernel_size, block.expanded_filters)
    flat = (block.experts, block.kernel_size**2 * block.expanded_filters)
    return Entry(f"{theirs}/depthwise_condconv_kernel", flat, ours, shape, view, (1, 2, 3, 0))


AUTHORS = Origin(
    "authors",
    landmark=re.compile(r"(?P<before>[^/]+/)stem/conv2d/kernel"),  # the network's name
    body=re.compile(r"(stem|blocks_\d+|head)/.*"),
    entries=_entries,
    normalize=_normalize,
)
