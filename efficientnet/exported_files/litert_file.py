"""LiteRT's files in LiteRT."""

from __future__ import annotations

import functools
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .activations import Operation, last_activation
from .model import ExportedModel, Ports, Tensor

_DELEGATE = "DELEGATE"  # stands for all operations that a processor's library computes


def open_litert(source: Path | bytes, threads: int | None) -> ExportedModel:
    """Open a ``.tflite`` file or the content of one, whose interpreter takes one call at a time."""
    from ai_edge_litert import interpreter as tflite

    given = {"model_path": str(source)} if isinstance(source, Path) else {"model_content": source}
    interpreter = tflite.Interpreter(**given, num_threads=threads)
    names = _signature_names(interpreter)
    details = interpreter.get_input_details(), interpreter.get_output_details()
    inputs, outputs = (tuple(_described(detail, names) for detail in ports) for ports in details)
    place, places = details[0][0]["index"], [detail["index"] for detail in details[1]]
    lock = threading.Lock()

    def run(batch: np.ndarray) -> list[np.ndarray]:
        with lock:
            if tuple(interpreter.get_input_details()[0]["shape"]) != batch.shape:
                interpreter.resize_tensor_input(place, batch.shape)
                interpreter.allocate_tensors()
            interpreter.set_tensor(place, inputs[0].encode(batch))
            interpreter.invoke()
            found = [interpreter.get_tensor(index) for index in places]
        return [output.decode(values) for output, values in zip(outputs, found, strict=True)]

    def activation() -> str:
        return last_activation(functools.partial(_operation, interpreter), places[0])

    interpreter.allocate_tensors()
    return ExportedModel(Ports(inputs, outputs, activation), run)


def _signature_names(interpreter: Any) -> dict[int, str]:
    """Return the names of tensors in the signature, by which the file's maker calls them."""
    signatures = interpreter.get_signature_list()
    if len(signatures) != 1:
        return {}
    runner = interpreter.get_signature_runner(*signatures)
    details = {**runner.get_input_details(), **runner.get_output_details()}
    return {detail["index"]: name for name, detail in details.items()}


def _described(detail: Mapping[str, Any], names: Mapping[int, str]) -> Tensor:
    shape = detail.get("shape_signature", ())
    sides = tuple(None if side < 0 else int(side) for side in (shape if len(shape) else detail["shape"]))
    scale, zero = detail["quantization"]
    name = names.get(detail["index"], detail["name"])
    return Tensor(name, np.dtype(detail["dtype"]).name, sides, (float(scale), int(zero)) if scale else None)


def _operation(interpreter: Any, index: int) -> Operation | None:
    """Return the operation that a tensor comes from."""
    for found in interpreter._get_ops_details():  # public functions have none of them
        if index in found["outputs"] and found["op_name"] != _DELEGATE:
            return Operation(found["op_name"], next(iter(found["inputs"]), None))
    return None
