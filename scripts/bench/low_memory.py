"""Part "low-memory": training all of B0 with blocks that are computed twice, beside the plain way."""

from __future__ import annotations

import functools
import importlib
import statistics
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from .backends import BACKENDS, Backend, start
from .keras_parts import CLASSES, random_images
from .measuring import Case, Effort, Row, compare, held_memory, in_fresh_process, peak_memory, timed

TRAINS = ("tensorflow", "jax")
BATCH, STEPS = 32, 3


def rows(names: Sequence[str]) -> Iterator[Row]:
    """On each backend the memory that steps take on top of what the process held before, and the time of a step."""
    for name in names:
        for what, measure, unit in (("memory of steps", added_memory, "MB"), ("training step", step_seconds, "s")):
            if name in TRAINS:
                ours, peer = (
                    functools.partial(in_fresh_process, measure, BACKENDS[name], low) for low in (True, False)
                )
                case = Case(f"{name}: {what}, B0, batch {BATCH} (peer: plain)", ours, peer, unit)
                yield compare(case, Effort(pairs=2, seconds=0))


def added_memory(backend: Backend, low_memory: bool) -> float:
    """Return the most bytes that the process held in the steps, without those that it held before them."""
    step = make_step(backend, low_memory)
    before = held_memory()
    for _ in range(STEPS):
        step()
    return peak_memory() - before


def step_seconds(backend: Backend, low_memory: bool) -> float:
    """Return the median seconds of a step, once it is compiled."""
    step = make_step(backend, low_memory)
    step(), step()
    return statistics.median(step() for _ in range(STEPS))


def make_step(backend: Backend, low_memory: bool) -> Callable[[], float]:
    """Build the network, and return a function that trains it for a step and returns the seconds."""
    from efficientnet.training.low_memory import with_recomputed_blocks

    model = start(backend)["ours"]("EfficientNetB0")
    model = with_recomputed_blocks(model) if low_memory else model
    importlib.import_module(backend.keras).utils.set_random_seed(0)
    model.compile("rmsprop", "categorical_crossentropy")
    targets = np.eye(CLASSES, dtype=np.float32)[np.arange(BATCH)]
    return timed(model.train_on_batch, random_images(model, BATCH), targets)
