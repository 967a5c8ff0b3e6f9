"""Runs contenders in turns, each in a separate process that stays alive, and reports their times."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from .backends import BACKENDS
from .contenders import OLDER, Settings
from .measuring import show, spread

SCRIPTS = Path(__file__).resolve().parents[1]
# Until the threads of whoever had the turn before no longer spin.
PAUSE = 0.1

Ask = Callable[[int], dict[str, Any]]


class Result(NamedTuple):
    """What a contender took.

    Attributes:
        seconds: per image, the median of each turn, by batch size; none where it was skipped.
        memory: the most bytes that its process held.
        skipped: why it was not measured, or not to the end.
    """

    name: str
    seconds: dict[int, list[float]]
    memory: float = 0
    skipped: str = ""

    def speed(self, reference: Result, batch: int) -> list[float]:
        """Return how many times as fast it is as the reference, in each round that has both."""
        pairs = zip(reference.seconds.get(batch, ()), self.seconds.get(batch, ()), strict=False)
        return [theirs / own for theirs, own in pairs]


def race(
    names: Sequence[str], batches: Sequence[int], settings: Settings, rounds: int, older: Path | None = None
) -> list[Result]:
    """Ask all contenders in turn, round after round, batch size after batch size.

    Whoever cannot predict is left out from there on; the others go on.

    Args:
        names: of contenders.
        batches: sizes to ask with.
        settings: what they are given.
        rounds: that count; one more before them warms up.
        older: Python interpreter, or folder, that has version 1.1.1 of this package.
    """
    turns = len(names) * len(batches) * (rounds + 1)
    with ExitStack() as processes:
        progress = processes.enter_context(tqdm(total=turns, unit="turn", disable=None, leave=False))
        results = {name: Result(name, {}) for name in names}
        workers: dict[str, Ask] = {}
        for name in names:
            if name == OLDER and older is None:
                results[name] = Result(name, {}, skipped="it lies nowhere: give --old")
            else:
                workers[name] = processes.enter_context(worker(name, settings, older if name == OLDER else None))
        for batch in batches:
            for number in range(rounds + 1):
                for name, ask in list(workers.items()):
                    time.sleep(PAUSE)
                    measured = ask(batch)
                    progress.update()
                    if "skipped" in measured:
                        results[name] = results[name]._replace(skipped=str(measured["skipped"]))
                        del workers[name]
                    elif number:
                        results[name].seconds.setdefault(batch, []).append(statistics.median(measured["seconds"]))
                        results[name] = results[name]._replace(memory=measured["memory"])
    return list(results.values())


@contextmanager
def worker(name: str, settings: Settings, older: Path | None) -> Iterator[Ask]:
    """Return a process that runs ``bench.worker``, which takes a batch size and returns its measurement."""
    has_python = older is not None and older.is_file()
    environment = {
        **os.environ,
        **pinned(settings.threads),
        **BACKENDS[settings.backend if older is None else "tf_keras"].environment,
        "EFFICIENTNET_HOME": settings.folder,  # where compiled engines are kept
    }
    if older and not has_python:
        environment["PYTHONPATH"] = str(older.resolve())
    python = str(older.absolute()) if older and has_python else sys.executable
    command = [python, "-m", "bench.worker", name, json.dumps(settings._asdict())]
    pipe = subprocess.PIPE
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            command, cwd=SCRIPTS, env=environment, stdin=pipe, stdout=pipe, stderr=errors, text=True
        )

        def ask(batch: int) -> dict[str, Any]:
            assert process.stdin and process.stdout
            try:
                process.stdin.write(f"{batch}\n")
                process.stdin.flush()
                measured: dict[str, Any] = json.loads(process.stdout.readline())
            except (BrokenPipeError, ValueError):
                errors.seek(0)
                last = (errors.read().strip().splitlines() or ["no message"])[-1]
                return {"skipped": f"its process has ended with status {process.wait()}: {last}"}
            return measured

        try:
            yield ask
        finally:
            process.kill()
            process.communicate()


def pinned(threads: int) -> Mapping[str, str]:
    """Environment in which libraries take so many threads, and the processor alone."""
    limits = (
        "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "TF_NUM_INTRAOP_THREADS",
        "TF_NUM_INTEROP_THREADS",
    )  # fmt: skip
    return {**dict.fromkeys(limits, str(threads)), "CUDA_VISIBLE_DEVICES": "", "JAX_PLATFORMS": "cpu"}


def table(results: Sequence[Result], batches: Sequence[int], reference: str) -> Iterator[str]:
    """Return lines of a Markdown table, and below it who was skipped."""
    by_name = {result.name: result for result in results}
    heads = [head for batch in batches for head in (f"batch {batch}, ms per image", "times as fast")]
    width = max(len(result.name) for result in results)
    yield f"| {'contender':<{width}} | {' | '.join(heads)} | peak MB |"
    yield f"|{'-' * (width + 2)}|{'--:|' * (len(heads) + 1)}"
    for result in results:
        if not result.seconds:
            continue
        cells = []
        for batch in batches:
            own, speed = result.seconds.get(batch), result.speed(by_name[reference], batch)
            cells.append(spread([1e3 * seconds for seconds in own]) if own else "")
            cells.append(show(statistics.median(speed)) if speed else "")
        yield f"| {result.name:<{width}} | {' | '.join(cells)} | {result.memory / 1e6:.0f} |"
    yield ""
    for result in results:
        if result.skipped:
            yield f"skipped: {result.name} ({result.skipped})"
