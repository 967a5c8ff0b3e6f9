"""Classes of unequal frequency that count equally."""

import dataclasses

import numpy as np
import pytest

pytest.importorskip("keras")

from small_task import small_task

from efficientnet import get_variant
from efficientnet.datasets.data import Data
from efficientnet.datasets.targets import Classes, Labels, Ordinal
from efficientnet.training import FINETUNE
from efficientnet.training.losses import balanced_loss
from efficientnet.training.objectives import objective

SHARES = np.array([0.7, 0.2, 0.1])


def uneven(labels):
    data = small_task().data
    values = np.append(labels, [0, 0, 0, 1])  # of the validation images
    return dataclasses.replace(data, targets=Classes(["a", "b", "c"], values))


def of_two_classes(first, second):
    """Data with so many validation images of each class, and three times as many to train on."""
    labels = np.repeat([0, 1, 0, 1], [3 * first, 3 * second, first, second])
    rows = np.split(np.arange(len(labels)), [3 * (first + second)])
    return Data("two", np.zeros((len(labels), 1, 1, 3), np.uint8), Classes(["a", "b"], labels), *rows)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_of_probabilities_times_shares(smoothing):
    rng = np.random.default_rng(0)
    p, truth = rng.dirichlet(np.ones(3), 6).astype("f"), np.eye(3, dtype="f")[rng.integers(0, 3, 6)]
    adjusted = p * SHARES / (p * SHARES).sum(axis=1, keepdims=True)
    smooth = truth * (1 - smoothing) + smoothing / 3
    expected = -(smooth * np.log(adjusted)).sum(axis=1).mean()
    assert float(balanced_loss(SHARES, smoothing)(truth, p)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.slow
def test_an_image_without_evidence_is_predicted_as_any_class_alike():
    """The best constant prediction is uniform; with plain cross-entropy it is the shares."""
    import keras

    truth = np.eye(3, dtype="f")[np.repeat([0, 1, 2], [7, 2, 1])]
    inputs = keras.Input((1,))
    model = keras.Model(inputs, keras.layers.Dense(3, activation="softmax")(inputs))
    model.compile(keras.optimizers.Adam(0.05), balanced_loss(SHARES, 0.0))
    for _ in range(150):
        model.train_on_batch(np.zeros((10, 1), "f"), truth)
    np.testing.assert_allclose(model.predict_on_batch(np.zeros((1, 1), "f"))[0], [1 / 3] * 3, atol=0.01)


@pytest.mark.parametrize("kind", [Classes, Ordinal, Labels])
def test_classes_are_as_frequent_as_the_weights_of_their_images_say(kind):
    """Images of a whole weight count as if they came that many times."""
    rng, classes = np.random.default_rng(0), np.arange(16) % 3
    weights, values = (
        rng.integers(1, 4, 16).astype(float),
        np.eye(3, dtype=bool)[classes] if kind is Labels else classes,
    )
    weighed = dataclasses.replace(small_task().data, targets=kind(["a", "b", "c"], values, weights))
    rows = np.repeat(weighed.training, weights[weighed.training].astype(int))
    repeated = dataclasses.replace(weighed, targets=kind(["a", "b", "c"], values), training=rows)
    (stage,) = dataclasses.replace(FINETUNE, head_epochs=0).plan_stages(get_variant("b0"), 8)
    goals = [objective(data, FINETUNE, balance=True) for data in (weighed, repeated)]
    truth = goals[0].encode(weighed.training)
    outputs = rng.uniform(0.1, 0.9, truth.shape).astype("f")
    of_weighed, of_repeated = (float(goal.loss(stage)(truth, outputs)) for goal in goals)
    assert of_weighed == pytest.approx(of_repeated, rel=1e-6)
    np.testing.assert_allclose(*(goal.weigh(truth) for goal in goals), rtol=1e-6)


def test_epochs_are_chosen_by_mean_recall():
    goal = objective(uneven(np.arange(12) % 3), FINETUNE, balance=True)
    rows = np.array([12, 13, 14, 15])
    outputs = np.eye(3, dtype="f")[[0, 0, 0, 0]]  # right for three images of "a", wrong for the one of "b"
    found = goal.measure(goal.keep(outputs, rows), rows)
    assert (found["accuracy"], found["mean_recall"]) == (0.75, 0.5)
    assert goal.score == "mean_recall"
    assert objective(uneven(np.arange(12) % 3), FINETUNE).score == "accuracy"


@pytest.mark.parametrize(
    ("scores", "images", "epoch"),
    [
        ([0.7, 0.95, 0.9, 0.8], 20, 3),  # of 20 images, one more or less is chance; three are not
        ([0.7, 0.95, 0.9, 0.8], 2000, 2),
        ([0.5, 1.0, 1.0, 0.98], 50, 4),
        ([0.9, 0.5, 0.6], 10_000, 1),
    ],
)
def test_the_best_epoch_is_the_last_that_chance_does_not_tell_from_the_highest(scores, images, epoch):
    goal = objective(of_two_classes(images // 2, images - images // 2), FINETUNE)
    history = [{"epoch": number, "val_accuracy": score} for number, score in enumerate(scores, 1)]
    assert goal.best(history)["epoch"] == epoch


def test_mean_recall_is_as_uncertain_as_its_rarest_class():
    rare = objective(of_two_classes(990, 10), FINETUNE, balance=True)
    history = [{"epoch": number, "val_mean_recall": score} for number, score in enumerate((0.9, 0.85), 1)]
    assert rare.images_behind_score == pytest.approx(39.6)  # 4 / (1 / 990 + 1 / 10)
    assert rare.best(history)["epoch"] == 2
    assert objective(of_two_classes(500, 500), FINETUNE, balance=True).best(history)["epoch"] == 1
