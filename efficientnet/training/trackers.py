"""Packages that record the numbers of each epoch: TensorBoard, MLflow, Weights & Biases."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from ..common.files import named_errors
from ..common.json_files import read_object, write_json
from ..common.text import notify

TRACKERS = ("tensorboard", "mlflow", "wandb")
_IDS = "trackers.json"  # ids of the runs, so that a resumed training goes on in them
_PROJECT = "efficientnet"


class Tracker(Protocol):
    """A run that a package records."""

    def log(self, epoch: int, numbers: Mapping[str, float]) -> None:
        """Record the numbers of an epoch."""

    def close(self) -> None:
        """End the run."""


def default_trackers() -> tuple[str, ...]:
    """Return TensorBoard if it is installed."""
    return ("tensorboard",) if find_spec("tensorboard") else ()


def check_trackers(names: Sequence[str]) -> None:
    """Check that the packages are known and installed.

    Raises:
        ValueError, ImportError: One is not.
    """
    for name in names:
        if name not in TRACKERS:
            raise ValueError(f"There is no tracker {name!r}: choose {', '.join(TRACKERS)}.")
        if not find_spec(name):
            raise ImportError(f"The tracker {name} is not installed: pip install {name}, or choose another.")


class Trackers:
    """All trackers of a training; they are opened when they get the first epoch.

    Args:
        names: Packages, from :data:`TRACKERS`.
        folder: Folder of the training.
        settings: Settings of the training, which MLflow and Weights & Biases show.
    """

    def __init__(self, names: Sequence[str], folder: Path, settings: Mapping[str, Any]) -> None:
        self._names, self._folder, self._settings = names, folder, settings
        self._open: dict[str, Tracker] = {}

    def log(self, row: Mapping[str, Any]) -> None:
        """Record a row of the training's log.

        A service that cannot be reached does not end a training: that is reported, and the training goes on.

        Raises:
            OSError: TensorBoard's file cannot be written.
        """
        numbers = {key: float(value) for key, value in row.items() if key not in ("epoch", "stage")}
        for name in self._names:
            try:
                if name not in self._open:
                    self._open[name] = _OPENERS[name](self._folder, self._settings)
                self._open[name].log(int(row["epoch"]), numbers)
            except Exception as error:  # whatever a service, its client or the network raises
                if name == "tensorboard":
                    raise
                notify(
                    f"{name} has not recorded epoch {row['epoch']} ({type(error).__name__}: {error}); log.csv has it"
                )

    def close(self) -> None:
        """End the runs that were opened."""
        for name, tracker in self._open.items():
            try:
                tracker.close()
            except Exception as error:
                notify(f"{name} has not ended its run ({type(error).__name__}: {error})")


class _TensorBoard:
    """TensorBoard's log, one file for each process; its own package writes it, which TensorFlow would need, too."""

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self._folder, self._path = folder, folder / "tensorboard"
        with named_errors(self._path, folder):
            self._writer = EventFileWriter(str(self._path))

    def log(self, epoch: int, numbers: Mapping[str, float]) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        values = [Summary.Value(tag=key, simple_value=number) for key, number in numbers.items()]
        with named_errors(self._path, self._folder):
            self._writer.add_event(Event(wall_time=time.time(), step=epoch, summary=Summary(value=values)))
            self._writer.flush()

    def close(self) -> None:
        self._writer.close()


class _MLflow:
    """A run of MLflow, at the place that its own environment variables name; within the active run if there is one."""

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        import mlflow

        self._mlflow, known = mlflow, _read_ids(folder).get("mlflow")
        is_nested = mlflow.active_run() is not None
        run = mlflow.start_run(run_id=known, run_name=None if known else folder.name, nested=is_nested)
        if known is None:
            mlflow.log_params(_flat(settings))
            _save_id(folder, "mlflow", run.info.run_id)

    def log(self, epoch: int, numbers: Mapping[str, float]) -> None:
        self._mlflow.log_metrics(dict(numbers), step=epoch)

    def close(self) -> None:
        self._mlflow.end_run()


class _WeightsAndBiases:
    """A run of Weights & Biases, which its own environment variables configure."""

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        import wandb

        known = _read_ids(folder).get("wandb")
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", _PROJECT), name=folder.name, id=known, dir=folder,
            resume="allow" if known else None, config=_flat(settings),
        )  # fmt: skip
        if known is None:
            _save_id(folder, "wandb", self._run.id)

    def log(self, epoch: int, numbers: Mapping[str, float]) -> None:
        self._run.log(dict(numbers), step=epoch)

    def close(self) -> None:
        self._run.finish()


_OPENERS: Mapping[str, Callable[[Path, Mapping[str, Any]], Tracker]] = {
    "tensorboard": _TensorBoard,
    "mlflow": _MLflow,
    "wandb": _WeightsAndBiases,
}


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of the recipe, and those beside it, that are numbers or names."""
    beside = {key: value for key, value in settings.items() if isinstance(value, (str, int, float))}
    return {**beside, **settings.get("recipe", {})}


def _read_ids(folder: Path) -> dict[str, Any]:
    path = folder / _IDS
    return read_object(path) if path.is_file() else {}


def _save_id(folder: Path, name: str, value: str) -> None:
    write_json(folder / _IDS, {**_read_ids(folder), name: value})
