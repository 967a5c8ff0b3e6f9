"""Presets that ``keras_hub.models.ImageClassifier.from_preset`` opens."""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import __version__
from ...checkpoints.arrays import Stored
from ...checkpoints.names import kerashub as names
from ...checkpoints.names.base import Origin
from ...family import scaling
from ...family.arrays import places
from ...family.description import pads_symmetrically
from ...family.variants import Variant
from .base import Network, Package, SeparateClassifier, refuse

_LAYER = {
    "trainable": True,
    "dtype": {
        "module": "keras", "class_name": "DTypePolicy", "config": {"name": "float32"}, "registered_name": None,
    },
}  # fmt: skip
_MODULE = "keras_hub.src.models.efficientnet.efficientnet_"


def _origin(network: Network) -> Origin:
    if problem := _problem(network.variant):
        refuse("KerasHub", network, problem, "Write for timm (timm), whose networks have both paddings.")
    return names.KERASHUB[_pads_equally(network.variant)]


def _pads_equally(variant: Variant) -> bool:
    return pads_symmetrically(variant.padding, fused=False)


def _problem(variant: Variant) -> str:
    """Return what KerasHub's EfficientNet has not; empty for nothing."""
    if any(stage.experts > 1 for stage in variant.blocks):
        return "it has no experts"
    for place in places(variant):
        block, kind = place.block, _type(variant, place.block)
        if block.strides > 1 and pads_symmetrically(variant.padding, block.fused) != (kind != "unfused"):
            return (
                f"its blocks of the type {kind!r} pad equally on all sides, and these weights were trained with "
                f"padding={variant.padding!r}"
            )
        adds = block.strides == 1 and block.input_filters == block.output_filters
        if adds and not block.residual and kind == "v1":
            return f"its {block.name} adds its input to its output, and this network's does not"
    return ""


def _type(variant: Variant, block: scaling.Block) -> str:
    return names.TYPES[_pads_equally(variant)](block)


def _configure(network: Network) -> dict[str, Any]:
    backbone = _object("backbone", "EfficientNetBackbone", _LAYER | _backbone(network.variant, network.channels))
    converter = _object("image_converter", "EfficientNetImageConverter", _LAYER | _converter(network))
    preprocessor = _object(
        "image_classifier_preprocessor", "EfficientNetImageClassifierPreprocessor",
        _LAYER | {"image_converter": converter, "config_file": "preprocessor.json"},
    )  # fmt: skip
    files: dict[str, Any] = {
        "metadata.json": {
            "keras_version": "3.15.1",
            "keras_hub_version": "0.32.0",  # the version whose format this is
            "written_by": f"efficientnet {__version__}",
            "tasks": ["ImageClassifier"] if network.classes else [],
        },
        "config.json": backbone,
        "image_converter.json": converter,
        "preprocessor.json": preprocessor,
    }
    if network.classes:
        options = {
            "backbone": backbone,
            "preprocessor": preprocessor,
            "num_classes": network.classes,
            "pooling": "avg",
            "activation": None if network.activation == "linear" else network.activation,
            "dropout": network.variant.dropout_rate,
        }
        files["task.json"] = _object("image_classifier", "EfficientNetImageClassifier", options)
    return files


def _object(module: str, kind: str, options: dict[str, Any]) -> dict[str, Any]:
    """Return an object as Keras writes it."""
    return {
        "module": f"{_MODULE}{module}",
        "class_name": kind,
        "config": {"name": module, **options},
        "registered_name": f"keras_hub>{kind}",
    }


