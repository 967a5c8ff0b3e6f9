"""The hash that a file should have, and the one that it has."""

from __future__ import annotations

import functools
import hashlib
import re
import time
from pathlib import Path
from typing import NamedTuple

# Names of PyTorch's published files end in the first 8 digits of their SHA-256.
_HASH = re.compile(
    r"(?:sha256:)?(?P<sha256>[0-9a-f]{64})|sha256:(?P<start>[0-9a-f]{8})|(?:md5:)?(?P<md5>[0-9a-f]{32})", re.IGNORECASE
)
_CHUNK = 1 << 20  # bytes
_SETTLED = 1.0  # seconds; some file systems record the same time for two writes within one


class Expected(NamedTuple):
    """A hash: its algorithm, ``"sha256"`` or ``"md5"``, and its hex digest or the first digits of it."""

    algorithm: str
    digest: str

    def is_of(self, digest: str) -> bool:
        """Return whether a file's whole digest is the expected one."""
        return digest.startswith(self.digest)

    def __str__(self) -> str:
        return self.digest if len(self.digest) >= 32 else f"{self.digest}…"


def parse(file_hash: str) -> Expected:
    """Parse a hash in a text.

    Raises:
        ValueError: The text is not a hash.
    """
    match = _HASH.fullmatch(file_hash)
    if match is None:
        raise ValueError(
            f"file_hash is {file_hash!r}: give 'sha256:' and 64 hex digits or the first 8, 'md5:' and 32, or "
            "None for an unverified file"
        )
    md5, sha256 = match["md5"], match["sha256"] or match["start"]
    return Expected("md5", md5.lower()) if md5 else Expected("sha256", sha256.lower())


def of_nothing(expected: Expected | None) -> hashlib._Hash:
    """Return an empty hash of the expected kind."""
    # Not for security: FIPS builds refuse md5 otherwise, and some publishers declare only that.
    return hashlib.new(expected.algorithm if expected else "sha256", usedforsecurity=False)


def of_file(path: Path, expected: Expected | None) -> hashlib._Hash:
    """Return the hash of a file's content; of nothing where there is no file."""
    hasher = of_nothing(expected)
    if path.exists():
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                hasher.update(chunk)
    return hasher


def is_intact(path: Path, expected: Expected | None) -> bool:
    """Return whether a file is there and has this hash; without a hash, whether it is not empty."""
    if not path.is_file():
        return False
    if expected is None:
        return path.stat().st_size > 0
    return expected.is_of(digest_of(path, expected.algorithm))


def digest_of(path: Path, algorithm: str = "sha256") -> str:
    """Return the hex digest of a file's content; an unchanged file is read once per process."""
    stat = path.stat()
    state = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
    is_settled = abs(time.time() - stat.st_mtime) > _SETTLED
    return (_digest if is_settled else _digest.__wrapped__)(path, algorithm, state)


@functools.lru_cache(maxsize=64)
def _digest(path: Path, algorithm: str, state: tuple[int, ...]) -> str:
    return of_file(path, Expected(algorithm, "")).hexdigest()
