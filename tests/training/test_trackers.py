"""The packages that record the numbers of each epoch."""

import importlib.util
import sys
import types

import pytest

pytest.importorskip("keras")

from small_task import small_task

from efficientnet.training import trackers as module
from efficientnet.training import train
from efficientnet.training.trackers import Trackers, check_trackers

SETTINGS = {"recipe": {"epochs": 3, "flip": True}, "variant": "b0", "seed": 0, "images": "abc", "classes": ["a"]}


class Recorder:
    """Stands for a package's run."""

    def __init__(self):
        self.calls = []

    def log(self, epoch, numbers):
        if epoch == 2:
            raise ConnectionError("no route to the service")
        self.calls.append((epoch, numbers))

    def close(self):
        self.calls.append("closed")


def test_a_service_that_fails_does_not_end_the_training(tmp_path, monkeypatch, capsys):
    recorder = Recorder()
    monkeypatch.setattr(module, "_OPENERS", {"mlflow": lambda folder, settings: recorder})
    trackers = Trackers(["mlflow"], tmp_path, SETTINGS)
    for epoch in (1, 2, 3):
        trackers.log({"epoch": epoch, "stage": "all", "loss": 0.5})
    trackers.close()
    assert recorder.calls == [(1, {"loss": 0.5}), (3, {"loss": 0.5}), "closed"]
    assert "mlflow has not recorded epoch 2 (ConnectionError: no route to the service)" in capsys.readouterr().err


def test_nothing_is_opened_without_an_epoch(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_OPENERS", {})
    Trackers(["wandb"], tmp_path, SETTINGS).close()


def test_unknown_and_missing_packages(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="no tracker 'neptune': choose tensorboard, mlflow, wandb"):
        train(small_task(), tmp_path, trackers=["neptune"])
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match="pip install wandb"):
        check_trackers(["wandb"])
    assert module.default_trackers() == ()


def test_a_run_of_weights_and_biases_goes_on(tmp_path, monkeypatch):
    started = []

    def init(**options):
        started.append(options)
        return types.SimpleNamespace(id="abc", log=lambda numbers, step: started.append((numbers, step)), finish=len)

    monkeypatch.setitem(sys.modules, "wandb", types.SimpleNamespace(init=init))
    for epoch in (1, 2):
        trackers = Trackers(["wandb"], tmp_path, SETTINGS)
        trackers.log({"epoch": epoch, "stage": "all", "loss": 0.5})
    first, logged, again, _ = started
    assert (first["id"], first["resume"], again["id"], again["resume"]) == (None, None, "abc", "allow")
    assert logged == ({"loss": 0.5}, 1)
    assert first["config"] == {"variant": "b0", "seed": 0, "images": "abc", "epochs": 3, "flip": True}


@pytest.mark.skipif(importlib.util.find_spec("mlflow") is None, reason="needs: pip install mlflow-skinny")
def test_a_run_of_mlflow_goes_on(tmp_path, monkeypatch):
    import mlflow

    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri((tmp_path / "mlruns").as_uri())
    for epoch in (1, 2):
        trackers = Trackers(["mlflow"], tmp_path, SETTINGS)
        trackers.log({"epoch": epoch, "stage": "all", "loss": 1 / epoch})
        trackers.close()
    (run,) = mlflow.MlflowClient().search_runs(["0"])
    assert run.info.run_name == tmp_path.name
    assert run.data.params["variant"] == "b0"
    history = mlflow.MlflowClient().get_metric_history(run.info.run_id, "loss")
    assert [(metric.step, metric.value) for metric in history] == [(1, 1.0), (2, 0.5)]
