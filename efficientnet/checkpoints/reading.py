"""From a file to a network's arrays: whose file it is, which variant, and whether everything has its place."""

from __future__ import annotations

from dataclasses import dataclass, field
from os import PathLike, fspath
from pathlib import Path

from .. import layout, scaling
from ..variants import Variant, get_variant, list_variants
from . import keras_archive, keras_h5, safetensors, tf_checkpoint, torch_pickle
from .arrays import Checkpoint, CheckpointError, Stored
from .keras_names import APPLICATIONS, NUMBERED, OURS
from .naming import Entry, Origin, Shape
from .tensorflow_names import AUTHORS
from .torch_names import LUKEMELAS, TIMM, TORCHVISION

# The most particular first: a file of keras.applications has all but a few of our names.
ORIGINS = (APPLICATIONS, OURS, NUMBERED, TIMM, LUKEMELAS, TORCHVISION, AUTHORS)

READ = (
    "Keras' .h5, .weights.h5 and .keras, PyTorch's .pth, .safetensors, and TensorFlow's checkpoints "
    "(.index with .data, or the .tar.gz that holds them)"
)


@dataclass(frozen=True)
class Reading:
    """A file of weights, understood as those of one variant.

    Attributes:
        path: of the file.
        checkpoint: what is in it.
        origin: whose names it has.
        variant: what it was compared with.
        classes: of its classifier; None where it has none.
        channels: of the inputs that it is for.
        arrays: under our names and in Keras' layout, in the order of the network: ``"stem_conv/kernel"``.
        unequal: the entries whose array has another shape in the file, and that shape.
        missing: the entries that the file does not have, those of the head included.
        left_over: arrays of the file that the variant has no place for, and their shapes.
    """

    path: Path
    checkpoint: Checkpoint
    origin: Origin
    variant: Variant
    classes: int | None
    channels: int
    arrays: dict[str, Stored]
    unequal: list[tuple[Entry, Shape]] = field(default_factory=list)
    missing: list[Entry] = field(default_factory=list)
    left_over: dict[str, Shape] = field(default_factory=dict)

    @property
    def amiss(self) -> list[Entry]:
        """What is missing and should not be: a network may end anywhere in its head, but not lack a part of it."""
        absent = {_layer(entry) for entry in self.missing}
        first = next((place for place, layer in enumerate(layout.HEAD) if layer in absent), len(layout.HEAD))
        behind = set(layout.HEAD[first:])
        present = {ours.split("/")[0] for ours in self.arrays} | {_layer(entry) for entry, _ in self.unequal}
        return [entry for entry in self.missing if _layer(entry) not in behind or behind & present]

    @property
    def differences(self) -> int:
        """How many arrays do not fit."""
        return len(self.amiss) + len(self.unequal) + len(self.left_over)


def _layer(entry: Entry) -> str:
    return entry.ours.split("/")[0]


def open_checkpoint(path: str | PathLike[str]) -> Checkpoint:
    """What a file of weights holds, told by its content, never by its suffix; nothing in it is executed.

    Args:
        path: a file in one of the formats of ``READ``; a folder with a TensorFlow checkpoint, or the prefix of one.

    Raises:
        CheckpointError: the file is empty, damaged, hostile, or of a kind that is not read here.
        OSError: it cannot be opened.
    """
    path = Path(path)
    start = b""
    if path.is_file():
        with path.open("rb") as file:
            start = file.read(512)
        if keras_h5.recognises(start):
            return keras_h5.read(path)
        if torch_pickle.recognises(start):
            return torch_pickle.read(path)
        if keras_archive.recognises(path):
            return keras_archive.read(path)
        if safetensors.recognises(start):
            return safetensors.read(path)
    if tf_checkpoint.recognises(path):
        return tf_checkpoint.read(path)
    if path.is_dir():
        raise CheckpointError(f"{path} is a folder without a TensorFlow checkpoint: give the file of weights in it.")
    if not path.exists():
        raise FileNotFoundError(f"There is no file {path}, nor a TensorFlow checkpoint of that prefix.")
    raise CheckpointError(f"{path} {describe(start)}. Read are {READ}: download or save it again.")


