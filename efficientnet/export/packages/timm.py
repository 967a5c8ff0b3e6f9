"""Folders that ``timm.create_model("local-dir:…", pretrained=True)`` opens, and that can be pushed to a hub."""

from __future__ import annotations

from typing import Any

from ...checkpoints.names import torch as names
from ...checkpoints.names.base import Origin
from ...weights import published
from .base import Network, Package, refuse

_DEPTH = 32  # a network divides the sides of its input by it


def _origin(network: Network) -> Origin:
    _architecture(network)
    return names.TIMM


def _architecture(network: Network) -> str:
    """Return timm's name of a network, of several the one that is most like it."""
    variant = network.variant
    known = dict.fromkeys(
        row.model.partition(".")[0] for row in published.list_weights(variant) if row.publisher == "timm"
    )
    if not known:
        refuse("timm", network, "timm builds its networks by name, and has none of this one")
    if variant.padding not in ("same", "symmetric"):
        refuse("timm", network, f"timm's networks do not pad as padding={variant.padding!r} does")
    return min(known, key=lambda name: (_arguments(network, name) != {}, not name.startswith("tf_")))


def _arguments(network: Network, name: str) -> dict[str, Any]:
    """Return the options in which the network differs from the one that timm builds under a name."""
    variant, theirs = network.variant, published.facts_of_model(name)
    arguments: dict[str, Any] = {}
    if theirs.padding != variant.padding:
        arguments["pad_type"] = "same" if variant.padding == "same" else ""
    if theirs.epsilon != variant.batch_norm_epsilon:
        arguments["bn_eps"] = variant.batch_norm_epsilon
    return arguments


def _configure(network: Network) -> dict[str, Any]:
    name, side = _architecture(network), network.variant.resolution
    classes = network.classes or 0
    trained = {
        "custom_load": False,
        "input_size": [network.channels, side, side],
        "fixed_input_size": False,
        "pool_size": [-(-side // _DEPTH)] * 2,
        "interpolation": network.interpolation,
        "crop_pct": network.crop,
        "crop_mode": "center",
        "mean": network.mean,
        "std": network.std,
        "num_classes": classes,
        "first_conv": "conv_stem" if network.channels == 3 else None,  # timm would adapt it to these channels
        "classifier": "classifier",
    }
    labels = {"label_names": list(network.class_names)} if network.class_names else {}
    arguments = _arguments(network, name) | ({} if classes else {"num_classes": 0})
    return {
        "config.json": {
            "architecture": name,
            "num_classes": classes,
            **labels,
            **({"model_args": arguments} if arguments else {}),
            "pretrained_cfg": trained,
        }
    }


def _usage(network: Network) -> str:
    outputs = "logits" if network.classes else "features"
    if network.channels != 3:  # its transforms are for images of Pillow, in RGB
        return f"""import timm

model = timm.create_model("local-dir:{{folder}}", pretrained=True).eval()
{outputs} = model(images)  # a tensor (N, {network.channels}, height, width), scaled"""
    return f'''import timm

model = timm.create_model("local-dir:{{folder}}", pretrained=True).eval()
# or: timm.create_model("{_architecture(network)}", checkpoint_path="{{folder}}/model.safetensors", …)
transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
{outputs} = model(transform(image)[None])  # a Pillow image'''


TIMM = Package("timm", "timm", "model.safetensors", _origin, _configure, _usage, "timm")
