"""The folder of a training: checkpoints, logs, curves, and the model, each file complete at any moment."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import json
import os
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from ..checkpoints.facts import Facts
from ..common import arguments
from ..common.files import check_writable, remove_parts, replacing
from ..common.json_files import read_object, write_json
from ..common.text import notify, plain
from ..datasets.data import Data
from ..errors import DivergedError
from ..keras_files.metadata import write_facts
from ..keras_files.opening import RUN_MODEL, RUN_SETTINGS
from .trackers import Trackers, default_trackers

LOG = "log.csv"
LEFT_OUT = "left_out.csv"
_CHECKPOINT = re.compile(r"checkpoint-(\d+)-(\d+)\.npz")


@dataclass
class State:
    """The progress of a training.

    Attributes:
        stage: Index of the stage.
        step: Number of finished steps of the stage.
        loss, metric: Sums over the finished steps of the epoch.
        seconds: Time that the epoch has taken so far.
        history: Rows of the log, one for each finished epoch.
    """

    stage: int = 0
    step: int = 0
    loss: float = 0.0
    metric: float = 0.0
    seconds: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Checkpoint:
    """A state with its arrays, under the names of :func:`.stages.collect`."""

    state: State
    arrays: Mapping[str, NDArray[Any]]


class RunFolder:
    """A training's folder, held by one process at a time.

    Args:
        folder: Folder of the training; created if missing.
        settings: All settings that the training depends on, and the command. A training resumes only with the same
            settings, except for more epochs of its last stage or another patience.
        resume: Whether to resume the training in the folder.
        keep: Number of checkpoints to keep.
        is_writer: Whether this process, of several, holds the folder and writes.
        trackers: Packages that record each epoch, from ``trackers.TRACKERS``; TensorBoard by default, if installed.

    Raises:
        ValueError: Another process uses the folder; it holds a training and ``resume`` is false; the settings differ;
            or no checkpoint would be kept.
        OSError: The folder cannot be written.
    """

    def __init__(
        self,
        folder: Path,
        settings: dict[str, Any],
        resume: bool,
        keep: int = 2,
        is_writer: bool = True,
        trackers: Sequence[str] | None = None,
    ) -> None:
        self.folder, self.keep = folder, arguments.whole("keep", keep)
        self.model_path, self._settings_path = folder / RUN_MODEL, folder / RUN_SETTINGS
        check_writable(folder, is_folder=True)
        folder.mkdir(parents=True, exist_ok=True)
        self._lock, self._is_writer = FileLock(folder / "run.lock"), is_writer
        self._trackers = Trackers(default_trackers() if trackers is None else trackers, folder, settings)
        if not is_writer:
            return
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise ValueError(f"Another process is training in {folder}: choose another --out.") from None
        try:
            remove_parts(folder)
            self._check_settings(json.loads(json.dumps(settings)), resume)
        except BaseException:
            self._lock.release()
            raise

    def close(self) -> None:
        """Release the folder for other processes."""
        self._trackers.close()
        self._lock.release()

    def _check_settings(self, settings: dict[str, Any], resume: bool) -> None:
        if not self._settings_path.exists():
            self._write_settings(settings)
            return
        known = read_object(self._settings_path)
        longer = _with_length_of(known, settings) if resume else known
        if differing := [key for key in _compared(settings) | _compared(known) if settings.get(key) != longer.get(key)]:
            shown = "; ".join(_difference(key, known.get(key), settings.get(key)) for key in sorted(differing))
            raise ValueError(
                f"{self.folder} holds a training with other settings ({shown}): go on with it by --resume without "
                "them, or choose another --out."
            )
        if not resume and self.checkpoints():
            raise ValueError(f"{self.folder} holds a training: go on with it by --resume, or choose another --out.")
        if longer != known:
            self._write_settings(longer)

    def _write_settings(self, settings: Mapping[str, Any]) -> None:
        with self._explained():
            write_json(self.folder / "recipe.json", settings["recipe"])
            write_json(self._settings_path, settings)

    def checkpoints(self) -> list[Path]:
        """Return the files of the checkpoints, the latest last."""
        matches = {path: _CHECKPOINT.fullmatch(path.name) for path in self.folder.iterdir()}
        order = {path: (int(match[1]), int(match[2])) for path, match in matches.items() if match}
        return sorted(order, key=lambda path: order[path])

    def latest(self) -> Checkpoint | None:
        """Read the last undamaged checkpoint; None if there is none."""
        for path in reversed(self.checkpoints()):
            try:
                # NumPy leaves a damaged file open that it opened itself.
                with path.open("rb") as content, np.load(content) as file:
                    arrays = {name: file[name] for name in file.files}
                return Checkpoint(State(**json.loads(str(arrays.pop("state")))), arrays)
            except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
                notify(f"{plain(path)} is damaged ({error}): going back to the checkpoint before.")
        return None

    def save(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint and remove those that are no longer kept.

        Raises:
            DivergedError: An array is not finite; earlier checkpoints stay.
            OSError: The checkpoint cannot be written, on a full disk perhaps; earlier checkpoints stay.
        """
        state = checkpoint.state
        if not all(np.isfinite(array).all() for array in checkpoint.arrays.values()):
            raise DivergedError(diverged("The weights are", state))
        path = self.folder / f"checkpoint-{state.stage}-{state.step:08d}.npz"
        with self._replacing(path.name) as part, part.open("wb") as file:
            np.savez(file, **checkpoint.arrays, state=np.array(json.dumps(dataclasses.asdict(state))))  # type: ignore[arg-type]
            file.flush()
            os.fsync(file.fileno())
        for old in self.checkpoints()[: -self.keep]:
            old.unlink()

    @contextlib.contextmanager
    def _replacing(self, name: str) -> Iterator[Path]:
        """Replace a file like :func:`.files.replacing`; an error says how to continue."""
        with self._explained(), replacing(self.folder / name) as part:
            yield part

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OSError(
                f"{error.filename or self.folder} cannot be written: {error.strerror or error}. What was written "
                "before is kept; make room, and go on with --resume."
            ) from None

    def write_text(self, name: str, text: str) -> None:
        """Write a text file of the folder."""
        with self._replacing(name) as part:
            part.write_text(text + "\n", encoding="utf-8")

    def save_model(
        self, model: Any, data: Data, thresholds: tuple[float, ...] | None, recipe: Mapping[str, Any]
    ) -> None:
        """Write the model with what is known of it: class names, preparation of images, thresholds and recipe."""
        facts = Facts(
            class_names=tuple(data.classes), preprocessing="none", crop=data.crop, targets=data.targets.kind,
            thresholds=thresholds,
        )  # fmt: skip
        with self._replacing(self.model_path.name) as part:
            model.save(part)
            write_facts(part, facts, dict(recipe))

    def log(self, history: Sequence[Mapping[str, Any]]) -> None:
        """Write log.csv, and curves.png if Matplotlib is installed; give the last epoch to the trackers."""
        with self._replacing(LOG) as part, part.open("w", newline="") as file:
            table = csv.DictWriter(file, list(history[0]))
            table.writeheader()
            table.writerows(history)
        if find_spec("matplotlib"):
            from .curves import draw_curves

            with self._replacing("curves.png") as part:
                draw_curves(history).savefig(part)
        with self._explained():
            self._trackers.log(history[-1])

    def write_parts(self, data: Data) -> None:
        """Write tables of the training files and the validation files."""
        if self._is_writer:
            data.write_parts(self.folder)

    def write_table(self, name: str, write: Callable[[Path], None]) -> None:
        """Write a file of the folder by a function of its path."""
        if self._is_writer:
            with self._explained():
                write(self.folder / name)


