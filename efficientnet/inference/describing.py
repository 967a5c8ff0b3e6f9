"""Inputs of exported files, in words and as values that JSON knows."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..images.pixel_scaling import formula, numbers_for
from ..model_io.spec import InputSpec


class Input(NamedTuple):
    """Input of an exported file: in words, and as values that JSON knows."""

    text: str
    facts: dict[str, Any]


def taking_pixels(spec: InputSpec) -> InputSpec:
    """Return the spec of a file that scales pixels itself."""
    return spec._replace(scaling=numbers_for("none", spec.channels))


def describe_input(spec: InputSpec, name: str, dtype: str, batch: int | None) -> Input:
    """Describe the input of a file.

    Args:
        spec: Spec of the file.
        name: Name of its input.
        dtype: Type of its input, as NumPy calls it.
        batch: Number of images that it takes; None for any number.
    """
    shape = [batch or "batch", *(side if side > 0 else "any" for side in spec.input_shape(1)[1:])]
    layout = "NHWC" if spec.channels_last else "NCHW"
    colors = {1: "grey", 3: "RGB"}.get(spec.channels, f"{spec.channels} channels")
    if spec.scaling is None:
        levels, meaning = None, "scaled as in the model's training, which it does not record"
    else:
        ends = [level * s + o for s, o in zip(*spec.scaling, strict=True) for level in (0, 255)]
        levels = [round(min(ends), 4), round(max(ends), 4)]
        meaning = f"scaled as {formula(spec.scaling)}: {levels[0]:g} to {levels[1]:g}"
        if not spec.is_scaled:
            meaning = "raw pixels 0..255"
    sides = ", ".join(map(str, shape))
    return Input(
        f"{name!r}: {dtype} ({sides}), {layout}, {colors}, {meaning}",
        {"name": name, "dtype": dtype, "shape": shape, "layout": layout, "colors": colors, "range": levels},
    )
