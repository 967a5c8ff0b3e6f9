"""How networks are timed on this machine."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from ..common import arguments
from ..family.costs import PRECISIONS

_LEAST_TIMINGS, _LEAST_SECONDS = 10, 1.0  # for one network alone
_CALIBRATED = 4  # random images: the time in int8 does not depend on them
_LEAST_ROUNDS, _MOST_ROUNDS, _ROUND_SECONDS = 5, 15, 0.01  # for networks by turns
_ENOUGH_SECONDS = 5.0  # for all rounds of a network
_DECILE = 0.1

# A prediction of one image; returns the seconds that it took.
Run = Callable[[], float]


class Timed(NamedTuple):
    """Engine and threads to time networks with, and the precision of their time, file and memory."""

    precision: str = "f32"
    engine: str = "auto"
    threads: int | None = None

    def checked(self) -> Timed:
        """Return the settings unchanged.

        Raises:
            ValueError: The precision, the engine or the number of threads is none.
        """
        from ..inference.compiling import ENGINES

        arguments.choice("precision", self.precision, PRECISIONS)
        arguments.choice("engine", self.engine, ENGINES)
        if self.threads is not None:
            arguments.whole("threads", self.threads)
        return self

    def milliseconds(self, model: Any) -> float:
        """Return the median time for one image."""
        seconds: list[float] = []
        with self.compiled(model) as run:
            while len(seconds) < _LEAST_TIMINGS or sum(seconds) < _LEAST_SECONDS:
                seconds.append(run())
        return 1000 * statistics.median(seconds)

    @contextmanager
    def compiled(self, model: Any) -> Iterator[Run]:
        """Compile a Keras model, and enter a function that predicts one image."""
        from ..inference import compile

        generator = np.random.default_rng(0)
        images = generator.integers(0, 256, (_CALIBRATED, *model.input_shape[1:]), np.uint8)
        is_int8 = self.precision == "int8"
        with compile(
            model, self.engine, precision="int8" if is_int8 else "f32", threads=self.threads,
            calibration=[*images] if is_int8 else (), cache=False,
        ) as predictor:  # fmt: skip

            def run() -> float:
                begin = time.perf_counter()
                predictor(images[:1])
                return time.perf_counter() - begin

            for _ in range(3):
                run()
            yield run


class Times(NamedTuple):
    """How long a network took.

    Attributes:
        seconds: First decile of its runs, which other programs hardly touch.
        spread: Their median, as a multiple of it: nearly 1 on a quiet machine.
    """

    seconds: float
    spread: float


def by_turns(runs: Sequence[Run]) -> list[Times]:
    """Time networks by turns in many short rounds, so that what else the machine does slows all of them."""
    seconds: list[list[float]] = [[] for _ in runs]
    end = time.perf_counter() + _ENOUGH_SECONDS * len(runs)
    for number in range(_MOST_ROUNDS):
        if number >= _LEAST_ROUNDS and time.perf_counter() > end:
            break
        for run, times in zip(runs, seconds, strict=True):
            spent = 0.0
            while spent < _ROUND_SECONDS:
                times.append(run())
                spent += times[-1]
    deciles = [float(np.quantile(times, _DECILE)) for times in seconds]
    return [Times(decile, statistics.median(times) / decile) for decile, times in zip(deciles, seconds, strict=True)]
