"""Formats that TensorFlow writes: LiteRT and SavedModel.

A model on another of Keras' backends is handed, as a file, to a separate process in which Keras runs on
TensorFlow. (Run as a module this is that process.)
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..common.packages import missing
from ..images.pixel_scaling import Scaling
from .onnx import tensor_names
from .walk import backend_of, data_formats, functional, keras_of, tree_of

_MODEL, _ORDER, _SAMPLES = "model.keras", "order.json", "samples.npy"


class Options(NamedTuple):
    """Options of a file.

    Attributes:
        precision: ``"f32"``, ``"f16"`` or ``"int8"``.
        batch: Number of images that it takes; None for any number.
        samples: For ``"int8"``, what the file takes, (n, …) float32, to find the ranges of 8-bit numbers with.
        scaling: Scaling of the colors of the input before all else; None for none.
        input_type: Input type of what it takes: ``"float32"`` or ``"uint8"``.
        floating: For ``"int8"``, names of the layers that stay in float32.
    """

    precision: str = "f32"
    batch: int | None = None
    samples: np.ndarray | None = None
    scaling: Scaling | None = None
    input_type: str = "float32"
    floating: Sequence[str] = ()


def channels_first_error(model: Any) -> ValueError | None:
    """Return the error for a model that TensorFlow cannot compute, or computes wrongly in LiteRT; None for others."""
    if data_formats(model) != {"channels_first"}:
        return None
    return ValueError(
        f"{model.name} is channels_first, which TensorFlow does not compute on a processor: predict by OpenVINO or "
        "ONNX Runtime, and export for these, with Keras on another backend (KERAS_BACKEND=jax or torch)."
    )


def write_with_tensorflow(model: Any, path: Path, format: str, options: Options) -> None:
    """Write a model.

    Args:
        model: Functional, of either Keras, on any backend.
        path: Path of a file, or for a SavedModel of a folder, that is not there yet.
        format: ``"litert"`` or ``"saved_model"``.
        options: How it is to be; a SavedModel's precision is the model's own.

    Raises:
        ImportError: TensorFlow is not installed.
        ValueError: The other process cannot open or convert the model.
    """
    if find_spec("tensorflow") is None:
        raise missing(f"TensorFlow converts models to {format}", "tensorflow")
    if backend_of(model) != "tensorflow":
        _write_elsewhere(model, path, format, options)
    elif format == "litert":
        path.write_bytes(_litert(model, options))
    else:
        _write_saved_model(model, path, options)


def _module(model: Any, options: Options) -> Any:
    """Return the model as a module of TensorFlow, whose function ``serve`` gives outputs by their names."""
    import tensorflow as tf

    (name,), names = tensor_names(model)
    flatten = tree_of(keras_of(model)).flatten  # TensorFlow's own sorts an OrderedDict, too
    given = tf.TensorSpec((options.batch, *functional(model).inputs[0].shape[1:]), options.input_type, name)

    def serve(x: Any) -> dict[str, Any]:
        x = tf.cast(x, tf.float32)
        if options.scaling is not None:
            scale, offset = (np.asarray(values, np.float32) for values in options.scaling)
            x = x * scale + offset
        return dict(zip(names, flatten(model(x, training=False)), strict=True))

    module = tf.Module()
    module.serve = tf.function(serve, input_signature=[given], autograph=False)
    # What the function uses has to be in the module; Keras 3 has its own variables around TensorFlow's.
    module.weights = [x if isinstance(x, tf.Variable) else x.value for x in model.variables]
    return module


def _litert(model: Any, options: Options) -> bytes:
    import tensorflow as tf

    module = _module(model, options)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([module.serve.get_concrete_function()], module)
    if options.precision != "f32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if options.precision == "f16":
        converter.target_spec.supported_types = [tf.float16]
    if options.precision == "int8" and options.samples is not None:
        samples = options.samples if options.input_type == "float32" else np.rint(options.samples).astype(np.uint8)
        converter.representative_dataset = lambda: ([sample[np.newaxis]] for sample in samples)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        return _quantized(converter, options.floating)
    converted: bytes = converter.convert()
    return converted


def _quantized(converter: Any, floating: Sequence[str]) -> bytes:
    """Return a .tflite file in 8 bits but for some layers, with the activations that are joined to them.

    In 8 bits a softmax has no probabilities below 1/256, so the operations that give the outputs are in float always.
    """
    import tensorflow as tf
    from ai_edge_litert.interpreter import Interpreter

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the class uses TensorFlow's own interpreter, which is to go
        quantizer = tf.lite.experimental.QuantizationDebugger(
            converter=converter, debug_dataset=converter.representative_dataset
        )
    interpreter = Interpreter(model_content=quantizer.calibrated_model)
    outputs = {detail["name"] for detail in interpreter.get_output_details()}
    # A tensor is named after all operations that were joined into one: "model/stem_conv_1/BiasAdd;model/…".
    layers = re.compile(rf"(^|[/;])({'|'.join(map(re.escape, floating))})(_\d+)?/") if floating else None
    names = [detail["name"] for detail in interpreter.get_tensor_details()]
    kept = [name for name in names if name in outputs or (layers and layers.search(name))]
    # Its property ``options`` would also convert a model for debugging, which takes seconds.
    quantizer._debug_options = tf.lite.experimental.QuantizationDebugOptions(denylisted_nodes=kept)
    converted: bytes = quantizer.get_nondebug_quantized_model()
    return converted


def _write_saved_model(model: Any, path: Path, options: Options) -> None:
    import tensorflow as tf

    module = _module(model, options)
    tf.saved_model.save(module, str(path), signatures={"serving_default": module.serve})


def _write_elsewhere(model: Any, path: Path, format: str, options: Options) -> None:
    data_format = keras_of(model).config.image_data_format()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model.save(folder / _MODEL)
        order = options._replace(samples=None)._asdict()
        (folder / _ORDER).write_text(json.dumps([str(path.absolute()), format, data_format, order]))
        if options.samples is not None:
            np.save(folder / _SAMPLES, options.samples)
        done = subprocess.run(
            [sys.executable, "-m", __name__, name],
            env={**os.environ, "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"},
            capture_output=True,
            text=True,
        )
    if done.returncode:
        reason = done.stderr.strip().rsplit("\n", 1)[-1] or f"exit status {done.returncode}"
        raise ValueError(
            f"{format} is converted in a separate process, where Keras runs on TensorFlow, and that failed: {reason}"
        )


def _main(folder: Path) -> None:
    import keras

    path, format, data_format, order = json.loads((folder / _ORDER).read_text())
    scaling = None if order["scaling"] is None else Scaling(*order["scaling"])
    samples = np.load(folder / _SAMPLES) if (folder / _SAMPLES).exists() else None
    keras.config.set_image_data_format(data_format)  # some layers read it while they compute
    model = keras.models.load_model(folder / _MODEL, compile=False)
    write_with_tensorflow(model, Path(path), format, Options(**{**order, "samples": samples, "scaling": scaling}))


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
