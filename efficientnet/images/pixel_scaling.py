"""How pixel levels are scaled before a network: the modes of ``preprocess_input`` and their numbers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from ..common import arguments

# Mean and standard deviation of each RGB channel, in pixel levels.
_MEAN_AND_STD = {
    "torch": ((0.485 * 255, 0.456 * 255, 0.406 * 255), (0.229 * 255, 0.224 * 255, 0.225 * 255)),
    "tf": ((127.5, 127.5, 127.5), (127.5, 127.5, 127.5)),
    "lite": ((127.0, 127.0, 127.0), (128.0, 128.0, 128.0)),
    "v2": ((128.0, 128.0, 128.0), (128.0, 128.0, 128.0)),
    "none": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
}
MODES = tuple(_MEAN_AND_STD)

# What the paper's evaluation leaves of 256 pixels of the shorter side.
EVALUATION_CROP = 224 / 256
# Far above the range that any network is given by its scaling, and far below what is left of 0..255 unscaled.
_WIDEST = 16.0


class Scaling(NamedTuple):
    """Preprocessing mode as numbers: network input = pixels * scale + offset.

    Attributes:
        scale: Factor of each channel.
        offset: Summand of each channel.

    Example:
        >>> preprocess_input([[[0.0, 5.0, 10.0]]], mode=Scaling((0.1, 0.1, 0.1), (-1.0, -1.0, -1.0))).tolist()
        [[[-1.0, -0.5, 0.0]]]
    """

    scale: tuple[float, ...]
    offset: tuple[float, ...]


def scale_and_offset(mode: str | Scaling) -> Scaling:
    """Return what a preprocessing mode does to each RGB channel: network input = pixels * scale + offset.

    Args:
        mode: "torch": (x / 255 - mean) / std with the mean (0.485, 0.456, 0.406) and standard
            deviation (0.229, 0.224, 0.225) of ImageNet's training images. "tf": x / 127.5 - 1.
            "lite": (x - 127) / 128. "v2": (x - 128) / 128. "none": x, for networks that take raw
            pixels. Or the numbers themselves.

    Returns:
        Three scales and three offsets, for red, green and blue.

    Raises:
        ValueError: The mode is unknown.

    Example:
        >>> scale_and_offset("lite")
        Scaling(scale=(0.0078125, 0.0078125, 0.0078125), offset=(-0.9921875, -0.9921875, -0.9921875))
    """
    if isinstance(mode, Scaling):
        return mode
    mean, std = _MEAN_AND_STD[arguments.choice("preprocessing mode", mode, MODES)]
    return Scaling(tuple(1 / s for s in std), tuple(-m / s for m, s in zip(mean, std, strict=True)))


def is_of_pixels(scale: Iterable[float], offset: Iterable[float]) -> bool:
    """Return whether levels * scale + offset is made for pixels 0..255, and not for levels that are scaled already.

    Networks take levels of a few units, so that what makes more of 0..255 expects less; or they take pixels less their
    mean, which is not a part of 1.
    """
    scale, offset = list(scale), list(offset)
    return all(0 < abs(s) * 255 <= _WIDEST for s in scale) or (set(scale) == {1.0} and all(abs(o) > 1 for o in offset))


def for_channels(mode: str | Scaling, channels: int) -> str | Scaling:
    """Return the mode or numbers for images of another number of channels.

    Several channels are scaled as red, green and blue in turn; a single one as the mean of these three, which is what
    a network sees whose first kernel is the sum over RGB.

    Raises:
        ValueError: The numbers are for another number of channels, which is not 3.
    """
    scale, offset = scale_and_offset(mode)
    if channels == len(scale) or len(set(scale)) == len(set(offset)) == 1:
        return mode
    if len(scale) != 3:
        raise ValueError(
            f"preprocessing= has numbers for {len(scale)} channels, the images have {channels}: give as many."
        )
    if channels == 1:
        return Scaling((sum(scale) / 3,), (sum(offset) / 3,))
    turns = [channel % 3 for channel in range(channels)]
    return Scaling(tuple(scale[turn] for turn in turns), tuple(offset[turn] for turn in turns))


def numbers_for(mode: str | Scaling, channels: int) -> Scaling:
    """Return a scale and an offset for each channel; see :func:`for_channels`."""
    scale, offset = scale_and_offset(for_channels(mode, channels))
    return Scaling(scale, offset) if len(scale) == channels else Scaling(scale[:1] * channels, offset[:1] * channels)


def formula(mode: str | Scaling) -> str:
    """Return a preprocessing mode as a formula to read: ``'"lite", (pixels - 127) / 128'``."""
    scaling = scale_and_offset(mode)
    name = next((name for name in MODES if scale_and_offset(name) == scaling), None)
    if name == "none":
        return '"none", raw pixels 0..255'
    if name is None:
        scale, offset = ([f"{value + 0:.6g}" for value in values] for values in scaling)
        return f"pixels * ({', '.join(scale)}) + ({', '.join(offset)})"
    mean, std = ([f"{value:.6g}" for value in dict.fromkeys(values)] for values in _MEAN_AND_STD[name])
    shown = (f"({', '.join(values)})" if len(values) > 1 else values[0] for values in (mean, std))
    return f'"{name}", (pixels - {" / ".join([next(shown) + ")", next(shown)])}'
