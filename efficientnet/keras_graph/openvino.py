"""OpenVINO's runtime, and Keras models as its graphs, which it reads from ONNX."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from ..common.private_imports import import_privately
from ..images.pixel_scaling import Scaling

_core_lock = threading.Lock()


def core() -> Any:
    """Return OpenVINO's runtime, one per process, with its plugin for processors loaded. Threads may share it."""
    with _core_lock:  # as functools.cache has none
        runtime, process = _core()
    if os.getpid() != process:
        raise RuntimeError(
            f"OpenVINO was loaded in process {process}, of which this one, {os.getpid()}, is a fork: its threads are "
            "not in it. Compile no model before the fork, or start processes by spawn."
        )
    return runtime


@functools.cache
def _core() -> tuple[Any, int]:
    def load() -> Any:
        openvino = import_privately("openvino")
        runtime = openvino.Core()
        runtime.get_property("CPU", "FULL_DEVICE_NAME")
        # The binding takes the GIL while it makes a static table of NumPy's types, at the first array. Of two threads
        # that come with the first arrays, one then waits for the table with the GIL, the other for the GIL, for ever.
        _ = openvino.Tensor(np.zeros(1, np.float32)).data
        return runtime

    return in_own_thread(load), os.getpid()


def in_own_thread(load: Callable[[], Any]) -> Any:
    """Call a function that makes an OpenVINO runtime in a separate thread, and return its result.

    A runtime gives the thread that makes it a stack for signals, and frees that at its own end (2026.4). In the main
    thread, after two that overlap, the next signal, be it a Ctrl-C, is a segmentation fault.
    """
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(load).result()


def convert(model: Any, scaling: Scaling | None = None) -> Any:
    """Convert a functional or sequential Keras model to OpenVINO, in float32 and for any batch size.

    Args:
        model: Model of either Keras, on any backend, in either channel order.
        scaling: Scaling of the colors of each input image before the model; none by default.

    Returns:
        An ``openvino.Model`` with the inputs and outputs of ``model``, named as in its ONNX graph; operations are
        named ``LAYER:OPERATION``, as what OpenVINO says of them is to be said of the layer.

    Raises:
        UnsupportedLayerError: The model has a layer that has no form in ONNX; the message names it.
        ImportError: The package ``onnx`` is not installed.
    """
    from . import onnx  # the runtime alone does not need it

    return simplified(core().read_model(onnx.convert(model, scaling=scaling).SerializeToString()))


def simplified(graph: Any) -> Any:
    """Simplify a graph like ``openvino.convert_model``: compute what depends on no input, and join patterns.

    Compiling does that as well; but the ranges of int8 are found for the operations that are there before.
    """
    from openvino._offline_transformations import apply_moc_transformations

    apply_moc_transformations(graph, cf=True)
    return graph
