"""Types of numbers on the command line; the error about another text says what is accepted."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Mapping
from typing import TypeVar

from ..common.daemons import read_seconds

T = TypeVar("T")

_AMOUNTS = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "B": 1e9}
_SIZES = {prefix + unit: _AMOUNTS[prefix] for prefix in ("", "k", "M", "G") for unit in ("", "B")}


def positive(text: str) -> int:
    """Read a whole number of at least 1."""
    return _number(int, text, lambda value: value >= 1, "is not at least 1")


def several(text: str) -> int:
    """Read a whole number of at least 2."""
    return _number(int, text, lambda value: value >= 2, "is not at least 2")


def natural(text: str) -> int:
    """Read a whole number that is not negative."""
    return _number(int, text, lambda value: value >= 0, "is negative")


def share(text: str) -> float:
    """Read a number from 0 to 1."""
    return _number(float, text, lambda value: 0 <= value <= 1, "is not between 0 and 1")


def epsilon(text: str) -> float:
    """Read a number greater than 0, at most 1."""
    return _number(float, text, lambda value: 0 < value <= 1, "is not more than 0 and at most 1")


def amount(text: str) -> float:
    """Read a number greater than 0, perhaps with a unit: "1.8G"."""
    return _with_unit(text, _AMOUNTS, "is not an amount such as 400M, 1.8G or 1800000000 (k, M, G or B)")


def size(text: str) -> float:
    """Read a number of bytes, of which B means one: "20M", "20MB"."""
    return _with_unit(text, _SIZES, "is not a number of bytes such as 20M, 20MB or 20000000 (kB, MB or GB)")


def milliseconds(text: str) -> float:
    """Read a time in milliseconds: "10", "10ms"."""
    return _with_unit(text, {"": 1.0, "ms": 1.0, "s": 1e3}, "is not a time such as 10, 10ms or 0.01s")


def whole_amount(text: str) -> int:
    """Read a whole number of at least 1, perhaps with a unit."""
    value = int(amount(text))
    if not value:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return value


def seconds(text: str) -> float:
    """Read a time, as ``daemons.read_seconds`` takes it."""
    try:
        return read_seconds(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _with_unit(text: str, units: Mapping[str, float], otherwise: str) -> float:
    """Read a number greater than 0 with one of these units."""
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?(?:e[0-9]+)?)\s*([A-Za-z]*)", text)
    value = float(match[1]) * units.get(match[2], 0.0) if match else 0.0
    if not value:
        raise argparse.ArgumentTypeError(f"{text!r} {otherwise}")
    return value


def _number(kind: Callable[[str], T], text: str, fits: Callable[[T], bool], otherwise: str) -> T:
    """Read a text by ``kind``, int or float, if the number fits."""
    try:
        value = kind(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a {'whole number' if kind is int else 'number'}") from None
    if not fits(value):
        raise argparse.ArgumentTypeError(f"{text} {otherwise}")
    return value
