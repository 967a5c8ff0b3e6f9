"""Traversal of the calls of a functional model's layers, in order, for either Keras."""

from __future__ import annotations

import copy
import importlib
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

Value = TypeVar("Value")

# Keras' layers that act in training alone. (Random cropping is not one if it changes the size.)
_ONLY_TRAINING = re.compile(
    r"(Alpha|Gaussian|Spatial)?Dropout([123]D)?|GaussianNoise|ActivityRegularization|Identity"
    r"|Random[A-Z]\w*|RandAugment|AugMix|CutMix|MixUp|Solarization"
)


class LayerCall(NamedTuple):
    """One call of a layer.

    Attributes:
        layer: Layer, or in Keras 3 also an operation of ``keras.ops``.
        name: Name of the layer, after that of a model within the model, ``"body/stem_conv"``.
        inputs: Symbolic tensors that it takes.
        outputs: Symbolic tensors that it returns.
        node: Keras' record of the call.
    """

    layer: Any
    name: str
    inputs: list[Any]
    outputs: list[Any]
    node: Any

    @property
    def trains(self) -> bool:
        """Whether the layer acts as in training when the model predicts, since it was called with ``training=True``.

        Keras 3 undoes that in ``predict``; and it notes the same for its random layers, whose default it is.
        """
        return not hasattr(self.node, "arguments") and bool(self.node.call_kwargs.get("training"))

    def arguments(self, values: Sequence[Any]) -> tuple[Any, Any]:
        """Return the arguments of the call, positional and by name, with these values for its inputs."""
        if hasattr(self.node, "arguments"):
            args, kwargs = self.node.arguments.fill_in(dict(zip(map(id, self.inputs), values, strict=True)))
        else:
            # Legacy Keras takes its values from a list, one each time a tensor is an argument.
            lists = {str(id(tensor)): [value] * len(values) for tensor, value in zip(self.inputs, values, strict=True)}
            args, kwargs = self.node.map_arguments(lists)
        return args, kwargs


class Tensor(NamedTuple):
    """Shape, batch included, and data type of a layer's input or output; the key differs from that of other tensors."""

    shape: tuple[int | None, ...]
    dtype: str
    key: int


def functional(model: Any) -> Any:
    """Return the functional model behind a model: itself, or the one that Keras 3's Sequential wraps.

    Raises:
        ValueError: The model is neither, is not built yet, or does not follow its graph.
    """
    graph = _graph(model)
    if graph is None:
        name = getattr(model, "name", None) or repr(model)
        raise ValueError(
            f"{name}, a {type(model).__name__}, has no graph of layers: expected a functional model, or a Sequential "
            "one that knows its input's shape (start it with an Input layer)."
        )
    return graph


def structure(graph: Any, part: str) -> Any:
    """Return the structure of a functional model's ``"inputs"`` or ``"outputs"``: one, a list, or a dictionary."""
    name = f"_{part}_struct"
    return getattr(graph, name) if hasattr(graph, name) else getattr(graph, f"_nested_{part}")


def keras_of(model: Any) -> Any:
    """Return the Keras that a model is of, as a module."""
    return importlib.import_module(type(functional(model)).__module__.split(".")[0])


def tree_of(keras: Any) -> Any:
    """Return the functions of a Keras that flatten and pack nested values."""
    return keras.tree if hasattr(keras, "tree") else importlib.import_module("tensorflow").nest


def averaged(model: Any) -> list[Any]:
    """Return for each output that a model ends in the mean of, by a layer ``Average``, the tensor; else none."""
    graph = functional(model)
    last = next((call for call in _calls(graph, "") if call.outputs[0] is graph.outputs[0]), None)
    return last.inputs if last is not None and keras_layer(last.layer) == "Average" else []


def output_names(model: Any) -> tuple[str, ...]:
    """Return the names of the outputs of a model that returns a dictionary, in their order; else none."""
    outputs = structure(functional(model), "outputs")
    if not isinstance(outputs, dict) or len(outputs) != len(functional(model).outputs):
        return ()
    names = copy.copy(outputs)  # keeps the type: Keras sorts the keys of most, but not of an OrderedDict
    names.update({name: name for name in outputs})
    return tuple(tree_of(keras_of(model)).flatten(names))


def keras_layer(layer: Any) -> str | None:
    """Return the name of a layer's class if that is Keras' own, so that the name says what it does; else None.

    None also for operations of ``keras.ops``: ``x + 1`` is of a class ``Add`` as well, which is not the layer.
    """
    kind = type(layer)
    return kind.__name__ if _is_keras_own(kind) and ".ops." not in kind.__module__ else None


def keras_operation(layer: Any) -> str | None:
    """Return the name of a function applied to a Keras tensor, ``"Relu"`` or ``"nn.relu"``; None for layers."""
    kind = type(layer)
    if not _is_keras_own(kind):
        return None
    if kind.__name__ in ("TFOpLambda", "SlicingOpLambda"):  # legacy Keras, of functions of TensorFlow
        return str(layer.symbol)
    return kind.__name__ if ".ops." in kind.__module__ else None


def only_trains(layer: Any) -> bool:
    """Return whether a layer of Keras acts in training alone: dropout, noise, random changes of images."""
    parts = getattr(layer, "_pipeline_layers", [layer])
    return all(_ONLY_TRAINING.fullmatch(keras_layer(part) or "") for part in parts)


