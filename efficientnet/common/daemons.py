"""Threads that may wait for a file or a server, and never keep a process from ending."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable
from concurrent import futures
from concurrent.futures import Future
from typing import Any, TypeVar

Result = TypeVar("Result")


class Daemons:
    """Threads that make calls in the order in which they are submitted.

    A ``ThreadPoolExecutor`` is joined when its process ends, and what waits for a server that sends a byte a second
    cannot be stopped: Ctrl-C would wait, too.
    """

    def __init__(self, threads: int, name: str) -> None:
        self._calls: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = queue.SimpleQueue()
        self._threads = threads
        for _ in range(threads):
            threading.Thread(target=self._work, name=name, daemon=True).start()

    def submit(self, call: Callable[[], Result]) -> Future[Result]:
        """Start a call as soon as a thread is free."""
        future: Future[Result] = Future()
        self._calls.put((future, call))
        return future

    def close(self) -> None:
        """Drop the calls that have not begun, and let each thread end after its last one."""
        with contextlib.suppress(queue.Empty):
            while waiting := self._calls.get_nowait():
                waiting[0].cancel()
        for _ in range(self._threads):
            self._calls.put(None)

    def _work(self) -> None:
        while task := self._calls.get():
            future, call = task
            if not future.set_running_or_notify_cancel():
                continue
            try:
                result = call()
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(result)
                del result
            del task, future, call  # an image is not kept until the next one is read


def within(seconds: float, call: Callable[[], Result]) -> Result:
    """Return the result of a call.

    Raises:
        TimeoutError: The call takes longer; its thread is left behind.
    """
    daemon = Daemons(1, "efficientnet-download")
    try:
        return daemon.submit(call).result(seconds)
    except futures.TimeoutError:  # before Python 3.11 it is not one of the built-in kind
        raise TimeoutError from None
    finally:
        daemon.close()


def read_seconds(text: str) -> float:
    """Parse the seconds that a user gives for :func:`within`.

    Raises:
        ValueError: The text is not a number greater than 0, or more than a computer can wait.
    """
    with contextlib.suppress(ValueError):
        if 0 < (seconds := float(text)) <= threading.TIMEOUT_MAX:
            return seconds
    raise ValueError(f"{text!r} is not a number of seconds greater than 0")
