"""OpenVINO's files in OpenVINO."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..common.private_imports import import_privately
from ..keras_graph import openvino
from .activations import Operation, last_activation
from .model import ExportedModel, Ports, Tensor, places_of

_TYPES = {"f16": "float16", "f32": "float32", "f64": "float64", "i8": "int8", "u8": "uint8"}


def open_openvino(source: Path | bytes, threads: int | None) -> ExportedModel:
    """Open an ``.xml`` file, beside which the ``.bin`` lies."""
    graph = read_graph(source)
    ports = ports_of(graph)
    options = {"INFERENCE_PRECISION_HINT": "f32", **({} if threads is None else {"INFERENCE_NUM_THREADS": threads})}
    compiled = openvino.core().compile_model(graph, "CPU", options)

    def run(batch: np.ndarray) -> list[np.ndarray]:
        results = compiled.create_infer_request().infer([ports.inputs[0].encode(batch)])
        pairs = zip(compiled.outputs, ports.outputs, strict=True)
        return [np.array(output.decode(results[port])) for port, output in pairs]

    return ExportedModel(ports, run)


def read_graph(path: Path | bytes) -> Any:
    """Read a graph, which is then to be compiled."""
    return openvino.core().read_model(path)


def with_outputs(graph: Any, names: Sequence[str]) -> Any:
    """Return a graph with its outputs in the order of these names.

    Raises:
        ValueError: They are not the names of its outputs.
    """
    runtime = import_privately("openvino")

    places = places_of(names, ports_of(graph))
    if places == sorted(places):
        return graph
    return runtime.Model([graph.outputs[place] for place in places], graph.get_parameters(), graph.get_friendly_name())


def ports_of(graph: Any) -> Ports:
    """Return the inputs and outputs of a graph, compiled or not."""
    inputs, outputs = (tuple(map(_described, ports)) for ports in (graph.inputs, graph.outputs))
    return Ports(inputs, outputs, lambda: last_activation(_operation, graph.outputs[0].get_node()))


def _described(port: Any) -> Tensor:
    kind, shape = port.get_element_type().get_type_name(), port.get_partial_shape()
    sides = [] if shape.rank.is_dynamic else [None if side.is_dynamic else side.get_length() for side in shape]
    name = min(port.get_names(), default=port.get_node().get_friendly_name())
    return Tensor(name, _TYPES.get(kind, kind), tuple(sides))


def _operation(node: Any) -> Operation:
    """Return a node as an operation, whose input is another node."""
    source = node.input_value(0).get_node() if node.get_input_size() else None
    return Operation(node.get_type_name(), source)
