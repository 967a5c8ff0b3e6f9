"""The first kernel of a network for images of another number of channels."""

from __future__ import annotations

import math

import numpy as np

from .arrays import Stored

STEM = "stem_conv/kernel"


def can_adapt(theirs: int, ours: int) -> bool:
    """Return whether a kernel for so many channels can be made one for another number of them."""
    return theirs in (1, 3) or theirs == ours


def adapt(kernel: Stored, channels: int) -> Stored:
    """Return the kernel, (height, width, channels, filters), for another number of channels.

    For a single channel it is the sum over all: a grey image gives what the image of equal channels gave. For several
    the channels are repeated in turn, and scaled so that equal channels give what they gave before.
    """
    height, width, theirs, filters = kernel.shape
    if theirs == channels:
        return kernel

    def read() -> np.ndarray:
        values = np.asarray(kernel.read(), np.float64)
        if channels == 1:
            values = values.sum(axis=2, keepdims=True)
        else:
            repeated = np.tile(values, (1, 1, math.ceil(channels / theirs), 1))
            values = repeated[:, :, :channels] * (theirs / channels)
        return values.astype(kernel.dtype)

    return Stored((height, width, channels, filters), kernel.dtype, read)
