"""The server with replicas: what was under way on one that dies goes to another."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("starlette", reason="needs pip install 'efficientnet[serve]>=2'")
exceptions = pytest.importorskip("ray.exceptions", reason="needs pip install 'efficientnet[ray]>=2'")

pytestmark = pytest.mark.once

SPEC = importlib.util.spec_from_file_location(
    "serve_many", Path(__file__).resolve().parents[2] / "scripts" / "serve_many.py"
)
serve_many = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(serve_many)


class Answer:
    def __init__(self, value):
        self.value = value

    def result(self):
        if isinstance(self.value, Exception):
            raise self.value
        return self.value


class Handle:
    """A deployment of Ray Serve whose replicas die or fail so many times."""

    def __init__(self, *faults):
        self.faults = list(faults)
        self.spec = self.predict = self

    def remote(self, images=None):
        if images is None:
            return Answer("a spec")
        return Answer(self.faults.pop(0) if self.faults else images + 1)


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(serve_many, "PAUSE", 0.001)


def test_another_replica_predicts_in_place_of_one_that_died(caplog):
    faults = [exceptions.ActorDiedError(), exceptions.RayActorError(), exceptions.ActorUnavailableError("", None)]
    replicas = serve_many.Replicas(Handle(*faults), seconds=5)
    assert replicas.spec == "a spec"
    np.testing.assert_array_equal(replicas.predict_prepared(np.zeros(3)), np.ones(3))
    assert caplog.text.count("A replica died; 3 images go to another") == 3


def test_where_all_die_the_server_says_so():
    replicas = serve_many.Replicas(Handle(*[exceptions.ActorDiedError()] * 10), seconds=0)
    with pytest.raises(exceptions.RayActorError):
        replicas.predict_prepared(np.zeros(3))


def test_a_failing_prediction_is_not_repeated():
    handle = Handle(*[ValueError("of the engine")] * 2)
    with pytest.raises(ValueError, match="engine"):
        serve_many.Replicas(handle, seconds=5).predict_prepared(np.zeros(3))
    assert len(handle.faults) == 1


def test_without_ray_serve(monkeypatch, capsys):
    monkeypatch.setattr(serve_many, "find_spec", lambda name: None)
    assert serve_many.main(["lite0"]) == 2
    assert "pip install 'ray[serve]'" in capsys.readouterr().err
