"""Extract chosen files from a tar archive, plain or gzipped, whatever the archive says about itself."""

from __future__ import annotations

import gzip
import io
import re
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, TypeVar

Kept = TypeVar("Kept")

# Weights hardly compress: float32 1.1-fold, numbers of bfloat16 kept as float32 2.1-fold, these and their averages
# beside as many zeros of a fresh optimizer 3.7-fold. A bomb reaches 1,000-fold. The rest is for small files, which may
# be mostly zeros or the text of a graph.
_EXPANSION = 8
_ALLOWANCE = 64 << 20


def recognizes(path: Path) -> bool:
    """Return whether a file is a tar archive, plain or gzipped."""
    try:
        with path.open("rb") as file, _plain(file) as stream:
            return stream.read(512)[257:262] == b"ustar"
    except (gzip.BadGzipFile, EOFError, zlib.error):
        return False


def extract(path: Path, wanted: re.Pattern[str], keep: Callable[[IO[bytes]], Kept]) -> dict[str, Kept]:
    """Read an archive once, and return what ``keep`` makes of each member whose whole name matches ``wanted``.

    Args:
        path: Path of the archive.
        wanted: Pattern of names in the archive, with any folders, even ``..``.
        keep: Function that takes a stream, which can be read while it runs.

    Raises:
        ValueError: The archive is damaged or grows beyond what weights do, or such a member is not a regular file, is
            there twice, or has a name that cannot be printed.
        OSError: The archive cannot be opened.
    """
    kept: dict[str, Kept] = {}
    try:
        with path.open("rb") as file, _plain(file) as plain:
            stream = _Bounded(plain, _EXPANSION * path.stat().st_size + _ALLOWANCE)
            with tarfile.open(fileobj=stream, mode="r|") as archive:
                for member in archive:
                    if not wanted.fullmatch(member.name):
                        continue
                    if len(member.name) > 1000 or not member.name.isprintable():  # messages are going to hold it
                        raise ValueError(f"{member.name[:200]!r} in it is not a name of a file")
                    content = archive.extractfile(member) if member.isreg() and not member.issparse() else None
                    if content is None:
                        raise ValueError(f"{member.name!r} in it is a link or another special file")
                    if member.name in kept:
                        raise ValueError(f"{member.name!r} is in it twice")
                    kept[member.name] = keep(content)
    except (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error, RecursionError) as error:
        raise ValueError(f"the archive is cut short or damaged ({error})") from None
    return kept


def _plain(file: io.BufferedReader) -> io.BufferedIOBase:
    """Return the bytes of an archive, inflated if it is gzipped."""
    is_gzipped = file.read(2) == b"\x1f\x8b"
    file.seek(0)
    return gzip.GzipFile(fileobj=file) if is_gzipped else file


class _Bounded(io.RawIOBase):
    """A stream to read from that ends with an error, after ``limit`` bytes at the latest.

    An archive says itself where it ends; reading on after the last byte, tarfile would skip the members' claimed
    sizes in small steps, for years.
    """

    def __init__(self, stream: io.BufferedIOBase, limit: int) -> None:
        self.stream = stream
        self.left = limit

    def read(self, size: int = -1) -> bytes:
        data = self.stream.read(size)
        self.left -= len(data)
        if self.left < 0:
            raise ValueError("the archive inflates to many times the size that weights would")
        if not data:
            raise EOFError("it ends inside of a member")
        return data
