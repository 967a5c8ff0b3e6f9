"""What a folder around an exported model is made of."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from ...model_io.spec import InputSpec

_NAME = re.compile(r"[A-Za-z0-9][\w.-]*", re.ASCII)


class Exported(NamedTuple):
    """A model that lies in its folder, and its interface.

    Attributes:
        folder: Folder to complete.
        name: Name of the folder at its final place.
        spec: Spec of the file's input and outputs.
        input, outputs: Names of its tensors.
        dtype: Type of its input, as NumPy calls it.
        batch: Images that it takes at a time; None for any number.
    """

    folder: Path
    name: str
    spec: InputSpec
    input: str
    outputs: tuple[str, ...]
    dtype: str
    batch: int | None


class Deployment(NamedTuple):
    """A kind of folder.

    Attributes:
        format: Format of the model in it.
        model: Path of the model in it, where ``{name}`` stands for the name of the folder.
        files: Paths of all files that may be in it; by the first an earlier export is known.
        check: Function that raises ValueError for a name or a spec that it cannot have.
        complete: Function that writes all but the model. Its second argument is the folder of the runtime.
        raw_pixels: Whether the model always scales pixels itself.
    """

    format: str
    model: str
    files: tuple[str, ...]
    check: Callable[[str, InputSpec], None]
    complete: Callable[[Exported, Path | None], None]
    raw_pixels: bool = False


def check_name(name: str, spec: InputSpec) -> None:
    """Check that a folder's name can be that of a model in requests, which servers take it for.

    Raises:
        ValueError: It cannot.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"{name!r} is also the name of the model in requests: choose a folder named with letters, digits, '.', '-' "
            "and '_'."
        )


def write_labels(folder: Path, spec: InputSpec) -> str | None:
    """Write the label of each output, a line each, and return the name of the file; None without labels."""
    if len(spec.classes) != spec.outputs or not spec.outputs:  # a single sigmoid has two classes
        return None
    file = folder / "labels.txt"
    file.write_text("".join(" ".join(label.split()) + "\n" for _, label in spec.classes), encoding="utf-8")
    return file.name
