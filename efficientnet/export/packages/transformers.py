"""Folders that ``EfficientNetForImageClassification.from_pretrained`` of transformers opens."""

from __future__ import annotations

from typing import Any

from ...checkpoints.names import torch as names
from ...checkpoints.names.base import Origin
from ...checkpoints.transformers_config import INTERPOLATIONS, blocks_padded_equally
from ...family import scaling
from ...family.arrays import places
from ...family.variants import Variant
from .base import Network, Package, refuse


def _origin(network: Network) -> Origin:
    if problem := _problem(network.variant):
        refuse("transformers", network, problem)
    return names.TRANSFORMERS


def _problem(variant: Variant) -> str:
    """Return what transformers' EfficientNet, which is V1, has not; empty for nothing."""
    if variant.padding != "same":
        return f"it pads as TensorFlow does, and this network has padding={variant.padding!r}"
    if variant.activation != "swish":
        return f"its activation is 'swish', and this network's {variant.activation!r}"
    if any(stage.fused or stage.experts > 1 for stage in variant.blocks):
        return "it has no fused blocks and no experts"
    if len({stage.se_ratio for stage in variant.blocks}) > 1 or not variant.blocks[0].se_ratio:
        return "all of its blocks squeeze and excite by one ratio"
    is_scaled = variant.scale_stem_and_head and all(stage.scale_repeats for stage in variant.blocks)
    is_scaled = is_scaled and variant.depth_rounding == "up"
    if not is_scaled or not variant.limit_rounding_loss or variant.stem_filters != 32 or variant.head_filters != 1280:
        return "its stem, head and stages are scaled as those of B0 to B7"
    if any(stage.strides > 2 for stage in variant.blocks):
        return "its strides are 1 or 2"
    if any(place.block.residual != (place.repeat > 0) for place in places(variant)):
        return "the first block of each of its stages adds nothing to its output, which this network's do"
    if variant.resolution % 2:
        return f"its stem pads as TensorFlow does at an even size only, and this network's is {variant.resolution}"
    return ""


def _configure(network: Network) -> dict[str, Any]:
    variant, stages = network.variant, network.variant.blocks
    config = {
        "architectures": ["EfficientNetForImageClassification" if network.classes else "EfficientNetModel"],
        "model_type": "efficientnet",
        "batch_norm_eps": variant.batch_norm_epsilon,
        "batch_norm_momentum": variant.batch_norm_momentum,
        "depth_coefficient": variant.depth,
        "depth_divisor": variant.depth_divisor,
        "dropout_rate": variant.dropout_rate,
        "expand_ratios": [stage.expand_ratio for stage in stages],
        "hidden_act": variant.activation,
        "hidden_dim": scaling.head_filters(variant),
        "image_size": variant.resolution,
        "in_channels": [stage.input_filters for stage in stages],
        "kernel_sizes": [stage.kernel_size for stage in stages],
        "num_block_repeats": [stage.num_repeat for stage in stages],
        "num_channels": network.channels,
        "out_channels": [stage.output_filters for stage in stages],
        "pooling_type": "mean",
        "squeeze_expansion_ratio": stages[0].se_ratio,
        "strides": [stage.strides for stage in stages],
        "width_coefficient": variant.width,
    }
    config["depthwise_padding"] = sorted(blocks_padded_equally(config, variant.resolution))
    if network.classes:
        labels = network.class_names or tuple(f"LABEL_{number}" for number in range(network.classes))
        config["id2label"] = {str(number): label for number, label in enumerate(labels)}
        config["label2id"] = {label: number for number, label in enumerate(labels)}
        config["problem_type"] = f"{'multi' if network.activation == 'sigmoid' else 'single'}_label_classification"
    # Its processor takes images of Pillow, in RGB.
    processor = {"preprocessor_config.json": _processor(network)} if network.channels == 3 else {}
    return {"config.json": config, **processor}


def _processor(network: Network) -> dict[str, Any]:
    side = network.variant.resolution
    resized = round(side / network.crop)
    return {
        "image_processor_type": "EfficientNetImageProcessor",
        "do_resize": True,
        "size": {"height": resized, "width": resized},
        "resample": {name: number for number, name in INTERPOLATIONS.items()}[network.interpolation],
        "do_center_crop": resized > side,
        "crop_size": {"height": side, "width": side},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "rescale_offset": False,
        "do_normalize": True,
        "image_mean": network.mean,
        "image_std": network.std,
        "include_top": False,  # it would divide by the standard deviation once more
    }


def _usage(network: Network) -> str:
    kind = "EfficientNetForImageClassification" if network.classes else "EfficientNetModel"
    outputs = "outputs.logits" if network.classes else "outputs.pooler_output"
    if network.channels != 3:
        return f"""from transformers import {kind}

model = {kind}.from_pretrained("{{folder}}").eval()
outputs = model(images)  # a tensor (N, {network.channels}, height, width), scaled
{outputs}"""
    return f"""from transformers import {kind}, EfficientNetImageProcessor

processor = EfficientNetImageProcessor.from_pretrained("{{folder}}")
model = {kind}.from_pretrained("{{folder}}").eval()
outputs = model(**processor(image, return_tensors="pt"))  # a Pillow image
{outputs}"""


TRANSFORMERS = Package(
    "transformers", "transformers", "model.safetensors", _origin, _configure, _usage, "transformers",
    body=names.TRANSFORMERS_BODY,
)  # fmt: skip
