"""Pixels -> network input: the evaluation crop, resizing, and the scaling of pixel levels."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from .images.pixel_scaling import EVALUATION_CROP, MODES, Scaling, scale_and_offset
from .images.pixels import checked_levels, is_pillow, rgb_of_image
from .images.resizing import MAP_INTERPOLATION_TO_ORDER, center_crop_and_resize
from .keras_graph.marks import model_preprocessing

__all__ = [
    "EVALUATION_CROP",
    "MAP_INTERPOLATION_TO_ORDER",
    "MODES",
    "Scaling",
    "center_crop_and_resize",
    "preprocess_input",
    "scale_and_offset",
]

_TENSOR_PACKAGES = {"tensorflow", "tf_keras", "keras", "torch", "jax", "jaxlib"}


def preprocess_input(
    x: Any,
    mode: str | Scaling | None = None,
    data_format: str | None = None,
    *,
    model: Any = None,
    backend: Any = None,
    layers: Any = None,
    models: Any = None,
    utils: Any = None,
    **kwargs: Any,
) -> Any:
    """Scale pixel levels 0..255 to the levels that a network was trained on.

    Args:
        x: (..., height, width, 3) RGB levels 0..255 (in uint16, 0..65535), or (..., 3, height, width) where data_format
            is "channels_first"; with a ``Scaling`` as many channels as it has numbers. A NumPy array, anything that
            ``np.asarray`` takes (a list, a Pillow image), or a tensor of TensorFlow, Keras, JAX or PyTorch, symbolic
            ones included. It stays unchanged. Modes that treat all channels alike take any number of them.
        mode: "torch" (the default), "tf", "lite", "v2", "none" or a ``Scaling``; see ``scale_and_offset``.
        data_format: "channels_last" or "channels_first". None means the
            ``backend.image_data_format()`` of a given backend, and "channels_last" without one.
        model: Model that ``x`` is for, to scale as its weights were trained: ``model_preprocessing(model)``.
        backend, layers, models, utils: As in keras_applications; only ``backend`` has an effect.
        **kwargs: None are accepted.

    Returns:
        The same shape and the same kind of array or tensor as ``x``: float32, or the type of ``x``
        if that is a floating one.

    Raises:
        ValueError: The mode or data format is unknown, a mode and a model are both given, the model does not say its
            mode, or the mode scales each channel in its own way and ``x`` has another number of them.
        TypeError: A keyword argument is unknown, or values are not numbers.

    Example:
        >>> preprocess_input([[[0, 127.5, 255]]], mode="tf").tolist()
        [[[-1.0, 0.0, 1.0]]]
    """
    _refuse_unknown(kwargs, models)
    if model is not None:
        if mode is not None:
            raise ValueError(f"preprocess_input got mode={mode!r} and a model, which says its mode: pass one of them.")
        mode = model_preprocessing(model)
    mode = "torch" if mode is None else mode
    scale, offset = scale_and_offset(mode)
    if data_format is None:
        data_format = "channels_last" if backend is None else backend.image_data_format()
    if data_format not in ("channels_last", "channels_first"):
        raise ValueError(f"data_format is 'channels_last' or 'channels_first'; got {data_format!r}.")

    x = _as_floating(x)
    count = len(scale)
    if len(set(scale)) == len(set(offset)) == 1:  # one scale and one offset for all channels
        return x * scale[0] + offset[0]
    channel_axis = -1 if data_format == "channels_last" else -3
    # Within tf.data, even the number of dimensions may be unknown until an image is decoded.
    if getattr(x.shape, "rank", 0) is not None:
        shape = tuple(x.shape)
        if len(shape) < -channel_axis or shape[channel_axis] not in (count, None):
            raise ValueError(
                f"Mode {mode!r} scales each channel in its own way: with {data_format} x needs length {count} on axis "
                f"{channel_axis}; got shape {shape}. Give the images of a model with model=, convert grey ones to RGB, "
                "or choose another mode."
            )
    per_channel = (count,) + (1,) * (-channel_axis - 1)
    return x * _constant(scale, per_channel, x) + _constant(offset, per_channel, x)


def _refuse_unknown(kwargs: Mapping[str, Any], models: Any) -> None:
    """Raise TypeError for arguments that ``preprocess_input`` does not have."""
    accepted = ("mode", "data_format", "model", "backend", "layers", "models", "utils")
    if models is not None and hasattr(models, "predict"):
        raise TypeError("preprocess_input() got a model as models=, which is a module of Keras: pass it as model=.")
    for name in kwargs:
        close = difflib.get_close_matches(name, accepted, n=1)
        raise TypeError(
            f"preprocess_input() got an unexpected keyword argument {name!r}"
            + (f": did you mean {close[0]!r}?" if close else f"; it takes {', '.join(accepted)}.")
        )


def _packages(x: Any) -> set[str]:
    """Return the packages that the type of `x` and its base types come from, found without an import."""
    return {base.__module__.partition(".")[0] for base in type(x).__mro__}


def _as_floating(x: Any) -> Any:
    """Return the tensor or array `x`, cast to float32 unless it is of a floating type."""
    packages = _packages(x)
    is_tensor = not packages.isdisjoint(_TENSOR_PACKAGES)
    if not is_tensor:
        try:
            x = rgb_of_image(x) if is_pillow(x) else checked_levels(np.asarray(x), "preprocess_input")
        except ValueError as error:
            if "inhomogeneous" not in str(error):
                raise
            raise ValueError(
                "preprocess_input got images of different sizes: resize them to one, as model_inputs does."
            ) from None
    if not is_tensor and x.dtype.kind == "f":
        # Another order has a name such as ">f4", without "float".
        return x.astype(x.dtype.newbyteorder("="), copy=False)
    kind = str(getattr(x.dtype, "name", x.dtype)).removeprefix("torch.")
    if "float" in kind:
        return x
    if "int" not in kind:
        advice = "Pass it times 255." if kind == "bool" else "Read image files with load_image first."
        raise TypeError(f"preprocess_input takes pixel levels, as numbers; got values of type {kind}. {advice}")
    if is_tensor and kind == "uint16":  # white is 65535; arrays are scaled already
        x = (_cast(x, "int32", packages) + 128) // 257
    return _cast(x, "float32", packages)


def _cast(x: Any, dtype: str, packages: set[str]) -> Any:
    """Return the tensor or array `x` of these packages in another type."""
    if not packages.isdisjoint({"tensorflow", "tf_keras"}):
        return sys.modules["tensorflow"].cast(x, dtype)
    if "keras" in packages:
        return sys.modules["keras"].ops.cast(x, dtype)
    return x.to(getattr(sys.modules["torch"], dtype)) if "torch" in packages else x.astype(dtype)


def _constant(values: tuple[float, ...], shape: tuple[int, ...], x: Any) -> Any:
    """Return `values` in this shape, as an operand that leaves the type and the device of `x` alone."""
    if "torch" in _packages(x):
        return x.new_tensor(values).reshape(shape)
    dtype = getattr(x.dtype, "as_numpy_dtype", x.dtype)  # TensorFlow's types are not NumPy's
    return np.asarray(values, dtype).reshape(shape)
