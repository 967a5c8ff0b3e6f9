"""What can be exported, and how."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path

from ..common import arguments
from ..common.arguments import MOST_IMAGES
from ..exported_files import formats
from .deployments import DEPLOYMENTS
from .deployments.web import runtime_files

# Format -> suffix of its file; a folder has none.
FORMATS = {name: format.suffix for name, format in formats.FORMATS.items()} | dict.fromkeys(DEPLOYMENTS, "")
PRECISIONS = ("f32", "f16", "int8")
INPUT_TYPES = ("float32", "uint8")
# Files of a format that is a folder; the first is always there.
_FOLDERS = {"saved_model": ("saved_model.pb", "fingerprint.pb", "variables/*", "assets/*", "assets.extra/*")}


def check(
    path: Path, format: str, precision: str, batch: int | str, raw_pixels: bool, input_type: str, runtime: Path | None
) -> None:
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
    if runtime is not None and format != "web":
        raise ValueError(f"The folder of a runtime is for web: leave it out for {format} (runtime=, --runtime).")
    if format == "web" and (batch not in ("dynamic", 1) or input_type != "float32"):
        raise ValueError(
            "The page predicts one image at a time, of fractional pixels: leave out batch= and input_type= (--batch, "
            "--input)."
        )
    if runtime is not None:
        runtime_files(runtime)
    if FORMATS[format] and path.suffix != FORMATS[format]:
        raise ValueError(f"{path}: a file of format {format} ends in {FORMATS[format]}; name it so.")
    if not path.absolute().parent.is_dir():
        raise FileNotFoundError(
            f"There is no folder {path.absolute().parent} to write {path.name} into: make it first."
        )
    if path.is_dir() and any(path.iterdir()) and not _is_export(path, format):
        raise FileExistsError(
            f"{path} is a folder, and not one of an earlier export as {format} and nothing else: choose another name."
        )


def _is_export(folder: Path, format: str) -> bool:
    """Return whether a folder is that of an earlier export in this format, and holds nothing that would be lost."""
    patterns = DEPLOYMENTS[format].files if format in DEPLOYMENTS else _FOLDERS.get(format, ())
    known = [pattern.format(name=folder.absolute().name) for pattern in patterns]
    files = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()]
    are_known = all(any(fnmatchcase(file, pattern) for pattern in known) for file in files)
    return bool(known) and known[0] in files and are_known
