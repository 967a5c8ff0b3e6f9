"""The mark of a network: how its pixels are prepared, as text in the network itself.

The first convolution of a network has no bias, hence no use for its option ``bias_initializer``; but every Keras keeps
that option through clone_model, pickle, deepcopy, saving and loading, and in models around the network. It holds the
mark as a text of JSON, which plain Keras ignores. Where folding a batch norm gave the convolution a bias, a dropout of
rate 0 before it holds the mark, as its seed: it draws nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from ..images.pixel_scaling import Scaling

_KEY = "efficientnet"

# Layers that leave the levels of pixels unchanged where a model only predicts.
IDLE = re.compile(
    r"InputLayer|Identity|Resizing|CenterCrop|Cropping2D|ZeroPadding2D|Dropout|SpatialDropout2D|Gaussian(Noise|Dropout)"
    r"|Random\w+|AutoContrast|RandAugment|AugMix|CutMix|MixUp"
)


class Mark(NamedTuple):
    """The preparation of pixels for a network; None for unknown parts.

    Attributes:
        preprocessing: Mode of ``preprocess_input``, or its numbers.
        crop: Part of an image's shorter side that is kept, 0..1.
        interpolation: Interpolation of the resizing after that.
        is_known: Whether the mode is that of the weights; False where these were random, so that it is merely
            what the constructor proposes.
    """

    preprocessing: str | Scaling | None = None
    crop: float | None = None
    interpolation: str | None = None
    is_known: bool = True

    def to_text(self) -> str:
        """Return the mark as JSON, which :func:`of_config` reads."""
        return json.dumps({_KEY: {name: value for name, value in self._asdict().items() if value is not None}})


def of_config(config: Mapping[str, Any]) -> Mark | None:
    """Return the mark in the configuration of a layer; None if there is none."""
    text = None
    match config:
        case {"use_bias": False, "bias_initializer": {"config": {"value": text}}}:
            pass
        case {"rate": 0, "seed": text}:
            pass
    if not isinstance(text, str) or _KEY not in text:
        return None
    try:
        values = json.loads(text)[_KEY]
        mode = values.get("preprocessing")
        mode = Scaling(*map(tuple, mode)) if isinstance(mode, list) else mode
        known = {name: values[name] for name in ("crop", "interpolation", "is_known") if name in values}
        return Mark(mode, **known)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None  # another program's text
