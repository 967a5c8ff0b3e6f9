"""Checks of arguments: a wrong one is reported by its name, with what was given and what is accepted."""

from __future__ import annotations

import math
import numbers
import operator
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

T = TypeVar("T")
Number = TypeVar("Number", "np.float32", "np.float64")

# Images that a model computes at a time: each takes megabytes of memory, and more gain no speed.
MOST_IMAGES = 1024


def whole(name: str, value: Any, least: int = 1) -> int:
    """Return a whole number, Python's or NumPy's, as Python's.

    Raises:
        ValueError: The value is not a whole number, or less than ``least``.
    """
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is None or number < least:
        raise ValueError(f"{name}={value!r}: expected an integer of at least {least}.")
    return number


def number(name: str, value: Any, fits: Callable[[Any], bool], expected: str) -> float:
    """Return a number for which ``fits`` is true; ``expected`` describes such numbers in the message.

    Raises:
        ValueError: The value is not one.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not fits(value):
        raise ValueError(f"{name}={value!r}: expected {expected}.")
    return float(value)


def fraction(name: str, value: Any) -> float:
    """Return a number of at least 0 and less than 1.

    Raises:
        ValueError: The value is not one.
    """
    return number(name, value, lambda rate: 0 <= rate < 1, "a fraction, at least 0 and less than 1")


def share(name: str, value: Any) -> float:
    """Return a number from 0 to 1.

    Raises:
        ValueError: The value is not one.
    """
    return number(name, value, lambda part: 0 <= part <= 1, "a fraction, 0 to 1")


def factor(name: str, value: Any, least: float = 0.0) -> float:
    """Return a finite number of at least ``least``; greater than 0 where nothing is given.

    Raises:
        ValueError: The value is not one.
    """
    if least:
        return number(name, value, lambda x: least <= x < math.inf, f"a finite number of at least {least:g}")
    return number(name, value, lambda x: 0 < x < math.inf, "a finite number greater than 0")


def flag(name: str, value: Any) -> bool:
    """Return True or False, also for 1 or 0; a text is neither, whatever it says.

    Raises:
        ValueError: The value is neither.
    """
    is_numpy = type(value).__name__ in ("bool", "bool_")
    if not is_numpy and not (isinstance(value, int) and value in (0, 1)):
        raise ValueError(f"{name}={value!r}: expected True or False.")
    return bool(value)


def choice(name: str, value: Any, accepted: Collection[Any]) -> Any:
    """Return one of the accepted values.

    Raises:
        ValueError: The value is not accepted.
    """
    if not any(value is one or (isinstance(value, str) and value == one) for one in accepted):
        raise ValueError(f"{name}={value!r}: expected one of {', '.join(map(repr, accepted))}.")
    return value


def instance(name: str, value: Any, kind: type[T] | tuple[type[T], ...], expected: str) -> T:
    """Return an object of a class.

    Raises:
        TypeError: The value is of another class.
    """
    if not isinstance(value, kind):
        raise TypeError(f"{name}={_shown(value)}: expected {expected}.")
    return value


def function(name: str, value: Any, expected: str) -> Callable[..., Any]:
    """Return a callable.

    Raises:
        TypeError: The value is not callable.
    """
    if not callable(value):
        raise TypeError(f"{name}={_shown(value)}: expected {expected}.")
    return value  # type: ignore[no-any-return]


def iterable(name: str, value: Any, expected: str) -> Iterable[Any]:
    """Return an iterable that is not a text or a path.

    Raises:
        TypeError: The value is something else.
    """
    if isinstance(value, (str, bytes, os.PathLike)) or not isinstance(value, Iterable):
        raise TypeError(f"{name}={_shown(value)}: expected {expected}.")
    return value


def items(name: str, value: Any, kind: type[T], expected: str, least: int = 0) -> list[T]:
    """Return objects of a class, from any iterable.

    Raises:
        TypeError: The value is not iterable, or an item is of another class.
        ValueError: There are fewer than ``least`` items.
    """
    values = enumerate(iterable(name, value, expected))
    found = [instance(f"{name}[{index}]", item, kind, expected) for index, item in values]
    if len(found) < least:
        raise ValueError(f"{name} has {len(found)} items: expected {expected}, at least {least}.")
    return found


def names(name: str, value: Any, expected: str) -> list[str]:
    """Return texts, no two the same, from any iterable but a text.

    Raises:
        TypeError: The value is not iterable, or an item is not text.
        ValueError: A text comes twice.
    """
    found = items(name, value, str, expected)
    if twice := sorted(text for text, count in Counter(found).items() if count > 1):
        raise ValueError(f"{name} has {', '.join(map(repr, twice))} more than once: expected {expected}, each once.")
    return found


def array(name: str, value: Any, expected: str) -> NDArray[np.float64]:
    """Return numbers as an array.

    Raises:
        ValueError: The values are not numbers, or in rows of different lengths.
    """
    import numpy as np

    try:
        return np.asarray(value, np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{name} is {_shown(value)}: expected {expected}.") from None


def vectors(name: str, value: Any, kind: type[Number]) -> NDArray[Number]:
    """Return vectors, (images, numbers), as an array of ``kind``, np.float32 or np.float64.

    Raises:
        ValueError: The values are no such numbers, or one of them is not finite.
    """
    import numpy as np

    expected = "(images, numbers), all finite"
    try:
        with np.errstate(over="ignore"):  # a number too large for the kind becomes infinite, and is refused below
            found = np.asarray(value, kind)
    except (TypeError, ValueError):
        raise ValueError(f"{name} is {_shown(value)}: expected {expected}.") from None
    if found.ndim != 2:
        raise ValueError(f"{name} has the shape {found.shape}: expected {expected}.")
    if found.size and not (np.isfinite(found.min()) and np.isfinite(found.max())):  # both are NaN where one number is
        row = int(np.flatnonzero(~np.isfinite(found).all(axis=1))[0])
        raise ValueError(f"{name}[{row}] has a number that is not finite, or too large: expected {expected}.")
    return found


def for_each(name: str, value: Any, count: int) -> NDArray[Any]:
    """Return one value for each of ``count`` images, as an array.

    Raises:
        ValueError: There are more or fewer, or each is a list of its own.
    """
    import numpy as np

    try:
        found = np.asarray(value)
    except ValueError:  # rows of different lengths
        found = np.zeros(())
    if found.shape != (count,):
        shown = f"{name} is {_shown(value)}" if not found.ndim else f"{name} has the shape {found.shape}"
        raise ValueError(f"{shown}: expected a value for each of the {count} images.")
    return found


def path(name: str, value: Any, expected: str) -> str:
    """Return a path, or another text, that is not empty.

    Raises:
        TypeError: The value is neither a text nor a path.
        ValueError: The text is empty.
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
