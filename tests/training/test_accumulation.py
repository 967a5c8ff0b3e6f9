"""Batches that are computed in parts end with the weights of whole ones."""

import dataclasses

import numpy as np
import pytest

pytest.importorskip("keras")

from small_task import small_task

from efficientnet.errors import Interrupted
from efficientnet.training import FINETUNE, OneProcess, Recipe, train
from efficientnet.training.batches import Batches
from efficientnet.training.recipes import Stage
from efficientnet.training.stages import averaged, compile_network, to_numpy
from efficientnet.training.steps import take_step

pytestmark = pytest.mark.usefixtures("eagerly", "undrawn")


def trained(parts, **changes):
    """The weights, and their moving averages, after three steps of twelve images."""
    import keras

    keras.utils.set_random_seed(0)
    inputs = keras.Input((20, 20, 3))
    x = keras.layers.Conv2D(4, 3, strides=4, activation="swish")(keras.layers.Rescaling(1 / 255)(inputs))
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, keras.layers.Dense(2, activation="softmax")(x))
    recipe = Recipe(
        head_epochs=0, epochs=3, batch_size=12, accumulate=parts, average=0.5, full_rate_steps=0, warmup_steps=2,
        **changes,
    )  # fmt: skip
    stage = Stage("all", 3, 20, magnitude=0.0, mixup=0.2, dropout=0.0, trained="all")
    batches = Batches(small_task().data, recipe, stage, 0, slice(0, 12), balance=True)
    compile_network(model, batches.objective, stage, batches.steps)
    for step, batch in enumerate(batches.from_step(0, 3)):
        logs = take_step(model, batches, step, batch, OneProcess())
    weights = [to_numpy(variable) for variable in model.variables]
    with averaged(type("Networks", (), {"trained": model})):
        weights += [to_numpy(variable) for variable in model.variables]
    return weights, logs, float(np.asarray(model.optimizer.learning_rate))


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [{"layer_decay": 1.0}, {"layer_decay": 0.9}, {"optimizer": "rmsprop", "decay": "exponential"}],
    ids=["adamw", "layer-wise adamw", "rmsprop"],
)
def test_parts_end_with_the_weights_of_whole_batches(changes):
    whole, logs, rate = trained(1, **changes)
    parts, logs_of_parts, rate_of_parts = trained(4, **changes)
    for array, expected in zip(parts, whole, strict=True):
        np.testing.assert_allclose(array, expected, atol=1e-6)
    assert logs_of_parts == pytest.approx(logs, rel=1e-5)
    assert rate_of_parts == pytest.approx(rate)


def test_parts_are_equal_and_not_more_than_images():
    with pytest.raises(ValueError, match="batch_size=10, accumulate=4: expected a batch of equal parts"):
        dataclasses.replace(FINETUNE, batch_size=10, accumulate=4)
    recipe = dataclasses.replace(FINETUNE, accumulate=5)
    assert (recipe.batch(1000, "blocks"), recipe.parts("blocks"), recipe.parts("head")) == (30, 5, 1)
    assert recipe.batch(12, "blocks") == 5
    with pytest.raises(ValueError, match="accumulate=5: expected at most one part for each image, 4"):
        recipe.batch(4, "blocks")


@pytest.mark.slow
def test_stopped_and_resumed(tmp_path):
    whole = train(small_task(accumulate=2), tmp_path / "whole")

    class Stopping(OneProcess):
        def any(self, flag):
            return not list((tmp_path / "pieces").glob("checkpoint-0-*"))

    with pytest.raises(Interrupted):
        train(small_task(accumulate=2), tmp_path / "pieces", processes=Stopping())
    assert train(small_task(accumulate=2), tmp_path / "pieces", resume=True) | {"seconds": 0} == whole | {"seconds": 0}
