"""The nearest vectors, against a plain computation of all cosines."""

import numpy as np
import pytest

from efficientnet.similarity import find_duplicates, find_similar, neighbours


def test_the_same_as_all_cosines(monkeypatch):
    rng = np.random.default_rng(0)
    vectors, queries = rng.normal(0, 1, (50, 6)), rng.normal(0, 1, (3, 6))
    cosines = (queries @ vectors.T) / np.linalg.norm(queries, axis=1)[:, None] / np.linalg.norm(vectors, axis=1)
    for block in (7, 4096):
        monkeypatch.setattr(neighbours, "_BLOCK", block)
        found = find_similar(vectors, queries, k=8)
        assert [[each.row for each in one] for one in found] == np.argsort(-cosines, axis=1)[:, :8].tolist()
        np.testing.assert_allclose(
            [[each.similarity for each in one] for one in found], -np.sort(-cosines)[:, :8], rtol=1e-5
        )
    assert len(find_similar(vectors[:2], queries[0], k=8)[0]) == 2


@pytest.mark.parametrize("k", [1, 3, 20, 60])
def test_of_equal_ones_the_first_comes_first(k, monkeypatch):
    monkeypatch.setattr(neighbours, "_BLOCK", 16)
    monkeypatch.setattr(neighbours, "_QUERIES", 3)
    axes = np.eye(4)[np.random.default_rng(0).integers(0, 4, 60)]  # 4 vectors, many times
    cosines = axes[:7] @ axes.T
    found = find_similar(axes, axes[:7], k)
    assert [[each.row for each in one] for one in found] == np.argsort(-cosines, axis=1, kind="stable")[:, :k].tolist()


def test_vectors_that_do_not_fit():
    with pytest.raises(ValueError, match="as many numbers in each"):
        find_similar(np.ones((4, 3)), np.ones((1, 2)))
    with pytest.raises(ValueError, match="k=0"):
        find_similar(np.ones((4, 3)), np.ones((1, 3)), k=0)


@pytest.mark.filterwarnings("ignore:builtin type:DeprecationWarning")  # of faiss, when it is imported
@pytest.mark.parametrize("most", [100_000, 100])
def test_planted_duplicates_are_found(most, monkeypatch):
    """By comparing each pair, and by faiss, which takes over for many images."""
    if most < 500:
        pytest.importorskip("faiss")
    monkeypatch.setattr(neighbours, "MOST_COMPARED", most)
    rng = np.random.default_rng(0)
    vectors = rng.normal(0, 1, (500, 16)).astype(np.float32)
    vectors[400:420] = vectors[:20] + rng.normal(0, 0.05, (20, 16))
    found = find_duplicates(vectors)
    assert {pair[:2] for pair in found} == {(row, 400 + row) for row in range(20)}
    assert [pair.similarity for pair in found] == sorted((pair.similarity for pair in found), reverse=True)


def test_copies_of_one_image_alone_are_duplicates():
    """Standardized, they are zeros, which have no direction."""
    assert [pair[:2] for pair in find_duplicates(np.ones((2, 4)))] == [(0, 1)]
    three = np.array([[1, 0], [0, 1], [0.5, 0.5]])
    assert find_duplicates(three) == []
