"""The members of a zip archive that holds them uncompressed, as views of the file."""

from __future__ import annotations

import io
import lzma
import os
import struct
import zipfile
import zlib
from typing import NamedTuple

from ..common.json_files import MOST_BYTES
from ..common.text import plain

# EfficientNet-L2's training checkpoint, with a member for each array, has a directory of 1 MB; of what an archive
# says of its members, the zipfile module makes ten times as much.
_LARGEST_DIRECTORY = 4 * 2**20

# Limits of the members together: bytes that are always allowed, and beyond these a multiple of the archive's size.
_SMALL, _MOST_UNPACKED = 64 * 2**20, 20

# What zipfile raises where a directory is damaged; a name of no length is an IndexError.
_DAMAGED = (zipfile.BadZipFile, NotImplementedError, struct.error, OverflowError, IndexError, ValueError)


class Member(NamedTuple):
    """A file in an archive.

    Attributes:
        name: Name in the archive.
        content: Bytes of the file.
        crc: Checksum of the bytes when they were written; 0 if none was noted.
    """

    name: str
    content: memoryview
    crc: int

    def check(self) -> None:
        """Compare the checksum.

        Raises:
            ValueError: The bytes have changed.
        """
        if self.crc and zlib.crc32(self.content) != self.crc:
            raise ValueError(f"the bytes of {self.name[:80]!r} in it are not those that were written")


class _Bounded(io.FileIO):
    """A file that is not read in large pieces, as only a directory that claims too much would be."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > _LARGEST_DIRECTORY:
            raise ValueError(f"its directory claims {size} bytes, and {_LARGEST_DIRECTORY} are more than enough")
        return super().read(size) or b""

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        if whence == os.SEEK_SET and offset < 0:
            raise ValueError(
                "its directory points before its start"
            )  # and not an OSError, as if it could not be opened
        return super().seek(offset, whence)


def directory(path: str | os.PathLike[str]) -> list[zipfile.ZipInfo]:
    """Read the directory of an archive, in order.

    Raises:
        ValueError: The file is not an archive, or its directory is damaged.
        OSError: The archive cannot be opened.
    """
    with _Bounded(path) as file:
        try:
            with zipfile.ZipFile(file) as archive:
                return archive.infolist()
        except _DAMAGED as error:
            raise ValueError(f"its directory cannot be read: {error}") from None


def read_member(path: str | os.PathLike[str], name: str) -> bytes | None:
    """Read a small file in an archive, compressed or not; None if it is missing or this is not an archive.

    Raises:
        ValueError: The archive or the file in it is damaged, encrypted, or larger than ``MOST_BYTES``.
        OSError: The archive cannot be opened.
    """
    if not zipfile.is_zipfile(path):
        return None
    try:
        with _Bounded(path) as file, zipfile.ZipFile(file) as archive:
            if name not in archive.namelist():
                return None
            with archive.open(name) as member:
                content = member.read(MOST_BYTES + 1)
    except (*_DAMAGED, zlib.error, lzma.LZMAError, EOFError, RuntimeError) as error:
        raise ValueError(f"{plain(path)}: {name} in it cannot be read: {plain(error)}") from None
    if len(content) > MOST_BYTES:
        raise ValueError(f"{plain(path)}: {name} in it has more than {MOST_BYTES >> 20} MB, which no such file has.")
    return content


def check_sizes(path: str | os.PathLike[str]) -> None:
    """Check that an archive does not unpack to far more than its size, as Keras' files never do.

    Raises:
        ValueError: The archive would, or it is damaged.
        OSError: The archive cannot be opened.
    """
    size, unpacked = os.stat(path).st_size, sum(info.file_size for info in directory(path))
    if unpacked > _SMALL + _MOST_UNPACKED * size:
        raise ValueError(f"{plain(path)} has {size:,} bytes and would unpack to {unpacked:,}: it is not a saved model.")


def members(path: str | os.PathLike[str], buffer: memoryview) -> dict[str, Member]:
    """Return the files in an archive by name.

    Args:
        path: Path of the archive.
        buffer: Bytes of the archive.

    Raises:
        ValueError: The archive is damaged, a member is compressed or encrypted, or two have one name or place.
        OSError: The archive cannot be opened.
    """
    found: dict[str, Member] = {}
    end = 0
    infos = sorted(directory(path), key=lambda info: info.header_offset)
    # A file that is cut short may end with an archive that lies in it as data.
    if infos and infos[0].header_offset > 0:
        raise ValueError("it is cut short, or was put behind something else")
    for info in infos:
        name, start = info.filename, info.header_offset
        is_stored = info.compress_type == zipfile.ZIP_STORED and info.compress_size == info.file_size
        if not is_stored or info.flag_bits & 1:
            raise ValueError(f"{name[:80]!r} in it is compressed or encrypted, and read are archives that are neither")
        if name in found:
            raise ValueError(f"it holds {name[:80]!r} twice")
        # Before a member stand a header and, so that it can be checked, its name once more.
        written = info.orig_filename.encode("utf-8" if info.flag_bits & 0x800 else "cp437")
        header = bytes(buffer[start : start + 30 + len(written)]) if start >= end else b""
        if len(header) < 30 or not header.startswith(b"PK\3\4") or header[30:] != written:
            raise ValueError(f"{name[:80]!r} in it is not where it says")
        start += 30 + sum(struct.unpack_from("<HH", header, 26))
        end = start + info.file_size
        found[name] = Member(name, buffer[start:end], info.CRC)
        if len(found[name].content) != info.file_size:
            raise ValueError(f"{name[:80]!r} in it is cut short")
    return found
