"""EfficientNet for Keras.

    from efficientnet.keras import EfficientNetB0      # Keras 3, on TensorFlow, JAX, PyTorch or OpenVINO
    from efficientnet.tfkeras import EfficientNetB0    # tensorflow.keras, Keras 3 or legacy Keras 2

Importing this module alone imports no framework.
"""

from __future__ import annotations

import importlib
from typing import Any

from .family.features import feature_info
from .family.variants import BlockArgs, Variant, get_variant, list_variants, save_variant

__version__ = "2.0.0"
__all__ = ["BlockArgs", "Variant", "__version__", "feature_info", "get_variant", "list_variants", "save_variant"]


# The older package's helpers: found when asked for, in compat.py.
_OLDER_NAMES = (
    "get_submodules_from_kwargs",
    "init_keras_custom_objects",
    "init_tfkeras_custom_objects",
    "inject_keras_modules",
    "inject_tfkeras_modules",
)

# What the modules of one Keras have, besides the constructors; `from efficientnet import …` is how many ask for it.
_THEIRS = ("center_crop_and_resize", "create", "decode_predictions", "load_model", "model_inputs", "preprocess_input")


def __getattr__(name: str) -> Any:
    if name in _OLDER_NAMES:
        return getattr(importlib.import_module("efficientnet.compat"), name)
    if name in _THEIRS or name.startswith("EfficientNet"):
        # An AttributeError's text is lost where a name is imported.
        raise ImportError(f"{name} is in efficientnet.keras, and for tensorflow.keras in efficientnet.tfkeras.")
    raise AttributeError(f"module 'efficientnet' has no attribute {name!r}")
