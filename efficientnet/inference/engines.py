"""Engines: each takes batches of two sizes, so that nothing is compiled while it predicts."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..model_io.spec import InputSpec
from . import cache
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
    """

    source: ModelSource
    precision: str = "f32"
    threads: int | None = None
    micro_batch: int | None = None
    calibration: tuple[Any, ...] = ()


class Engine(NamedTuple):
    """Compiled model.

    Attributes:
        name: Name of the engine.
        spec: Preparation of images and names of classes.
        lone: Function that predicts one image, with all threads.
        bulk: Function that returns another one, for ``micro_batch`` images at a time in ``workers`` threads at once.
        micro_batch: Images that ``bulk`` predicts at a time.
        workers: Threads that may call ``bulk``'s function at once.
        deviation: Largest difference of outputs from those in float32; None for float32 itself.
    """

    name: str
    spec: InputSpec
    lone: Run
    bulk: Callable[[], Run]
    micro_batch: int
    workers: int
    deviation: float | None = None


def onnxruntime(request: CompileRequest) -> Engine:
    """Run the exported graph in ONNX Runtime, in one session, whose threads share each micro-batch."""
    import onnxruntime as ort

    spec, content, _ = _exported(request, "onnx", f"onnxruntime {ort.__version__}")
    options = ort.SessionOptions()
    options.log_severity_level = 3  # warnings of an optimiser about what it has optimised are no news
    if request.threads is not None:
        options.intra_op_num_threads = request.threads
    session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def run(batch: np.ndarray) -> list[np.ndarray]:
        results: list[np.ndarray] = session.run(None, {name: spec.scale(batch.astype(np.float32, copy=False))})
        return results

    return Engine("onnxruntime", spec, run, lambda: run, request.micro_batch or 4, workers=1)


def litert(request: CompileRequest) -> Engine:
    """Run the exported graph in LiteRT, whose interpreter takes one call at a time, one image each."""
    from ai_edge_litert import interpreter as tflite

    spec, content, names = _exported(request, "litert", "litert")
    interpreter = tflite.Interpreter(model_content=content, num_threads=request.threads)
    side = interpreter.get_input_details()[0]
    # The file may have its outputs in another order.
    named = interpreter.get_signature_runner().get_output_details()
    outputs = [named[name]["index"] for name in names]
    lock = threading.Lock()

    def run(batch: np.ndarray) -> list[np.ndarray]:
        with lock:
            if tuple(interpreter.get_input_details()[0]["shape"]) != batch.shape:
                interpreter.resize_tensor_input(side["index"], batch.shape)
                interpreter.allocate_tensors()
            interpreter.set_tensor(side["index"], spec.scale(batch.astype(np.float32, copy=False)))
            interpreter.invoke()
            return [interpreter.get_tensor(index) for index in outputs]

    interpreter.allocate_tensors()
    return Engine("litert", spec, run, lambda: run, request.micro_batch or 1, workers=1)


def keras(request: CompileRequest) -> Engine:
    """Run the model itself, on the backend of its Keras, one call at a time."""
    from ..keras_graph.detours import keras_outputs

    model, spec = request.source.load()
    lock = threading.Lock()  # Keras on JAX and on OpenVINO keeps a call's state in the model (3.15)

    def run(batch: np.ndarray) -> list[np.ndarray]:
        with lock:
            return keras_outputs(model, spec.scale(batch.astype(np.float32, copy=False)))

    return Engine("keras", spec, run, lambda: run, request.micro_batch or 8, workers=1)


def _exported(request: CompileRequest, kind: str, version: str) -> tuple[InputSpec, bytes, list[str]]:
    """The model in another format, and the names of its outputs there; from the cache where it is."""
    key = request.source.key(kind, version)
    entry = key and cache.read_entry(key)
    if entry:
        return InputSpec.from_json(entry.notes["spec"]), entry.content, entry.notes["outputs"]
    from ..keras_graph import detours, fold, onnx

    model, spec = request.source.load()
    folded = fold.fold_batch_norm(model)  # as which it is exported; its outputs have other names
    content: bytes = {"onnx": detours.onnx_bytes, "litert": detours.litert_bytes}[kind](folded)
    outputs = onnx.tensor_names(folded)[1]
    if key:
        cache.write(key, cache.Entry({"spec": spec._asdict(), "outputs": outputs}, content))
    return spec, content, outputs
