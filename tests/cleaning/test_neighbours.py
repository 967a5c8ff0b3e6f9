"""Near-duplicates and outliers, on features that NumPy makes."""

import numpy as np
import pytest

from efficientnet.cleaning import find_near_duplicates, find_outliers, neighbours


def noise(count=60, seed=0):
    return np.random.default_rng(seed).normal(0, 1, (count, 16))


def test_copies_are_found_across_classes_and_parts_only(monkeypatch):
    monkeypatch.setattr(neighbours, "_BLOCK", 7 * 60)  # several blocks
    features = noise()
    labels, parts = np.zeros(60, int), np.zeros(60, int)
    for first, second in ((1, 2), (10, 50), (59, 30)):
        features[second] = features[first] + 0.01
    labels[2], parts[50] = 1, 1  # 30 and 59 are of one class and part
    found = find_near_duplicates(features, labels, parts)
    assert {pair[:2] for pair in found} == {(1, 2), (10, 50)}
    assert all(0.99 < pair.similarity <= 1 for pair in found)
    assert not find_near_duplicates(noise(), np.arange(60), parts)


def test_each_copy_is_in_a_pair():
    features = noise()
    features[[5, 6, 7]] = features[4]
    labels = np.zeros(60, int)
    labels[4] = 1
    found = find_near_duplicates(features, labels, np.zeros(60))
    assert [pair[:2] for pair in found] == [(4, 5), (4, 6), (4, 7)]
    with pytest.raises(ValueError, match="similarity=0"):
        find_near_duplicates(features, labels, labels, similarity=0)


@pytest.mark.parametrize("rounding", [0, np.finfo(np.float32).eps])
def test_numbers_that_all_images_share_make_no_copies(rounding):
    shared = 1.7 * (1 + rounding * np.random.default_rng(1).integers(0, 2, (1000, 200)))
    with_them = np.column_stack([noise(1000), shared])
    labels, parts = np.arange(1000) % 2, np.zeros(1000)
    assert find_near_duplicates(with_them, labels, parts) == find_near_duplicates(noise(1000), labels, parts)


@pytest.mark.parametrize("block", [1 << 24, 100])
def test_outliers(monkeypatch, block):
    monkeypatch.setattr(neighbours, "_BLOCK", block)
    features = noise()
    features[3], features[40] = 20, -30
    found = find_outliers(features)
    assert found.suspects.tolist() == [40, 3]
    assert found.scores[40] > 2 > np.median(found.scores) == 1


def test_references_are_drawn_by_the_seed(monkeypatch):
    monkeypatch.setattr(neighbours, "_MOST_REFERENCES", 30)
    first, second, other = (find_outliers(noise(), seed).scores for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_images_have_no_outliers(count):
    found = find_outliers(np.ones((count, 4)))
    assert found.scores.tolist() == [1] * count
    assert not len(found.suspects)
