"""Trainings in two processes: the weights of one, and a clear end where the other is gone."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from efficientnet.training import distributed, rendezvous

WORKER = Path(__file__).parents[1].joinpath("distributed_worker.py")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def two_addresses() -> list[str]:
    return [f"127.0.0.1:{free_port()}" for _ in range(2)]


def start(backend: str, out: Path, *where: object, **environment: object) -> subprocess.Popen:
    """Starts a process of a training; one that trains by itself where no place is given."""
    without = "matplotlib" if backend == "tensorflow" else "matplotlib tensorflow"  # it starts sooner
    settings = {
        "KERAS_BACKEND": backend, "OMP_NUM_THREADS": 1, "EFFICIENTNET_TEST_WITHOUT": without, **environment,
    }  # fmt: skip
    return subprocess.Popen(
        [sys.executable, WORKER, out, *map(str, where)],
        env={**os.environ, **{key: str(value) for key, value in settings.items()}},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def start_two(backend: str, out: Path, **environment: object) -> list[subprocess.Popen]:
    addresses = ",".join(two_addresses())
    return [start(backend, out, addresses, rank, **environment) for rank in range(2)]


def weights(out: Path) -> dict[str, np.ndarray]:
    """What the last checkpoint holds of the network; not the states of its random numbers."""
    path = max(out.glob("checkpoint-*.npz"), key=lambda path: path.name)
    with np.load(path) as file:
        return {name: file[name] for name in file.files if name.startswith("model/") and "seed_generator" not in name}


def finish(runs: list[subprocess.Popen]) -> None:
    for run in runs:
        output, errors = run.communicate(timeout=300)
        assert run.returncode == 0, errors
        assert "done" in output


def wait_for_step(run: subprocess.Popen) -> None:
    while "step" not in (line := run.stdout.readline()):
        assert line, run.stderr.read()


def assert_same_weights(out: Path, expected: dict[str, np.ndarray]) -> None:
    found = weights(out)
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, atol=1e-5, err_msg=name)


@pytest.fixture(scope="module")
def of_one_process(tmp_path_factory) -> dict[str, np.ndarray]:
    """The weights of a training in one process; all engines end with the same."""
    out = tmp_path_factory.mktemp("one")
    installed = [backend for backend in ("torch", "tensorflow", "jax") if find_spec(backend)]
    if not installed:
        pytest.skip("nothing to train with is installed: pip install 'efficientnet[test]>=2'")
    finish([start(installed[0], out)])
    return weights(out)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_two_processes_end_with_the_weights_of_one(backend, tmp_path, of_one_process):
    if find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed: pip install 'efficientnet[{backend}]>=2'")
    finish(start_two(backend, tmp_path))
    assert_same_weights(tmp_path, of_one_process)


@pytest.mark.slow
def test_a_signal_ends_both_a_kill_is_reported_and_both_go_on(tmp_path, of_one_process):
    if find_spec("torch") is None:
        pytest.skip("torch is not installed: pip install 'efficientnet[torch]>=2'")
    first, second = start_two("torch", tmp_path, PAUSE=0.3)
    wait_for_step(second)
    second.terminate()
    for run in (first, second):
        assert "Interrupted: Stopped after step" in run.communicate(timeout=60)[1]

    first, second = start_two("torch", tmp_path, PAUSE=0.3, RESUME=1)
    wait_for_step(second)
    second.kill()
    second.communicate()
    errors = first.communicate(timeout=60)[1]
    assert "Process 0 of 2 has lost the others" in errors
    assert "--resume" in errors

    finish(start_two("torch", tmp_path, RESUME=1))
    assert_same_weights(tmp_path, of_one_process)


def test_the_place_is_reported(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    assert rendezvous.find_place([], None) is None
    assert rendezvous.find_place(["a:1", "b:1"], 1) == rendezvous.Place(("a:1", "b:1"), 1)
    monkeypatch.setenv("TF_CONFIG", '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 1}}')
    assert rendezvous.find_place([], None) == rendezvous.Place(("a:1", "b:1"), 1)
    for addresses, rank in ((["a:1", "b:1"], None), (["a:1", "b:1"], 2), ([], 0)):
        with pytest.raises(ValueError, match="expected the address of every process"):
            rendezvous.find_place(addresses, rank)


def test_processes_wait_for_each_other_and_not_for_ever():
    addresses = tuple(two_addresses())
    places = [rendezvous.Place(addresses, rank) for rank in range(2)]
    late = threading.Timer(0.5, rendezvous.meet, (places[0], 10))
    late.start()
    started = time.monotonic()
    rendezvous.meet(places[1], 10)
    assert time.monotonic() - started >= 0.4
    late.join()
    # The port is free again.
    with pytest.raises(ConnectionError, match=rf"to {addresses[0]} for process 1 \({addresses[1]}\)"):
        rendezvous.meet(places[0], 1)
    with pytest.raises(ConnectionError, match="has waited 1 s for the first one"):
        rendezvous.meet(places[1], 1)


def test_shares_are_even_and_all_of_the_batch():
    class Three(distributed._Torch):
        def __init__(self, rank):
            self.rank, self.size, self.devices = rank, 3, 3

    assert [list(range(12))[Three(rank).share(12)] for rank in range(3)] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    with pytest.raises(ValueError, match="batch of 13 images cannot be shared out evenly among 3"):
        Three(0).share(13)


def test_only_what_engines_say_of_lost_processes_is_taken_for_it():
    with (
        pytest.raises(ConnectionError, match=r"Lost: .* \(Gloo: Connection closed by peer\)"),
        distributed._naming_the_lost("Lost"),
    ):
        raise RuntimeError("In a layer:\n\nGloo: Connection closed by peer\n\nArguments")
    with pytest.raises(RuntimeError, match="shapes differ"), distributed._naming_the_lost("Lost"):
        raise RuntimeError("shapes differ")
