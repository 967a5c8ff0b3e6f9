"""The layers of a network in the order of how much 8 bits harm it there, measured in Keras, whatever the runtime."""

from __future__ import annotations

from typing import Any

import numpy as np

from .walk import LayerCall, keras_of, run, tree_of

_LEVELS = 255


def by_sensitivity(model: Any, batch: np.ndarray) -> list[str]:
    """Return the names of the layers that runtimes compute in 8 bits, the most sensitive first.

    Each layer is rounded alone: its inputs to 255 levels between their least and their greatest number, its kernel to
    255 levels for each output channel. What counts is how far the network's outputs move.

    Args:
        model: Functional or sequential model of either Keras, on any backend, without batch norms. Its weights change
            during the call, and are then as before.
        batch: Inputs of the model, (n, …) float32; a few are enough.
    """
    names: list[str] = []

    def see(call: LayerCall, values: list[Any]) -> list[np.ndarray]:
        if (_kernel(call.layer) is not None or len(values) > 1) and call.name not in names:
            names.append(call.name)
        return _apply(model, call, values)

    exact = run(model, [batch], see)

    def moved(name: str) -> float:
        found = run(model, [batch], lambda call, values: _apply(model, call, values, rounds=call.name == name))
        return sum(float(np.abs(a - b).mean() / (np.abs(b).mean() or 1)) for a, b in zip(found, exact, strict=True))

    moves = {name: moved(name) for name in names}
    return sorted(names, key=lambda name: -moves[name])


def _apply(model: Any, call: LayerCall, values: list[Any], rounds: bool = False) -> list[np.ndarray]:
    """Return the outputs of a call as arrays, in 8 bits if it rounds."""
    if rounds:
        weights, place = call.layer.get_weights() if hasattr(call.layer, "get_weights") else [], _kernel(call.layer)
        values = [_rounded(value, axes=None) for value in values]
        if place is None:
            return _apply(model, call, values)
        rounded = _rounded(weights[place], _summed_axes(call.layer, weights[place].ndim))
        call.layer.set_weights([*weights[:place], rounded, *weights[place + 1 :]])
        try:
            return _apply(model, call, values)
        finally:
            call.layer.set_weights(weights)
    keras = keras_of(model)
    args, kwargs = call.arguments(values)
    to_numpy = keras.ops.convert_to_numpy if hasattr(keras, "ops") else np.asarray
    return [to_numpy(value) for value in tree_of(keras).flatten(call.layer(*args, **kwargs))]


def _kernel(layer: Any) -> int | None:
    """Return the place of a layer's kernel among its weights; None without one."""
    shapes = [weight.shape for weight in layer.weights] if hasattr(layer, "get_weights") else []
    return next((place for place, shape in enumerate(shapes) if len(shape) > 1), None)


def _summed_axes(layer: Any, rank: int) -> tuple[int, ...]:
    """Return the axes of a kernel that do not count output channels."""
    return tuple(range(rank - (2 if "Depthwise" in type(layer).__name__ else 1)))


def _rounded(values: np.ndarray, axes: tuple[int, ...] | None) -> np.ndarray:
    """Return numbers rounded to the levels between the least and the greatest of all, or, around 0, along axes."""
    values = np.asarray(values)
    if axes is None:
        step = np.asarray((max(values.max(), 0) - min(values.min(), 0)) / _LEVELS)
    else:
        step = 2 * np.abs(values).max(axes, keepdims=True) / (_LEVELS - 1)
    rounded: np.ndarray = np.rint(values / np.where(step > 0, step, 1)) * step
    return rounded.astype(values.dtype)
