"""ONNX files in ONNX Runtime."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np

from ..checkpoints.arrays import map_file
from ..common.protobuf import Message
from .activations import Operation, last_activation
from .model import ExportedModel, Ports, Tensor

_TYPES = {"float": "float32", "double": "float64"}
# Numbers of fields in onnx.proto: of a model its graph, of this its nodes, and of a node what it takes, gives and is.
_GRAPH, _NODES, _NODE_INPUTS, _NODE_OUTPUTS, _NODE_KIND = 7, 1, 1, 2, 4


def open_onnx(source: Path | bytes, threads: int | None) -> ExportedModel:
    """Open an ``.onnx`` file or the content of one."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 3  # an optimiser's remarks on its work are no news
    if threads is not None:
        options.intra_op_num_threads = threads
    session = ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    inputs, outputs = (tuple(map(_described, ports)) for ports in (session.get_inputs(), session.get_outputs()))

    def run(batch: np.ndarray) -> list[np.ndarray]:
        found = session.run(None, {inputs[0].name: inputs[0].encode(batch)})
        return [output.decode(values) for output, values in zip(outputs, found, strict=True)]

    def activation() -> str:
        content = map_file(source) if isinstance(source, Path) else memoryview(source)
        (graph,) = Message(content).messages(_GRAPH)
        return last_activation(functools.partial(_operation, graph), outputs[0].name)

    return ExportedModel(Ports(inputs, outputs, activation), run)


def _described(port: Any) -> Tensor:
    kind = port.type.removeprefix("tensor(").removesuffix(")")
    shape = tuple(side if isinstance(side, int) else None for side in port.shape)
    return Tensor(port.name, _TYPES.get(kind, kind), shape)


def _operation(graph: Message[memoryview], name: str) -> Operation | None:
    """Return the operation that a tensor comes from."""
    for part in reversed(graph.parts.get(_NODES, [])):
        node = Message(part)
        if name in node.texts(_NODE_OUTPUTS):
            return Operation("".join(node.texts(_NODE_KIND)), next(iter(node.texts(_NODE_INPUTS)), None))
    return None
