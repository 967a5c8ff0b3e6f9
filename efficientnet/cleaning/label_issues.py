"""Labels that are probably wrong, by confident learning (Northcutt et al., arXiv 1911.00068).

A classifier that has not seen an image gives the probability of its label. How sure the classifier usually is of a
class decides how many labels of each class are wrong; the least probable ones are then the suspects.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..common import arguments
from ..datasets.splits import assign_folds

FOLDS = 5
_ROUNDS = 2  # the second classifier learns from the labels that the first did not suspect
_STRENGTHS = (0.2, 2, 20)  # inverse regularization to choose from, divided by the number of features
_STEPS = 200
_ROUNDING = 4 * np.finfo(np.float32).eps  # relative rounding error of a network's feature


@dataclass(frozen=True)
class LabelIssues:
    """How probable each label is, and which labels are probably wrong.

    Attributes:
        scores: (images,) probability of the given label, 0..1, by classifiers that have not seen the image; NaN where
            the image is the only one of its class.
        suggested: (images,) the most probable other class.
        confidence: (images,) probability of the suggested class, 0..1.
        suspects: Indices of the images whose label is probably wrong, the least probable label first.

    Example:
        >>> import numpy as np
        >>> values = np.array([0.0, 0.1, 0.2, 0.3, 9.7, 9.8, 9.9, 10.0] * 5)
        >>> labels = (values > 5).astype(int)
        >>> labels[0] = 1
        >>> found = find_label_issues(values[:, np.newaxis], labels)
        >>> found.suspects, int(found.suggested[0])
        (array([0]), 0)
    """

    scores: NDArray[np.float64]
    suggested: NDArray[np.int64]
    confidence: NDArray[np.float64]
    suspects: NDArray[np.int64]


def find_label_issues(features: Any, labels: Any, groups: Any = None, folds: int = FOLDS, seed: int = 0) -> LabelIssues:
    """Find labels that are probably wrong, by cross-validated logistic regression and confident learning.

    Args:
        features: (images, features) numbers that describe the images, such as a pretrained network's.
        labels: (images,) index of each image's class, from 0; at least two classes.
        groups: (images,) hashable values; images with the same value, such as copies, stay in the same fold.
        folds: Parts of the cross-validation, at least 2; fewer if all classes are smaller.
        seed: Random seed of the parts.

    Returns:
        :class:`LabelIssues`, the same for the same arguments.

    Raises:
        ImportError: The package scikit-learn is missing.
        ValueError: The arguments do not fit together, or fewer than 2 classes have two different images.

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> labels = np.arange(60) % 3
        >>> features = np.eye(3)[labels] + rng.normal(0, 0.1, (60, 3))
        >>> labels[7] = 0
        >>> find_label_issues(features, labels).suspects
        array([7])
    """
    folds, seed = arguments.whole("folds", folds, 2), arguments.whole("seed", seed, 0)
    features = arguments.vectors("features", features, np.float32)
    labels = arguments.for_each("labels", labels, len(features))
    contents = np.arange(len(labels)) if groups is None else arguments.for_each("groups", groups, len(features))
    classes, given = np.unique(labels, return_inverse=True)
    _, content = np.unique(contents, return_inverse=True)
    different = _count_different(given, content)
    if (different > 1).sum() < 2:
        raise ValueError(
            "Fewer than 2 classes have two different images, so that no image can be judged by others of its class: "
            "add images."
        )
    fold = assign_folds(given, content, folds, seed)
    parts = [(np.flatnonzero(fold != number), np.flatnonzero(fold == number)) for number in range(fold.max() + 1)]
    features = standardize(features)
    rows = np.arange(len(given))
    is_suspect = np.zeros(len(given), bool)
    for _ in range(_ROUNDS):
        probabilities = _predict(features, given, parts, is_suspect)
        scores = probabilities[rows, given]
        # The second classifier is surer of all, and so confirms suspects that it would not find.
        is_suspect = prune(probabilities, given) | (is_suspect & (scores < probabilities.max(axis=1)))
    others = probabilities.copy()
    others[rows, given] = -1
    suggested = others.argmax(axis=1)
    suspects = np.flatnonzero(is_suspect & (different[given] > 1))
    return LabelIssues(
        np.where(different[given] > 1, scores, np.nan), classes[suggested], probabilities[rows, suggested],
        suspects[np.argsort(scores[suspects], kind="stable")],
    )  # fmt: skip


def standardize(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return features of mean 0 and standard deviation 1; one that differs by rounding at most becomes 0."""
    if not len(features):
        return features
    # In float32 the mean of many equal numbers is another number: each would differ from it by "a deviation".
    mean = features.mean(axis=0, dtype=np.float64).astype(np.float32)
    centered = features - mean
    deviation = centered.std(axis=0)
    scaled: NDArray[np.float32] = centered / np.where(deviation > _ROUNDING * np.abs(mean), deviation, np.inf)
    return scaled


