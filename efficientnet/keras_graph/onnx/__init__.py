"""Writes a Keras model down as an ONNX graph, layer by layer, with the package ``onnx`` alone.

ONNX Runtime and OpenVINO both compute it. Each module writes the layers of one kind; ``writer`` is what they write
with.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np

from ...common.packages import missing
from ...errors import UnsupportedLayerError
from ...images.pixel_scaling import Scaling
from ..walk import (
    LayerCall,
    backend_of,
    data_formats,
    functional,
    is_idle,
    keras_layer,
    keras_operation,
    only_trains,
    output_names,
    run,
)
from . import activation, convolution, merging, normalization, pooling, shape
from .operations import write_operation
from .writer import Value, Writer, unsupported

__all__ = ["UnsupportedLayerError", "convert", "tensor_names"]

# The oldest that has every operation needed here, so that older runtimes, too, read the file.
_MOST_BYTES = 2 << 30  # size limit of protobuf
_OPSET, _IR_VERSION = 13, 8

_LAYERS: dict[str, Callable[[Writer, Any, Value], Value]] = {
    **activation.LAYERS,
    **convolution.LAYERS,
    **normalization.LAYERS,
    **pooling.LAYERS,
    **shape.LAYERS,
}


def convert(model: Any, batch: int | str = "dynamic", scaling: Scaling | None = None) -> Any:
    """Return the ONNX model of a functional or sequential Keras model, in float32.

    Args:
        model: Model of Keras 2 or 3, on any backend, with the channels first or last.
        batch: Number of images that each input takes; ``"dynamic"`` for any.
        scaling: Scaling of each input image's colors before the model; none by default.

    Returns:
        An ``onnx.ModelProto``. Inputs are named as the model's input layers, outputs as in :func:`tensor_names`.

    Raises:
        UnsupportedLayerError: The model has a layer that cannot be written; the message names it.
        ValueError: The model has no graph of layers.
        ImportError: The package ``onnx`` is not installed.
    """
    try:
        import onnx
    except ImportError as error:
        raise missing("Writing ONNX needs the package onnx", "onnx") from error
    graph = functional(model)
    if (size := 4 * graph.count_params()) >= _MOST_BYTES:
        raise UnsupportedLayerError(
            f"{model.name} has {size / 2**30:.3g} GiB of weights in float32, and an ONNX graph, which OpenVINO reads, "
            "too, holds less than 2 GiB. engine='keras' predicts with it."
        )
    writer = Writer(onnx, backend_of(model))
    inputs, outputs = (
        [
            onnx.helper.make_tensor_value_info(
                name, onnx.TensorProto.FLOAT, ["batch" if batch == "dynamic" else batch, *tensor.shape[1:]]
            )
            for name, tensor in zip(names, tensors, strict=True)
        ]
        for names, tensors in zip(tensor_names(model), (graph.inputs, graph.outputs), strict=True)
    )
    values = [Value(x.name, len(tensor.shape)) for x, tensor in zip(inputs, graph.inputs, strict=True)]
    if scaling is not None:
        values = [_scaled(writer, x, scaling, model) for x in values]
    values = [_as_typed(writer, onnx, x, tensor) for x, tensor in zip(values, graph.inputs, strict=True)]
    results = run(model, values, lambda call, given: _write(writer, call, given))
    for result, output in zip(results, outputs, strict=True):
        writer.result(result, output.name)
    writer.drop_unused(output.name for output in outputs)
    return onnx.helper.make_model(
        onnx.helper.make_graph(writer.nodes, model.name, inputs, outputs, writer.constants),
        opset_imports=[onnx.helper.make_opsetid("", _OPSET)],
        ir_version=_IR_VERSION,
        producer_name="efficientnet",
    )


def tensor_names(model: Any) -> tuple[list[str], list[str]]:
    """Return the names of a functional model's inputs and outputs, without repetitions.

    Outputs have the names that the model gives them in a dictionary, else those of the layers that they come from.
    """
    graph, seen = functional(model), Counter[str]()

    def unique(name: str) -> str:
        seen[name] += 1
        return name if seen[name] == 1 else f"{name}_{seen[name]}"

    inputs = [unique(tensor._keras_history[0].name) for tensor in graph.inputs]
    return inputs, [*map(unique, output_names(model) or [tensor._keras_history[0].name for tensor in graph.outputs])]


def _as_typed(writer: Writer, onnx: Any, x: Value, tensor: Any) -> Value:
    """Convert an input to the type that the model takes: for whole numbers, Keras cuts fractions off."""
    dtype = str(getattr(tensor.dtype, "name", tensor.dtype))
    if "float" in dtype:
        return x
    whole = writer.write("Cast", x, to=getattr(onnx.TensorProto, dtype.upper()))
    return writer.write("Cast", whole, to=onnx.TensorProto.FLOAT)


def _scaled(writer: Writer, x: Value, scaling: Scaling, model: Any) -> Value:
    """Scale an image's colors.

    It stays a multiplication and an addition: a convolution that pads with zeros cannot absorb the offset, since its
    border would be another color; and the multiplication takes 0.02 ms.
    """
    shape = (-1, 1, 1) if data_formats(model) == {"channels_first"} else (-1,)
    factor, offset = (np.reshape(np.asarray(values, np.float32), shape) for values in scaling)
    return normalization.scale(writer, x, factor, offset)


def _write(writer: Writer, call: LayerCall, inputs: list[Value]) -> list[Value]:
    """Write one call of a layer or an operation."""
    writer.begin(call)
    if is_idle(call):
        return inputs
    if any("float" not in str(tensor.dtype) for tensor in call.outputs):
        raise unsupported(call.layer, "gives other numbers than floats")
    operation, kind = keras_operation(call.layer), keras_layer(call.layer) or ""
    if operation is not None:
        return write_operation(writer, call, inputs, operation)
    if kind in merging.LAYERS:
        return [merging.LAYERS[kind](writer, call.layer, *inputs)]
    if kind == "Pipeline":
        return [_write_pipeline(writer, call, *inputs)]
    return [_write_layer(writer, call.layer, kind, inputs, call.trains)]


def _write_layer(writer: Writer, layer: Any, kind: str, inputs: list[Value], trains: bool) -> Value:
    write = _LAYERS.get(kind)
    if write is None:
        raise unsupported(layer, "has no ONNX form here")
    if len(inputs) != 1:
        raise unsupported(layer, "is called with more than one value, such as a mask")
    if trains:
        raise unsupported(layer, "is called with training=True")
    return write(writer, layer, inputs[0])


def _write_pipeline(writer: Writer, call: LayerCall, x: Value) -> Value:
    """Write the layers of a pipeline, which Keras does not call one by one."""
    for layer in call.layer._pipeline_layers:
        shape = tuple(layer.compute_output_shape(writer.input_shape))
        if not (only_trains(layer) and shape == writer.input_shape):
            x = _write_layer(writer, layer, keras_layer(layer) or "", [x], call.trains)
        writer.input_shape = shape
    return x
