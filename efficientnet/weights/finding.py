"""The settings that weights were trained with: from the file, from its origin, or unknown.

file ── checkpoints ──> what it says ── whose it is ──> what follows ── the user's arguments ──> what the network gets
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..checkpoints import Facts, Reading
from ..checkpoints.facts import of_mean_and_std, of_scale_and_offset
from ..checkpoints.names.keras import APPLICATIONS, KECAM, NORMALIZATION, NUMBERED, OURS
from ..checkpoints.names.kerashub import KERASHUB, TYPES
from ..checkpoints.names.tensorflow import AUTHORS
from ..checkpoints.names.torch import TIMM, TORCHVISION, TRANSFORMERS
from ..common import arguments
from ..family import scaling
from ..family.description import padding_of
from ..family.scaling import Block
from ..family.variants import PADDINGS, Variant
from ..images.pixel_scaling import Scaling, scale_and_offset
from . import published

_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

# PyTorch's own; networks with its padding nearly always have it.
_PYTORCH_EPSILON = 1e-5

# For each fact its argument and its option of the commands: the one place for this advice.
ADVICE = {
    "padding": ("padding", "--padding"),
    "epsilon": ("batch_norm_epsilon", "--epsilon"),
    "preprocessing": ("preprocessing", "--preprocessing"),
}


class Trained(NamedTuple):
    """The settings of a network that match its weights.

    Attributes:
        padding, epsilon, preprocessing: Settings as in ``Facts``.
        facts: Known facts, from the file, its origin or the user.
        unknown: Names of the settings that are assumed.
    """

    padding: str
    epsilon: float
    preprocessing: str | Scaling
    facts: Facts
    unknown: tuple[str, ...] = ()


def given_facts(padding: Any, epsilon: Any, preprocessing: Any) -> Facts:
    """Check ``padding=``, ``batch_norm_epsilon=`` and ``preprocessing=`` of a user; None if one is not given.

    Raises:
        ValueError: A value is out of its range.
    """
    if padding is not None:
        arguments.choice("padding", padding, PADDINGS)
    if epsilon is not None:
        arguments.number(
            "batch_norm_epsilon", epsilon, lambda value: 0 < value <= 1, "a number greater than 0 and at most 1"
        )
    if preprocessing is not None:
        scale_and_offset(preprocessing)
    return Facts(padding, epsilon, preprocessing)


def trained_with(said: Facts, variant: Variant, given: Facts) -> Trained:
    """Return a network's settings: the user's, else the known ones of the weights, else likely ones.

    Args:
        said: Known facts of the weights.
        variant: Variant of the network.
        given: Arguments of the user.
    """
    known = given | said
    padding = known.padding or variant.padding
    likely = _PYTORCH_EPSILON if padding == "symmetric" != variant.padding else variant.batch_norm_epsilon
    return Trained(
        padding=padding,
        epsilon=likely if known.epsilon is None else known.epsilon,
        preprocessing=known.preprocessing or variant.preprocessing,
        facts=known,
        unknown=tuple(name for name in ADVICE if getattr(known, name) is None),
    )


def untrained(variant: Variant, given: Facts) -> Trained:
    """Return the settings of a network without given weights: the user's, else the variant's."""
    return Trained(
        given.padding or variant.padding,
        variant.batch_norm_epsilon if given.epsilon is None else given.epsilon,
        given.preprocessing or variant.preprocessing,
        given,
    )


def of_reading(reading: Reading) -> Facts:
    """Return the known facts of a file's weights.

    These are in the file, or follow from its origin, or from its hash if it is a published file.
    """
    said = reading.checkpoint.facts
    if reading.origin is TIMM:
        known = said | (published.facts_of_model(said.model, reading.classes) if said.model else Facts())
    else:  # a name in a file with others' names is not timm's
        known = dataclasses.replace(said, model=None) | _of_origin(reading)
    if all(getattr(known, name) is not None for name in ADVICE):
        return known
    same_file = published.published_as(reading.path, reading.variant)
    return known if same_file is None else known | of_set(same_file)


def of_set(weight_set: published.PublishedWeights) -> Facts:
    """Return the known facts of a published set."""
    return Facts(
        padding=weight_set.padding,
        epsilon=weight_set.epsilon,
        preprocessing=weight_set.preprocessing,
        crop=weight_set.crop,
        interpolation=weight_set.interpolation,
    )


def unknown_message(trained: Trained, variant: Variant) -> str:
    """Return the message about unknown facts of a variant's weights, after their file's name; empty for none."""
    if not trained.unknown:
        return ""
    assumed = ", ".join(f"{ADVICE[fact][0]}={getattr(trained, fact)!r}" for fact in trained.unknown)
    options = ", ".join(ADVICE[fact][1] for fact in trained.unknown)
    hint = ""
    if "padding" in trained.unknown:
        ours = "; the authors' published weights 'edgetpu' and 0.001" if _is_edgetpu(variant) else ""
        hint = (
            " (timm's networks have 'same' and 0.001 where their names begin with tf_, else 'symmetric' and "
            f"1e-05{ours})"
        )
    return (
        f"does not say how its network was trained; assumed: {assumed}{hint}. If it was trained otherwise, its "
        f"predictions are wrong: pass the right values (in a command: {options})."
    )


def contradictions(said: Facts, given: Facts) -> list[str]:
    """Describe the user's settings that contradict the weights' known ones."""
    pairs = [(name, getattr(said, name), getattr(given, name)) for name in ADVICE]
    return [
        f"{ADVICE[name][0]}={wanted!r} where the weights were trained with {known!r}"
        for name, known, wanted in pairs
        if known is not None and wanted is not None and known != wanted
    ]


def contradiction_message(contradiction: str) -> str:
    """Return the message about a contradiction, after the name of the weights' file."""
    return f"gets {contradiction}; taken is what was passed."


