"""From a file to a network's arrays: the file's origin, its variant, and the match of all arrays."""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike, fspath
from pathlib import Path
from typing import NamedTuple

from ..common.files import check_is_file
from ..common.text import log_remarks
from ..errors import CheckpointError
from ..family import arrays as layout
from ..family import scaling
from ..family.variants import Variant, get_variant, list_variants
from . import foreign, hub_folder, keras_archive, keras_h5, safetensors, tf_checkpoint, torch_pickle
from .arrays import Stored
from .base import StoredWeights
from .facts import contradictions
from .names.base import Entry, Origin, Shape
from .names.keras import APPLICATIONS, IN_TORCH, KECAM, NUMBERED, OURS
from .names.kerashub import KERASHUB
from .names.tensorflow import AUTHORS
from .names.torch import LUKEMELAS, MMPRETRAIN, TIMM, TORCHVISION, TRANSFORMERS, name_children

# The most specific first: a file of keras.applications has all but a few of our names.
ORIGINS = (
    APPLICATIONS, OURS, KECAM, NUMBERED, *KERASHUB.values(), TIMM, LUKEMELAS, TORCHVISION, TRANSFORMERS, MMPRETRAIN,
    AUTHORS,
)  # fmt: skip

# Differences to show in a message, and networks to read in a file: only an attack has more.
_MOST_SHOWN, _MOST_NETWORKS = 8, 16

READ = (
    "Keras' .h5, .weights.h5, .weights.json and .keras, PyTorch's .pth, .safetensors, and TensorFlow's checkpoints "
    "(.index with .data, or the .tar.gz that holds them)"
)


@dataclass(frozen=True)
class Reading:
    """A file of weights, compared with one variant.

    Attributes:
        path: Path of the file.
        checkpoint: Content of the file.
        origin: Origin of its names.
        variant: Variant that it was compared with.
        classes: Number of classes of its classifier; None if it has none.
        channels: Number of channels of the inputs that it is for.
        arrays: Arrays under our names and in Keras' layout, in the order of the network: ``"stem_conv/kernel"``.
        unequal: Entries whose array has another shape in the file, and that shape.
        missing: Entries that the file does not have, those of the head included.
        left_over: Arrays of such a network that the variant has no place for, and their shapes.
        aside: Arrays of something else, and their shapes: another head, a decoder, a model around the network.
        before: Prefix of all of the network's names: ``"encoder."``; empty for none.
        miscounted: Noted numbers of classes that differ from the weights': ``"…: num_classes 7"``.
    """

    path: Path
    checkpoint: StoredWeights
    origin: Origin
    variant: Variant
    classes: int | None
    channels: int
    arrays: dict[str, Stored]
    unequal: list[tuple[Entry, Shape]] = field(default_factory=list)
    missing: list[Entry] = field(default_factory=list)
    left_over: dict[str, Shape] = field(default_factory=dict)
    aside: dict[str, Shape] = field(default_factory=dict)
    before: str = ""
    miscounted: tuple[str, ...] = ()

    @property
    def amiss(self) -> list[Entry]:
        """Return the missing entries that count: a network may end anywhere in its head, but not lack a part of it."""
        absent = {_layer(entry) for entry in self.missing}
        first = next((place for place, layer in enumerate(layout.HEAD) if layer in absent), len(layout.HEAD))
        behind = set(layout.HEAD[first:])
        present = {ours.split("/")[0] for ours in self.arrays} | {_layer(entry) for entry, _ in self.unequal}
        return [entry for entry in self.missing if _layer(entry) not in behind or behind & present]

    @property
    def differences(self) -> int:
        """Number of arrays that do not fit, and of contradictions."""
        return len(self.amiss) + len(self.unequal) + len(self.left_over) + len(self.contradictions)

    @functools.cached_property
    def contradictions(self) -> list[str]:
        """Return what the file says that its network computes, and the variant does otherwise with the same arrays."""
        return contradictions(self.checkpoint.facts, self.variant)


def _layer(entry: Entry) -> str:
    return entry.ours.split("/")[0]


