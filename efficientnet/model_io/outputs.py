"""The kind of a model's outputs, probabilities or other numbers, which its graph shows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..exported_files.activations import UNKNOWN
from ..images.imagenet import class_names as imagenet_class_names
from ..keras_graph.walk import LayerCall, functional, keras_layer, keras_operation, run

Kind = Literal["probabilities", "binary", "labels", "logits", "numbers", "unknown", "features"]
Classes = tuple[tuple[str, str], ...]

# Activations whose outputs are 0 or more and 1 in sum, and those whose outputs are each between 0 and 1.
_DISTRIBUTIONS = ("softmax", "sparsemax")
_SHARES = ("sigmoid", "hard_sigmoid")
# Keras' others; a function of any other name may do anything.
_OTHERS = (
    "linear", "relu", "relu6", "leaky_relu", "prelu", "elu", "selu", "celu", "gelu", "glu", "silu", "swish", "mish",
    "hard_silu", "hard_swish", "tanh", "hard_tanh", "softplus", "softsign", "exponential", "log_softmax", "log_sigmoid",
)  # fmt: skip
_TOLERANCE = 0.01  # for the rounding of float16, and of engines

# Layers whose outputs are of the kind of their inputs, where all of these are of the same kind.
_UNCHANGED = frozenset({
    "ActivityRegularization", "AlphaDropout", "Average", "Dropout", "Flatten", "GaussianDropout", "GaussianNoise",
    "GlobalAveragePooling1D", "GlobalAveragePooling2D", "Identity", "Permute", "Reshape",
})  # fmt: skip
_SOME_OR_ALL = frozenset({"Concatenate", "GlobalMaxPooling1D", "GlobalMaxPooling2D", "MaxPooling2D", "Maximum"})
_UNCHANGED_OPERATIONS = frozenset({"cast", "flatten", "identity", "reshape", "squeeze"})
_LAYER_ACTIVATIONS = {
    "BatchNormalization": "linear", "ELU": "elu", "LayerNormalization": "linear", "LeakyReLU": "leaky_relu",
    "Normalization": "linear", "PReLU": "prelu", "ReLU": "relu", "Rescaling": "linear", "Softmax": "softmax",
}  # fmt: skip
_OPERATION_ACTIVATIONS = {
    "softmax": "softmax", "sigmoid": "sigmoid", "hardsigmoid": "hard_sigmoid", "hard_sigmoid": "hard_sigmoid",
    "logsoftmax": "log_softmax", "log_softmax": "log_softmax", "relu": "relu", "tanh": "tanh",
}  # fmt: skip


class Remark(NamedTuple):
    """Something to report about a model.

    Attributes:
        text: Text after the name of the model's file.
        subject: Fact that it is about, ``"classes"`` or ``"scaling"``, if another source of this fact settles it.
    """

    text: str
    subject: str = ""


class Prediction(NamedTuple):
    """Prediction for one image.

    Attributes:
        kind: ``"probabilities"`` of classes that exclude each other, ``"binary"`` ones of two, ``"labels"`` with
            independent probabilities, ``"logits"``, the greatest of which is the best, or ``"numbers"``.
        classes: Id, label and value of each class; ``"numbers"`` in the order of the outputs, the others best first.
    """

    kind: Kind
    classes: list[tuple[str, str, float]]

    @property
    def are_probabilities(self) -> bool:
        """Whether the values are probabilities, 0..1."""
        return self.kind in ("probabilities", "binary", "labels")

    def to_json(self, shown: Sequence[tuple[str, str, float]]) -> dict[str, Any]:
        """Return the kind, and these classes with their probabilities or other values, for ``json.dumps``."""
        value = "probability" if self.are_probabilities else "value"
        return {
            "kind": self.kind,
            "predictions": [{"class": key, "label": label, value: number} for key, label, number in shown],
        }

    def first(self, count: int) -> list[tuple[str, str, float]]:
        """Return this number of classes if they exclude each other; all labels that apply, and all numbers."""
        return self.classes if self.kind in ("labels", "numbers") else self.classes[:count]


def last_activations(model: Any) -> list[str]:
    """Return the last activation of each output of a model; ``"unknown"`` where its graph does not show it.

    Models within the model and layers that change nothing of it, such as dropout, are looked through.
    """
    return run(
        model,
        [UNKNOWN] * len(functional(model).inputs),
        lambda call, values: [activation_after(call, values)] * len(call.outputs),
    )


def kind_of(activation: str, count: int, has_names: bool) -> Kind:
    """Return the kind of a model's outputs, as far as its graph shows it; see :class:`Prediction`.

    Args:
        activation: Activation from :func:`last_activations`.
        count: Number of outputs for an image; 0 for several tensors, or feature maps.
        has_names: Whether the classes have names.

    Returns:
        ``"unknown"`` where the numbers themselves have to show it; ``"features"`` where there is no single vector.
    """
    if not count:
        return "features"
    if activation in _SHARES:
        return "binary" if count == 1 else "labels"
    if count == 1:
        return "numbers"
    if activation in _DISTRIBUTIONS:
        return "probabilities"
    if activation == UNKNOWN:
        return "unknown"
    return "logits" if activation == "linear" and has_names else "numbers"


def name_classes(activation: str, count: int, names: Any) -> Classes | None:
    """Return ids and labels of a model's classes; None where the number of names does not fit.

    A single sigmoid has two: the second is the one whose probability it gives.

    Args:
        activation, count: As in :func:`kind_of`.
        names: Labels, or ids and labels; None for ImageNet's if there are 1,000, or else for numbers.
    """
    kind = kind_of(activation, count, has_names=False)
    expected = 2 if kind == "binary" else count
    if names is None:
        if count == len(imagenet_class_names()):
            return imagenet_class_names()
        prefix = "output" if kind == "numbers" and count == 1 else "class"
        names = [f"{prefix}_{index}" for index in range(expected)]
    if isinstance(names, (str, bytes, Mapping)) or not isinstance(names, Iterable):
        raise TypeError(
            f"class_names is of type {type(names).__name__}: expected a sequence of labels, or of pairs of id and "
            "label, in the order of the outputs."
        )
    names = list(names)
    if kind == "binary" and len(names) == 1:
        names = [f"not {names[0]}", *names]
    if len(names) != expected:
        return None
    pairs = (name if isinstance(name, (tuple, list)) else (index, name) for index, name in enumerate(names))
    return tuple((str(key), str(name)) for key, name in pairs)


def assumed_names(classes: Classes) -> tuple[Remark, ...]:
    """Return what to report about the classes of a model that does not name them; nothing if they are only numbered."""
    if classes != imagenet_class_names():
        return ()
    text = (
        f"has {len(classes):,} outputs, and does not say of which classes: taken for ImageNet's. class_names= (in a "
        "command: --classes) says others."
    )
    return (Remark(text, "classes"),)


def have_names(classes: Classes) -> bool:
    """Return whether classes have names, and not just numbers."""
    return any(name not in (f"class_{key}", f"output_{key}") for key, name in classes)


def softmax(scores: NDArray[Any]) -> NDArray[np.float64]:
    """Return probabilities for logits, along the last axis."""
    powers = np.exp(np.asarray(scores, np.float64) - np.max(scores, axis=-1, keepdims=True))
    probabilities: NDArray[np.float64] = powers / powers.sum(axis=-1, keepdims=True)
    return probabilities


def are_distributions(scores: NDArray[Any]) -> bool:
    """Return whether numbers are 0 or more, and 1 in sum along the last axis."""
    sums = np.asarray(scores, np.float64).sum(axis=-1)
    return are_shares(scores) and bool((np.abs(sums - 1) < _TOLERANCE).all())


def are_shares(scores: NDArray[Any]) -> bool:
    """Return whether each number is between 0 and 1."""
    return bool(((scores > -_TOLERANCE) & (scores < 1 + _TOLERANCE)).all())


def best_first(
    scores: Sequence[float] | NDArray[Any], classes: Sequence[tuple[str, str]]
) -> list[tuple[str, str, float]]:
    """Return id, label and score of each class; of equal ones the first comes first."""
    return [(*classes[index], float(scores[index])) for index in np.argsort(-np.asarray(scores), kind="stable")]


def activation_after(call: LayerCall, values: Sequence[str]) -> str:
    """Return the last activation of a call's outputs, where these are the last activations of its inputs."""
    before = values[0] if len(set(values)) == 1 else UNKNOWN
    operation = keras_operation(call.layer)
    if operation is not None:
        short = operation.rsplit(".", 1)[-1].lower()
        return before if short in _UNCHANGED_OPERATIONS else _OPERATION_ACTIVATIONS.get(short, UNKNOWN)
    kind = keras_layer(call.layer)
    if kind is None:
        return UNKNOWN
    if kind in _UNCHANGED:
        return before
    if kind in _SOME_OR_ALL:  # each number of which is what it was, but their sum is not
        return before if before in _SHARES else UNKNOWN
    if kind in _LAYER_ACTIVATIONS:
        return _LAYER_ACTIVATIONS[kind]
    if not hasattr(call.layer, "activation"):
        return UNKNOWN
    activation = call.layer.activation
    name = "linear" if activation is None else getattr(activation, "__name__", None) or type(activation).__name__
    if kind == "Activation" and name == "linear":  # it only converts to float32, in mixed precision
        return before
    name = str(name).lower().removesuffix("_v2")  # as TensorFlow's own softmax is called
    return name if name in (*_DISTRIBUTIONS, *_SHARES, *_OTHERS) else UNKNOWN
