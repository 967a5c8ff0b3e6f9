"""State dicts for packages without a configuration file: torchvision and lukemelas' EfficientNet-PyTorch."""

from __future__ import annotations

from typing import Any

from ...checkpoints.names import torch as names
from ...checkpoints.names.base import Origin
from ...family import scaling
from ...family.variants import get_variant
from .base import Network, Package, refuse


def _no_files(network: Network) -> dict[str, Any]:
    return {}


def _torchvision(network: Network) -> Origin:
    _builder(network)
    if network.variant.padding != "symmetric":
        refuse(
            "torchvision", network,
            f"its networks pad equally on all sides, and these weights were trained with padding="
            f"{network.variant.padding!r}", "Write for timm (timm), whose networks have both paddings.",
        )  # fmt: skip
    return names.TORCHVISION


def _builder(network: Network) -> str:
    """Return the name of torchvision's function that builds a network."""
    built = {f"efficientnet-b{number}": f"efficientnet_b{number}" for number in range(8)}
    built |= {f"efficientnetv2-{size}": f"efficientnet_v2_{size}" for size in "sml"}
    if network.variant.name not in built:
        refuse("torchvision", network, "torchvision has B0 to B7 and V2-S, M and L")
    return built[network.variant.name]


def _use_torchvision(network: Network) -> str:
    options = f"num_classes={network.classes}" if network.classes else ""
    changes = [] if network.classes else ["model.classifier = torch.nn.Identity()  # the file has no classifier"]
    if network.channels != 3:
        filters = scaling.stem_filters(network.variant)
        changes.append(
            f"model.features[0][0] = torch.nn.Conv2d({network.channels}, {filters}, 3, stride=2, padding=1, bias=False)"
        )
    epsilon = network.variant.batch_norm_epsilon
    if epsilon != names.TORCHVISION.epsilon(get_variant(network.variant.name)):  # torchvision takes no other
        changes += [
            "for module in model.modules():",
            "    if isinstance(module, torch.nn.BatchNorm2d):",
            f"        module.eps = {epsilon:g}",
        ]
    lines = "".join(f"{line}\n" for line in changes)
    return f"""import torch
import torchvision

model = torchvision.models.{_builder(network)}({options})
{lines}model.load_state_dict(torch.load("{{folder}}/model.pth"), strict=True)
model.eval()
{_pixels(network)}"""


def _lukemelas(network: Network) -> Origin:
    if not _name(network):
        refuse("EfficientNet-PyTorch", network, "it has B0 to B8 and L2")
    if network.variant.padding != "same":
        refuse(
            "EfficientNet-PyTorch", network,
            f"its networks pad as TensorFlow's do, and these weights were trained with padding="
            f"{network.variant.padding!r}", "Write for timm (timm), whose networks have both paddings.",
        )  # fmt: skip
    return names.LUKEMELAS


def _name(network: Network) -> str | None:
    known = (*(f"efficientnet-b{number}" for number in range(9)), "efficientnet-l2")
    return network.variant.name if network.variant.name in known else None


def _use_lukemelas(network: Network) -> str:
    epsilon = network.variant.batch_norm_epsilon
    options = [f"num_classes={network.classes}" if network.classes else "include_top=False"]
    if network.channels != 3:
        options.append(f"in_channels={network.channels}")
    if epsilon != 1e-3:
        options.append(f"batch_norm_epsilon={epsilon:g}")
    if (side := network.variant.resolution) != get_variant(network.variant.name).resolution:
        options.append(f"image_size={side}")  # it pads as TensorFlow does at this size
    return f'''import torch
from efficientnet_pytorch import EfficientNet

model = EfficientNet.from_name("{_name(network)}", {", ".join(options)})
model.load_state_dict(torch.load("{{folder}}/model.pth"), strict=True)
model.eval()
{_pixels(network)}'''


def _pixels(network: Network) -> str:
    side = network.variant.resolution
    return f"""# Images: {side} x {side} pixels of 0..1,
# minus {network.mean}, divided by {network.std}"""


TORCHVISION = Package(
    "torchvision", "torchvision", "model.pth", _torchvision, _no_files, _use_torchvision, "torchvision"
)
LUKEMELAS = Package(
    "lukemelas", "EfficientNet-PyTorch", "model.pth", _lukemelas, _no_files, _use_lukemelas, "efficientnet-pytorch"
)