def _of_origin(reading: Reading) -> Facts:
    origin, variant, layers = reading.origin, reading.variant, reading.checkpoint.layers
    if origin is TORCHVISION:
        is_l = variant.name == "efficientnetv2-l"
        preprocessing = of_mean_and_std((0.5,) * 3, (0.5,) * 3) if is_l else "torch"
        return Facts(origin.padding, origin.epsilon(variant), preprocessing)
    if origin is TRANSFORMERS:  # how pixels are scaled stands in a separate file, or nowhere
        return Facts(origin.padding, origin.epsilon(variant))
    if origin is KECAM:
        # The authors' numbers, of whose scaling of pixels its own preprocessing makes one of two.
        is_large = re.fullmatch(r"efficientnetv2-(s|m|l|xl)", variant.name)
        return Facts(origin.padding, origin.epsilon(variant), "tf" if is_large else "torch")
    if origin in KERASHUB.values():  # its configuration says the rest, or nothing does
        return Facts(_padding_in_kerashub(TYPES[origin is KERASHUB[True]], layers, variant))
    normalization = _normalization_arrays(reading)
    if origin is APPLICATIONS or (origin is NUMBERED and (normalization or _is_of_applications(layers))):
        return Facts(APPLICATIONS.padding, APPLICATIONS.epsilon(variant), _applications(variant, normalization, layers))
    if origin in (OURS, NUMBERED):
        return Facts(_padding_by_names(layers, variant))
    # The authors scale V1's pixels in one of two ways, those of the other families in one.
    mode = variant.preprocessing if origin is AUTHORS and variant.preprocessing != "torch" else None
    # Their code of EdgeTPU pads otherwise since December 2020, long after they published weights. A file has no date.
    padding = None if origin is AUTHORS and _is_edgetpu(variant) else origin.padding
    return Facts(padding, origin.epsilon(variant), mode)


def _is_edgetpu(variant: Variant) -> bool:
    return variant.name.startswith("efficientnet-edgetpu-")


def _is_of_applications(layers: Sequence[str]) -> bool:
    return any(re.fullmatch(r"normalization(_\d+)?|block\d+[a-z]+_dwconv2", layer) for layer in layers)


def _padding_by_names(layers: Sequence[str], variant: Variant) -> str | None:
    """Return the padding that follows from layer names: a layer that pads has its convolution's name and ``_pad``."""
    strided = {"stem_conv": False}  # and whether it is fused
    for block in scaling.scale_blocks(variant):
        if block.strides > 1:
            spatial = ("expand_conv" if block.expands else "project_conv") if block.fused else "dwconv"
            strided[f"{block.name}_{spatial if block.experts == 1 else 'dw_experts'}"] = block.fused
    if not strided.keys() <= set(layers):
        return None
    return padding_of((fused, f"{name}_pad" in layers) for name, fused in strided.items())


def _padding_in_kerashub(type_of: Callable[[Block], str], layers: Sequence[str], variant: Variant) -> str | None:
    """Return the padding that follows from the types of KerasHub's blocks, and from a layer before the stem."""
    if not layers:
        return None
    strided = [block for block in scaling.scale_blocks(variant) if block.strides > 1]
    pads_equally = [(block.fused, type_of(block) != "unfused") for block in strided]
    return padding_of([(False, "stem_conv_pad" in layers), *pads_equally])


def _normalization_arrays(reading: Reading) -> tuple[np.ndarray, np.ndarray] | None:
    """Return mean and variance of keras.applications' layer that scales pixels; None if not in the network."""
    arrays = {
        name.rpartition("/")[2]: stored
        for name, stored in reading.checkpoint.arrays.items()
        if name.startswith(reading.before) and NORMALIZATION.fullmatch(name.removeprefix(reading.before))
    }
    for mean, variance in (("mean", "variance"), ("0", "1")):
        if mean in arrays and variance in arrays:
            return np.ravel(arrays[mean]), np.ravel(arrays[variance])
    return None


def _applications(
    variant: Variant, normalization: tuple[np.ndarray, np.ndarray] | None, layers: Sequence[str]
) -> str | Scaling | None:
    """Return how keras.applications' network scales pixels in its graph."""
    if normalization is not None:
        return _normalization(*normalization)
    # In V2-B0 to B3 it does so by constants, which are in no file.
    if any(re.fullmatch(r"normalization(_\d+)?", layer) for layer in layers):
        return "torch"
    if re.fullmatch(r"efficientnetv2-b\d", variant.name):
        return "torch"
    return "v2" if variant.name.startswith("efficientnetv2-") else None


def _normalization(mean: np.ndarray, variance: np.ndarray) -> str | Scaling:
    """Return the combined scaling of the layer Rescaling(1 / 255) and the layer Normalization after it.

    The published files of V1 keep the standard deviation for a variance, and their graph divides by its root once
    more: https://github.com/tensorflow/tensorflow/issues/49930.
    """
    std = np.array(_IMAGENET_STD)
    if np.allclose(mean, _IMAGENET_MEAN, atol=1e-3) and any(np.allclose(variance, v, rtol=0.01) for v in (std, std**2)):
        return "torch"
    scale = 1 / np.maximum(np.sqrt(variance), 1e-7)
    return of_scale_and_offset(scale / 255, -mean * scale)
