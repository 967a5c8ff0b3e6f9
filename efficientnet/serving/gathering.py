"""Requests that come at the same time are predicted together."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, NamedTuple

import numpy as np

from ..common.processors import processors
from ..errors import QueueFullError
from ..inference import Predictor
from ..model_io.images import read_image

_MOST_TOGETHER = 16  # images that a thread takes at a time


class Prepared(NamedTuple):
    """Pixels of the model's own size and layout, 0..255, which are neither cropped nor resized."""

    pixels: np.ndarray


class _Job(NamedTuple):
    source: Any
    future: Future[np.ndarray]


class Gatherer:
    """Threads that predict what waits, several images at a time.

    Attributes:
        predictor: Predictor that computes.
        on_batch: Function that is called with the number of images of each batch.

    By default there are as many threads as processors.

    Example:
        >>> from efficientnet.inference import compile
        >>> from efficientnet.keras import EfficientNet
        >>> predictor = compile(EfficientNet(0.25, 0.25, 32, weights=None, classes=5), cache=False)
        >>> with predictor, Gatherer(predictor, waiting=8) as gatherer:
        ...     print(gatherer.submit("misc/panda.jpg").result().shape)
        (5,)
    """

    def __init__(
        self,
        predictor: Predictor,
        waiting: int,
        on_batch: Callable[[int], None] = lambda count: None,
        threads: int | None = None,
    ) -> None:
        self.predictor = predictor
        self.on_batch = on_batch
        self._jobs: queue.Queue[_Job | None] = queue.Queue(waiting)
        self._threads = [
            threading.Thread(target=self._work, name="efficientnet-serve") for _ in range(threads or processors())
        ]
        for thread in self._threads:
            thread.start()

    @property
    def waiting(self) -> int:
        """Number of images that wait."""
        return self._jobs.qsize()

    def submit(self, source: Any) -> Future[np.ndarray]:
        """Return what will be the model's outputs for an image, as ``Predictor.stream`` takes it, or a prepared one.

        The future raises ValueError if the image cannot be read.

        Raises:
            QueueFullError: Too many images wait.
        """
        future: Future[np.ndarray] = Future()
        try:
            self._jobs.put_nowait(_Job(source, future))
        except queue.Full:
            raise QueueFullError(f"{self._jobs.maxsize} images wait already.") from None
        return future

    def close(self) -> None:
        """Predict what still waits, and end the threads."""
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join()

    def __enter__(self) -> Gatherer:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _work(self) -> None:
        is_over = False
        while not is_over:
            jobs = [self._jobs.get()]
            while len(jobs) < _MOST_TOGETHER and jobs[-1] is not None:
                try:
                    jobs.append(self._jobs.get_nowait())
                except queue.Empty:
                    break
            is_over = jobs[-1] is None  # each thread takes one such end
            # A request that was given up is not worth a prediction.
            self._predict([job for job in jobs if job is not None and job.future.set_running_or_notify_cancel()])

    def _predict(self, jobs: list[_Job]) -> None:
        """Decode images one after the other, and predict them together; the other threads do the same meanwhile."""
        spec = self.predictor.spec
        images: list[np.ndarray] = []
        read: list[_Job] = []
        for job in jobs:
            try:
                is_prepared = isinstance(job.source, Prepared)
                images.append(job.source.pixels if is_prepared else read_image(job.source, spec))
                read.append(job)
            except Exception as error:
                job.future.set_exception(ValueError(str(error) or type(error).__name__))
        if not read:
            return
        self.on_batch(len(read))
        try:
            outputs = self.predictor.predict_prepared(np.stack(images))
        except Exception as error:  # any error of the engine: the thread goes on with other images
            for job in read:
                job.future.set_exception(error)
            return
        for job, vector in zip(read, outputs, strict=True):
            try:
                job.future.set_result(spec.vector(vector))
            except ValueError as error:  # numbers that are not finite
                job.future.set_exception(error)
