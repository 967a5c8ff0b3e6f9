"""Estimates of a training's time and memory before it begins."""

from __future__ import annotations

import contextlib
import itertools
import math
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from ..common.files import replacing
from ..reports.tables import table
from .batches import all_images
from .folds import fold_tasks
from .loop import Task, quiet
from .processes import OneProcess, Processes
from .recipes import Stage
from .stages import to_numpy
from .steps import take_step

_MEASURED_STEPS = 3


def make_plan(task: Task, out: Path, processes: Processes | None = None, folds: int | None = None) -> str:
    """Describe the stages with their steps, learning rates, times and memory; draw ``plan.png`` into ``out``.

    Time and memory come from three steps of each stage, after a first one, which compiles. The head's stage begins with
    a pass of all images through the frozen network. Validation is not included. With ``folds`` the stages are those of
    the first fold, and the time in all is that of all folds.

    Raises:
        ValueError: The data cannot be trained on.
    """
    import keras

    if folds is not None:
        task = fold_tasks(task, folds)[0]
    task.data.check()
    processes = processes or OneProcess()
    rows: list[list[object]] = []
    rates: list[list[float]] = []
    seconds, done, steps = 0.0, 0, 1
    for stage in task.stages():
        # What is logged of the first network holds for the others.
        with processes.scope(), quiet() if rows else contextlib.nullcontext():
            step_seconds, before, steps, schedule = _measure(task, stage, processes)
        count = stage.epochs * steps
        start = 0 if stage.trained == "head" else done
        rates.append([float(to_numpy(schedule(step))) for step in range(start, start + count)])
        done = start + count if stage.trained != "head" else 0
        seconds += before + count * step_seconds
        rows.append([
            stage.name, stage.epochs, count, stage.image_size, f"{stage.magnitude:.3g}", f"{stage.mixup:.3g}",
            f"{stage.dropout:.3g}", f"{rates[-1][0]:.2g} to {max(rates[-1]):.2g} to {rates[-1][-1]:.2g}",
            f"{1000 * step_seconds:.0f} ms", _duration(before + count * step_seconds),
        ])  # fmt: skip
        keras.backend.clear_session()
    header = ["stage", "epochs", "steps", "pixels", "magnitude", "mixup", "dropout", "learning rate", "step", "time"]
    each = "" if folds is None else f": {folds} folds of {_duration(seconds)}"
    lines = [table(header, rows), f"{_duration(seconds * (folds or 1))} in all, without validation{each}"]
    if peak := _peak_memory():
        lines.append(f"{peak / 1e9:.1f} GB of memory so far, at most")
    if find_spec("matplotlib"):
        from .curves import draw_learning_rates

        out.mkdir(parents=True, exist_ok=True)
        with replacing(out / "plan.png") as part:
            draw_learning_rates(rates, steps).savefig(part)
        lines.append(f"learning rates: {out / 'plan.png'}")
    return "\n".join(lines)


def _measure(task: Task, stage: Stage, processes: Processes) -> tuple[float, float, int, Any]:
    """Measure the seconds of a step and before it; return them, the steps of an epoch, and the schedule.

    The time before includes the first step, which compiles, and the features of all images.
    """
    batches = task.batches(stage, processes)
    nets = task.build(stage, batches.steps)
    processes.prepare(nets.trained)
    before = 0.0
    if nets.body is not None:
        before = _seconds_of_features(task, stage, batches.size, nets.body, processes)
        channels = nets.body.output_shape[-1]
        batches = batches.with_features(np.zeros((len(task.data.pixels), channels), np.float32))
    times = []
    for step, batch in enumerate(batches.from_step(0, 1 + _MEASURED_STEPS)):
        started = time.perf_counter()
        take_step(nets.trained, batches, step, batch, processes)
        times.append(time.perf_counter() - started)
    return float(np.median(times[1:])), before + times[0], batches.steps, nets.rates


def _seconds_of_features(task: Task, stage: Stage, size: int, body: Any, processes: Processes) -> float:
    """Return the time of the pass of all images through the frozen network, seconds, reading included."""
    times = [time.perf_counter()]
    for images in itertools.islice(all_images(task.data, stage.image_size, size), 1 + _MEASURED_STEPS):
        processes.predict(body, images)
        times.append(time.perf_counter())
    compiling, *others = np.diff(times)
    batches = math.ceil(len(task.data.pixels) / size)
    return float(compiling + (batches - 1) * np.median(others)) if others else float(compiling)


def _peak_memory() -> int | None:
    """Return the peak memory of this process, bytes; None if the system does not report it."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"
