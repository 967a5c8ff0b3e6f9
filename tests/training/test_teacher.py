"""Networks that learn what a trained model predicts."""

import dataclasses
import json

import numpy as np
import pytest

pytest.importorskip("keras")

from small_task import small_task

from efficientnet.cli.main import main
from efficientnet.datasets.targets import Labels
from efficientnet.inference import compile
from efficientnet.training import OneProcess, train
from efficientnet.training.teacher import Teacher

pytestmark = pytest.mark.usefixtures("eagerly", "undrawn")


@pytest.fixture(scope="module")
def model():
    """Predicts "b" from bright images, and has its classes in another order than the data."""
    import keras

    inputs = keras.Input((20, 20, 3))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255)(inputs))
    model = keras.Model(inputs, keras.layers.Dense(2, activation="softmax", name="probs")(x), name="teacher")
    model.get_layer("probs").set_weights([np.tile([[4.0, -4.0]], (3, 1)), np.array([-6.0, 6.0])])
    return model


@pytest.fixture
def predictor(model):
    with compile(model, "keras", preprocessing="none", class_names=["b", "a"], cache=False) as predictor:
        yield predictor


def levels(*values, side=20):
    return np.repeat(np.array(values, np.float32), side * side * 3).reshape(-1, side, side, 3)


def test_its_classes_may_have_another_order_and_its_images_another_size(predictor):
    data = small_task().data
    teacher = Teacher(predictor, data.targets, 3, "hash")
    for side in (20, 31):
        found = teacher(levels(0, 255, side=side))
        np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-5)
        assert found[0, 0] > 0.99 and found[1, 1] > 0.99


def test_nearly_black_images_are_predicted(model):
    with compile(model, "keras", preprocessing="tf", class_names=["b", "a"], cache=False) as predictor:
        found = Teacher(predictor, small_task().data.targets, 3, "hash")(levels(0.3, 0.9))
    assert (found[:, 0] > 0.99).all()


def test_its_images_may_have_their_channels_first():
    import keras

    inputs = keras.Input((3, 20, 20))
    x = keras.layers.GlobalAveragePooling2D(data_format="channels_first")(inputs)
    model = keras.Model(inputs, keras.layers.Dense(2, activation="softmax", name="probs")(x))
    model.get_layer("probs").set_weights([np.array([[1.0, -1.0], [0, 0], [0, 0]]), np.zeros(2)])
    with compile(model, "keras", preprocessing="none", class_names=["a", "b"], cache=False) as predictor:
        found = Teacher(predictor, small_task().data.targets, 3, "hash")(levels(0, 255) * [1, 0, 0])
    np.testing.assert_allclose(found, [[0.5, 0.5], [1, 0]], atol=1e-6)


def test_targets_are_mixed_with_its_predictions(predictor):
    task = small_task(teacher_share=0.25)
    teacher = Teacher(predictor, task.data.targets, 3, "hash")
    stage = task.stages()[0]
    plain = next(task.batches(stage, OneProcess()).from_step(0, 1))
    taught = next(dataclasses.replace(task, teacher=teacher).batches(stage, OneProcess()).from_step(0, 1))
    np.testing.assert_array_equal(taught.pixels, plain.pixels)
    np.testing.assert_allclose(taught.targets, 0.75 * plain.targets + 0.25 * teacher(plain.pixels), rtol=1e-5)


@pytest.mark.slow
def test_a_training_knows_its_teacher(predictor, tmp_path):
    task = small_task()
    taught = dataclasses.replace(task, teacher=Teacher(predictor, task.data.targets, 3, "hash"))
    train(taught, tmp_path)
    assert json.loads((tmp_path / "run.json").read_text())["teacher"] == "hash"
    with pytest.raises(ValueError, match=r"other settings .teacher was 'hash' and is None"):
        train(task, tmp_path, resume=True)


@pytest.mark.parametrize(
    ("names", "channels", "message"),
    [(["a", "c"], 3, "predicts a, c, the data has a, b: expected a teacher of the same classes"),
     (["a", "b"], 1, "takes images of 3 channels, the data's have 1")],
)  # fmt: skip
def test_other_classes_and_channels(model, names, channels, message):
    predictor = compile(model, "keras", preprocessing="none", class_names=names, cache=False)
    with predictor, pytest.raises(ValueError, match=message):
        Teacher(predictor, small_task().data.targets, channels, "hash")


def test_a_teacher_of_another_kind(predictor):
    with pytest.raises(ValueError, match="targets of the kind 'labels': expected a model of the same kind"):
        Teacher(predictor, Labels(["a", "b"], np.ones((4, 2), bool)), 3, "hash")


def test_a_missing_teacher(capsys, tmp_path):
    assert main(["train", "digits", "--teacher", str(tmp_path / "none.keras"), "--out", str(tmp_path / "run")]) == 2
    assert "none.keras: expected a saved model, or the folder of a training" in capsys.readouterr().err
