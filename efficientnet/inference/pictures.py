"""Pictures of any kind and size -> what a model takes, and the overlap of reading them with answering."""

from __future__ import annotations

import itertools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ..images import load_image
from ..pixels import is_pillow
from .recipe import Recipe

Answer = TypeVar("Answer")


def read(source: Any, recipe: Recipe) -> np.ndarray:
    """One picture as the model takes it, without the batch axis.

    The whole picture is decoded: what a JPEG decoder scales down itself is smoothed otherwise than evaluation
    smooths it, which moved probabilities by 0.04 to 0.27 on photographs.

    Args:
        source: a path, an address, the content of a file as bytes, an open file, a Pillow image, pixels as
            ``Recipe.picture`` takes them, or a function without arguments that gives one of these.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no picture, or the model takes none.
    """
    if callable(source):
        source = source()
    is_file = is_path_or_content(source) or is_pillow(source)
    return recipe.picture(load_image(source) if is_file else source)


def is_path_or_content(source: Any) -> bool:
    """Whether this is a single picture's path, address, content or open file."""
    return isinstance(source, (str, Path, bytes, bytearray, memoryview)) or hasattr(source, "read")


def check_many(sources: Any) -> None:
    """Makes sure that these are several pictures and not a single one.

    Raises:
        ValueError, TypeError: they are not.
    """
    if isinstance(sources, (bytes, bytearray, memoryview)):
        got = f"predict([content]) for a content of {len(sources)} bytes"
    elif isinstance(sources, (str, Path)):
        got = f"predict([{str(sources)!r}])"
    elif is_pillow(sources) or is_path_or_content(sources) or callable(sources):
        got = "predict([image])"
    elif isinstance(sources, Iterable):
        return
    else:
        raise TypeError(
            f"Expected an array of pixels or a list of images; got {type(sources).__name__}. An image is a path, an "
            "address, the content of a file, a Pillow image, or an array (height, width, 3)."
        )
    raise ValueError(f"Expected an array of pixels or a list of pictures; got a single one. Put it into a list: {got}.")


def overlap(
    sources: Iterable[Any],
    load: Callable[[Any], np.ndarray],
    answer: Callable[[list[np.ndarray]], Future[list[Answer]]],
    group_size: int,
    most_groups: int,
) -> Iterator[tuple[Any, Answer | Exception]]:
    """Loads pictures in threads while those before them are answered; no more than a few are in memory at a time.

    Args:
        sources: any number of pictures, asked for as they are needed.
        load: reads one of them.
        answer: starts to answer a group of loaded ones.
        group_size: pictures to a group, if so many are left.
        most_groups: in flight at a time.

    Yields:
        Each source in order, with its answer or with why it could not be loaded.
    """
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    ahead = 2 * threads + group_size * most_groups
    remaining = iter(sources)
    loading: deque[tuple[Any, Future[np.ndarray]]] = deque()
    answering: deque[tuple[list[tuple[Any, Exception | None]], Future[list[Answer]]]] = deque()
    pool = ThreadPoolExecutor(threads, "efficientnet-decode")
    try:
        while True:
            for source in itertools.islice(remaining, ahead - len(loading)):
                loading.append((source, pool.submit(load, source)))
            if not loading:
                break
            answering.append(_start_group(loading, answer, group_size))
            while len(answering) >= most_groups:
                yield from _finish_group(*answering.popleft())
        while answering:
            yield from _finish_group(*answering.popleft())
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _start_group(
    loading: deque[tuple[Any, Future[np.ndarray]]],
    answer: Callable[[list[np.ndarray]], Future[list[Answer]]],
    group_size: int,
) -> tuple[list[tuple[Any, Exception | None]], Future[list[Answer]]]:
    """Takes loaded pictures until a group is full; those that failed stand between them."""
    members: list[tuple[Any, Exception | None]] = []
    images: list[np.ndarray] = []
    while loading and len(images) < group_size:
        source, future = loading.popleft()
        try:
            images.append(future.result())
            members.append((source, None))
        except (OSError, ValueError, TypeError) as error:
            members.append((source, error))
    return members, answer(images)


def _finish_group(
    members: Sequence[tuple[Any, Exception | None]], future: Future[list[Answer]]
) -> Iterator[tuple[Any, Answer | Exception]]:
    answers = iter(future.result())
    for source, error in members:
        yield source, next(answers) if error is None else error
