"""Conversion of models with a layer that has no form in ``keras_graph.onnx``, through TensorFlow's SavedModel.

The result is compared with Keras at once, since the converters are not part of this package.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..common.private_imports import import_privately
from ..common.text import get_logger
from ..images.pixel_scaling import Scaling
from . import onnx as onnx_graph
from . import openvino as openvino_graph
from .fold import fold_batch_norm
from .tensorflow import Options, channels_first_error, write_with_tensorflow
from .walk import backend_of, data_formats, functional, keras_of, output_names, tree_of

logger = get_logger()

# Relative to the largest output where that is above 1. Keras on OpenVINO computes in bfloat16 itself, where it can.
_TOLERANCE, _TOLERANCE_ON_OPENVINO = 1e-4, 0.1
_ANY_SIZE = 64
_SAVED = "saved"
_TF2ONNX, _OPSET = "tf2onnx.convert", "17"

Runner: TypeAlias = Callable[[np.ndarray], list[np.ndarray]]


def onnx_of(model: Any, batch: int | None = None, scaling: Scaling | None = None) -> Any:
    """Convert a Keras model to ONNX; a layer without a form there goes through SavedModel and tf2onnx.

    Args:
        model: Functional or sequential model of either Keras, on any backend.
        batch: Number of images that it takes; None for any number.
        scaling: Scaling of the colors of each input image before the model; none by default. All layers need a form.

    Raises:
        UnsupportedLayerError: Neither way leads to a graph with Keras' outputs; the message names the layer.
    """
    try:
        return onnx_graph.convert(model, batch or "dynamic", scaling)
    except onnx_graph.UnsupportedLayerError as error:
        if scaling is not None:
            raise
        return _converted(model, error, "tf2onnx", batch, _by_tf2onnx, _onnx_runner)


def openvino_of(model: Any, scaling: Scaling | None = None) -> Any:
    """Convert a Keras model to OpenVINO; a layer without a form in ``keras_graph.onnx`` goes through SavedModel.

    Args:
        model: Functional or sequential model of either Keras, on any backend.
        scaling: Scaling of the colors of each input image before the model; none by default.

    Raises:
        UnsupportedLayerError: Neither way leads to a graph with Keras' outputs; the message names the layer.
    """
    try:
        return openvino_graph.convert(model, scaling)
    except onnx_graph.UnsupportedLayerError as error:
        graph = _converted(model, error, "openvino", None, _by_openvino, _openvino_runner)
    if scaling is not None:
        _scale_inputs(graph, scaling, data_formats(model) != {"channels_first"})
    return graph


def onnx_bytes(model: Any) -> bytes:
    """Convert a Keras model to the content of an ONNX file, float32, for any batch size.

    Raises:
        ValueError, ImportError: The model cannot be converted; the message names the layer, or the package.

    Example:
        >>> from pathlib import Path
        >>> import keras
        >>> model = keras.Sequential([keras.Input((32, 32, 3)), keras.layers.Conv2D(4, 3), keras.layers.Flatten()])
        >>> Path("small.onnx").write_bytes(onnx_bytes(model)) > 0
        True
    """
    content: bytes = onnx_of(fold_batch_norm(model)).SerializeToString()
    return content


def litert_bytes(model: Any) -> bytes:
    """Convert a Keras model to the content of a .tflite file, float32, for any batch size.

    Raises:
        ValueError: The model cannot be converted.
        ImportError: TensorFlow, which converts it, is not installed.

    Example:
        >>> from pathlib import Path
        >>> import keras
        >>> model = keras.Sequential([keras.Input((32, 32, 3)), keras.layers.Conv2D(4, 3), keras.layers.Flatten()])
        >>> Path("small.tflite").write_bytes(litert_bytes(model)) > 0
        True
    """
    if error := channels_first_error(model):
        raise error
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.tflite"
        write_with_tensorflow(fold_batch_norm(model), path, "litert", Options())
        return path.read_bytes()


def keras_outputs(model: Any, batch: np.ndarray) -> list[np.ndarray]:
    """Return a model's outputs for a batch, in their order.

    Raises:
        ValueError: Its Keras cannot compute it, as the channels come first.
    """
    try:
        outputs = model.predict_on_batch(batch)
    except Exception as error:
        if backend_of(model) == "tensorflow" and (reason := channels_first_error(model)):
            raise reason from error
        raise
    if names := output_names(model):
        outputs = [outputs[name] for name in names]
    return [np.asarray(output) for output in tree_of(keras_of(model)).flatten(outputs)]


def relative_difference(found: NDArray[Any], expected: NDArray[Any]) -> float:
    """Return the largest difference between outputs, relative to the largest expected one if above 1; NaN for NaN."""
    return float(np.abs(found - expected).max() / max(1.0, np.abs(expected).max()))


def _converted(
    model: Any,
    error: onnx_graph.UnsupportedLayerError,
    converter: str,
    batch: int | None,
    convert: Callable[[Any, Path, int | None], Any],
    runner_of: Callable[[Any], Runner],
) -> Any:
    """Convert a SavedModel, and check that the outputs are Keras'."""
    for package in ("tensorflow", converter):
        if find_spec(package) is None:
            raise onnx_graph.UnsupportedLayerError(
                f"{error.problem} (and {package}, by which it could be converted, is not installed)"
            ) from None
    logger.info("%s: the model is converted by TensorFlow and %s.", error.problem, converter)
    try:
        with tempfile.TemporaryDirectory() as name:
            write_with_tensorflow(model, Path(name) / _SAVED, "saved_model", Options(batch=batch))
            graph = convert(model, Path(name), batch)
        difference = _difference(model, runner_of(graph), batch)
    except Exception as failure:  # converters and runtimes have many kinds of exceptions
        reason = str(failure).strip().split("\n", 1)[0]
        raise onnx_graph.UnsupportedLayerError(
            f"{error.problem} (and TensorFlow and {converter} cannot convert the model: {reason})"
        ) from failure
    if not difference <= (_TOLERANCE_ON_OPENVINO if backend_of(model) == "openvino" else _TOLERANCE):
        raise onnx_graph.UnsupportedLayerError(
            f"{error.problem} (and what TensorFlow and {converter} make of the model predicts otherwise than Keras, by "
            f"{difference:.2g})"
        ) from None
    return graph


