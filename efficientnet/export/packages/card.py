"""The model card, README.md, of a folder for another package: what a hub shows of it."""

from __future__ import annotations

import json

from ...common.text import some
from ...family.variants import get_variant, list_variants
from ...images.pixel_scaling import formula
from ...weights.published import PublishedWeights
from .base import Network

_LICENCES = {"Apache-2.0": "apache-2.0", "MIT": "mit"}


def model_card(
    network: Network, title: str, library: str, usage: str, folder: str, published: PublishedWeights | None
) -> str:
    """Return the text of a model card.

    Args:
        network: Network in the folder.
        title: Name of the package that the folder is for.
        library: Its name on hubs.
        usage: Program that opens the folder, ``{folder}``.
        folder: Name of the folder.
        published: Published set that the weights are, if they are one.
    """
    variant = network.variant
    head = {"library_name": library, "pipeline_tag": "image-classification", "tags": ["efficientnet", variant.name]}
    if published and published.licence:
        head = {"license": _LICENCES.get(published.licence, "other"), **head}
    front = "\n".join(f"{key}: {json.dumps(value)}" for key, value in head.items())
    classes = f"{network.classes:,} classes" if network.classes else "no classifier"
    names = f", named in the files: {some(network.class_names, most=5)}" if network.class_names else ""
    known = variant.name in list_variants()
    paper = f" ({get_variant(variant.name).paper})" if known else ""
    create = f'"{variant.name}"' if known else '"variant.json"'
    options = "" if network.classes else ", include_top=False"
    if network.channels != 3:
        options += f", in_channels={network.channels}"
    colors = "RGB" if network.channels == 3 else f"{network.channels} channels" if network.channels > 1 else "grey"
    image = "image.jpg" if network.channels in (1, 3) else "image.npy"
    return f'''---
{front}
---

# {variant.name}

{variant.name}{paper}, {classes}{names}. Written by the package `efficientnet` for {title}.

| | |
|---|---|
| input | {variant.resolution} x {variant.resolution} pixels, {colors} |
| crop | the middle {network.crop:.4g} of the shorter side, then {network.interpolation} resizing |
| scaling of pixels 0..255 | {formula(network.scaling)} |
| padding of convolutions with a stride | {variant.padding} |
| epsilon of batch norms | {variant.batch_norm_epsilon:g} |
| top-1 accuracy | {_accuracy(network, published)} |
| licence of the weights | {published.licence if published else "not known; it is that of whoever trained them"} |

## Open it

With {title}:

```python
{usage.replace("{folder}", folder)}
```

With Keras on TensorFlow, JAX or PyTorch, by the package `efficientnet`:

```python
from efficientnet.keras import create, model_inputs

model = create({create}, weights="{folder}"{options})
model.predict(model_inputs("{image}", model))
```

For another package, write another folder: `efficientnet convert {folder} OUT --to NAME`, where NAME is transformers,
kerashub, timm, torchvision, lukemelas or keras.
'''


def _accuracy(network: Network, published: PublishedWeights | None) -> str:
    if published is None or published.top1 is None or not network.classes:
        return "not known"
    return (
        f"{published.top1:.2%} on ImageNet's validation images at {published.resolution} pixels, as the publisher "
        f"({published.publisher}) gives it"
    )
