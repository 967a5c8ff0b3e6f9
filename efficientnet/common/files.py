"""Writing files whole."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from .text import plain

_PREFIX = "efficientnet-part-"
_PART = re.compile(re.escape(_PREFIX) + r"[a-z0-9_]{8}")  # as tempfile names them
_KINDS = {
    stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device",
}  # fmt: skip
# What a killed process was writing is removed when it is older than this, seconds.
_STALE = 24 * 3600


def check_is_file(path: str | os.PathLike[str]) -> None:
    """Check that a path can be opened and read to its end without waiting.

    Raises:
        OSError: The path is missing, or a folder, a pipe, a socket or a device.
    """
    name = plain(path)
    if not name:
        raise FileNotFoundError("The name of the file is empty.")
    mode = os.stat(path).st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(f"{name} is a folder. Pass the files inside it.")
    if not stat.S_ISREG(mode):
        kind = _KINDS.get(stat.S_IFMT(mode), "no file")
        raise OSError(f"{name} is {kind}, which might never end. Read it yourself, and pass its content or a file.")


def read_bounded(path: str | os.PathLike[str], most: int, what: str) -> bytes:
    """Read a file of unknown size, up to a limit.

    Args:
        path: Path of the file.
        most: Limit of its size, bytes.
        what: Name of its kind, for the message: "list of classes".

    Raises:
        OSError: The file is missing, or the path is not a file.
        ValueError: The file is larger.
    """
    check_is_file(path)
    with Path(path).open("rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"{plain(path)} has more than {most >> 20} MB, which no {what} has.")
    return content


def check_writable(path: Path, is_folder: bool = False) -> None:
    """Check that a file or a folder can be written, before any work on its content.

    The folders above it need not be there: :func:`replacing` makes them. Nothing is left behind.

    Args:
        path: Path of the file or folder.
        is_folder: Whether it is a folder.

    Raises:
        OSError: The path cannot be written; the message says why.
    """
    if is_folder and path.exists() and not path.is_dir():
        raise FileExistsError(f"{path} is a file: expected a folder, there or not.")
    places = (path, *path.absolute().parents) if path.is_dir() else path.absolute().parents
    place = next(place for place in places if os.path.lexists(place))
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        raise OSError(
            f"{path} cannot be written: {error.strerror or error} ({place}). Choose another place, or make it writable."
        ) from None


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Enter a path to write to, which then replaces ``path``, so that this is never half written.

    It has the same name and lies in a folder beside ``path`` that no other thread, process or machine writes to. It is
    removed where writing fails.

    Raises:
        OSError: The path cannot be written; the error names a file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with part_folder(path.parent) as folder:
        part = folder / path.name
        try:
            yield part
            os.replace(part, path)
        except OSError as error:
            if error.filename is None and error.errno is not None:  # a full disk has no name
                raise OSError(error.errno, os.strerror(error.errno), str(path)) from None
            raise


@contextlib.contextmanager
def part_folder(parent: Path) -> Iterator[Path]:
    """Create a folder inside ``parent``, and remove it at the end with all that is still in it.

    Left-over ones of killed processes are removed when they are a day old.
    """
    remove_parts(parent, _STALE)
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def remove_parts(parent: Path, age: float = 0.0) -> None:
    """Remove what :func:`part_folder` has made in a folder at least ``age`` seconds ago.

    Without an age nobody else may be writing there.
    """
    latest = time.time() - age
    for path in parent.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):  # another process was first, or it is somebody else's
            if _PART.fullmatch(path.name) and path.lstat().st_mtime <= latest:
                shutil.rmtree(path)
