"""The images of a command line: files, folders, globs, addresses and stdin."""

from __future__ import annotations

import argparse
import glob
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ..common.text import notify
from ..datasets.folders import find_images
from . import pixel_options
from .number_types import seconds


def add_options(parser: argparse.ArgumentParser, optional: bool = False) -> None:
    """Add the options that :func:`expanded` and :func:`sources` read; the images may be ``optional``."""
    add = parser.add_argument
    add("images", nargs="*" if optional else "+", metavar="IMAGE", help="file, folder, glob, URL, or - for stdin")
    add("--timeout", type=seconds, metavar="S", help="seconds for the download of an image (default: 60)")
    add("--recursive", action="store_true", help="search folders within folders too")
    pixel_options.add_options(parser, reduces=True)


def expanded(arguments: argparse.Namespace) -> list[str]:
    """Return all images that the command line names."""
    return [image for given in arguments.images for image in expand(given, arguments.recursive)]


def expand(given: str, recursive: bool) -> list[str]:
    """Return the images that one argument stands for: a folder's, a glob's, or itself."""
    if given == "-" or "://" in given:
        return [given]
    if os.path.isdir(given):  # Path.is_dir raises for a name that no file system takes
        found = [str(file) for file in images_in(Path(given), recursive)]
    elif os.path.exists(given) or not glob.has_magic(given):
        found = [given]
    else:
        found = sorted(glob.glob(given, recursive=True))
    return found or [given]  # it cannot be read, and is reported like any other bad file


def images_in(folder: Path, recursive: bool) -> list[Path]:
    """Return a folder's images in the order of their names; one line on stderr reports what is left out."""
    found = find_images(folder, recursive)
    if note := found.note(folder):
        hint = "; --recursive looks into folders" if "folders" in found.left_out else ""
        notify(f"{note}{hint}")
    return found.images


def sources(images: Sequence[str], arguments: argparse.Namespace, channels: int) -> Iterator[Any]:
    """Yield each image as a model of this number of channels takes it; a missing one raises OSError when it is read."""
    standard_input = _standard_input()
    without_images = _Missing(
        "a folder without images: give another"
        + (", or files." if arguments.recursive else ", or add --recursive if the images are in its folders.")
    )
    for image in images:
        if os.path.isdir(image):
            yield without_images
        else:
            content = next(standard_input) if image == "-" else image
            yield pixel_options.source(content, arguments, channels)


class _Missing:
    """A file that cannot be read, for a reason."""

    def __init__(self, reason: str) -> None:
        self.reason = reason

    def read(self) -> bytes:
        raise OSError(self.reason)


def _standard_input() -> Iterator[bytes | _Missing]:
    """Yield the content of standard input for the first ``-`` of a command line, and an error for each other."""
    yield _Missing("stdin is closed.") if sys.stdin is None else sys.stdin.buffer.read()
    while True:
        yield _Missing("stdin has been read already: give - once.")
