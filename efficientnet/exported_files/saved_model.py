"""TensorFlow's SavedModel folders in TensorFlow."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .activations import Operation, last_activation
from .model import ExportedModel, Ports, Tensor

_SIGNATURE = "serving_default"
_CALLS = ("PartitionedCall", "StatefulPartitionedCall")


def open_saved_model(source: Path | bytes, threads: int | None) -> ExportedModel:
    """Open a folder, whose function is its signature ``serving_default``, or else its only one.

    Raises:
        ValueError: It has other signatures.
    """
    import tensorflow as tf

    loaded: Any = tf.saved_model.load(str(source))
    signatures = loaded.signatures
    if _SIGNATURE not in signatures and len(signatures) != 1:
        named = ", ".join(signatures) or "none"
        raise ValueError(f"it has the signatures {named}, and {_SIGNATURE!r} is the one to run")
    function = signatures[_SIGNATURE if _SIGNATURE in signatures else next(iter(signatures))]
    inputs = tuple(_described(name, spec) for name, spec in function.structured_input_signature[1].items())
    outputs = tuple(_described(name, spec) for name, spec in function.structured_outputs.items())

    def run(batch: np.ndarray) -> list[np.ndarray]:
        assert loaded is not None  # the function alone does not keep its variables
        found = function(**{inputs[0].name: tf.constant(inputs[0].encode(batch))})
        return [output.decode(found[output.name].numpy()) for output in outputs]

    def activation() -> str:
        graph = function.graph.as_graph_def()
        functions = {definition.signature.name: definition for definition in graph.library.function}
        names = {spec.name: tensor.name for spec, tensor in zip(outputs, function.outputs, strict=True)}
        start = _Place({node.name: node for node in graph.node}, names[outputs[0].name])
        return last_activation(functools.partial(_operation, functions), start)

    return ExportedModel(Ports(inputs, outputs, activation), run)


def set_threads(threads: int) -> None:
    """Set TensorFlow's threads, which are those of the whole process.

    Raises:
        ValueError: TensorFlow computes already, with another number.
    """
    import tensorflow as tf

    if tf.config.threading.get_intra_op_parallelism_threads() == threads:
        return
    try:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
    except RuntimeError:
        raise ValueError(
            f"threads={threads}: TensorFlow has threads for the whole process, and computes with another number "
            "already. Leave threads out (--threads), or set TF_NUM_INTRAOP_THREADS before the process starts."
        ) from None


class _Place(NamedTuple):
    """A tensor, by its name among the nodes of a graph or a function."""

    nodes: Mapping[str, Any]
    tensor: str


def _operation(functions: Mapping[str, Any], place: _Place) -> Operation | None:
    """Return the operation that a tensor comes from; a call counts as the output of the function that it calls."""
    name, _, number = place.tensor.partition(":")
    if name not in place.nodes:  # an argument of a function
        return None
    node = place.nodes[name]
    if node.op in _CALLS:
        called = functions[node.attr["f"].func.name]
        output = called.signature.output_arg[int(number.rpartition(":")[2] or 0)].name
        return Operation("Identity", _Place({inner.name: inner for inner in called.node_def}, called.ret[output]))
    return Operation(node.op, _Place(place.nodes, node.input[0]) if node.input else None)


def _described(name: str, spec: Any) -> Tensor:
    sides = () if spec.shape.rank is None else tuple(spec.shape.as_list())
    return Tensor(name, spec.dtype.name, sides)
