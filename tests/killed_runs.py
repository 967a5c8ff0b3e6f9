"""Runs of scripts/predict_many.py and scripts/embed_many.py that are killed: a worker first, then the whole run."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(SCRIPTS.parent)}


def kill_a_worker_and_the_run(command: Sequence[Any], count_written: Callable[[], int]) -> None:
    """Start a run with workers; kill one of these after the first written file, and the run three files later."""
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, env=ENVIRONMENT, text=True, **pipes) as run:

        def wait_for(files: int) -> None:
            deadline = time.monotonic() + 300
            while count_written() < files and run.poll() is None and time.monotonic() < deadline:
                time.sleep(0.01)

        wait_for(1)
        below = descendants(run.pid)
        workers = [pid for pid, name in below.items() if name.startswith("ray::") and "Worker" in name]
        assert workers, run.communicate(timeout=30)[1] if run.poll() is not None else below
        os.kill(workers[0], signal.SIGKILL)
        wait_for(4)
        assert run.poll() is None, "it was over before it could be killed"
        run.kill()


def descendants(pid: int) -> dict[int, str]:
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
