"""Reading other people's weight files: one reader per file format, one naming table per origin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path

import numpy as np


class CheckpointError(ValueError):
    """A weight file is damaged, hostile, or not of a kind that can be read."""


def read(
    path: str | PathLike[str], layers: Sequence[tuple[str, str]], blocks: Sequence[str]
) -> Mapping[str, np.ndarray]:
    """The arrays of a file of weights under our names and in Keras' layout; nothing in it is executed.

    The format is told by content, never by suffix.

    Args:
        path: an HDF5 file of Keras, or a PyTorch file with the names of lukemelas' package.
        layers: name and class name of each layer that the file may hold, in order.
        blocks: prefixes of the network's blocks in order, ``"block1a"``, …

    Raises:
        CheckpointError: the file is empty, damaged, hostile, or of a kind that is not read here.
        OSError: it cannot be opened.
    """
    # Imported here, since the readers import their error from this module.
    from . import keras_h5, lukemelas, torch_pickle

    with Path(path).open("rb") as file:
        start = file.read(512)
    if start.startswith(keras_h5.SIGNATURE):
        return keras_h5.read(path, layers)
    if torch_pickle.recognises(start):
        arrays = torch_pickle.read(path)
        if lukemelas.recognises(arrays.keys()):
            return lukemelas.rename(arrays, blocks)
        raise CheckpointError(
            f"{path} is a PyTorch file, but its names ({', '.join(list(arrays)[:3])}, …) are of an origin that is not "
            "read here; read are those of lukemelas' efficientnet-pytorch."
        )
    raise CheckpointError(
        f"{path} {describe(start)}. Read are Keras' HDF5 files (.h5, .weights.h5) and PyTorch's files (.pth): "
        "download or save it again. A whole .keras model is opened with load_model."
    )


def describe(start: bytes) -> str:
    """What a file that cannot be read looks like by its first bytes, as the rest of a sentence about it."""
    if not start:
        return "is empty"
    if start.startswith(b"PK"):
        return "is a zip archive, damaged or of another kind than expected"
    if start.lstrip()[:1] == b"<":
        return "is a web page, no model or weights; the download was probably answered by a login or error page"
    return f"begins with {start[:8]!r}, which is no known format"
