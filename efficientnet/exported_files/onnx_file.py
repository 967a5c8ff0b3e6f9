"""ONNX files in ONNX Runtime."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..checkpoints.arrays import map_file
from ..common.protobuf import Message
from .activations import Operation, last_activation
from .model import ExportedModel, Ports, Tensor

_TYPES = {"float": "float32", "double": "float64"}
# Numbers of fields in onnx.proto: of a model; of a pair, such as its properties; of a graph; of a node and of weights.
_GRAPH, _PROPERTIES = 7, 14
_KEY, _VALUE = 1, 2
_NODES, _WEIGHTS = 1, 5
_NODE_INPUTS, _NODE_OUTPUTS, _NODE_KIND = 1, 2, 4
_WEIGHT_PLACE = 13


def open_onnx(source: Path | bytes, threads: int | None) -> ExportedModel:
    """Open an ``.onnx`` file or the content of one."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 4  # errors are raised, too
    if threads is not None:
        options.intra_op_num_threads = threads
    # Otherwise it prints what went wrong, and tries the same once more.
    session = ort.InferenceSession(source, options, providers=["CPUExecutionProvider"], enable_fallback=0)
    inputs, outputs = (tuple(map(_described, ports)) for ports in (session.get_inputs(), session.get_outputs()))

    def run(batch: np.ndarray) -> list[np.ndarray]:
        found = session.run(None, {inputs[0].name: inputs[0].encode(batch)})
        return [output.decode(values) for output, values in zip(outputs, found, strict=True)]

    def activation() -> str:
        graph = _graph(Message(map_file(source) if isinstance(source, Path) else memoryview(source)))
        return last_activation(functools.partial(_operation, graph), outputs[0].name)

    return ExportedModel(Ports(inputs, outputs, activation), run)


def read_property(path: Path, name: str) -> str | None:
    """Return a property of an ``.onnx`` file; None without it.

    Raises:
        ValueError: The file is damaged.
    """
    return next((value for key, value in _pairs(Message(map_file(path)), _PROPERTIES) if key == name), None)


def external_files(path: Path) -> list[Path]:
    """Return the files beside an ``.onnx`` file that its weights are in; empty if it holds them itself.

    Raises:
        ValueError: The file is damaged.
    """
    weights = _graph(Message(map_file(path))).messages(_WEIGHTS)
    names = {value for weight in weights for key, value in _pairs(weight, _WEIGHT_PLACE) if key == "location"}
    return [path.parent / name for name in sorted(names)]


def _graph(model: Message[memoryview]) -> Message[memoryview]:
    graphs = model.messages(_GRAPH)
    if not graphs:
        raise ValueError("it is damaged: it has no graph")
    return graphs[-1]


def _pairs(message: Message[memoryview], field: int) -> Iterator[tuple[str, str]]:
    """Yield keys and values."""
    for pair in message.messages(field):
        yield "".join(pair.texts(_KEY)), "".join(pair.texts(_VALUE))


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
