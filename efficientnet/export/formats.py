"""One writer for each format."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ..common.private_imports import import_privately
from ..inference.quantization import quantize
from ..keras_graph import onnx as onnx_graph
from ..keras_graph.detours import onnx_of, openvino_of
from ..keras_graph.tensorflow import Options, write_with_tensorflow
from ..keras_graph.walk import functional


def _write_onnx(model: Any, path: Path, options: Options) -> None:
    written = onnx_of(model, options.batch, options.scaling)
    if options.precision == "int8" and options.samples is not None:
        size = options.batch or 1
        whole = np.resize(options.samples, (-(-len(options.samples) // size), size, *options.samples.shape[1:]))
        batches = [{written.graph.input[0].name: batch} for batch in whole]
        written = quantize(written, batches, options.floating)
    elif options.precision == "f16":
        _store_in_half(written)
    if options.input_type == "uint8":
        _take_bytes(written)
    path.write_bytes(written.SerializeToString())


def _take_bytes(model: Any) -> None:
    """Make an ONNX model take uint8 in place of floats."""
    import onnx

    (given,) = model.graph.input
    floats = f"{given.name}:float"
    for node in model.graph.node:
        node.input[:] = [floats if name == given.name else name for name in node.input]
    given.type.tensor_type.elem_type = onnx.TensorProto.UINT8
    cast = onnx.helper.make_node("Cast", [given.name], [floats], name=f"{given.name}:Cast", to=onnx.TensorProto.FLOAT)
    model.graph.node.insert(0, cast)


def _store_in_half(model: Any) -> None:
    """Store an ONNX model's weights in float16, which the runtime converts to float32 before it computes."""
    import onnx

    casts = []
    for constant in model.graph.initializer:
        if constant.data_type == onnx.TensorProto.FLOAT and constant.dims:
            name = constant.name
            half = onnx.numpy_helper.to_array(constant).astype(np.float16)
            constant.CopyFrom(onnx.numpy_helper.from_array(half, f"{name}:half"))
            casts.append(
                onnx.helper.make_node("Cast", [constant.name], [name], name=f"{name}:Cast", to=onnx.TensorProto.FLOAT)
            )
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _write_openvino(model: Any, path: Path, options: Options) -> None:
    openvino = import_privately("openvino")

    graph = openvino_of(model, options.scaling)
    for port, name in zip(graph.outputs, onnx_graph.tensor_names(model)[1], strict=True):
        port.get_tensor().set_names({name})  # alone, without that of the operation
    if options.precision == "int8" and options.samples is not None:
        graph = quantize(graph, [sample[np.newaxis] for sample in options.samples], options.floating)
    if options.batch is not None:
        sides = functional(model).inputs[0].shape[1:]
        graph.reshape([options.batch, *(-1 if side is None else side for side in sides)])
    if options.input_type == "uint8":
        stage = openvino.preprocess.PrePostProcessor(graph)
        stage.input().tensor().set_element_type(openvino.Type.u8)
        graph = stage.build()
    openvino.save_model(graph, path, compress_to_fp16=options.precision == "f16")


def _write_litert(model: Any, path: Path, options: Options) -> None:
    write_with_tensorflow(model, path, "litert", options)


def _write_saved_model(model: Any, path: Path, options: Options) -> None:
    write_with_tensorflow(model, path, "saved_model", options)


WRITERS: dict[str, Callable[[Any, Path, Options], None]] = {
    "onnx": _write_onnx,
    "openvino": _write_openvino,
    "litert": _write_litert,
    "saved_model": _write_saved_model,
}
