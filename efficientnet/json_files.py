"""JSON of files that anybody may have written: read whole or refused, and never without a bound."""

from __future__ import annotations

import json
import os
from typing import Any

from .files import read_bounded
from .text import plain

_HUGE = 1e300
# Of a file; a network's description, a recipe or a run's settings take some kilobytes.
MOST_BYTES = 16 * 2**20


def is_number(value: Any) -> bool:
    """Whether a value of JSON is a number, no truth value, that is finite as a float."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and -_HUGE < value < _HUGE


def parse(content: bytes | bytearray | memoryview | str, name: str) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: it is none; the message begins with ``name``.
    """
    try:
        text = content if isinstance(content, str) else bytes(content).decode()
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{plain(name)} is no JSON: {plain(error)}") from error


def read_object(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        OSError: it is not there, or no file.
        ValueError: it is larger than ``MOST_BYTES``, no JSON, or no object.
    """
    value = parse(read_bounded(path, MOST_BYTES, "such file"), os.fspath(path))
    if not isinstance(value, dict):
        raise ValueError(f"{plain(path)} holds {type(value).__name__} in JSON, and not an object of names and values.")
    return value
