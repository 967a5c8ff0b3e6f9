"""Trainings as trials: each is done once, whoever is killed and however many work on them."""

import collections
import subprocess
import sys
import time
from pathlib import Path

import pytest

optuna = pytest.importorskip("optuna")

from efficientnet.design.trials import Stopped, Study  # noqa: E402

WORKER = Path(__file__).parents[1].joinpath("trial_worker.py")


def work(folder, trials, seconds):
    return subprocess.Popen(
        [sys.executable, WORKER, folder, str(trials), str(seconds)], stderr=subprocess.PIPE, text=True
    )


def finished(folder):
    study = optuna.load_study(study_name="design", storage=f"sqlite:///{folder / 'study.db'}")
    return collections.Counter((trial.state.name, trial.params.get("number")) for trial in study.trials)


def starts(folder):
    lines = [line.split() for line in (folder / "log.txt").read_text().splitlines()]
    return [(int(number), pid) for event, number, pid in lines if event == "start"]


@pytest.mark.slow
def test_killed_again_and_again(tmp_path):
    for seconds in (0.5, 2.0, 4.0):
        worker = work(tmp_path, 50, 0.2)
        time.sleep(seconds)  # an early kill meets the making of the study, later ones its trials
        assert worker.poll() is None, worker.stderr.read()
        worker.kill()
        worker.wait()
    last = work(tmp_path, 50, 0.01)
    assert last.wait(timeout=120) == 0, last.stderr.read()
    assert finished(tmp_path) == {("COMPLETE", number): 1 for number in range(50)}


@pytest.mark.slow
def test_two_processes_share_the_trials_out(tmp_path):
    workers = [work(tmp_path, 12, 0.1) for _ in range(2)]
    for worker in workers:
        assert worker.wait(timeout=120) == 0, worker.stderr.read()
    assert finished(tmp_path) == {("COMPLETE", number): 1 for number in range(12)}
    done = starts(tmp_path)
    assert sorted(number for number, _ in done) == list(range(12))
    assert len({pid for _, pid in done}) == 2


@pytest.mark.slow
def test_the_trial_of_a_killed_process_goes_to_another(tmp_path):
    first = work(tmp_path, 2, 60)
    deadline = time.monotonic() + 60
    while not (tmp_path / "log.txt").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    first.kill()
    first.wait()
    second = work(tmp_path, 2, 0)
    assert second.wait(timeout=60) == 0
    assert "Trial 0 was interrupted and is done again" in second.stderr.read()
    assert [number for number, _ in starts(tmp_path)] == [0, 0, 1]


def test_other_settings_are_refused(tmp_path):
    Study(tmp_path, {"recipe": {"epochs": 3}, "seeds": (0, 1)}, 1)
    Study(tmp_path, {"recipe": {"epochs": 3}, "seeds": (0, 1)}, 1)
    with pytest.raises(ValueError, match=r"recipe was {'epochs': 3} and is {'epochs': 4}"):
        Study(tmp_path, {"recipe": {"epochs": 4}, "seeds": (0, 1)}, 1)


def test_a_trial_that_is_given_up_counts(tmp_path):
    study = Study(tmp_path, {}, 3, [{"number": number} for number in range(3)])
    seen = []

    def objective(trial):
        if trial.suggest_int("number", 0, 2) == 1:
            raise Stopped
        return 1.0

    study.run(objective, lambda study: seen.append(len(study.finished())))
    assert seen == [1, 2, 3]
    assert finished(tmp_path) == {("COMPLETE", 0): 1, ("PRUNED", 1): 1, ("COMPLETE", 2): 1}


@pytest.mark.slow
def test_the_pruner_stops_what_lies_behind(tmp_path):
    pruner = optuna.pruners.MedianPruner(n_startup_trials=1, n_warmup_steps=1)
    study = Study(tmp_path, {}, 2, [{"number": number} for number in range(2)], pruner=pruner)
    steps = []

    def objective(trial):
        good = trial.suggest_int("number", 0, 1) == 0
        for step in range(1, 5):
            steps.append(step)
            study.report(trial, step, 0.9 if good else 0.1)
            if trial.should_prune():
                raise Stopped
        return 0.9

    study.run(objective, lambda study: None)
    assert steps == [1, 2, 3, 4, 1]
    assert finished(tmp_path) == {("COMPLETE", 0): 1, ("PRUNED", 1): 1}


def test_an_error_puts_the_trial_back(tmp_path):
    study = Study(tmp_path, {}, 1, [{"number": 0}])
    with pytest.raises(ZeroDivisionError):
        study.run(lambda trial: 1 / 0, lambda study: None)
    study.run(lambda trial: float(trial.suggest_int("number", 0, 1)), lambda study: None)
    assert finished(tmp_path) == {("COMPLETE", 0): 1}


def test_optuna_is_missing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ImportError, match=r"efficientnet\[design\]"):
        Study(tmp_path, {}, 1)


@pytest.mark.parametrize(
    "damage", [lambda b: b[: len(b) // 2], lambda b: b"garbage" * 1000, lambda b: b[:100] + bytes(9000)]
)
def test_a_damaged_database_is_reported(damage, tmp_path):
    Study(tmp_path, {"a": 1}, 3)
    path = tmp_path / "study.db"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=r"study\.db cannot be read \(.*put a copy of it in its place"):
        Study(tmp_path, {"a": 1}, 3)
