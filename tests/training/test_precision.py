"""Trainings that compute in 16 bits: the weights stay in 32, and so does the saved model."""

import dataclasses

import numpy as np
import pytest

pytest.importorskip("keras")

import keras

from efficientnet import get_variant
from efficientnet.datasets.data import Data
from efficientnet.datasets.targets import Classes
from efficientnet.errors import Interrupted
from efficientnet.family.variants import V1_BLOCKS
from efficientnet.training import FINETUNE, OneProcess, Task, train
from efficientnet.training.stages import averaged, in_float32

pytestmark = pytest.mark.usefixtures("eagerly", "undrawn")

VARIANT = dataclasses.replace(get_variant("b0"), name="small", width=0.25, resolution=32, blocks=V1_BLOCKS[:1])


def task_in(precision):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 32, 32, 3), np.uint8)
    pixels[::2] //= 4
    recipe = dataclasses.replace(
        FINETUNE, epochs=2, head_steps=10, epoch_steps=0, batch_size=8, unfreeze=None, average=0.5, precision=precision
    )
    data = Data("noise", pixels, Classes(["a", "b"], np.arange(20) % 2), np.arange(16), np.arange(16, 20))
    return Task(VARIANT, None, data, recipe, 32)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_the_saved_model_computes_in_32_bits(precision):
    task = task_in(precision)
    nets = task.build(task.stages()[1], 2)
    assert keras.config.dtype_policy().name == "float32"
    assert {variable.dtype for variable in nets.full.trainable_variables} == {"float32"}
    assert nets.full.get_layer("stem_conv").compute_dtype == precision.removeprefix("mixed_")
    saved = in_float32(nets.full)
    assert {layer.compute_dtype for layer in saved.layers} == {"float32"}
    pixels = task.data.pixels[:4].astype(np.float32)
    expected, found = (np.asarray(model.predict_on_batch(pixels), np.float32) for model in (nets.full, saved))
    np.testing.assert_allclose(found, expected, atol=0.05)
    assert in_float32(saved) is saved
    is_scaled = isinstance(nets.trained.optimizer, keras.optimizers.LossScaleOptimizer)
    assert is_scaled == (precision == "mixed_float16")
    before = nets.full.get_weights()
    with averaged(nets):  # which the optimizer inside has
        pass
    for array, own in zip(nets.full.get_weights(), before, strict=True):
        np.testing.assert_array_equal(array, own)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_trained_stopped_and_resumed(precision, tmp_path):
    whole = train(task_in(precision), tmp_path / "whole")
    assert np.isfinite(whole["val_loss"])
    model = keras.saving.load_model(tmp_path / "whole" / "model.keras")
    assert {layer.compute_dtype for layer in model.layers} == {"float32"}

    class Stopping(OneProcess):
        left = 11  # the head's ten steps, and one

        def any(self, flag):
            self.left -= 1
            return self.left == 0

    with pytest.raises(Interrupted):
        train(task_in(precision), tmp_path / "pieces", processes=Stopping())
    assert train(task_in(precision), tmp_path / "pieces", resume=True) | {"seconds": 0} == whole | {"seconds": 0}


def test_a_part_may_not_be_left_out():
    with pytest.raises(ValueError, match="leaves out a part whose gradients overflow"):
        dataclasses.replace(FINETUNE, precision="mixed_float16", accumulate=2)
    with pytest.raises(ValueError, match="precision='float16': expected float32 or mixed_bfloat16 or mixed_float16"):
        dataclasses.replace(FINETUNE, precision="float16")
