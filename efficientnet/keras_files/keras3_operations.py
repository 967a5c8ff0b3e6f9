"""Operations in a model that Keras 3 saved as ``.h5``, which leaves out that they are not layers.

``x / 255.0`` is written there as a layer ``TrueDivide``, which does not exist, and ``2.0 * x`` as a layer ``Multiply``,
which takes no numbers. So Keras 3 does not open what it saved itself.
"""

from __future__ import annotations

import copy
import importlib
from collections.abc import Iterator
from typing import Any

# Where Keras 3 has its operations.
_PLACES = ("numpy", "nn", "core", "math", "image", "linalg")


def with_modules(config: Any) -> Any:
    """Return a configuration whose operations say that they are such; the same object if there are none."""
    if not any(_operations(config)):
        return config
    config = copy.deepcopy(config)
    for operation, module in _operations(config):
        operation.update(module=module, registered_name=operation["class_name"])
    return config


def _operations(value: Any) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield the operations of a model, and of models within it, with the modules that they are in."""
    if not isinstance(value, dict) or not isinstance(inner := value.get("config"), dict):
        return
    layers = inner.get("layers")
    for part in layers if isinstance(layers, list) else [inner.get("layer")]:
        yield from _operations(part)
    # Layers, models among them, note whether they are trained.
    if "inbound_nodes" in value and "module" not in value and not {"trainable", "layers"} & inner.keys():
        module = _module(value.get("class_name"))
        if module is not None:
            yield value, module


def _module(name: Any) -> str | None:
    places = (f"keras.src.ops.{place}" for place in _PLACES)
    has_it = (place for place in places if isinstance(getattr(importlib.import_module(place), str(name), None), type))
    return next(has_it, None)
