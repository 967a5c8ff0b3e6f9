"""Checks of arguments: a wrong one is reported by its name, with what was given and what is accepted."""

from __future__ import annotations

import numbers
import operator
import os
from collections.abc import Callable, Collection
from typing import Any

# That a model computes at a time: each takes megabytes of memory, and more together gain no speed.
MOST_IMAGES = 1024


def whole(name: str, value: Any, least: int = 1) -> int:
    """A whole number, Python's or NumPy's, as Python's.

    Raises:
        ValueError: it is none, or less than ``least``.
    """
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is None or number < least:
        raise ValueError(f"{name}={value!r}: expected an integer of at least {least}.")
    return number


def number(name: str, value: Any, fits: Callable[[Any], bool], expected: str) -> float:
    """A number for which ``fits`` is true; ``expected`` describes such numbers in the message.

    Raises:
        ValueError: it is none.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not fits(value):
        raise ValueError(f"{name}={value!r}: expected {expected}.")
    return float(value)


def fraction(name: str, value: Any) -> float:
    """A number of at least 0 and less than 1.

    Raises:
        ValueError: it is none.
    """
    return number(name, value, lambda rate: 0 <= rate < 1, "a fraction, at least 0 and less than 1")


def flag(name: str, value: Any) -> bool:
    """True or False, or 1 or 0; a text is neither, whatever it says.

    Raises:
        ValueError: it is neither.
    """
    is_numpy = type(value).__name__ in ("bool", "bool_")
    if not is_numpy and not (isinstance(value, int) and value in (0, 1)):
        raise ValueError(f"{name}={value!r}: expected True or False.")
    return bool(value)


def choice(name: str, value: Any, accepted: Collection[Any]) -> Any:
    """One of the accepted values.

    Raises:
        ValueError: it is another.
    """
    if not any(value is one or (isinstance(value, str) and value == one) for one in accepted):
        raise ValueError(f"{name}={value!r}: expected one of {', '.join(map(repr, accepted))}.")
    return value


def path(name: str, value: Any, expected: str) -> str:
    """A path, or another text, that is not empty.

    Raises:
        TypeError: it is neither a text nor a path.
        ValueError: it is empty.
    """
    if not isinstance(value, (str, os.PathLike)):
        raise TypeError(f"{name} is {_shown(value)}: expected {expected}.")
    text = os.fspath(value)
    if not text:
        raise ValueError(f"{name} is empty: expected {expected}.")
    return os.fsdecode(text)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 50 else f"an object of type {type(value).__name__}"
