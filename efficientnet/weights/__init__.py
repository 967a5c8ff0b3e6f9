"""Published weights: their list, their download, and their loading into a network."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .published import list_weights, weights_info

__all__ = ["list_weights", "weights_info"]

# Imported on demand: a download needs none of it. The older package kept its table here; it is in compat.py.
_OLDER_NAMES = ("IMAGENET_WEIGHTS_HASHES", "IMAGENET_WEIGHTS_PATH", "NS_WEIGHTS_HASHES", "NS_WEIGHTS_PATH")


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(importlib.import_module(".published", __name__), name)
    if name in _OLDER_NAMES:
        return getattr(importlib.import_module("efficientnet.compat"), name)
    raise AttributeError(f"module 'efficientnet.weights' has no attribute {name!r}")
