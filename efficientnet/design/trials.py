"""Trainings as the trials of an Optuna study: shared among processes, each done once, none lost.

A folder holds the study (SQLite) and a lock for each trial that is being trained. The operating system frees a
process's locks when it ends, however it ends; so a trial that is marked as running and whose lock is free was
left by a process that is gone, and goes back to the queue.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ..common.packages import missing
from ..common.text import get_logger, plain

logger = get_logger()

_POLL_SECONDS = 0.5


def import_optuna() -> Any:
    """Import ``optuna``.

    Raises:
        ImportError: Optuna is missing; the message names the extra.
    """
    try:
        import optuna
    except ImportError as error:
        raise missing("Searching and comparing need Optuna", "design") from error
    return optuna


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn the errors of SQLAlchemy and Optuna about a damaged database into a ValueError."""
    try:
        yield
    except (ValueError, OSError):
        raise
    except Exception as error:
        reason = plain(str(error).partition("\n")[0])
        raise ValueError(
            f"{path} cannot be read ({reason}): put a copy of it in its place, or choose another folder."
        ) from error


class Stopped(Exception):
    """Signal that a training is given up as hopeless."""


class Study:
    """An Optuna study in a folder, from which any number of processes take trials.

    Args:
        folder: Folder of the run; created if missing. On a network drive it needs working file locks.
        settings: Settings that the trials depend on. A study resumes only with the same settings.
        count: Total number of trials.
        jobs: Parameters of each trial if they are fixed; else the sampler draws them.
        sampler: Function from a trial's number to the sampler that draws its parameters. Each trial has its own, so
            that a process that goes on with the study, or shares it, does not draw what another has drawn before.
        directions, options: Arguments of ``optuna.create_study``.

    Raises:
        ImportError: Optuna is not installed.
        ValueError: The folder holds a study with other settings.
    """

    def __init__(
        self,
        folder: Path,
        settings: dict[str, Any],
        count: int,
        jobs: Sequence[dict[str, Any]] = (),
        directions: Sequence[str] = ("maximize",),
        sampler: Callable[[int], Any] | None = None,
        **options: Any,
    ) -> None:
        optuna = import_optuna()
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        (folder / "locks").mkdir(parents=True, exist_ok=True)
        self.folder, self.count, self._sampler = folder, count, sampler
        self._states = optuna.trial.TrialState
        self._lock = FileLock(folder / "locks" / "study.lock")
        with self._lock, _explained(folder / "study.db"):
            self._storage = optuna.storages.RDBStorage(
                f"sqlite:///{folder / 'study.db'}", engine_kwargs={"connect_args": {"timeout": 60}}
            )
            self.optuna = optuna.create_study(
                storage=self._storage, study_name="design", directions=list(directions), load_if_exists=True,
                **options,
            )  # fmt: skip
            self._check_settings(json.loads(json.dumps(settings)))
            # A process that was killed while it queued them has left only the first ones.
            for parameters in jobs[len(self.optuna.get_trials(deepcopy=False)) :]:
                self.optuna.enqueue_trial(parameters)

    def _check_settings(self, settings: dict[str, Any]) -> None:
        known = self.optuna.user_attrs.get("settings")
        if known is None:
            self.optuna.set_user_attr("settings", settings)
        elif differing := [key for key in settings.keys() | known.keys() if settings.get(key) != known.get(key)]:
            shown = "; ".join(f"{key} was {known.get(key)!r} and is {settings.get(key)!r}" for key in sorted(differing))
            raise ValueError(
                f"{self.folder} holds a study with other settings ({shown}): repeat those to go on with it, or choose "
                "another folder."
            )

    def finished(self) -> list[Any]:
        """Return the completed and the pruned trials."""
        return list(self.optuna.get_trials(deepcopy=False, states=(self._states.COMPLETE, self._states.PRUNED)))

    def elsewhere(self) -> int:
        """Return the number of trials that other processes do, as seen between two trials of this one."""
        return len(self.optuna.get_trials(deepcopy=False, states=(self._states.RUNNING,)))

    def run(self, objective: Callable[[Any], float | Sequence[float]], progress: Callable[[Study], None]) -> None:
        """Take trials and report their outcome until all are over, those of other processes too.

        Args:
            objective: Function from an ``optuna.Trial`` to its value; it raises :class:`Stopped` to prune the trial.
                Any other exception ends the run and puts the trial back.
            progress: Function that is called after each trial.
        """
        while len(self.finished()) < self.count:
            with self._next_trial() as trial:
                if trial is None:  # the rest are with other processes
                    time.sleep(_POLL_SECONDS)
                    continue
                try:
                    values = objective(trial)
                except Stopped:
                    self.optuna.tell(trial, state=self._states.PRUNED)
                else:
                    self.optuna.tell(trial, values)
            progress(self)

    def report(self, trial: Any, step: int, value: float) -> None:
        """Report a trial's value at a step, for the pruner to compare."""
        # A trial that was put back may have reported this before, and reports the same again.
        if step not in self._storage.get_trial(trial._trial_id).intermediate_values:
            trial.report(value, step)

    @contextlib.contextmanager
    def _next_trial(self) -> Iterator[Any]:
        """Hold a trial that no other process has for as long as the context lasts; None if there is none now."""
        trial, lock = None, None
        with self._lock:
            self._put_back_abandoned()
            trials = self.optuna.get_trials(deepcopy=False)
            waiting = [known.number for known in trials if known.state == self._states.WAITING]
            if waiting or len(trials) < self.count:
                if self._sampler is not None:
                    self.optuna.sampler = self._sampler(min(waiting, default=len(trials)))
                trial = self.optuna.ask()
                lock = self._trial_lock(trial.number)
                lock.acquire()
        try:
            yield trial
        finally:
            if lock is not None:
                lock.release()

    def _put_back_abandoned(self) -> None:
        for trial in self.optuna.get_trials(deepcopy=False, states=(self._states.RUNNING,)):
            with contextlib.suppress(Timeout), self._trial_lock(trial.number).acquire(timeout=0):
                # Its lock may also be free because it has finished meanwhile.
                if self._storage.get_trial(trial._trial_id).state == self._states.RUNNING:
                    logger.warning("Trial %d was interrupted and is done again.", trial.number)
                    self._storage.set_trial_state_values(trial._trial_id, self._states.WAITING)

    def _trial_lock(self, number: int) -> FileLock:
        return FileLock(self.folder / "locks" / f"trial-{number}.lock")