def diverged(what: str, state: State) -> str:
    """Return the message of a :class:`DivergedError`."""
    return (
        f"{what} no longer finite after step {state.step} of stage {state.stage + 1}: start again in another --out "
        "with a lower learning rate. The last good checkpoint, and the best model so far, are kept."
    )


def _compared(settings: Mapping[str, Any]) -> set[str]:
    """Return the settings that the course of a training depends on."""
    return set(settings) - {"command"}


def _with_length_of(known: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """Return the known settings, with the new epochs and patience if a training can continue with them.

    Progressive stages share the epochs, so that another number would change finished stages.
    """
    was, now = known.get("recipe", {}), settings["recipe"]
    if was.get("stages", 1) != 1 or now.get("epochs", 0) < was.get("epochs", 0):
        return known
    return known | {"recipe": was | {field: now[field] for field in ("epochs", "patience") if field in now}}


def _difference(key: str, was: Any, now: Any) -> str:
    if isinstance(was, dict) and isinstance(now, dict):
        fields = [field for field in was.keys() | now.keys() if was.get(field) != now.get(field)]
        return ", ".join(_difference(f"{key}.{field}", was.get(field), now.get(field)) for field in sorted(fields))
    if key == "images":
        return "other images, classes, or images held out"
    return f"{key} was {was!r} and is {now!r}"