def open_checkpoint(path: str | PathLike[str]) -> StoredWeights:
    """Open a file of weights, whose kind is detected by its content, never by its suffix; nothing in it is executed.

    Args:
        path: File in one of the formats of ``READ``; a folder with a TensorFlow checkpoint, or the prefix of one; a
            folder of timm's, transformers' or KerasHub's for a hub, whose ``config.json`` then counts as part of the
            file.

    Raises:
        CheckpointError: The file is empty, damaged, hostile, or of a kind that is not read here.
        OSError: The file cannot be opened.
    """
    path = Path(path)
    if path.is_dir() and (files := hub_folder.find_weights(path)):
        return functools.reduce(hub_folder.join, map(open_checkpoint, files))
    checkpoint = _open_file(path)
    return checkpoint._replace(facts=checkpoint.facts | hub_folder.read_config(path))


def _open_file(path: Path) -> StoredWeights:
    start = b""
    if path.is_file():
        with path.open("rb") as file:
            start = file.read(512)
        if keras_h5.recognizes(start):
            return keras_h5.read(path)
        if start.startswith(b"PK") and (program := foreign.describe_archive(path)):
            raise CheckpointError(f"{path} {program}. Read are {READ}.")
        if torch_pickle.recognizes(start):
            return torch_pickle.read(path)
        if keras_archive.recognizes(path):
            return keras_archive.read(path)
        if safetensors.recognizes(start):
            return safetensors.read(path)
    if tf_checkpoint.recognizes(path):
        return tf_checkpoint.read(path)
    if path.is_dir():
        if program := foreign.describe_folder(path):
            raise CheckpointError(f"{path} {program}. Read are {READ}.")
        raise CheckpointError(
            f"{path} is a folder without a TensorFlow checkpoint, and without {', '.join(hub_folder.WEIGHTS)}, as hubs "
            "have them: give the file of weights in it."
        )
    if not path.exists():
        raise FileNotFoundError(f"There is no file {path}, nor a TensorFlow checkpoint of that prefix.")
    check_is_file(path)
    raise CheckpointError(f"{path} {foreign.describe(path, start)}. Read are {READ}.")


def read_checkpoint(path: str | PathLike[str], variant: Variant | None = None) -> Reading:
    """Read a file as the weights of a variant, or of the one that fits it best.

    Args:
        path: Path as for :func:`open_checkpoint`.
        variant: Expected variant; detected from the file by default.

    Returns:
        The result of the comparison by names and shapes; no number has been read yet.

    Raises:
        CheckpointError: The file cannot be read, or its names are of no known origin.
        OSError: The file cannot be opened.
    """
    checkpoint = open_checkpoint(path)
    places = _places(checkpoint, path)
    if not places and (children := name_children(checkpoint.arrays)):
        named = {children.get(name, name): stored for name, stored in checkpoint.arrays.items()}
        checkpoint = checkpoint._replace(arrays=named)
        places = _places(checkpoint, path)
    if not places:
        raise _unknown(path, checkpoint)
    variants = map(get_variant, list_variants()) if variant is None else [variant]
    places = _without_aliases(places)
    readings = [_compare(Path(path), checkpoint, place, v) for v in variants for place in places]
    best = min(readings, key=lambda reading: (reading.differences, len(reading.aside)))
    befores = {r.before for r in readings if r.origin is best.origin and not r.differences}
    if len(befores) > 1:
        raise _several(path, befores)
    return _count_classes(best)


def _without_aliases(places: Sequence[_Place]) -> list[_Place]:
    """Leave out arrays that Keras on PyTorch has listed twice: as a layer's, and as a model's around it."""
    models = {place.before for place in places if place.before.endswith(IN_TORCH)}

    def is_alias(before: str) -> bool:
        around = (model.removesuffix(IN_TORCH) for model in models - {before})
        return before.endswith(IN_TORCH) and any(map(before.startswith, around))

    return [place for place in places if not is_alias(place.before)]


def _unknown(path: str | PathLike[str], checkpoint: StoredWeights) -> CheckpointError:
    names = list(checkpoint.arrays)
    hint = ""
    if names and all(name[:1].isdigit() for name in names):
        hint = (
            " They begin with numbers, as PyTorch's nn.Sequential has them, which does not keep the names of its parts:"
            " save the state_dict() of the network itself."
        )
    elif program := foreign.describe_folder(Path(path)):
        hint = f" It {program}."
    return CheckpointError(
        f"{fspath(path)} is a file of weights ({checkpoint.format}), but its names ({', '.join(names[:3])}, …) are "
        f"not those of an EfficientNet of {', '.join(dict.fromkeys(o.name for o in ORIGINS))}.{hint}"
    )


