"""The plain training of one model, which a design's short trainings are."""

import numpy as np
import pytest

pytest.importorskip("keras")

from small_task import small_task

from efficientnet.design import ShortTraining
from efficientnet.training import DivergedError, OneProcess
from efficientnet.training.batches import Batches
from efficientnet.training.recipes import Stage
from efficientnet.training.steps import fit


@pytest.fixture
def training():
    """A model, and three steps an epoch for two epochs."""
    task = small_task()
    stage = Stage("all", 2, 16, magnitude=0.0, mixup=0.0, dropout=0.0, trained="all")
    recipe = ShortTraining(epochs=2, batch_size=4).as_recipe()
    return task.build(stage, 3).trained, Batches(task.data, recipe, stage, 0, slice(None))


@pytest.mark.slow
def test_each_epoch_is_reported_and_the_rate_rises_and_falls(training, monkeypatch):
    model, batches = training
    rates, reported = [], []
    step = OneProcess.step

    def follow(self, network, batch):
        rates.append(float(np.asarray(network.optimizer.learning_rate)))
        return step(self, network, batch)

    monkeypatch.setattr(OneProcess, "step", follow)
    accuracy = fit(model, batches, lambda *epoch: reported.append(epoch))
    assert [epoch for epoch, _ in reported] == [1, 2]
    assert reported[-1][1] == accuracy
    # An epoch up to the peak, and a cosine down to zero.
    assert rates == pytest.approx([0, 1e-3, 2e-3, 3e-3, 2.25e-3, 0.75e-3], rel=1e-4, abs=1e-9)


@pytest.mark.slow
def test_a_report_may_stop_the_training(training):
    def stop(epoch, accuracy):
        raise KeyError(epoch)

    with pytest.raises(KeyError, match="1"):
        fit(*training, stop)


def test_a_loss_that_is_not_finite(training, monkeypatch):
    monkeypatch.setattr(OneProcess, "step", lambda *arguments: {"loss": float("nan"), "accuracy": 0.0})
    with pytest.raises(DivergedError, match="no longer finite in epoch 1: lower the learning rate"):
        fit(*training)