def prune(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which labels are probably wrong: the paper's method C+NR.

    Args:
        probabilities: (images, classes) out-of-fold probabilities.
        labels: (images,) index of the given class; every class occurs.
    """
    classes = np.arange(probabilities.shape[1])
    rows = np.arange(len(labels))
    thresholds = np.array([probabilities[labels == index, index].mean() for index in classes])
    # An image counts for the most probable of the classes of which it is at least as sure as usual.
    is_sure = probabilities >= thresholds
    likely = np.where(is_sure, probabilities, -1).argmax(axis=1)
    counts = np.zeros((len(classes), len(classes)))
    np.add.at(counts, (labels[is_sure.any(axis=1)], likely[is_sure.any(axis=1)]), 1)
    counts[counts.sum(axis=1) == 0] += np.eye(len(classes))[counts.sum(axis=1) == 0]
    sizes = np.bincount(labels, minlength=len(classes))
    joint = counts * (sizes / counts.sum(axis=1))[:, np.newaxis]  # estimated images of each label and true class
    own = probabilities[rows, labels]
    is_improbable, is_outdone = np.zeros((2, len(labels)), bool)
    for label in classes:
        members = np.flatnonzero(labels == label)
        wrong = round(sizes[label] - joint[label, label])
        is_improbable[members[np.argsort(own[members], kind="stable")[:wrong]]] = True
        for other in np.flatnonzero(np.rint(joint[label]) > 0):
            if other != label:
                margin = own[members] - probabilities[members, other]
                is_outdone[members[np.argsort(margin, kind="stable")[: round(joint[label, other])]]] = True
    is_wrong: NDArray[np.bool_] = is_improbable & is_outdone & (own < probabilities.max(axis=1))
    return is_wrong


def _predict(
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    parts: list[tuple[NDArray[np.int64], NDArray[np.int64]]],
    is_suspect: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """Return each image's probabilities by the classifier of its fold; suspects are predicted, not learned from."""
    from sklearn.metrics import log_loss

    # A class all of whose labels are suspect stays, or nothing could be found to belong to it.
    kept = [rows[~is_suspect[rows] | ~np.isin(labels[rows], labels[rows[~is_suspect[rows]]])] for rows, _ in parts]
    first = parts[0][1]
    judged = first[~is_suspect[first] & np.isin(labels[first], labels[kept[0]])]

    def loss(strength: float) -> float:
        fit = _fit(features[kept[0]], labels[kept[0]], strength)
        return float(log_loss(labels[judged], fit.predict_proba(features[judged]), labels=fit.classes_))

    probabilities = np.zeros((len(labels), labels.max() + 1))
    with _one_core_each() as threads:
        losses = list(threads.map(loss, _STRENGTHS))  # the first fold chooses for all
        strength = _STRENGTHS[int(np.argmin(losses))]
        fits = threads.map(lambda rows: _fit(features[rows], labels[rows], strength), kept)
        for (_, test), fit in zip(parts, fits, strict=True):
            probabilities[np.ix_(test, fit.classes_)] = fit.predict_proba(features[test])
    return probabilities


@contextlib.contextmanager
def _one_core_each() -> Iterator[ThreadPoolExecutor]:
    """Enter a pool of threads whose linear algebra takes one core each; many cores on one small matrix only wait."""
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    with warnings.catch_warnings(), threadpool_limits(1), ThreadPoolExecutor() as threads:
        warnings.simplefilter("ignore", ConvergenceWarning)  # to stop early is one more regularization
        yield threads


def _fit(features: NDArray[np.float32], labels: NDArray[np.int64], strength: float) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=strength / features.shape[1], max_iter=_STEPS).fit(features, labels)


def _count_different(labels: NDArray[np.int64], content: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the number of different images of each class."""
    pairs = np.unique(np.stack([labels, content]), axis=1)
    return np.bincount(pairs[0])
