"""Near-duplicates and outliers, by the features of images. No (images, images) matrix is in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..common import arguments
from .label_issues import standardize

Number = TypeVar("Number", np.float32, np.float64)

SIMILARITY = 0.9  # least similarity of copies, as measured: see docs/clean.md
_NEAREST = 10  # neighbours that an image that belongs somewhere has
_MOST_REFERENCES = 10_000  # images to find neighbours among
_BLOCK = 1 << 24  # numbers in memory at a time


class NearDuplicate(NamedTuple):
    """Two images that are nearly the same, of different classes or in different parts.

    Attributes:
        first, second: Indices of the images, the smaller first.
        similarity: Cosine similarity of their features, up to 1.

    Example:
        >>> NearDuplicate(3, 7, 0.98).second
        7
    """

    first: int
    second: int
    similarity: float


class Outliers(NamedTuple):
    """How far each image is from others, and which images belong nowhere.

    Attributes:
        scores: (images,) mean distance to the nearest images, in medians of all images: 1 is usual.
        suspects: Indices of the images that are much farther from all others than usual, the farthest first.

    Example:
        >>> import numpy as np
        >>> Outliers(np.array([1.0, 0.9, 4.2]), np.array([2])).suspects
        array([2])
    """

    scores: NDArray[np.float64]
    suspects: NDArray[np.int64]


def find_near_duplicates(features: Any, labels: Any, parts: Any, similarity: float = SIMILARITY) -> list[NearDuplicate]:
    """Find images that are nearly the same though their classes differ, or their parts (training, validation).

    Each image is compared with all others, and reported with the most similar one of another class and of another part.

    Args:
        features: (images, features) numbers that describe the images, such as a pretrained network's.
        labels: (images,) class of each image.
        parts: (images,) part of the data that each image is in.
        similarity: Least cosine similarity of the standardized features, up to 1.

    Returns:
        Pairs, the most similar first.

    Raises:
        ValueError: The arguments do not fit together, or a number is not finite.

    Example:
        >>> import numpy as np
        >>> features = np.random.default_rng(0).normal(0, 1, (20, 8))
        >>> features[7] = features[3] + 0.01
        >>> labels = np.arange(20) % 2 == 0
        >>> labels[7] = not labels[3]
        >>> [pair[:2] for pair in find_near_duplicates(features, labels, np.zeros(20))]
        [(3, 7)]
    """
    directions = comparable("features", features, similarity)
    apart_in = [arguments.for_each(*given, len(directions)) for given in (("labels", labels), ("parts", parts))]
    return nearest_pairs(directions, apart_in, similarity)


def comparable(name: str, vectors: Any, similarity: float) -> NDArray[np.float32]:
    """Return vectors standardized and of length 1, so that their products are cosines; these are to reach a similarity.

    Raises:
        ValueError: The vectors are none, a number is not finite, or the similarity is not a cosine above 0.
    """
    arguments.number("similarity", similarity, lambda value: 0 < value <= 1, "a number above 0, up to 1")
    directions = unit(standardize(arguments.vectors(name, vectors, np.float32)))
    if (are_mean := ~directions.any(axis=1)).any():  # the same as each other, as all of them are where all are copies
        directions = np.column_stack([directions, are_mean]).astype(np.float32)
    return directions


def nearest_pairs(
    directions: NDArray[np.float32], apart_in: Sequence[NDArray[Any]], similarity: float
) -> list[NearDuplicate]:
    """Return each vector and, for each kind of group, the one that is nearest to it of another group, if near enough.

    Args:
        directions: (images, numbers), as :func:`comparable` returns them.
        apart_in: For each kind, (images,) group of each image.
        similarity: Least cosine.
    """
    found = {}
    for rows, similarities in _blocks(directions, directions):
        for kinds in apart_in:
            apart = np.where(kinds[rows, np.newaxis] == kinds, -1, similarities)
            nearest = apart.argmax(axis=1)
            for row, other, value in zip(rows, nearest, apart.max(axis=1), strict=True):
                if value >= similarity:
                    found[min(row, other), max(row, other)] = float(min(value, 1))
    return ranked(found)


def ranked(similarities: Mapping[tuple[int, int], float]) -> list[NearDuplicate]:
    """Return pairs by their similarities, the most similar first."""
    pairs = [NearDuplicate(int(first), int(second), value) for (first, second), value in similarities.items()]
    return sorted(pairs, key=lambda pair: (-round(pair.similarity, 6), pair))


def find_outliers(features: Any, seed: int = 0) -> Outliers:
    """Find images that are unlike all others, by the distance to their 10 nearest images.

    An image is an outlier beyond the third quartile by more than three times the distance of the quartiles (Tukey).
    If there are more than 10,000 images, all are compared with 10,000 of them, drawn at random.

    Args:
        features: (images, features) numbers that describe the images, such as a pretrained network's.
        seed: Random seed of the draw.

    Raises:
        ValueError: The features are not vectors, or a number is not finite.

    Example:
        >>> import numpy as np
        >>> features = np.random.default_rng(0).normal(0, 1, (30, 8))
        >>> features[7] = 20
        >>> find_outliers(features).suspects
        array([7])
    """
    points = standardize(arguments.vectors("features", features, np.float32))
    seed = arguments.whole("seed", seed, 0)
    count = len(points)
    references = np.sort(np.random.default_rng(seed).permutation(count)[:_MOST_REFERENCES])
    nearest = min(_NEAREST, len(references) - 1)
    if nearest < 1:
        return Outliers(np.ones(count), np.zeros(0, np.int64))
    squares = (points**2).sum(axis=1)
    distances = np.zeros(count)
    for rows, products in _blocks(points, points[references]):
        squared = np.maximum(0, squares[rows, np.newaxis] + squares[references] - 2 * products)
        squared[rows[:, np.newaxis] == references] = np.inf  # the image itself
        distances[rows] = np.sqrt(np.partition(squared, nearest - 1, axis=1)[:, :nearest]).mean(axis=1)
    low, high = np.quantile(distances, (0.25, 0.75))
    suspects = np.flatnonzero(distances > high + 3 * (high - low))
    usual = np.median(distances)
    scores = distances / usual if usual > 0 else np.ones(count)
    return Outliers(scores, suspects[np.argsort(-distances[suspects], kind="stable")])


def unit(vectors: NDArray[Number]) -> NDArray[Number]:
    """Return (images, numbers) scaled to length 1; a row of zeros stays."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.where(lengths > 0, lengths, 1)).astype(vectors.dtype, copy=False)


def _blocks(
    points: NDArray[np.float32], others: NDArray[np.float32]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """Yield the rows of a block and their products with all others."""
    step = max(1, _BLOCK // max(1, len(others)))
    for start in range(0, len(points), step):
        rows = np.arange(start, min(start + step, len(points)))
        yield rows, points[rows] @ others.T
