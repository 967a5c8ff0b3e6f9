"""What can be exported, and how."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

# Format -> suffix of its file; a folder has none.
FORMATS = {"onnx": ".onnx", "openvino": ".xml", "litert": ".tflite", "saved_model": ""}
PRECISIONS = ("f32", "f16", "int8")


class Options(NamedTuple):
    """How a file is to be.

    Attributes:
        precision: ``"f32"``, ``"f16"`` or ``"int8"``.
        batch: how many images it takes; None for any number.
        samples: for ``"int8"``, what the model takes, (n, …), to find the ranges of 8-bit numbers with.
    """

    precision: str = "f32"
    batch: int | None = None
    samples: np.ndarray | None = None


def check(path: Path, format: str, precision: str, batch: int | str) -> None:
    """Raises ValueError or OSError where something cannot be exported as asked, and says what can."""
    if format not in FORMATS:
        raise ValueError(f"Unknown format {format!r}; choose one of {', '.join(FORMATS)}.")
    if precision not in PRECISIONS:
        raise ValueError(f"Unknown precision {precision!r}; choose one of {', '.join(PRECISIONS)}.")
    if format == "saved_model" and precision != "f32":
        raise ValueError(f"A SavedModel cannot be in {precision}: export it in f32, or as one of the other formats.")
    if batch != "dynamic" and (not isinstance(batch, int) or batch < 1):
        raise ValueError(f"batch={batch!r}: expected a number of images, at least 1, or 'dynamic'.")
    if path.suffix != FORMATS[format] and format != "saved_model":
        raise ValueError(f"{path}: a file of format {format} ends in {FORMATS[format]}; name it so.")
    if not path.absolute().parent.is_dir():
        raise FileNotFoundError(
            f"There is no folder {path.absolute().parent} to write {path.name} into: make it first."
        )
    if path.is_dir() and any(path.iterdir()) and (format != "saved_model" or not (path / "saved_model.pb").is_file()):
        raise FileExistsError(f"{path} is a folder, and not one of an earlier export: choose another name.")
