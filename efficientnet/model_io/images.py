"""Images of any kind and size -> a model's input, and the overlap of reading them with predicting."""

from __future__ import annotations

import functools
import itertools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Any, TypeVar

import numpy as np

from ..common.daemons import Daemons
from ..common.processors import processors
from ..images.loading import load_image
from ..images.pixels import is_pillow
from .spec import InputSpec

Predicted = TypeVar("Predicted")
# A group: each image, and why it could not be loaded.
_Members = list[tuple[Any, Exception | None]]

_PATIENCE = 0.1  # seconds that a group waits for its next image


def read_image(source: Any, spec: InputSpec, decides: bool = True) -> np.ndarray:
    """Read one image as the model takes it, without the batch axis.

    The whole image is decoded: what a JPEG decoder scales down itself is smoothed otherwise than in evaluation,
    which moved probabilities by 0.04 to 0.27 on photographs.

    Args:
        source: Path, URL, content of a file as bytes, open file, Pillow image, pixels as in ``InputSpec.image``,
            or a function without arguments that returns one of these.
        spec: Spec of the model.
        decides: As in ``InputSpec.image``.

    Raises:
        OSError: The image cannot be read.
        ValueError: The source is not an image, or the model takes none.
    """
    return spec.image(read_pixels(source, spec.channels), decides)


def read_pixels(source: Any, channels: int) -> Any:
    """Read one image in its own size: a file as an array of this number of channels, an array unchanged.

    Args:
        source: As in :func:`read_image`.
        channels: Channels of the model's images.

    Raises:
        OSError: The image cannot be read.
    """
    if callable(source):
        source = source()
    is_file = is_path_or_content(source) or is_pillow(source)
    return load_image(source, channels=channels) if is_file else source


def is_path_or_content(source: Any) -> bool:
    """Return whether this is a single image's path, URL, content or open file."""
    return isinstance(source, (str, os.PathLike, bytes, bytearray, memoryview)) or hasattr(source, "read")


def listed(sources: Any) -> Any:
    """Return an array of one axis, such as a table's column of paths, as a list; everything else unchanged."""
    is_array = hasattr(sources, "__array__")  # a memoryview, which has a shape, too, is the content of a file
    return list(sources) if is_array and len(getattr(sources, "shape", ())) == 1 else sources


def check_many(sources: Any) -> None:
    """Check that these are several images in an order, and not a single one.

    Raises:
        ValueError, TypeError: They are not.
    """
    if isinstance(sources, (bytes, bytearray, memoryview)):
        got = f"predict([content]) for a content of {len(sources)} bytes"
    elif isinstance(sources, (str, os.PathLike)):
        got = f"predict([{os.fspath(sources)!r}])"
    elif is_pillow(sources) or is_path_or_content(sources) or callable(sources) or _is_single(sources):
        got = "predict([image])"
    elif isinstance(sources, Iterable) and not isinstance(sources, (Mapping, set, frozenset)):
        return
    else:
        raise TypeError(
            f"Expected an array of pixels or a list of images; got {type(sources).__name__}. An image is a path, an "
            "URL, the content of a file, a Pillow image, or an array (height, width, 3)."
        )
    raise ValueError(f"Expected an array of pixels or a list of images; got a single one. Put it into a list: {got}.")


def _is_single(array: Any) -> bool:
    """Return whether this is the array of one image; one of (batch, height, width) gives grey ones."""
    shape = getattr(array, "shape", None)
    return shape is not None and (len(shape) < 3 or (len(shape) == 3 and shape[-1] in (1, 3, 4)))


def overlap(
    sources: Iterable[Any],
    load: Callable[[Any], np.ndarray],
    predict: Callable[[list[np.ndarray]], Future[list[Predicted]]],
    group_size: int,
    most_groups: int,
) -> Iterator[tuple[Any, Predicted | Exception]]:
    """Load images in threads while those before them are predicted; no more than a few are in memory at a time.

    Args:
        sources: Any number of images, which are asked for as they are needed.
        load: Function that reads one of them.
        predict: Function that starts to predict a group of loaded images.
        group_size: Images in a group, if enough are left.
        most_groups: Largest number of groups to predict at a time.

    Yields:
        Each source in order, with its outputs or with why it could not be loaded.
    """
    threads = processors()
    ahead = 2 * threads + group_size * most_groups
    remaining = iter(sources)
    # A generator may fill one array with each image, before those that it gave earlier are read.
    may_change = remaining is sources
    loading: deque[tuple[Any, Future[np.ndarray]]] = deque()
    predicting: deque[tuple[_Members, Future[list[Predicted]]]] = deque()
    members: _Members = []
    images: list[np.ndarray] = []
    readers = Daemons(threads, "efficientnet-decode")
    try:
        while True:
            for source in itertools.islice(remaining, ahead - len(loading)):
                content = source.copy() if may_change and isinstance(source, np.ndarray) else source
                loading.append((source, readers.submit(functools.partial(load, content))))
            if predicting and (predicting[0][1].done() or len(predicting) >= most_groups or not (loading or members)):
                yield from _finish_group(*predicting.popleft())
            elif len(images) == group_size or (members and not _comes(loading, predicting)):
                predicting.append((members, predict(images)))
                members, images = [], []
            elif loading:
                _wait(loading, predicting, None)
                if loading[0][1].done():
                    _take(loading, members, images)
            else:
                break
    finally:
        readers.close()


def _comes(loading: deque[tuple[Any, Future[np.ndarray]]], predicting: deque[tuple[_Members, Future[Any]]]) -> bool:
    """Return whether the next image is there within a moment, or there is something else to do.

    A image that takes longer, from a slow server perhaps, does not keep those before it from being predicted.
    """
    return bool(loading) and _wait(loading, predicting, _PATIENCE)


def _wait(
    loading: deque[tuple[Any, Future[np.ndarray]]],
    predicting: deque[tuple[_Members, Future[Any]]],
    seconds: float | None,
) -> bool:
    """Wait for the next image or prediction; return whether one of them has come."""
    first = [loading[0][1], *(future for _, future in itertools.islice(predicting, 1))]
    return bool(wait(first, seconds, FIRST_COMPLETED).done)


def _take(loading: deque[tuple[Any, Future[np.ndarray]]], members: _Members, images: list[np.ndarray]) -> None:
    """Add the next image to a group; one that failed stands between the others."""
    source, future = loading.popleft()
    try:
        images.append(future.result())
        members.append((source, None))
    except Exception as error:
        members.append((source, error))


def _finish_group(members: _Members, future: Future[list[Predicted]]) -> Iterator[tuple[Any, Predicted | Exception]]:
    outputs = iter(future.result())
    for source, error in members:
        yield source, next(outputs) if error is None else error
