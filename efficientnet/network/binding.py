"""Functions bound to one Keras."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from .context import Framework

P = ParamSpec("P")
T = TypeVar("T")


def bind(function: Callable[P, T], keras: Framework) -> Callable[P, T]:
    """Return a function that takes ``backend, layers, models, utils``, with those of one Keras filled in."""

    @functools.wraps(function)
    def bound(*args: P.args, **kwargs: P.kwargs) -> T:
        return function(*args, **{**keras._asdict(), **kwargs})

    hide_parameters(bound, function, set(Framework._fields))
    return bound


def hide_parameters(function: Any, like: Callable[..., Any], hidden: set[str]) -> None:
    signature = inspect.signature(like)
    shown = [parameter for name, parameter in signature.parameters.items() if name not in hidden]
    function.__signature__ = signature.replace(parameters=shown)
