"""Classes from examples: what is computed in closed form, against computing it anew."""

import numpy as np
import pytest

from efficientnet.similarity import ExampleClassifier


@pytest.fixture
def examples():
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), 6)
    vectors = rng.normal(0, 1, (3, 8))[labels] + rng.normal(0, 0.7, (18, 8)) + 2
    return vectors, labels


def test_accuracy_is_that_of_examples_left_out(examples):
    """To the difference that the mean and the strength, which are of all examples, make."""
    vectors, labels = examples
    found = ExampleClassifier.fit(vectors, labels, list("abc"))
    right = []
    for row in range(len(labels)):
        others = np.arange(len(labels)) != row
        one = ExampleClassifier.fit(vectors[others], labels[others], list("abc"))
        right.append(one.probabilities(vectors[row : row + 1]).argmax() == labels[row])
    assert found.accuracy == pytest.approx(np.mean(right), abs=0.06)
    assert 0.5 < found.accuracy < 1


def test_probabilities(examples):
    vectors, labels = examples
    found = ExampleClassifier.fit(vectors, labels, list("abc"))
    probabilities = found.probabilities(vectors)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    assert (probabilities.argmax(axis=1) == labels).mean() > 0.9
    np.testing.assert_allclose(found.probabilities(3 * vectors), probabilities)  # the length says nothing


def test_one_example_of_each_class():
    found = ExampleClassifier.fit(np.eye(3), [0, 1, 2], list("abc"))
    assert found.accuracy is None
    assert found.probabilities(np.eye(3)).argmax(axis=1).tolist() == [0, 1, 2]


def test_examples_that_are_all_distinguished_leave_a_doubt():
    vectors = np.repeat(np.eye(2), 5, axis=0) + np.random.default_rng(0).normal(0, 0.01, (10, 2))
    probabilities = ExampleClassifier.fit(vectors, [0] * 5 + [1] * 5, ["a", "b"]).probabilities(vectors)
    assert 0.9 < probabilities.max(axis=1).min() < 1 - 1e-6


@pytest.mark.parametrize("labels", [[0, 0], [1, 1], []])
def test_a_class_without_an_example(labels):
    with pytest.raises(ValueError, match="no example of"):
        ExampleClassifier.fit(np.ones((len(labels), 2)), labels, ["a", "b"])
    with pytest.raises(ValueError, match="one class, a"):
        ExampleClassifier.fit(np.ones((1, 2)), [0], ["a"])
