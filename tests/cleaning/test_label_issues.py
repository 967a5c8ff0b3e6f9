"""Labels that are probably wrong, on features whose classes are known."""

import sys
import warnings

import numpy as np
import pytest

from efficientnet.cleaning import find_label_issues
from efficientnet.cleaning.label_issues import prune

pytest.importorskip("sklearn")


def blobs(count=300, classes=5, spread=0.5, seed=0):
    """Features of overlapping classes, and their true labels."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    return 2 * np.eye(classes, 8)[labels] + rng.normal(0, spread, (count, 8)), labels


def mislabel(labels, share=0.2, seed=0):
    """Replace a share of the labels by random wrong ones; return them and which these are."""
    rng, classes = np.random.default_rng(seed), labels.max() + 1
    wrong = rng.permutation(len(labels))[: round(share * len(labels))]
    given = labels.copy()
    given[wrong] = (labels[wrong] + rng.integers(1, classes, len(wrong))) % classes
    return given, np.isin(np.arange(len(labels)), wrong)


@pytest.mark.parametrize("seed", range(3))
def test_a_fifth_of_wrong_labels_is_found(seed):
    from sklearn.metrics import roc_auc_score

    features, labels = blobs(seed=seed)
    given, is_wrong = mislabel(labels, seed=seed)
    found = find_label_issues(features, given, seed=seed)
    assert roc_auc_score(is_wrong, -found.scores) > 0.98
    is_suspect = np.isin(np.arange(len(given)), found.suspects)
    assert (is_suspect & is_wrong).sum() > 0.8 * is_wrong.sum()
    assert (is_suspect & is_wrong).sum() > 0.8 * is_suspect.sum()
    assert (found.suggested[is_wrong] == labels[is_wrong]).mean() > 0.9
    assert (found.suggested != given).all()
    assert (np.diff(found.scores[found.suspects]) >= 0).all()  # the worst first
    assert ((found.scores + found.confidence) < 1 + 1e-6).all()


def test_clean_labels_of_distinct_classes_are_left_alone():
    features, labels = blobs(spread=0.1)
    assert not len(find_label_issues(features, labels).suspects)


def test_the_same_arguments_give_the_same():
    features, labels = blobs()
    given, _ = mislabel(labels)
    first, second = (find_label_issues(features, given, seed=1) for _ in range(2))
    np.testing.assert_array_equal(first.scores, second.scores)


def test_copies_do_not_judge_each_other():
    """A wrong label is not confirmed by a copy of the image with the same wrong label in another fold."""
    features, labels = blobs(100, spread=0.1)
    features = np.concatenate([features, *[features[:1] + 100] * 4])  # far from all others: only copies are near
    labels = np.concatenate([labels, [2] * 4])
    groups = [*range(100), *["copy"] * 4]
    apart, together = find_label_issues(features, labels), find_label_issues(features, labels, groups)
    assert apart.scores[-1] > together.scores[-1] + 0.2


def test_small_classes():
    features, labels = blobs(60)
    labels = labels.copy()
    labels[7], labels[[8, 9]] = 7, 9  # gaps in the numbers, a class of one image and one of two
    found = find_label_issues(features, labels)
    assert np.flatnonzero(np.isnan(found.scores)).tolist() == [7]
    assert 7 not in found.suspects


@pytest.mark.parametrize(
    ("features", "labels", "message"),
    [
        (np.zeros((4, 2)), [0, 1, 0], "expected"),
        (np.zeros(4), [0, 1, 0, 1], "expected"),
        (np.full((4, 2), np.nan), [0, 1, 0, 1], "all finite"),
        (np.zeros((4, 2)), [1, 1, 1, 1], "Fewer than 2 classes"),
        (np.zeros((4, 2)), [0, 0, 0, 1], "Fewer than 2 classes"),
    ],
)
def test_what_cannot_be_judged(features, labels, message):
    with pytest.raises(ValueError, match=message):
        find_label_issues(features, labels)
    with pytest.raises(ValueError, match="folds=1"):
        find_label_issues(*blobs(), folds=1)


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.model_selection", None)
    with pytest.raises(ImportError, match=r"efficientnet\[training\]"):
        find_label_issues(*blobs())


def test_pruning_agrees_with_cleanlab():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        filters = pytest.importorskip("cleanlab.filter")
    rng = np.random.default_rng(0)
    for seed in range(3):
        _, labels = blobs(1000)
        given, _ = mislabel(labels, seed=seed)
        sharp = 4 * np.eye(5)[labels] + rng.normal(0, 1.5, (1000, 5))
        probabilities = np.exp(sharp) / np.exp(sharp).sum(axis=1, keepdims=True)
        peer = filters.find_label_issues(given, probabilities, filter_by="both", n_jobs=1)
        assert (prune(probabilities, given) == peer).mean() > 0.98