class _Place(NamedTuple):
    """The place of a network in a file.

    Attributes:
        origin: Origin of its names.
        before: Prefix of the names: the names of what is around the network.
        names: Names of the network's arrays in the file, by those in the network.
        aside: Shapes of the other arrays by their names in the file.
    """

    origin: Origin
    before: str
    names: dict[str, str]
    aside: dict[str, Shape]


def _places(checkpoint: StoredWeights, path: str | PathLike[str]) -> list[_Place]:
    """Find all networks in a file by its names."""
    found = {
        (origin, match.groupdict().get("before") or ""): None
        for origin in ORIGINS
        for match in filter(None, map(origin.landmark.fullmatch, checkpoint.arrays))
    }
    if len(found) > _MOST_NETWORKS:
        raise _several(path, {before for _, before in found})
    return [_Place(origin, before, *_part(path, checkpoint, origin, before)) for origin, before in found]


def _several(path: str | PathLike[str], befores: Collection[str]) -> CheckpointError:
    shown = ", ".join(repr(before) for before in sorted(befores)[:_MOST_NETWORKS])
    return CheckpointError(
        f"{fspath(path)} holds several networks, or one twice: give a file with the weights of one (of a training with "
        f"--folds, fold-1/model.keras in its folder). Their names begin with {shown}."
    )


def _compare(path: Path, checkpoint: StoredWeights, place: _Place, variant: Variant) -> Reading:
    origin, before, names, aside = place
    found = {inner: checkpoint.arrays[name] for inner, name in names.items()}
    entries = {entry.ours: entry for entry in origin.entries(layout.layers(variant))}
    # A user's choices are taken from the file.
    classifier, stem = entries["probs/bias"], entries["stem_conv/kernel"]
    classes, channels = variant.classes, 3
    if (bias := found.get(classifier.theirs)) is not None and len(bias.shape) == 1:
        classes = bias.shape[0]
    if (kernel := found.get(stem.theirs)) is not None and len(kernel.shape) == 4:
        channels = kernel.shape[stem.axes[2]]
    if (classes, channels) != (variant.classes, 3):
        entries = {entry.ours: entry for entry in origin.entries(layout.layers(variant, classes, channels))}
    reading = Reading(
        path, checkpoint, origin, variant, None if bias is None else classes, channels, {},
        aside=dict(aside), before=before,
    )  # fmt: skip
    for entry in entries.values():
        stored = found.get(entry.theirs)
        if stored is None:
            reading.missing.append(entry)
        elif stored.shape != entry.their_shape:
            reading.unequal.append((entry, stored.shape))
        else:
            reading.arrays[entry.ours] = entry.to_ours(stored)
    head = [entry for ours, entry in entries.items() if ours.startswith("probs/")]
    is_own = all(entry.ours in reading.arrays for entry in head) and checkpoint.facts.pooling in (None, "avg")
    known = {entry.theirs for entry in entries.values()}
    for name, stored in found.items():
        if name in known or (origin.ignored and origin.ignored.fullmatch(name)):
            continue
        if origin.body.fullmatch(name):
            reading.left_over[names[name]] = stored.shape
        else:
            is_own = False  # in any case, the classifier may stand behind it
            reading.aside[names[name]] = stored.shape
    return reading if is_own else _without_classifier(reading, head, names)


def _part(
    path: str | PathLike[str], checkpoint: StoredWeights, origin: Origin, before: str
) -> tuple[dict[str, str], dict[str, Shape]]:
    """Return the names in the file by those in the network; the shapes of the arrays that are around it."""
    names: dict[str, str] = {}
    around: dict[str, str] = {}
    aside: dict[str, Shape] = {}
    for name, stored in checkpoint.arrays.items():
        inner = origin.within(before, name)
        if inner is None:
            if not (origin.ignored and origin.ignored.fullmatch(name)):
                aside[name] = stored.shape
        elif not name.startswith(before):
            around[origin.normalize(inner)] = name
        elif (inner := origin.normalize(inner)) in names:
            raise _several(path, {before})
        else:
            names[inner] = name
    aside |= {name: checkpoint.arrays[name].shape for inner, name in around.items() if inner in names}
    return {**around, **names}, aside


