"""A training with all that the loop does, of a network so small that it takes no time."""

import dataclasses

import numpy as np

from efficientnet import get_variant
from efficientnet.datasets.data import Data
from efficientnet.datasets.targets import Classes
from efficientnet.training import Recipe, Task
from efficientnet.training.schedules import learning_rate, make_optimizer
from efficientnet.training.stages import Networks

# Two progressive stages of an epoch of three steps, with all that is random.
RECIPE = Recipe(
    name="all", epochs=2, head_epochs=0, epoch_steps=0, batch_size=4, stages=2, first_size=0.8, magnitude=(2, 6),
    mixup=(0.2, 0.4), dropout=(0.2, 0.4), optimizer="rmsprop", decay="exponential", average=0.9,
)  # fmt: skip


class SmallTask(Task):
    """Trains one convolution in place of a variant."""

    def build(self, stage, steps):
        import keras

        keras.utils.set_random_seed(self.seed)
        x = inputs = keras.Input((stage.image_size, stage.image_size, 3))
        x = keras.layers.Rescaling(1 / 255)(x)
        x = keras.layers.Conv2D(4, 3, strides=4, name="conv")(x)
        x = keras.layers.BatchNormalization(name="norm")(x)
        x = keras.layers.GlobalAveragePooling2D()(x)
        x = keras.layers.Dropout(stage.dropout, name="dropout")(x)
        full = keras.Model(inputs, keras.layers.Dense(2, activation="softmax", name="probs")(x))
        trained = keras.Model(full.input, full.output)
        rates = learning_rate(self.recipe, stage.trained, self.recipe.epochs, steps)
        parts, variables = self.recipe.parts(stage.trained), trained.trainable_variables
        optimizer = make_optimizer(self.recipe, rates, variables, self.recipe.epochs * steps, parts)
        trained.compile(optimizer, "categorical_crossentropy", metrics=["accuracy"])
        return Networks(full, None, trained, rates)


def small_task(**changes):
    """The training; ``changes`` are of its recipe."""
    pixels = np.random.default_rng(0).integers(0, 256, (16, 20, 20, 3), np.uint8)
    data = Data("noise", pixels, Classes(["a", "b"], np.arange(16) % 2), np.arange(12), np.arange(12, 16))
    return SmallTask(get_variant("b0"), None, data, dataclasses.replace(RECIPE, **changes), 20)
