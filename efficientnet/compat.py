"""The names of the older ``efficientnet`` package (1.1.1): each a line or two on top of the rooms.

Nothing inside the package imports this module; the modules that carried these names find them here when
they are asked for.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from .family.scaling import round_filters as _round_filters
from .family.scaling import round_repeats
from .family.variants import V1_BLOCKS
from .keras_files import opening
from .network.backends import import_keras, import_tensorflow_keras
from .preprocessing import preprocess_input
from .weights import loading

__all__ = [
    "DEFAULT_BLOCKS_ARGS",
    "IMAGENET_WEIGHTS_HASHES",
    "IMAGENET_WEIGHTS_PATH",
    "NS_WEIGHTS_HASHES",
    "NS_WEIGHTS_PATH",
    "get_dropout",
    "get_submodules_from_kwargs",
    "get_swish",
    "init_keras_custom_objects",
    "init_tfkeras_custom_objects",
    "inject_keras_modules",
    "inject_tfkeras_modules",
    "preprocess_input",
    "round_filters",
    "round_repeats",
]

DEFAULT_BLOCKS_ARGS = list(V1_BLOCKS)

_MODULES = ("backend", "layers", "models", "utils")


def get_submodules_from_kwargs(kwargs: dict[str, Any]) -> tuple[Any, Any, Any, Any]:
    """Take ``backend, layers, models, utils`` out of keyword arguments; None where one is not given."""
    unknown = [key for key in kwargs if key not in _MODULES]
    if unknown:
        raise TypeError(f"Invalid keyword argument: {', '.join(unknown)}; accepted are {', '.join(_MODULES)}.")
    backend, layers, models, utils = (kwargs.get(module) for module in _MODULES)
    return backend, layers, models, utils


def inject_keras_modules(func: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``func`` with the modules of ``keras`` as keyword arguments."""
    return _inject(func, import_keras())


def inject_tfkeras_modules(func: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``func`` with the modules of ``tensorflow.keras`` as keyword arguments."""
    return _inject(func, import_tensorflow_keras())


def _inject(func: Callable[..., Any], keras: Any) -> Callable[..., Any]:
    @functools.wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return func(*args, **{**kwargs, **{module: getattr(keras, module) for module in _MODULES}})

    return wrapper


def init_keras_custom_objects() -> None:
    """Register ``swish`` and ``FixedDropout`` with ``keras``; importing ``efficientnet.keras`` has done so."""
    _register(import_keras())


def init_tfkeras_custom_objects() -> None:
    """Register ``swish`` and ``FixedDropout`` with ``tensorflow.keras``, as ``efficientnet.tfkeras`` has done."""
    _register(import_tensorflow_keras())


def _register(keras: Any) -> None:
    keras.utils.get_custom_objects().update(opening.custom_objects(keras.layers))


def get_swish(**kwargs: Any) -> Any:
    """Return the swish activation of the given Keras, x * sigmoid(x) (arXiv 1710.05941)."""
    return _custom_object("swish", kwargs)


def get_dropout(**kwargs: Any) -> Any:
    """Return a dropout layer that takes None in ``noise_shape``: today Keras' own."""
    return _custom_object("FixedDropout", kwargs)


def _custom_object(name: str, kwargs: dict[str, Any]) -> Any:
    _, layers, _, _ = get_submodules_from_kwargs(kwargs)
    if layers is None:
        raise TypeError(f"{name} does not know which Keras it is for: pass layers=keras.layers.")
    return opening.custom_objects(layers)[name]


def round_filters(filters: float, width_coefficient: float, depth_divisor: int) -> int:
    """Scale a number of filters and round it to a multiple of ``depth_divisor``."""
    return _round_filters(filters, width_coefficient, depth_divisor)


def _paths_and_hashes(name: str) -> tuple[str, dict[str, tuple[str, str]]]:
    rows = [row for row in loading.list_weights() if row.name == name and row.format == "qubvel-h5"]
    hashes = {
        row.variant: (
            row.hash.split(":")[1],
            next(other.hash.split(":")[1] for other in rows if other.variant == row.variant and not other.has_top),
        )
        for row in rows
        if row.has_top
    }
    return rows[0].url.rpartition("/")[0] + "/", hashes


# Per variant: the hash of the file with the classifier, and of the one without.
IMAGENET_WEIGHTS_PATH, IMAGENET_WEIGHTS_HASHES = _paths_and_hashes("imagenet")
NS_WEIGHTS_PATH, NS_WEIGHTS_HASHES = _paths_and_hashes("noisy-student")
