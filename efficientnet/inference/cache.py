"""Compiled engines on disk: found by all that they are made of, checked whenever they are read.

The check is against damage, not against people: whoever may write to the folder can put another program there. So it is
made for its owner alone, and one that everybody may write to is not used unless ``EFFICIENTNET_TRUST_CACHE=1``.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..common.files import replacing
from ..common.text import get_logger
from ..network.backends import deep_recursion
from ..weights.download import cache_dir

logger = get_logger()

SUFFIX = ".engine"
# The folder is kept below this; whatever was not used for longest goes first.
MAX_BYTES = 2 << 30


class Entry(NamedTuple):
    """Cached engine.

    Attributes:
        notes: Values that its use needs, as JSON can hold them.
        content: Compiled engine; read from the cache it is a bytearray, which OpenVINO takes without a copy.
    """

    notes: dict[str, Any]
    content: bytes | bytearray


def folder() -> Path:
    """Return the folder of the engines, beside the downloaded weights."""
    return cache_dir() / "engines"


def key_of(*parts: Any) -> str:
    """Return a key for what these parts make: it changes with each of them, and with the code of this package."""
    return hashlib.sha256("\n".join(map(repr, (*parts, *_code()))).encode()).hexdigest()


def model_key(model: Any) -> str | None:
    """Return a key for a Keras model by its configuration and all of its numbers; None if Keras cannot write it."""
    try:
        with deep_recursion():
            configuration = model.to_json()
    except (NotImplementedError, TypeError, ValueError):  # a custom layer that cannot be serialized
        return None
    digest = hashlib.sha256(configuration.encode())
    for weight in model.get_weights():
        digest.update(np.asarray(weight).tobytes())
    return digest.hexdigest()


def read_entry(key: str) -> Entry | None:
    """Return what was written under a key; None if there is nothing, or it is damaged."""
    path = folder() / (key + SUFFIX)
    if fault := _fault(path.parent):
        logger.warning(
            "Engines in %s are not used, since %s: an engine is a program. Set EFFICIENTNET_HOME to a folder that "
            "only you may write to, or EFFICIENTNET_TRUST_CACHE=1 if you trust all who may write there.",
            path.parent, fault,
        )  # fmt: skip
        return None
    try:
        with path.open("rb") as file:  # in parts: a copy of an engine takes as much memory again
            digest, notes, content = file.readline(), file.readline(), bytearray(file.read())
        os.utime(path)  # so that it counts as used
    except FileNotFoundError:
        return None
    except OSError as error:
        logger.warning("The cached engine %s cannot be read: %s. It is compiled anew.", path, error)
        return None
    if _digest(notes, content) != digest:
        logger.warning("The cached engine %s is damaged; it is compiled anew.", path)
        return None
    return Entry(json.loads(notes), content)


def write(key: str, entry: Entry) -> None:
    """Keep an engine, all of it or nothing; if that is impossible, a warning says why."""
    path = folder() / (key + SUFFIX)
    if _fault(path.parent):  # already reported when it was read
        return
    notes = json.dumps(entry.notes, ensure_ascii=False).encode() + b"\n"
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _make_room(path.parent, len(notes) + len(entry.content))
        with replacing(path) as part:
            part.write_bytes(_digest(notes, entry.content) + notes + entry.content)
    except OSError as error:
        logger.warning(
            "The compiled engine cannot be kept: %s. Next time it is compiled again; EFFICIENTNET_HOME names a folder "
            "that can be written to.", error,
        )  # fmt: skip


def _digest(notes: bytes, content: bytes | bytearray) -> bytes:
    """Return the first line of a file, which shows damage of the others."""
    hashed = hashlib.sha256(notes)
    hashed.update(content)
    return hashed.hexdigest().encode() + b"\n"


def _fault(directory: Path) -> str | None:
    """Return why somebody else may have put engines into a folder; None where nobody can, or that is wanted."""
    if os.name != "posix" or os.environ.get("EFFICIENTNET_TRUST_CACHE") == "1":
        return None
    try:
        status = directory.stat()
    except OSError:  # not there yet, or out of reach
        return None
    if status.st_uid not in (0, os.geteuid()):
        return "it belongs to another user"
    return "everybody may write to it" if status.st_mode & stat.S_IWOTH else None


def _make_room(directory: Path, size: int) -> None:
    entries = sorted(_stat(directory.glob(f"*{SUFFIX}")), key=lambda entry: entry[1].st_mtime)
    total = size + sum(status.st_size for _, status in entries)
    for path, status in entries:
        if total <= MAX_BYTES:
            break
        path.unlink(missing_ok=True)
        total -= status.st_size


def _stat(paths: Iterable[Path]) -> list[tuple[Path, os.stat_result]]:
    found = []
    for path in paths:
        try:
            found.append((path, path.stat()))
        except FileNotFoundError:  # another process has made room
            continue
    return found


def _code() -> list[tuple[str, int, int]]:
    """Return the files of this package: another version writes other graphs."""
    root = Path(__file__).parents[1]
    statuses = sorted(_stat(root.rglob("*.py")))
    return [(str(path.relative_to(root)), status.st_size, status.st_mtime_ns) for path, status in statuses]
