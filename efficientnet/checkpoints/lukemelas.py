"""Names of the PyTorch checkpoints by Luke Melas-Kyriazi (`EfficientNet-PyTorch`) and their heirs.

Blocks are numbered over the whole network (`_blocks.3._bn2.weight`), where ours carry stage and
letter (`block2b_project_bn/gamma`). A block without expansion simply lacks the first two of its
layers, one without squeeze-and-excite those two.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from . import CheckpointError

# Their variable -> ours, and the axes that bring PyTorch's layout into that of Keras.
_Variables = dict[str, tuple[str, tuple[int, ...]]]
_CONV: _Variables = {"weight": ("kernel", (2, 3, 1, 0))}  # (out, in, h, w) -> (h, w, in, out)
_BIASED_CONV: _Variables = {**_CONV, "bias": ("bias", (0,))}
_DEPTHWISE: _Variables = {"weight": ("kernel", (2, 3, 0, 1))}  # (c, 1, h, w) -> (h, w, c, 1)
_DENSE: _Variables = {"weight": ("kernel", (1, 0)), "bias": ("bias", (0,))}
_BATCH_NORM: _Variables = {
    "weight": ("gamma", (0,)),
    "bias": ("beta", (0,)),
    "running_mean": ("moving_mean", (0,)),
    "running_var": ("moving_variance", (0,)),
}

# Their layer -> ours, and its variables.
_NETWORK = {
    "_conv_stem": ("stem_conv", _CONV),
    "_bn0": ("stem_bn", _BATCH_NORM),
    "_conv_head": ("top_conv", _CONV),
    "_bn1": ("top_bn", _BATCH_NORM),
    "_fc": ("probs", _DENSE),
}
_BLOCK = {
    "_expand_conv": ("expand_conv", _CONV),
    "_bn0": ("expand_bn", _BATCH_NORM),
    "_depthwise_conv": ("dwconv", _DEPTHWISE),
    "_bn1": ("bn", _BATCH_NORM),
    "_se_reduce": ("se_reduce", _BIASED_CONV),
    "_se_expand": ("se_expand", _BIASED_CONV),
    "_project_conv": ("project_conv", _CONV),
    "_bn2": ("project_bn", _BATCH_NORM),
}


def recognises(names: Collection[str]) -> bool:
    """Tells whether arrays of these names follow this convention."""
    return "_conv_stem.weight" in names


def rename(arrays: Mapping[str, np.ndarray], block_prefixes: Sequence[str]) -> dict[str, np.ndarray]:
    """Brings a checkpoint's arrays to our names and to the layout of Keras.

    Args:
        arrays: The checkpoint's, by its own names.
        block_prefixes: Names of the network's blocks in order: "block1a", "block2a", "block2b", …

    Returns:
        Our name to array, such as "block1a_dwconv/kernel" (height, width, channels, 1), in the
        checkpoint's order. The arrays are views. Batch norms' `num_batches_tracked`, which only
        training needs, are left out. Whether all of a network's arrays are there is not checked.

    Raises:
        CheckpointError: Some arrays are not among this network's; the message names each.
    """
    layers = dict(_NETWORK)
    for number, prefix in enumerate(block_prefixes):
        for theirs, (ours, variables) in _BLOCK.items():
            layers[f"_blocks.{number}.{theirs}"] = (f"{prefix}_{ours}", variables)

    renamed, unknown = {}, []
    for name, array in arrays.items():
        layer, _, variable = name.rpartition(".")
        ours, variables = layers.get(layer, ("", {}))
        if variables is _BATCH_NORM and variable == "num_batches_tracked":
            continue
        target, axes = variables.get(variable, ("", ()))
        if target and array.ndim == len(axes):
            renamed[f"{ours}/{target}"] = array.transpose(axes)
        else:
            unknown.append(f"{name} {array.shape}")
    if unknown:
        raise CheckpointError(
            f"{len(unknown)} of the checkpoint's {len(arrays)} arrays have no place in an "
            f"EfficientNet of {len(block_prefixes)} blocks: {', '.join(unknown)}. Expected are the "
            "names of EfficientNet-PyTorch, such as '_blocks.0._depthwise_conv.weight', and a "
            "checkpoint of the same variant as the model."
        )
    return renamed
