"""The most similar images, by the cosine of their vectors. No (images, images) matrix is in memory."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..cleaning.neighbours import SIMILARITY, NearDuplicate, comparable, nearest_pairs, ranked, unit
from ..common import arguments
from ..common.packages import missing

_BLOCK, _QUERIES = 4096, 1024  # vectors, and queries, that are compared at a time
MOST_COMPARED = 100_000  # images of which each pair is compared; of more, faiss finds the pairs
_CELLS_PER_ROOT = 4  # faiss' advice: cells of its index for each root of the number of vectors
_PROBED = 32  # cells of the index to search


class Neighbour(NamedTuple):
    """An image that is like another.

    Attributes:
        row: Index of the image.
        similarity: Cosine similarity, up to 1.

    Example:
        >>> Neighbour(3, 0.98).row
        3
    """

    row: int
    similarity: float


def find_similar(vectors: Any, queries: Any, k: int = 10) -> list[list[Neighbour]]:
    """Find the images that are most similar to each query.

    Args:
        vectors: (images, numbers) that describe the images.
        queries: (queries, numbers) of the same network, or (numbers,) of one image.
        k: Images to find for each query; all images if there are fewer.

    Returns:
        For each query the most similar images, best first; of equal ones the first comes first.

    Raises:
        ValueError: ``k`` is less than 1, the vectors are of another length than the queries, or a number is not
            finite.

    Example:
        >>> import numpy as np
        >>> find_similar(np.eye(3), [[0, 2, 0], [1, 0, 0]], k=1)
        [[Neighbour(row=1, similarity=1.0)], [Neighbour(row=0, similarity=1.0)]]
    """
    vectors = arguments.vectors("vectors", vectors, np.float32)
    given = np.atleast_2d(arguments.array("queries", queries, "(queries, numbers)"))
    wanted = unit(arguments.vectors("queries", given, np.float32))
    if vectors.shape[1] != wanted.shape[1]:
        raise ValueError(
            f"vectors of shape {vectors.shape} and queries of shape {wanted.shape}: expected as many numbers in each."
        )
    k = min(arguments.whole("k", k), len(vectors))
    neighbours = []
    for start in range(0, len(wanted), _QUERIES):
        rows, values = _nearest(vectors, wanted[start : start + _QUERIES], k)
        neighbours += [
            [Neighbour(int(row), float(min(value, 1))) for row, value in zip(*found, strict=True)]
            for found in zip(rows, values, strict=True)
        ]
    return neighbours


def _nearest(
    vectors: NDArray[np.float32], directions: NDArray[np.float32], k: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the rows of the vectors with the k largest cosines to each direction, and the cosines, best first."""
    rows, values = np.zeros((len(directions), 0), np.int64), np.zeros((len(directions), 0), np.float32)
    for start in range(0, len(vectors), _BLOCK):
        cosines = directions @ unit(vectors[start : start + _BLOCK]).T
        columns = _largest(cosines, k)
        values = np.concatenate([values, np.take_along_axis(cosines, columns, axis=1)], axis=1)
        rows = np.concatenate([rows, start + columns], axis=1)
        best = np.argsort(-values, axis=1, kind="stable")[:, :k]
        values, rows = np.take_along_axis(values, best, axis=1), np.take_along_axis(rows, best, axis=1)
    return rows, values


def _largest(numbers: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """Return the columns of the k largest numbers of each row, ascending; of equal numbers the first count."""
    if k >= numbers.shape[1]:
        return np.tile(np.arange(numbers.shape[1]), (len(numbers), 1))
    columns = np.argpartition(-numbers, k - 1, axis=1)[:, :k]
    least = np.take_along_axis(numbers, columns, axis=1).min(axis=1, keepdims=True)
    are_tied = np.count_nonzero(numbers >= least, axis=1) > k
    columns[are_tied] = np.argsort(-numbers[are_tied], axis=1, kind="stable")[:, :k]
    return np.sort(columns, axis=1)


def find_duplicates(vectors: Any, similarity: float = SIMILARITY) -> list[NearDuplicate]:
    """Find images that are nearly the same. Each is reported with the one that is most similar to it.

    The vectors are standardized first, so that what all images have in common does not count. Of more than 100,000
    images, faiss finds the nearest of each, approximately.

    Args:
        vectors: (images, numbers) that describe the images.
        similarity: Least cosine similarity of the standardized vectors, above 0 and up to 1.

    Returns:
        Pairs, the most similar first.

    Raises:
        ValueError: The vectors are no such numbers, or one of them is not finite.
        ImportError: There are more than 100,000 images, and faiss is missing.

    Example:
        >>> import numpy as np
        >>> vectors = np.random.default_rng(0).normal(0, 1, (20, 8))
        >>> vectors[7] = vectors[3] + 0.01
        >>> [pair[:2] for pair in find_duplicates(vectors)]
        [(3, 7)]
    """
    directions = comparable("vectors", vectors, similarity)
    count = len(directions)
    if count <= MOST_COMPARED:
        return nearest_pairs(directions, [np.arange(count)], similarity)
    pairs: dict[tuple[int, int], float] = {}
    for row, (others, values) in enumerate(zip(*_nearest_by_faiss(directions), strict=True)):
        for other, value in zip(others, values, strict=True):
            if other not in (row, -1) and value >= similarity:
                pairs[min(row, int(other)), max(row, int(other))] = float(min(value, 1))
                break
    return ranked(pairs)


def _nearest_by_faiss(directions: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the two nearest vectors of each, itself among them, and their cosines."""
    try:
        import faiss
    except ImportError as error:
        raise missing(
            f"{len(directions):,} images are too many to compare each pair", "similarity", ", which has faiss"
        ) from error
    size = directions.shape[1]
    cells = int(_CELLS_PER_ROOT * len(directions) ** 0.5)
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(size), size, cells, faiss.METRIC_INNER_PRODUCT)
    index.nprobe = _PROBED
    index.train(directions)
    index.add(directions)
    values, rows = index.search(directions, 2)
    return rows, values
