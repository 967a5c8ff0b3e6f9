"""TFLite Metadata, where programs record the scaling of pixels and the names of classes in a ``.tflite`` file.

It is a flatbuffer of its own in a buffer of the model; the label file lies in an archive behind the model. The numbers
of the fields are those of schema.fbs of LiteRT and metadata_schema.fbs of tflite-support.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from ..checkpoints.arrays import map_file
from ..checkpoints.facts import MOST_CLASSES, preprocessing, short_text
from ..checkpoints.zip_members import read_member
from ..common.flatbuffer import Table
from ..common.text import plain
from ..images.pixel_scaling import Scaling, numbers_for

_BYTE = "<b"
_NAME, _VERSION = "TFLITE_METADATA", b"M001"
# Fields of a model; of a piece of its metadata; of a buffer.
_BUFFERS, _PIECES, _PIECE_NAME, _PIECE_BUFFER, _CONTENT = 4, 6, 0, 1, 0
# Fields of TFLite Metadata; of a graph; of a tensor; of a step of preprocessing; of its options; of a file.
_GRAPHS, _INPUTS, _OUTPUTS, _STEPS, _FILES = 3, 2, 3, 4, 6
_STEP_KIND, _OPTIONS, _MEAN, _STD, _FILE_NAME, _FILE_KIND = 0, 1, 0, 1, 0, 2
# Kinds of a step and of a file.
_NORMALIZATION, _LABELS = 1, 2

Value = TypeVar("Value")


class Notes(NamedTuple):
    """What TFLite Metadata records.

    Attributes:
        scaling: Scaling of pixels 0..255 to the first input; None if unknown.
        labels: Names of the classes of the first output; None if unknown.
        problems: Why something in it cannot be used: of "scaling", "labels", or both.
    """

    scaling: Scaling | None
    labels: tuple[str, ...] | None
    problems: dict[str, str]


def read_notes(path: Path, channels: int) -> Notes:
    """Read the TFLite Metadata of a file; empty notes without any.

    Args:
        path: Path of the ``.tflite`` file.
        channels: Number of channels of its input.

    Raises:
        OSError: The file cannot be read.
    """
    problems: dict[str, str] = {}

    def attempt(what: str, read: Callable[[Table], Value | None]) -> Value | None:
        try:
            graph = _graph(map_file(path))
            return None if graph is None else read(graph)
        except ValueError as error:
            problems[what] = plain(error).removeprefix(f"{plain(path)}: ").rstrip(".")
            return None

    scaling = attempt("scaling", lambda graph: _scaling(graph, channels))
    labels = attempt("labels", lambda graph: _labels(graph, path))
    return Notes(scaling, labels, problems)


def _graph(content: memoryview) -> Table | None:
    """Return the metadata of a model's first graph; None without any."""
    model = Table(content)
    piece = next((piece for piece in model.tables(_PIECES) if piece.text(_PIECE_NAME) == _NAME), None)
    if piece is None:
        return None
    index = piece.number(_PIECE_BUFFER)
    buffer = next(itertools.islice(model.tables(_BUFFERS), index, None), None)
    data = memoryview(b"" if buffer is None else buffer.vector(_CONTENT, "u1"))  # type: ignore[arg-type]
    if data[4:8] != _VERSION:
        raise ValueError(f"it is not of the version {_VERSION.decode()}")
    return next(Table(data).tables(_GRAPHS), None)


def _scaling(graph: Table, channels: int) -> Scaling | None:
    step = _first(graph, _INPUTS, _STEPS, _STEP_KIND, _NORMALIZATION)
    if step is None:
        return None
    mean, std = (step.table(_OPTIONS).vector(field, "<f4") for field in (_MEAN, _STD))
    is_whole = {len(mean), len(std)} <= {1, channels} and np.isfinite(mean).all() and np.isfinite(std).all()
    if not is_whole or not (std > 0).all():
        raise ValueError(f"mean {mean[:9].tolist()} and std {std[:9].tolist()} scale no {channels} channels")
    wide = std.astype(float)
    scale, offset = (np.broadcast_to(values, channels).tolist() for values in (1 / wide, -mean / wide))
    return numbers_for(preprocessing([scale, offset]), channels)


def _labels(graph: Table, path: Path) -> tuple[str, ...] | None:
    file = _first(graph, _OUTPUTS, _FILES, _FILE_KIND, _LABELS)  # with several languages, the first is the default
    if file is None:
        return None
    name = short_text(file.text(_FILE_NAME))
    content = read_member(path, name)
    if content is None:
        raise ValueError(f"{name} is missing behind the model")
    try:
        lines = content.decode("utf-8-sig").rstrip().splitlines()
    except UnicodeDecodeError:
        raise ValueError(f"{name} is not text in UTF-8") from None
    labels = [short_text(line.strip()) for line in lines]
    if not labels or not all(labels) or len(labels) > MOST_CLASSES:
        raise ValueError(f"{name} has no names, an empty one, or more than {MOST_CLASSES:,}")
    return tuple(labels)


def _first(graph: Table, tensors: int, field: int, kind_field: int, kind: int) -> Table | None:
    """Return the first table of a kind that is recorded for the first input or output."""
    tables: Iterator[Table] = (
        table for tensor in itertools.islice(graph.tables(tensors), 1) for table in tensor.tables(field)
    )
    return next((table for table in tables if table.number(kind_field, _BYTE) == kind), None)
