"""The names of a model's classes, kept inside its ``.keras`` file.

Such a file is a zip archive, and Keras opens it whatever else it holds. (A model that Keras saves again is
a new file, without the names.)
"""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path

from .files import replacing

MEMBER = "class_names.json"


def write_class_names(path: str | os.PathLike[str], names: Sequence[str]) -> None:
    """Adds the names, in the order of the model's outputs, to a ``.keras`` file; all or nothing.

    Raises:
        ValueError: the file is no ``.keras`` file, or has names already.
    """
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path} is no .keras file: save the model under a name that ends in .keras.")
    if read_class_names(path) is not None:
        raise ValueError(f"{path} already holds class names: save the model again first.")
    with replacing(Path(path)) as part:
        shutil.copyfile(path, part)
        with zipfile.ZipFile(part, "a") as archive:
            archive.writestr(MEMBER, json.dumps(list(names), ensure_ascii=False))


def read_class_names(path: str | os.PathLike[str]) -> list[str] | None:
    """The names in the order of the model's outputs; None where the file holds none."""
    if not zipfile.is_zipfile(path):
        return None
    with zipfile.ZipFile(path) as archive:
        if MEMBER not in archive.namelist():
            return None
        return [str(name) for name in json.loads(archive.read(MEMBER))]
