"""timm's facts of a network: in ``config.json`` of a folder for the hub, and in the options of a training run."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..images.pixel_scaling import Scaling
from .facts import Facts, common_name, count_of_classes, of_mean_and_std, positive_fraction, short_text, square

# As timm.create_model takes them, and segmentation_models_pytorch with "tu-" in front.
_NAME = re.compile(
    r"(?:(?:(?:hf[-_]hub:|hf://)?timm/)|tu-)?"
    r"(?P<name>(?:(?:tf_)?efficientnet(?:_(?:b\d|l2|lite\d|e[sml]|cc_b\d_\de)|v2_(?:b\d|s|m|l|xl|rw_[tsm]))|"
    r"test_efficientnet|efficientnet_(?:b\d|e[sl])_pruned)(?:\.[^/\s]+)?)"
)
# The network of timm's whose arrays are B0's, and the options that change what a network computes with its arrays.
_BLURRED = r"(?:.*/)?efficientnet_blur_b0\b"
_CHANGING = ("aa_layer", "norm_layer", "se_layer", "fix_stem")
# Where Lightning modules keep it among their hyper-parameters.
_NAME_KEYS = ("arch", "architecture", "model", "model_name", "backbone", "encoder", "encoder_name")


def of_config(config: Mapping[str, Any], path: Path) -> Facts:
    """Return the facts in the ``config.json`` beside weights, as ``timm.models.push_to_hf_hub`` writes it.

    Args:
        config: Content of the file.
        path: Path of the file, to name it.

    Raises:
        ValueError: A value is out of its range.
    """
    # Before 2022 all stood in one object.
    trained = config.get("pretrained_cfg", config)
    if not isinstance(trained, Mapping):
        raise ValueError("its pretrained_cfg is not an object")
    name, tag = config["architecture"], trained.get("tag")
    if not isinstance(name, str):
        raise ValueError("its architecture is not text")
    arguments = config.get("model_args", {})
    arguments = arguments if isinstance(arguments, Mapping) else {}
    if problem := _other_network(name, arguments):
        raise ValueError(problem)
    labels = config.get("label_names", trained.get("label_names", trained.get("labels")))
    counts = {"label_names": len(labels)} if isinstance(labels, Mapping | list | tuple) and labels else {}
    if config.get("num_classes") is not None:
        counts["num_classes"] = count_of_classes(config["num_classes"])
    return Facts(
        model=f"{name}.{tag}" if isinstance(tag, str) and tag and "." not in name else name,
        class_names=class_names_of(labels),
        class_counts=tuple((f"{path}: {key}", count) for key, count in counts.items()),
        **_trained(trained),
        **_built({"global_pool": config.get("global_pool"), **arguments}),
    )


def of_hyper_parameters(values: Mapping[Any, Any]) -> Facts:
    """Return the network's name among the hyper-parameters of a Lightning module, under one of the usual keys.

    Such keys are the user's: so only a name of one of timm's EfficientNets counts, and none if there are several.
    """
    texts = (values.get(key) for key in _NAME_KEYS)
    names = {name for text in texts if isinstance(text, str) and (name := bare_name(text))}
    return _trained_there(names.pop()) if len(names) == 1 else Facts()


def bare_name(text: str) -> str | None:
    """Return an EfficientNet's name in timm, without an address; None if it is not such a name.

    ``"hf-hub:timm/tf_efficientnet_b0.ns_jft_in1k"`` is ``"tf_efficientnet_b0.ns_jft_in1k"``.
    """
    match = _NAME.fullmatch(text)
    return match and match["name"]


def network_padding(name: str) -> str:
    """Return the padding of the network that timm builds under a name: as the authors', or as PyTorch's.

    V1's pruned networks began with the authors' weights.
    """
    return "same" if re.match(r"tf_|efficientnet_b\d_pruned", name) else "symmetric"


def of_run(options: Mapping[Any, Any]) -> Facts:
    """Return the facts in the options of timm's training script; none for another script's options."""
    if not isinstance(options.get("model"), str):
        return Facts()
    arguments = options.get("model_kwargs")
    arguments = arguments if isinstance(arguments, Mapping) else {}
    if problem := _other_network(options["model"], arguments):
        raise ValueError(problem)
    built = {"bn_eps": options.get("bn_eps"), "global_pool": options.get("gp"), **arguments}
    try:
        return Facts(**_trained(options), **_built(built)) | _trained_there(options["model"])
    except ValueError:
        return Facts()


def _trained_there(model: str) -> Facts:
    """Return the facts of a training in timm, which may have begun with a published set: its padding is timm's."""
    name = bare_name(model)
    return Facts(model=model, padding=None if name is None else network_padding(name))