def describe(start: bytes) -> str:
    """What a file that cannot be read looks like by its first bytes, as the rest of a sentence about it."""
    if not start:
        return "is empty"
    if start.startswith(b"PK"):
        return "is a zip archive, damaged or of another kind than expected"
    if start.lstrip()[:1] == b"<":
        return "is a web page, no model or weights; the download was probably answered by a login or error page"
    return f"begins with {start[:8]!r}, which is no known format"


def read(path: str | PathLike[str], variant: Variant | None = None) -> Reading:
    """Reads a file as the weights of a variant, or of the one that fits it best.

    Args:
        path: as for :func:`open_checkpoint`.
        variant: what it should be; told from the file by default.

    Returns:
        What fits and what does not, names and shapes only: no number has been read yet.

    Raises:
        CheckpointError: the file cannot be read, or its names are nobody's that are known here.
        OSError: it cannot be opened.
    """
    checkpoint = open_checkpoint(path)
    origin = next((o for o in ORIGINS if any(map(o.landmark.fullmatch, checkpoint.arrays))), None)
    if origin is None:
        names = list(checkpoint.arrays)
        raise CheckpointError(
            f"{fspath(path)} is a file of weights ({checkpoint.format}), but its names ({', '.join(names[:3])}, …) are "
            f"not those of an EfficientNet of {', '.join(o.name for o in ORIGINS)}."
        )
    if variant is not None:
        return _compare(Path(path), checkpoint, origin, variant)
    readings = (_compare(Path(path), checkpoint, origin, get_variant(name)) for name in list_variants())
    return min(readings, key=lambda reading: reading.differences)


def _compare(path: Path, checkpoint: Checkpoint, origin: Origin, variant: Variant) -> Reading:
    found = {origin.normalise(name): stored for name, stored in checkpoint.arrays.items()}
    if len(found) < len(checkpoint.arrays):
        raise CheckpointError(f"{path} holds several networks, or one twice: give a file with the weights of one.")
    entries = {entry.ours: entry for entry in origin.entries(layout.layers(variant))}
    # What a user may choose is as the file has it.
    classifier, stem = entries["probs/bias"], entries["stem_conv/kernel"]
    classes, channels = variant.classes, 3
    if (bias := found.get(classifier.theirs)) is not None and len(bias.shape) == 1:
        classes = bias.shape[0]
    if (kernel := found.get(stem.theirs)) is not None and len(kernel.shape) == 4:
        channels = kernel.shape[stem.axes[2]]
    if (classes, channels) != (variant.classes, 3):
        entries = {entry.ours: entry for entry in origin.entries(layout.layers(variant, classes, channels))}
    reading = Reading(path, checkpoint, origin, variant, None if bias is None else classes, channels, {})
    for entry in entries.values():
        stored = found.get(entry.theirs)
        if stored is None:
            reading.missing.append(entry)
        elif stored.shape != entry.their_shape:
            reading.unequal.append((entry, stored.shape))
        else:
            reading.arrays[entry.ours] = entry.to_ours(stored)
    known = {entry.theirs for entry in entries.values()}
    for name, stored in found.items():
        if name not in known and not (origin.ignored and origin.ignored.fullmatch(name)):
            reading.left_over[name] = stored.shape
    return reading


def explain(reading: Reading) -> str:
    """What keeps a file from being the weights of the variant, in words; empty where nothing does."""
    reasons = [
        f"{entry.ours} has shape {_in_our_order(entry, shape)} in the file and {entry.shape} in the network"
        for entry, shape in reading.unequal
    ]
    reasons += [f"{entry.ours} {entry.shape} is missing from the file" for entry in reading.amiss]
    reasons += [f"{name} {shape} is in the file only" for name, shape in reading.left_over.items()]
    if not reasons:
        return ""
    shown = "; ".join(reasons[:8]) + (f"; and {len(reasons) - 8} more" if len(reasons) > 8 else "")
    best = read(reading.path)
    hint = ""
    if not best.differences:
        theirs, ours = (len(scaling.scale_blocks(variant)) for variant in (best.variant, reading.variant))
        blocks = f" ({theirs} blocks, where this has {ours})" if theirs != ours else ""
        hint = f" These are weights of {best.variant.name}{blocks}."
    return f"{reading.path} does not hold the weights of {reading.variant.name}.{hint} What differs: {shown}."


def _in_our_order(entry: Entry, shape: Shape) -> Shape:
    return tuple(shape[axis] for axis in entry.axes) if len(shape) == len(entry.axes) else shape
