"""Predictions of exported files, each from the runtime that its format is for."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from ..keras_graph import openvino

RunBatch = Callable[[np.ndarray], dict[str, np.ndarray]]

# Format -> its runtime's package, that in the package index, and the extra that installs both.
_RUNTIMES = {
    "onnx": ("onnxruntime", "onnxruntime", "onnx"),
    "openvino": ("openvino", "openvino", "openvino"),
    "litert": ("ai_edge_litert", "ai-edge-litert", "litert"),
    "saved_model": ("tensorflow", "tensorflow", "tensorflow"),
}


def require_runtime(format: str) -> str:
    """Return name and version of the runtime that a format is for.

    Raises:
        ImportError: The runtime is not installed; the message names the extra.
    """
    module, package, extra = _RUNTIMES[format]
    if find_spec(module) is None:
        raise ImportError(f"Exports as {format} are verified in {package}: pip install 'efficientnet[{extra}]>=2'.")
    return f"{package} {version(package)}"


def open_exported(path: Path, format: str) -> RunBatch:
    """Return a function from a batch in the model's layout, float32, to the file's outputs by their names."""
    return _OPENERS[format](path)


def _onnx(path: Path) -> RunBatch:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 3  # an optimiser's remarks on its work are no news
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    (given,), names = session.get_inputs(), [output.name for output in session.get_outputs()]
    return lambda batch: dict(zip(names, session.run(names, {given.name: batch}), strict=True))


def _openvino(path: Path) -> RunBatch:
    compiled = openvino.core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def run_batch(batch: np.ndarray) -> dict[str, np.ndarray]:
        results = compiled(batch)
        return {output.any_name: np.array(results[output]) for output in compiled.outputs}

    return run_batch


def _litert(path: Path) -> RunBatch:
    interpreter = importlib.import_module("ai_edge_litert.interpreter").Interpreter(str(path))
    run = interpreter.get_signature_runner()
    (name,) = run.get_input_details()

    def run_batch(batch: np.ndarray) -> dict[str, np.ndarray]:
        results: dict[str, np.ndarray] = run(**{name: batch})
        return results

    return run_batch


def _saved_model(path: Path) -> RunBatch:
    import tensorflow as tf

    loaded: Any = tf.saved_model.load(str(path))

    def run_batch(batch: np.ndarray) -> dict[str, np.ndarray]:
        return {name: value.numpy() for name, value in loaded.serve(tf.constant(batch)).items()}

    return run_batch


_OPENERS: dict[str, Callable[[Path], RunBatch]] = {
    "onnx": _onnx,
    "openvino": _openvino,
    "litert": _litert,
    "saved_model": _saved_model,
}
