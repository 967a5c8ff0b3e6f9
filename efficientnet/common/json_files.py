"""JSON files: written whole or not at all; read completely or refused, and never without a limit."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

from .files import read_bounded, write_file
from .text import json_text, plain

_HUGE = 1e300
# Size limit of a file; a network's description, a recipe or a run's settings take some kilobytes.
MOST_BYTES = 16 * 2**20
# Values in a text, counted before it is parsed: ImageNet-21k's names are 20,000, EfficientNet-L2's arrays as many.
_MOST_VALUES = 4_000_000


def is_number(value: Any) -> bool:
    """Return whether a value of JSON is a number, no truth value, that is finite as a float."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and -_HUGE < value < _HUGE


def parse(content: bytes | bytearray | memoryview | str, name: str) -> Any:
    """Parse a JSON text.

    Raises:
        ValueError: The text is not JSON, has a key of an object twice, or more values than any file needs; the message
            begins with ``name``.
    """
    try:
        text = content if isinstance(content, str) else bytes(content).decode()
        if text.count(",") > _MOST_VALUES:
            raise ValueError(f"it has more than {_MOST_VALUES:,} values")
        return json.loads(text, object_pairs_hook=unique_keys)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{plain(name)} is not JSON that can be read: {plain(error)}") from None


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object of JSON whose keys are unique: the ``object_pairs_hook`` of ``json.loads``.

    Raises:
        ValueError: A key is there twice, so that its value is ambiguous.
    """
    values = dict(pairs)
    if len(values) < len(pairs):
        twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise ValueError(f"it has {twice[:80]!r} twice, and once is right")
    return values


def read_object(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read the object in a JSON file.

    Raises:
        OSError: The file is missing, or the path is not a file.
        ValueError: The file is larger than ``MOST_BYTES``, not JSON, or not an object.
    """
    value = parse(read_bounded(path, MOST_BYTES, "such file"), os.fspath(path))
    if not isinstance(value, dict):
        raise ValueError(f"{plain(path)} holds {type(value).__name__} in JSON, and not an object of names and values.")
    return value


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file, whole or not at all; texts come back unchanged, and letters of all languages are readable.

    Raises:
        OSError: The path cannot be written; the error names it.
    """
    write_file(path, (json_text(value, indent=2) + "\n").encode())