def _backbone(variant: Variant, channels: int) -> dict[str, Any]:
    """Return the options of a backbone.

    Where the variant does not scale its stem and head, the first and the last stage get a width of 1 and numbers that
    are scaled already: KerasHub scales its stem by the width of the first stage, and its head by that of the last.
    """
    stages, pads_equally = variant.blocks, _pads_equally(variant)
    last = len(stages) - 1
    widths = [1.0 if not variant.scale_stem_and_head and at in (0, last) else variant.width for at in range(last + 1)]

    def filters(at: int, count: int) -> int:
        return count if widths[at] == variant.width else scaling.scale_filters(variant, count)

    inputs = [filters(at, stage.input_filters) for at, stage in enumerate(stages)]
    firsts = {place.stage: place.block for place in places(variant) if place.repeat == 0}
    forced = [0] * len(stages)
    if stages[0].expand_ratio > 1 and inputs[0] != variant.stem_filters:  # it widens another number than the stem gives
        forced[0] = inputs[0]
    inputs[0] = variant.stem_filters
    # KerasHub rounds repeats up.
    depths = [variant.depth if stage.scale_repeats else 1.0 for stage in stages]
    repeats = [stage.num_repeat for stage in stages]
    if variant.depth_rounding != "up":
        depths, repeats = [1.0] * len(stages), scaling.stage_repeats(variant)
    options = {
        "stackwise_width_coefficients": widths,
        "stackwise_depth_coefficients": depths,
        "stackwise_kernel_sizes": [stage.kernel_size for stage in stages],
        "stackwise_num_repeats": repeats,
        "stackwise_input_filters": inputs,
        "stackwise_output_filters": [filters(at, stage.output_filters) for at, stage in enumerate(stages)],
        "stackwise_expansion_ratios": [stage.expand_ratio for stage in stages],
        "stackwise_squeeze_and_excite_ratios": [stage.se_ratio or 0.0 for stage in stages],
        "stackwise_strides": [stage.strides for stage in stages],
        "stackwise_block_types": [_type(variant, firsts[at]) for at in range(len(stages))],
        "stackwise_force_input_filters": forced,
        "dropout": 0.2,
        "depth_divisor": variant.depth_divisor,
        "min_depth": None,
        "input_shape": [None, None, channels],
        "activation": variant.activation,
        "include_stem_padding": pads_equally,
        "use_depth_divisor_as_min_depth": True,
        "cap_round_filter_decrease": variant.limit_rounding_loss,
        "stem_conv_padding": "valid" if pads_equally else "same",
        "batch_norm_momentum": variant.batch_norm_momentum,
        "batch_norm_epsilon": variant.batch_norm_epsilon,
        "projection_activation": None,
    }
    # KerasHub reads these two, but forgets them when it saves the backbone again: so only where they are needed.
    if variant.head_filters != 1280:
        options["num_features"] = variant.head_filters
    if not all(stage.id_skip for stage in stages):
        options["stackwise_nores_option"] = [not stage.id_skip for stage in stages]
    return options


def _converter(network: Network) -> dict[str, Any]:
    side = network.variant.resolution
    return {
        "image_size": [side, side],
        "scale": list(network.scaling.scale),
        "offset": list(network.scaling.offset),
        "interpolation": network.interpolation,
        "antialias": True,
        "crop_to_aspect_ratio": True,
        "pad_to_aspect_ratio": False,
        "bounding_box_format": "yxyx",
    }


def _usage(network: Network) -> str:
    kind = "ImageClassifier" if network.classes else "Backbone"
    given = "pixels 0..255, any size" if network.classes else f"{network.variant.resolution} pixels a side, scaled"
    return f"""import keras_hub

model = keras_hub.models.{kind}.from_preset("{{folder}}")
model.predict(images)  # (N, height, width, {network.channels}), {given}"""


# A classifier is compiled with an optimizer: its steps, and its learning rate.
_OPTIMIZER = {
    f"optimizer/{index}": Stored((), value.dtype, lambda value=value: value)  # type: ignore[misc]
    for index, value in enumerate((np.array(0, np.int32), np.array(5e-5, np.float32)))
}
KERASHUB = Package(
    "kerashub", "KerasHub", "model.weights.h5", _origin, _configure, _usage, "keras-hub",
    separate_classifier=SeparateClassifier("task.weights.h5", "dense/", _OPTIMIZER),
)  # fmt: skip
