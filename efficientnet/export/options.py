"""What can be exported, and how."""

from __future__ import annotations

from pathlib import Path

from ..common import arguments
from ..common.arguments import MOST_IMAGES
from ..exported_files import formats

# Format -> suffix of its file; a folder has none.
FORMATS = {name: format.suffix for name, format in formats.FORMATS.items()}
PRECISIONS = ("f32", "f16", "int8")
INPUT_TYPES = ("float32", "uint8")


def check(path: Path, format: str, precision: str, batch: int | str, raw_pixels: bool, input_type: str) -> None:
    """Raise ValueError or OSError if something cannot be exported as requested, and say what can."""
    arguments.choice("format", format, FORMATS)
    arguments.choice("precision", precision, PRECISIONS)
    if format == "saved_model" and precision != "f32":
        raise ValueError(f"A SavedModel cannot be in {precision}: export it in f32, or as one of the other formats.")
    if not (isinstance(batch, str) and batch == "dynamic") and arguments.whole("batch", batch) > MOST_IMAGES:
        raise ValueError(f"batch={batch!r}: expected a number of images, 1 to {MOST_IMAGES:,}, or 'dynamic'.")
    arguments.choice("input_type", input_type, INPUT_TYPES)
    if input_type != "float32" and not raw_pixels:
        raise ValueError(
            f"input_type={input_type!r} is for raw pixels: pass raw_pixels=True, too (--raw-pixels), since scaled ones "
            "are fractions."
        )
    if path.suffix != FORMATS[format] and format != "saved_model":
        raise ValueError(f"{path}: a file of format {format} ends in {FORMATS[format]}; name it so.")
    if not path.absolute().parent.is_dir():
        raise FileNotFoundError(
            f"There is no folder {path.absolute().parent} to write {path.name} into: make it first."
        )
    if path.is_dir() and any(path.iterdir()) and (format != "saved_model" or not (path / "saved_model.pb").is_file()):
        raise FileExistsError(f"{path} is a folder, and not one of an earlier export: choose another name.")