def _by_openvino(model: Any, folder: Path, batch: int | None) -> Any:
    openvino = import_privately("openvino")
    # Not by openvino.convert_model, which the command does without, and which reports what it is called with.
    frontend = openvino.frontend.FrontEndManager().load_by_framework("tf")
    graph = frontend.convert(frontend.load(str(folder / _SAVED)))
    named = {name: port for port in graph.outputs for name in port.get_names()}
    names = onnx_graph.tensor_names(model)[1]
    return openvino.Model([named[name] for name in names], graph.get_parameters(), model.name)


def _by_tf2onnx(model: Any, folder: Path, batch: int | None) -> Any:
    import onnx

    path = folder / "model.onnx"
    done = subprocess.run(
        [sys.executable, "-m", _TF2ONNX, "--opset", _OPSET, "--saved-model", folder / _SAVED, "--output", path],
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise ValueError(done.stderr.strip().rsplit("\n", 1)[-1] or f"exit status {done.returncode}")
    written = onnx.load(path)
    named = {output.name: output for output in written.graph.output}
    outputs = [named[name] for name in onnx_graph.tensor_names(model)[1]]
    del written.graph.output[:]
    written.graph.output.extend(outputs)
    return written


def _openvino_runner(graph: Any) -> Runner:
    compiled = openvino_graph.core().compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def run_batch(batch: np.ndarray) -> list[np.ndarray]:
        results = compiled(batch)
        return [np.array(results[output]) for output in compiled.outputs]

    return run_batch


def _onnx_runner(written: Any) -> Runner:
    import onnxruntime

    session = onnxruntime.InferenceSession(written.SerializeToString(), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda batch: list(session.run(None, {name: batch}))


def _difference(model: Any, run_batch: Runner, batch: int | None) -> float:
    """Return the largest difference from Keras' outputs, on noise of the range of pixels; NaN if an output is NaN."""
    (tensor,) = functional(model).inputs
    rng = np.random.default_rng(0)
    shape = [batch or 2, *(_ANY_SIZE if side is None else side for side in tensor.shape[1:])]
    differences = []
    for x in (rng.normal(0, 1, shape).astype(np.float32), rng.uniform(0, 255, shape).astype(np.float32)):
        pairs = zip(run_batch(x), keras_outputs(model, x), strict=True)
        differences += [relative_difference(ours, theirs) for ours, theirs in pairs]
    return float(np.max(differences))


def _scale_inputs(graph: Any, scaling: Scaling, channels_last: bool) -> None:
    """Make an OpenVINO graph first multiply the colors of its input images, and add to them."""
    from openvino import opset13 as ops

    for parameter in graph.get_parameters():
        takers = parameter.output(0).get_target_inputs()
        shape = (-1,) if channels_last else (-1, 1, 1)
        factor, offset = (ops.constant(np.reshape(np.asarray(part, np.float32), shape)) for part in scaling)
        scaled = ops.add(ops.multiply(parameter, factor), offset)
        for taker in takers:
            taker.replace_source_output(scaled.output(0))
    graph.validate_nodes_and_infer_types()
