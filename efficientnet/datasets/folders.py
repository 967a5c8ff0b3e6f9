"""Folders of images, and folders of a folder per class: which of their files are images, what is left out, and why.

One rule for all commands: a file is an image if it has the suffix of one, or, if the suffix says nothing, the first
bytes of one. Hidden files and what is not a regular file are left out. All that is left out is reported.
"""

from __future__ import annotations

import functools
import os
import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ..common.text import plain
from ..images.bands import is_npy

CLASS_FOLDERS = "a folder with a folder of images per class"

_SPLITS = frozenset({"train", "training", "val", "valid", "validation", "dev", "test", "testing"})
_SHOWN = 3  # names in a sentence
_HEAD_BYTES = 64
# What Pillow recognizes and load_image does not read: programs, video, drawings and grids that need another program,
# and what only Microsoft's old photo editors wrote, whose beginning Windows' Thumbs.db shares.
_UNREAD_FORMATS = frozenset({"BUFR", "EPS", "FPX", "GRIB", "HDF5", "MIC", "MPEG", "WMF"})

_OF_TEXTS = {"XBM"}  # C programs and style sheets may begin in the same way


@dataclass
class Listing:
    """The images of a folder.

    Attributes:
        images: Image files in the order of their names.
        left_out: Other files by their kind.
    """

    images: list[Path] = field(default_factory=list)
    left_out: dict[str, list[Path]] = field(default_factory=dict)

    def leave_out(self, reason: str, paths: Iterable[Path]) -> None:
        """Count files as left out; the reason stands after their number, such as "hidden"."""
        if found := list(paths):
            self.left_out.setdefault(reason, []).extend(found)

    def note(self, folder: Path) -> str | None:
        """Return one sentence about what was left out; None if nothing was."""
        if not self.left_out:
            return None
        parts = [f"{len(paths)} {reason} ({_some(paths, folder)})" for reason, paths in self.left_out.items()]
        return f"left out of {folder}: {'; '.join(parts)}"


def find_images(folder: Path, recursive: bool = True) -> Listing:
    """Find a folder's images; none is decoded.

    Args:
        folder: Folder to search; links to folders are followed, each folder once.
        recursive: Whether to search the folders within it, too.
    """
    found = Listing()
    for path in _entries(folder, recursive, set()):
        if path.name.startswith("."):
            found.leave_out("hidden", [path])
        elif path.is_dir():
            found.leave_out("folders", [path])
        elif path.is_symlink() and not path.exists():
            found.leave_out("links that lead nowhere", [path])
        elif not path.is_file():
            found.leave_out("not regular files", [path])
        elif is_image(path):
            found.images.append(path)
        else:
            found.leave_out("not readable as images", [path])
    return found


@dataclass
class ClassFolders:
    """The images of a folder with a folder per class.

    Attributes:
        images: Images of each class, by the name of its folder; they may lie in further folders within it.
        notes: Sentences about what was left out, and why.
    """

    images: dict[str, list[Path]]
    notes: list[str]


def find_class_folders(data: Path) -> ClassFolders:
    """Find the classes of a folder and their images; none is decoded. A folder without images is not a class.

    Raises:
        ValueError: The folder holds images itself, or the classes lie one folder deeper.
    """
    loose = find_images(data, recursive=False)
    folders = loose.left_out.pop("folders", [])
    if not folders and loose.images:
        raise ValueError(f"{data} holds images itself and no folders: expected {CLASS_FOLDERS}.{parent_hint(data)}")
    loose.leave_out("in no folder of a class", loose.images)
    found = {folder.name: find_images(folder) for folder in folders}
    parts = [folder for folder in folders if found[folder.name].images] or folders
    if parts and all(folder.name.casefold() in _SPLITS for folder in parts):
        names = " or ".join(str(folder) for folder in parts)
        raise ValueError(
            f"{data} holds parts of a data set, not classes: pass {names}; train takes another part as --validation."
        )
    for inside in found.values():
        for reason, paths in inside.left_out.items():
            loose.leave_out(reason, paths)
    notes = [note] if (note := loose.note(data)) else []
    if empty := [name for name, inside in found.items() if not inside.images]:
        notes.append(f"{data}: no images in {', '.join(empty)}: not counted as {'classes' if empty[1:] else 'a class'}")
    return ClassFolders({name: inside.images for name, inside in found.items() if inside.images}, notes)


def parent_hint(data: Path) -> str:
    """Return advice for a folder that is that of one class."""
    parent = data.resolve().parent
    siblings = sum(path.is_dir() for path in parent.glob("[!.]*"))
    return f" Is {data} the folder of one class? Then pass {parent}." if siblings > 1 else ""


def is_image(path: Path) -> bool:
    """Return whether a regular file is to be read as an image: by its suffix, or else by its first bytes.

    A file that cannot be opened counts as one, so that reading it reports why.
    """
    suffixes, beginnings = _known()
    if path.suffix.lower() in suffixes:
        return True
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError:
        return True
    return any(_accepts(accept, head) for accept in beginnings)


def _accepts(accept: Callable[[bytes], bool | str], head: bytes) -> bool:
    try:
        return accept(head) is True
    except (SyntaxError, IndexError, TypeError, struct.error):  # raised for a short file; Pillow catches the same
        return False


@functools.cache
def _known() -> tuple[frozenset[str], tuple[Callable[[bytes], bool | str], ...]]:
    """Return the suffixes of the formats that load_image reads, and the functions that detect them by first bytes."""
    from PIL import Image

    Image.init()
    readable = Image.OPEN.keys() - _UNREAD_FORMATS
    suffixes = {suffix for suffix, name in Image.registered_extensions().items() if name in readable}
    beginnings = (Image.OPEN[name][1] for name in sorted(readable - _OF_TEXTS))
    return frozenset({*suffixes, ".npy"}), (is_npy, *(accept for accept in beginnings if accept is not None))


def _entries(folder: Path, recursive: bool, seen: set[str]) -> Iterator[Path]:
    """Yield all entries but searched folders, in the order of names; each folder once, whatever links lead to it."""
    seen.add(os.path.realpath(folder))
    for path in sorted(folder.iterdir()):
        if recursive and path.is_dir() and not path.name.startswith("."):
            if os.path.realpath(path) not in seen:
                yield from _entries(path, recursive, seen)
        else:
            yield path


def _some(paths: list[Path], folder: Path) -> str:
    names = [plain(path.relative_to(folder)) for path in paths[:_SHOWN]]
    return ", ".join(names) + (", …" if len(paths) > _SHOWN else "")