def is_idle(call: LayerCall) -> bool:
    """Return whether a call returns its input unchanged, as long as the model is not trained."""
    takes, gives = ([(tuple(x.shape), x.dtype) for x in tensors] for tensors in (call.inputs, call.outputs))
    return only_trains(call.layer) and not call.trains and takes == gives


def backend_of(model: Any) -> str:
    """Return the backend of a Keras model; legacy models have TensorFlow only."""
    if type(functional(model)).__module__.startswith("tf_keras"):
        return "tensorflow"
    import keras

    return str(keras.backend.backend())


def data_formats(model: Any) -> set[str]:
    """Return the channel orders of a model's layers: ``"channels_last"``, ``"channels_first"``, both, or none."""
    return {layer.data_format for layer in _flatten(model) if getattr(layer, "data_format", None)}


def _flatten(model: Any) -> Iterator[Any]:
    for layer in model.layers:
        if hasattr(layer, "layers"):
            yield from _flatten(layer)
        else:
            yield layer


def run(
    model: Any, inputs: Sequence[Value], apply: Callable[[LayerCall, list[Value]], Sequence[Value]], path: str = ""
) -> list[Value]:
    """Propagate values through a functional model, models within it included.

    Args:
        model: Functional model, or Sequential model that is built.
        inputs: Values, one for each of its inputs.
        apply: Function from a call and the values of its inputs to those of its outputs. Custom layers and models
            without a graph of layers are calls like any other.
        path: Prefix of the layers' names.

    Returns:
        The values of the model's outputs.
    """
    graph = functional(model)
    calls = list(_calls(graph, path))
    uses = Counter(id(tensor) for tensors in (*(call.inputs for call in calls), graph.outputs) for tensor in tensors)
    known = {id(tensor): value for tensor, value in zip(graph.inputs, inputs, strict=True)}
    for call in calls:
        values = [known[id(tensor)] for tensor in call.inputs]
        for tensor in call.inputs:  # values that no later call takes are freed: they may be large
            uses[id(tensor)] -= 1
            if not uses[id(tensor)]:
                del known[id(tensor)]
        is_leaf = _graph(call.layer) is None
        results = apply(call, values) if is_leaf else run(call.layer, values, apply, f"{call.name}/")
        known.update({id(tensor): value for tensor, value in zip(call.outputs, results, strict=True)})
    return [known[id(tensor)] for tensor in graph.outputs]


def visit(
    model: Any, shapes: Sequence[Sequence[int]], see: Callable[[LayerCall, list[Tensor], list[Tensor]], None]
) -> None:
    """Call ``see`` with each call and its input and output tensors, for these shapes of the model's inputs.

    Nothing is computed, and neither the model nor its layers change.
    """
    tensors = functional(model).inputs
    kept: list[Any] = []  # the key of a tensor that is freed would go to another
    if hasattr(model, "compute_output_spec"):
        import keras

        def specify(call: LayerCall, values: list[Any]) -> list[Any]:
            args, kwargs = call.arguments(values)
            results: list[Any] = keras.tree.flatten(call.layer.compute_output_spec(*args, **kwargs))
            kept.extend([*values, *results])
            see(call, [*map(_describe, values)], [*map(_describe, results)])
            return results

        run(
            model,
            [keras.KerasTensor(shape, tensor.dtype) for shape, tensor in zip(shapes, tensors, strict=True)],
            specify,
        )
    else:
        import tensorflow as tf

        def trace(call: LayerCall, values: list[Any]) -> list[Any]:
            args, kwargs = call.arguments(values)
            results: list[Any] = tf.nest.flatten(call.layer(*args, **kwargs))
            kept.extend([*values, *results])
            see(call, [*map(_describe, values)], [*map(_describe, results)])
            return results

        specs = [tf.TensorSpec(shape, tensor.dtype) for shape, tensor in zip(shapes, tensors, strict=True)]
        tf.function(lambda *inputs: run(model, inputs, trace), autograph=False).get_concrete_function(*specs)


def _is_keras_own(kind: type) -> bool:
    return kind.__module__.split(".")[0] in ("keras", "tf_keras")


def _describe(tensor: Any) -> Tensor:
    return Tensor(tuple(tensor.shape), str(getattr(tensor.dtype, "name", tensor.dtype)), id(tensor))


def _graph(layer: Any) -> Any:
    """Return the functional model that a layer is, or None. A custom ``call`` may do anything."""
    graph = getattr(layer, "_functional", None) or layer
    if not hasattr(graph, "_nodes_by_depth"):
        return None
    calls = next(kind for kind in type(layer).__mro__ if "call" in vars(kind))
    return graph if _is_keras_own(calls) else None


def _calls(graph: Any, path: str) -> Iterator[LayerCall]:
    """Yield all calls of a functional model's own layers; a model within it is one call."""
    # Both Keras versions keep the calls ordered by depth, with the outputs at 0.
    for depth in sorted(graph._nodes_by_depth, reverse=True):
        for node in graph._nodes_by_depth[depth]:
            if not node.is_input:
                layer = getattr(node, "operation", None) or node.layer
                inputs = node.input_tensors if hasattr(node, "operation") else node.keras_inputs
                outputs = node.outputs if isinstance(node.outputs, (list, tuple)) else [node.outputs]
                yield LayerCall(layer, path + layer.name, list(inputs), list(outputs), node)
