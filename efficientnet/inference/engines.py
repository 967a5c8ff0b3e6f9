"""Engines: each takes batches of two sizes, so that nothing is compiled while it predicts."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..exported_files.formats import require_runtime
from ..exported_files.opening import open_exported
from ..model_io.spec import InputSpec
from . import cache
from .fidelity import Fidelity
from .sources import ModelSource

# A batch in, the arrays that the model gives out; safe to call from many threads.
Run = Callable[[np.ndarray], list[np.ndarray]]


@dataclass(frozen=True)
class CompileRequest:
    """Model to compile, with options.

    Attributes:
        source: Model.
        precision: ``"f32"``, ``"bf16"`` or ``"int8"``.
        threads: Processor threads; None leaves it to the engine.
        micro_batch: Images at a time if there are many; None for the engine's choice.
        calibration: Images to find the ranges of int8 with.
        agreement: Least share of views of held-out images that keep their prediction in int8.
    """

    source: ModelSource
    precision: str = "f32"
    threads: int | None = None
    micro_batch: int | None = None
    calibration: tuple[Any, ...] = ()
    agreement: float = 0.0


class Engine(NamedTuple):
    """Compiled model.

    Attributes:
        name: Name of the engine.
        spec: Preparation of images and names of classes.
        lone: Function that predicts up to ``most_alone`` images, with all threads.
        bulk: Function that returns another one, for ``micro_batch`` images at a time in ``workers`` threads at once.
        micro_batch: Images that ``bulk`` predicts at a time.
        workers: Threads that may call ``bulk``'s function at once.
        deviation: Largest difference of outputs from those in float32; None for float32 itself.
        most_alone: Most images that ``lone`` takes: more than one if a file takes a fixed number.
        fidelity: How well int8 keeps the predictions of float32; None for other precisions.
    """

    name: str
    spec: InputSpec
    lone: Run
    bulk: Callable[[], Run]
    micro_batch: int
    workers: int
    deviation: float | None = None
    most_alone: int = 1
    fidelity: Fidelity | None = None


def onnxruntime(request: CompileRequest) -> Engine:
    """Run the exported graph in ONNX Runtime, in one session, whose threads share each micro-batch."""
    return _running("onnxruntime", "onnx", request, 4)


def litert(request: CompileRequest) -> Engine:
    """Run the exported graph in LiteRT, whose interpreter takes one call at a time, one image each."""
    return _running("litert", "litert", request, 1)


def tensorflow(request: CompileRequest) -> Engine:
    """Run a SavedModel in TensorFlow, whose threads share each micro-batch."""
    return _running("tensorflow", "saved_model", request, 8)


def keras(request: CompileRequest) -> Engine:
    """Run the model itself, on the backend of its Keras, one call at a time."""
    from ..keras_graph.detours import keras_outputs

    model, spec = request.source.load()
    lock = threading.Lock()  # Keras on JAX and on OpenVINO keeps a call's state in the model (3.15)

    def run(batch: np.ndarray) -> list[np.ndarray]:
        with lock:
            return keras_outputs(model, spec.scale(batch.astype(np.float32, copy=False)))

    return Engine("keras", spec, run, lambda: run, request.micro_batch or 8, workers=1)


def _running(name: str, format: str, request: CompileRequest, micro_batch: int) -> Engine:
    """Return the engine of an exported model: the file itself, or a Keras model that is exported for it."""
    if request.source.exported is not None:
        model, spec = request.source.exported.open(request.threads)
    else:
        spec, content, outputs = _exported(request, format)
        model = open_exported(content, format, request.threads).ordered(outputs)

    def run(batch: np.ndarray) -> list[np.ndarray]:
        return model.run(spec.scale(batch.astype(np.float32, copy=False)))

    fixed = model.ports.inputs[0].shape[0]
    return Engine(
        name, spec, padded(run, fixed), lambda: run, fixed or request.micro_batch or micro_batch, workers=1,
        most_alone=fixed or 1,
    )  # fmt: skip


def padded(run: Run, count: int | None) -> Run:
    """Return a function for up to ``count`` images, from one that takes exactly ``count``; the same if that is None."""
    if count is None:
        return run

    def run_padded(batch: np.ndarray) -> list[np.ndarray]:
        whole = batch[np.arange(count).clip(max=len(batch) - 1)]  # the last one fills it
        return [output[: len(batch)] for output in run(whole)]

    return run_padded


def _exported(request: CompileRequest, kind: str) -> tuple[InputSpec, bytes, list[str]]:
    """Return the model in another format, and the names of its outputs there; from the cache where it is."""
    key = request.source.key(kind, require_runtime(kind, "the engine"))
    entry = key and cache.read_entry(key)
    if entry:
        return InputSpec.from_json(entry.notes["spec"]), bytes(entry.content), entry.notes["outputs"]
    from ..keras_graph import detours, fold, onnx

    model, spec = request.source.load()
    folded = fold.fold_batch_norm(model)  # it is exported folded; its outputs have other names
    content: bytes = {"onnx": detours.onnx_bytes, "litert": detours.litert_bytes}[kind](folded)
    outputs = onnx.tensor_names(folded)[1]
    if key:
        cache.write(key, cache.Entry({"spec": spec._asdict(), "outputs": outputs}, content))
    return spec, content, outputs
