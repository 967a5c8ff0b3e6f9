"""Writing files whole."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from .text import plain

# Hidden, so that whatever reads the folder meanwhile leaves it out, such as pyarrow a folder of Parquet files.
_PREFIX = ".efficientnet-part-"
_PART = re.compile(re.escape(_PREFIX) + r"[a-z0-9_]{8}")  # as tempfile names them
_KINDS = {
    stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device",
}  # fmt: skip
# What a killed process was writing is removed when it is older than this, seconds.
_STALE = 24 * 3600
# A disk with less room is full, bytes.
_LEAST_ROOM = 1 << 16


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


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """Read a file that somebody named, if it can be read to its end without waiting.

    Raises:
        OSError: The file is missing, or the path is not a file.
    """
    check_is_file(path)
    return Path(path).read_bytes()


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
        raise FileExistsError(f"{path} is a file: expected a folder, existing or new.")
    places = (path, *path.absolute().parents) if path.is_dir() else path.absolute().parents
    place = next(place for place in places if os.path.lexists(place))
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        raise OSError(
            f"{path} cannot be written: {error.strerror or error} ({place}). Choose another place, or make it writable."
        ) from None


def check_apart(out: Path, images: Path) -> None:
    """Check that a folder to write into does not lie in a folder of images: what is written would be among them.

    Args:
        out: Folder to write into, there or not.
        images: Folder of images; of anything else nothing is checked.

    Raises:
        ValueError: One lies in the other.
    """
    if images.is_dir() and out.resolve().is_relative_to(images.resolve()):
        raise ValueError(
            f"{plain(out)} lies in {plain(images)}, whose images it would be among: choose a folder outside of it "
            "(--out)."
        )


@contextlib.contextmanager
def replacing(path: Path, size: int = 0) -> Iterator[Path]:
    """Enter a path to write to, which then replaces ``path``, so that this is never half written.

    It has the same name and lies in a folder beside ``path`` that no other thread, process or machine writes to. It is
    removed where writing fails.

    Args:
        path: Path of the file.
        size: Bytes that are needed; a disk without this room is full at once.

    Raises:
        OSError: The path cannot be written; the error names it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with part_folder(path, size) as folder:
        if shutil.disk_usage(folder).free < size:
            raise _full(path)
        part = folder / path.name
        yield part
        os.replace(part, path)


def write_file(path: Path, content: bytes) -> None:
    """Write a file, whole or not at all.

    Raises:
        OSError: The path cannot be written; the error names it.
    """
    with replacing(path) as part:
        part.write_bytes(content)


@contextlib.contextmanager
def part_folder(path: Path, size: int = 0) -> Iterator[Path]:
    """Create a folder beside ``path`` for what will replace it; remove it at the end with all that is still in it.

    Left-over ones of killed processes are removed when they are a day old.

    Args:
        path: Path of the file or folder that will be replaced.
        size: Bytes that will be written, roughly.

    Raises:
        OSError: Writing into the folder failed; the error names ``path``.
    """
    remove_parts(path.parent, _STALE)
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=path.parent))
    try:
        with named_errors(path, folder, size):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def named_errors(path: Path, folder: Path, size: int = 0) -> Iterator[None]:
    """Make errors of writing into a folder name ``path``, which a user knows.

    Args:
        path: Path to name.
        folder: Folder that is written to.
        size: Bytes that are written, roughly.

    Raises:
        OSError: Writing failed. On a full disk, that stands for any exception that a library has made of it.
    """
    try:
        yield
    except OSError as error:
        is_inside = error.filename is None or os.fspath(folder) in os.fsdecode(error.filename)
        if error.errno is not None and is_inside:  # a full disk has no name
            raise OSError(error.errno, os.strerror(error.errno), str(path)) from None
        raise
    except Exception as error:
        is_for_users = isinstance(error, (ValueError, ImportError)) and os.strerror(errno.ENOSPC) not in str(error)
        # Part of what was written may be removed already.
        if not is_for_users and shutil.disk_usage(folder).free < max(size, _LEAST_ROOM):
            raise _full(path) from None
        raise


def _full(path: Path) -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


@contextlib.contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Create a folder, and be the only process that writes into it; what killed ones left half written is removed.

    Raises:
        OSError: Another process writes into it.
    """
    from filelock import FileLock, Timeout

    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise OSError(
            f"Another process writes into {plain(folder)}: wait for its end, or choose another folder."
        ) from None
    try:
        remove_parts(folder)
        yield
    finally:
        lock.release()


def remove_parts(parent: Path, age: float = 0.0) -> None:
    """Remove what :func:`part_folder` has made in a folder at least ``age`` seconds ago.

    Without an age nobody else may be writing there.
    """
    latest = time.time() - age
    for path in parent.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):  # another process was first, or it is somebody else's
            if _PART.fullmatch(path.name) and path.lstat().st_mtime <= latest:
                shutil.rmtree(path)
