"""Answering: a model compiled for the processor at hand."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from types import TracebackType
from typing import Any

import numpy as np

from . import openvino_graph

ENGINES = ("auto", "openvino", "keras")

Answer = np.ndarray | list[np.ndarray]


class Predictor:
    """A compiled model: called with a batch, it answers in NumPy.

    Attributes:
        engine: what it runs on, ``"openvino"`` or ``"keras"``.
    """

    def __init__(self, engine: str, answer: Callable[[np.ndarray], Answer]) -> None:
        self.engine = engine
        self._answer = answer

    def predict(self, x: Any) -> Answer:
        """Answers a batch.

        Args:
            x: (batch, height, width, channels), what the model takes: preprocessed, or raw pixels 0..255 where it
                was built with ``include_preprocessing=True``.

        Returns:
            What the model gives, float32: (batch, classes) probabilities, features, or a list of feature maps.

        Raises:
            ValueError: ``x`` is not a batch, or not of numbers.
        """
        batch = np.asarray(x, np.float32)
        if batch.ndim != 4 or not len(batch):
            raise ValueError(f"Expected a batch of at least one image, 4 dimensions; got shape {batch.shape}.")
        return self._answer(batch)

    __call__ = predict

    def close(self) -> None:
        """Frees the compiled model; the predictor cannot be called afterwards."""
        self._answer = _closed

    def __enter__(self) -> Predictor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def compile(model: Any, engine: str = "auto") -> Predictor:
    """Compiles a model for answering, in float32 on every engine that can be told so.

    Args:
        model: a Keras model, of either Keras and on any backend.
        engine: ``"openvino"`` writes the model's layers down as an OpenVINO graph and computes it in float32 on
            the processor; ``"keras"`` asks the model itself (on Keras' own OpenVINO backend that is bfloat16 on
            processors that have it); ``"auto"`` takes OpenVINO where it is installed and knows every layer.

    Returns:
        A :class:`Predictor`, safe to call from many threads.

    Raises:
        ValueError: an unknown engine, or a layer that it cannot run; the message names it.
        ImportError: the engine is not installed; the message names the extra.
    """
    if engine not in ENGINES:
        raise ValueError(f"Unknown engine {engine!r}; choose one of {', '.join(ENGINES)}.")
    if engine == "keras":
        return Predictor("keras", lambda batch: _as_numpy(model.predict_on_batch(batch)))
    if find_spec("openvino") is None:
        if engine == "auto":
            return compile(model, "keras")
        raise ImportError("engine='openvino' needs OpenVINO: pip install 'efficientnet[openvino]'.")
    try:
        return Predictor("openvino", _openvino_answer(model))
    except openvino_graph.UnsupportedLayerError:
        if engine == "auto":
            return compile(model, "keras")
        raise


def _openvino_answer(model: Any) -> Callable[[np.ndarray], Answer]:
    import openvino

    # Left to itself OpenVINO computes in bfloat16 wherever the processor can, several per cent off.
    options = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    compiled = openvino.Core().compile_model(openvino_graph.convert(model), "CPU", options)

    def answer(batch: np.ndarray) -> Answer:
        results = compiled.create_infer_request().infer([batch])  # one request per call: requests are not shared
        arrays = [np.array(results[output]) for output in compiled.outputs]
        return arrays[0] if len(arrays) == 1 else arrays

    return answer


def _as_numpy(outputs: Any) -> Answer:
    return [np.asarray(output) for output in outputs] if isinstance(outputs, (list, tuple)) else np.asarray(outputs)


def _closed(batch: np.ndarray) -> Answer:
    raise ValueError("This predictor is closed; compile the model again.")