def _trained(values: Mapping[Any, Any]) -> dict[str, Any]:
    mean, std, crop, interpolation = (values.get(key) for key in ("mean", "std", "crop_pct", "interpolation"))
    shape = values.get("input_size")  # (channels, height, width)
    sides = shape[1:] if isinstance(shape, list | tuple) and len(shape) == 3 else (None, None)
    preprocessing: str | Scaling | None = None
    if mean is not None and std is not None:
        numbers = [_channels(mean), _channels(std, least=1e-6)]
        count = max(3, *map(len, numbers))
        numbers = [values * count if len(values) == 1 else values for values in numbers]  # one is for all, as in timm
        if len(numbers[0]) != len(numbers[1]):
            raise ValueError(f"its mean has {len(numbers[0])} numbers, and its std {len(numbers[1])}")
        preprocessing = of_mean_and_std(*numbers)
    return {
        "preprocessing": preprocessing,
        "crop": None if crop is None else positive_fraction(crop),
        # A run may draw it anew for each image, which is "random".
        "interpolation": interpolation if interpolation in ("bilinear", "bicubic") else None,
        "size": square(*sides),
    }


def _channels(values: Any, least: float = -math.inf) -> list[float]:
    if (
        not isinstance(values, list | tuple)
        or not 0 < len(values) <= 1000
        or not all(type(value) in (int, float) and least <= value < math.inf for value in values)
    ):
        raise ValueError(f"its mean or std is {str(values)[:80]}, not numbers for each channel")
    return list(values)


def _built(arguments: Mapping[Any, Any]) -> dict[str, Any]:
    """Return the options that override those of the network's name."""
    epsilon, padding = arguments.get("bn_eps"), arguments.get("pad_type")
    activation, pooling = arguments.get("act_layer"), arguments.get("global_pool")
    return {
        "epsilon": None if epsilon is None else positive_fraction(epsilon),
        "padding": {"same": "same", "": "symmetric", "symmetric": "symmetric"}.get(str(padding)),
        "hidden_activation": common_name(short_text(activation)) if activation else None,
        "pooling": {"fast": "avg", "fastavg": "avg"}.get(pooling := short_text(pooling), pooling) if pooling else None,
    }


def _other_network(name: str, arguments: Mapping[Any, Any]) -> str:
    """Return why a network of timm is not what its arrays look like; empty if it is."""
    if re.match(_BLURRED, name):
        return f"its network {name[:80]!r} blurs where those that are read here do not"
    changed = [key for key in _CHANGING if arguments.get(key)]
    return f"its network has {changed[0]}={str(arguments[changed[0]])[:80]!r}, which none here has" if changed else ""


def class_names_of(labels: Any) -> tuple[str, ...] | None:
    """Return names in the order of the outputs; of a map from numbers, only where it has no gap."""
    if isinstance(labels, Mapping):
        if set(labels) != {str(number) for number in range(len(labels))}:
            return None
        labels = [labels[str(number)] for number in range(len(labels))]
    return tuple(map(str, labels)) if isinstance(labels, list | tuple) and labels else None
