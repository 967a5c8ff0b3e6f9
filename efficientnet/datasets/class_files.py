"""Files of class names: a name a line, or JSON as the common tools write it."""

from __future__ import annotations

import os
from typing import Any

from ..checkpoints.facts import MOST_CLASSES
from ..common.files import read_bounded
from ..common.json_files import MOST_BYTES, parse
from ..common.text import plain

_ACCEPTED = (
    'expected a name a line, or JSON: ["cat", "dog"], {"0": "cat", "1": "dog"}, {"cat": 0, "dog": 1} or '
    '{"0": ["n02123045", "cat"]}'
)


def read_class_file(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """Read the names in a file, in the order of a model's outputs.

    Args:
        path: Path of a UTF-8 text with a name a line; empty lines at the end do not count. Or path of JSON: a list of
            names, or an object from numbers to names or from names to numbers, which count from 0. A list of an id and
            a name may stand for a name, as in Keras' list of ImageNet's classes.

    Raises:
        OSError: There is no such file.
        ValueError: The file has other content; the message says what is accepted.
    """
    try:
        text = read_bounded(path, MOST_BYTES, "list of classes").decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        raise ValueError(f"{plain(path)} is not text in UTF-8: {_ACCEPTED}.") from None
    if text.lstrip().startswith(("[", "{")):
        names = _in_order(parse(text, os.fspath(path)))
    else:
        names = [line.strip() for line in text.splitlines()]
    if len(names) > MOST_CLASSES:
        raise ValueError(f"{plain(path)} has {len(names):,} names of classes; read are at most {MOST_CLASSES:,}.")
    if not names or not all(names):
        raise ValueError(f"{plain(path)} holds no names of classes, or an empty one: {_ACCEPTED}.")
    return tuple(names)


def _in_order(value: Any) -> list[str]:
    """Return the names in parsed JSON; empty if they are not understood."""
    if isinstance(value, dict):
        pairs = [(key, name) if str(key).isdecimal() else (name, key) for key, name in value.items()]
        numbered = {int(number): name for number, name in pairs if str(number).isdecimal()}
        if len(numbered) != len(value) or set(numbered) != set(range(len(value))):
            return []
        value = [numbered[number] for number in range(len(value))]
    names = [name[1] if isinstance(name, list) and len(name) == 2 else name for name in value]
    return names if all(isinstance(name, str) for name in names) else []