def _count_classes(reading: Reading) -> Reading:
    """Compare a reading with the noted numbers of classes; drop class names of another number than the weights have."""
    said, classes = reading.checkpoint.facts, reading.classes
    if classes is None:
        return reading
    right = (1000, 1001) if classes == 1001 else (classes,)  # the background, which comes first, may have no name
    counts = dict(said.class_counts or ())
    if said.class_names is not None and len(said.class_names) not in counts.values():
        counts["names of classes"] = len(said.class_names)
    wrong = tuple(f"{place} {count}" for place, count in counts.items() if count not in right)
    if said.class_names is not None and len(said.class_names) not in right:
        said = replace(said, class_names=None)
    return replace(reading, checkpoint=reading.checkpoint._replace(facts=said), miscounted=wrong)


def _without_classifier(reading: Reading, head: Sequence[Entry], names: Mapping[str, str]) -> Reading:
    """Return the reading without the file's head if only that differs from the network's."""
    ours = {entry.ours for entry in head}
    found = {entry.theirs: shape for entry, shape in reading.unequal if entry.ours in ours}
    found |= {entry.theirs: entry.their_shape for entry in head if entry.ours in reading.arrays}
    body = replace(
        reading,
        classes=None,
        arrays={name: stored for name, stored in reading.arrays.items() if name not in ours},
        unequal=[(entry, shape) for entry, shape in reading.unequal if entry.ours not in ours],
        missing=[*(entry for entry in reading.missing if entry.ours not in ours), *head],
        aside={**{names[theirs]: shape for theirs, shape in found.items()}, **reading.aside},
    )
    return reading if body.differences else body


def accept(reading: Reading) -> Reading:
    """Return the same reading if the network in it is complete.

    Raises:
        CheckpointError: The network is not complete; the message says what differs.
    """
    if problem := explain(reading):
        raise CheckpointError(problem)
    return reading


def remarks(reading: Reading) -> list[str]:
    """Return what a user should know of a file that is used, each to be logged after the name of the file.

    These are parts that are left aside, since they are not the network's or contradict the weights.
    """
    found = []
    if reading.miscounted:
        found.append(
            f"has a classifier of {reading.classes} classes, where {', '.join(reading.miscounted)} is noted; taken is "
            "what the weights have, and names that are more or fewer are not used."
        )
    parts = list(dict.fromkeys(re.split(r"[./][^./]*$", name)[0] for name in reading.aside))
    if parts:
        more = f", … ({len(parts)} in all)" if len(parts) > _MOST_SHOWN else ""
        shown = ", ".join(parts[:_MOST_SHOWN])
        found.append(f"holds more than {reading.variant.name}; left aside: {shown}{more}.")
    return found


def report(reading: Reading) -> None:
    """Log the remarks on a file."""
    log_remarks(reading.path, remarks(reading))


def explain(reading: Reading) -> str:
    """Explain why a file does not hold the weights of the variant; empty if it does."""
    reasons = [
        f"{entry.ours} has shape {_in_our_order(entry, shape)} in the file and {entry.shape} in the network"
        for entry, shape in reading.unequal
    ]
    reasons += [f"{entry.ours} {entry.shape} is missing from the file" for entry in reading.amiss]
    reasons += [f"{name} {shape} is in the file only" for name, shape in reading.left_over.items()]
    reasons += reading.contradictions
    if not reasons:
        return ""
    reasons += [f"{name} {shape} is in the file only" for name, shape in reading.aside.items()]
    more = f"; and {len(reasons) - _MOST_SHOWN} more" if len(reasons) > _MOST_SHOWN else ""
    shown = "; ".join(reasons[:_MOST_SHOWN]) + more
    best = read_checkpoint(reading.path)
    hint = ""
    if not best.differences:
        theirs, ours = (len(scaling.scale_blocks(variant)) for variant in (best.variant, reading.variant))
        blocks = f" ({theirs} blocks, where this has {ours})" if theirs != ours else ""
        hint = f" These are weights of {best.variant.name}{blocks}."
    elif best.unequal or best.contradictions:  # a damaged file of a published variant has no other shapes
        hint = " No variant of the table has such weights; a custom variant is given as its .json file."
    return f"{reading.path} does not hold the weights of {reading.variant.name}.{hint} What differs: {shown}."


def _in_our_order(entry: Entry, shape: Shape) -> Shape:
    return tuple(shape[axis] for axis in entry.axes) if len(shape) == len(entry.axes) else shape
