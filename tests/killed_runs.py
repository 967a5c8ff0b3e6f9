"""Runs of scripts/predict_many.py and scripts/embed_many.py, whose workers or which themselves are killed."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"
_SECONDS = 300  # that a start, or a run, may take


class Run:
    """A run of a command; ``count_written`` returns how many files it has written."""

    def __init__(self, command: Sequence[Any], count_written: Callable[[], int]) -> None:
        self.count_written = count_written
        self.process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join((str(SCRIPTS.parent), os.environ["PYTHONPATH"]))},
        )  # fmt: skip

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *failure: object) -> None:
        """End it with ``kill -9``, if it goes on."""
        with self.process:
            self.process.kill()

    def wait_for(self, files: int) -> None:
        """Wait until it has written so many files, and make sure that it goes on."""
        deadline = time.monotonic() + _SECONDS
        while self.count_written() < files and self.process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        assert self.process.poll() is None, f"it is over: {self.process.communicate()[1]}"

    def kill_a_worker(self) -> None:
        """Kill one of its workers."""
        below = _descendants(self.process.pid)
        workers = [pid for pid, name in below.items() if name.startswith("ray::") and "Worker" in name]
        assert workers, below
        os.kill(workers[0], signal.SIGKILL)

    def finish(self) -> tuple[int, str]:
        """Wait for its end; return the exit status and what it has printed on stderr."""
        printed = self.process.communicate(timeout=_SECONDS)[1]
        return self.process.returncode, printed


def _descendants(pid: int) -> dict[int, str]:
    """Return the processes that a process has started, and theirs: what each calls itself."""
    parents, names = {}, {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(process.name)] = int((process / "stat").read_text().rpartition(")")[2].split()[1])
            names[int(process.name)] = (process / "cmdline").read_text()
        except OSError:  # it has ended meanwhile
            continue

    def is_below(child: int) -> bool:
        return child == pid or (child in parents and is_below(parents[child]))

    return {child: names[child] for child in parents if child != pid and child in names and is_below(child)}
