"""Notes in a saved model: the names of its classes, the preparation of its pixels, and its training.

A ``.keras`` file is a zip archive, and Keras opens it whatever else it holds. (A model that Keras saves again is
a new file, without them.) In an ``.h5`` file, of which ``convert`` writes such, they are attributes.
"""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from ..checkpoints import Facts
from ..checkpoints.arrays import map_file
from ..checkpoints.facts import MOST_CLASSES, class_names, from_hdf5, positive_fraction, short_text, thresholds
from ..checkpoints.hdf5 import SIGNATURE, root
from ..checkpoints.keras_archive import CLASS_NAMES, CROP, PREPROCESSING, TARGETS, THRESHOLDS
from ..checkpoints.keras_h5 import reading
from ..checkpoints.zip_members import read_member
from ..common.files import replacing
from ..common.json_files import is_number, parse
from ..common.text import plain
from ..images.pixel_scaling import MODES, Scaling

Checked = TypeVar("Checked")

_RECIPE = "recipe.json"


def write_facts(path: str | os.PathLike[str], facts: Facts, recipe: dict[str, Any] | None = None) -> None:
    """Add to a ``.keras`` file what is known of its model and not in its graph; all or nothing.

    Args:
        path: Path of the file.
        facts: Class names, in the order of the model's outputs; the mode of ``preprocess_input`` that it wants; the
            part of an image's shorter side that it is to see; what it predicts, and the thresholds of labels. Those
            that are None are left out.
        recipe: Fields of the recipe that the model was trained by, if it is known.

    Raises:
        ValueError: The file is not a ``.keras`` file, or has such notes already.
    """
    notes = {
        CLASS_NAMES: facts.class_names, PREPROCESSING: facts.preprocessing, CROP: facts.crop, TARGETS: facts.targets,
        THRESHOLDS: facts.thresholds, _RECIPE: recipe,
    }  # fmt: skip
    notes = {member: content for member, content in notes.items() if content is not None}
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path} is not a .keras file: save the model under a name that ends in .keras.")
    if there := [member for member in notes if _read(path, member) is not None]:
        raise ValueError(f"{path} already holds {', '.join(there)}: save the model again first.")
    with replacing(Path(path)) as part:
        shutil.copyfile(path, part)
        with zipfile.ZipFile(part, "a") as archive:
            for member, content in notes.items():
                archive.writestr(member, json.dumps(content, ensure_ascii=False))


def read_class_names(path: str | os.PathLike[str]) -> list[str] | None:
    """Read the names in the order of the model's outputs; None if the file holds none."""
    names = _checked(path, CLASS_NAMES, class_names, f"a list of at most {MOST_CLASSES:,} names")
    if names is None:
        names = _in_hdf5(path).class_names
    return None if names is None else list(names)


def read_preprocessing(path: str | os.PathLike[str]) -> str | Scaling | None:
    """Read the mode of ``preprocess_input`` for the model; None if the file does not say."""
    mode = _read(path, PREPROCESSING)
    if mode is None:
        return _in_hdf5(path).preprocessing
    if isinstance(mode, str) and mode in MODES:
        return mode
    if not isinstance(mode, list) or len(mode) != 2 or not all(_are_numbers(numbers) for numbers in mode):
        raise _wrong(path, PREPROCESSING, f"one of {', '.join(MODES)}, or three scales and three offsets", mode)
    return Scaling(*map(tuple, mode))


def _are_numbers(values: Any) -> bool:
    is_list = isinstance(values, list) and len(values) == 3
    return is_list and all(map(is_number, values))


def read_crop(path: str | os.PathLike[str]) -> float | None:
    """Read the part of an image's shorter side that the model is to see, 0..1; None if the file does not say."""
    crop = _checked(path, CROP, positive_fraction, "a number greater than 0, at most 1")
    return _in_hdf5(path).crop if crop is None else crop


def read_targets(path: str | os.PathLike[str]) -> str | None:
    """Read the kind of what the model was trained to predict; None if the file does not say."""
    return _checked(path, TARGETS, short_text, "a kind of targets") or _in_hdf5(path).targets


def read_thresholds(path: str | os.PathLike[str]) -> tuple[float, ...] | None:
    """Read the least probability of each label that applies; None if the file does not say."""
    found = _checked(path, THRESHOLDS, thresholds, "a list of probabilities")
    return _in_hdf5(path).thresholds if found is None else found


def read_recipe(path: str | os.PathLike[str]) -> dict[str, Any] | None:
    """Read the recipe of the model's training; None if the file does not say."""
    recipe = _read(path, _RECIPE)
    if recipe is not None and not isinstance(recipe, dict):
        raise _wrong(path, _RECIPE, "an object of a recipe's fields", recipe)
    return recipe


def _read(path: str | os.PathLike[str], member: str) -> Any:
    content = read_member(path, member)
    return None if content is None else parse(content, f"{os.fspath(path)}: {member} in it")


def _checked(
    path: str | os.PathLike[str], member: str, check: Callable[[Any], Checked], expected: str
) -> Checked | None:
    """Read a member that ``check`` converts, or refuses by a ValueError; None if it is missing."""
    value = _read(path, member)
    try:
        return None if value is None else check(value)
    except ValueError:
        raise _wrong(path, member, expected, value) from None


def _wrong(path: str | os.PathLike[str], member: str, expected: str, found: Any) -> ValueError:
    return ValueError(f"{plain(path)}: {member} in it holds {plain(repr(found)[:80])}; expected {expected}.")


def _in_hdf5(path: str | os.PathLike[str]) -> Facts:
    with open(path, "rb") as file:
        if not file.read(512).startswith(SIGNATURE):
            return Facts()
    with reading(path):
        return from_hdf5(root(map_file(path)))
