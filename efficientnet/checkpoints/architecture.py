"""Facts of a network's training in the configuration of a Keras model; nothing is built from it."""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from ..family.description import padding_of
from ..images.pixel_scaling import Scaling, is_of_pixels, scale_and_offset
from . import marks
from .arrays import Stored
from .facts import Facts, common_name, from_json, of_scale_and_offset, positive_fraction, square, strides

# Models within models within …: deeper than anyone builds.
_DEEPEST = 16

# Layers of the network, whoever built it; other layers stand before or behind it.
_OURS = re.compile(r"(stem|block\d+[a-z]+|top)_\w+")
_CONVOLUTIONS = ("Conv2D", "DepthwiseConv2D")
_POOLINGS = {"GlobalAveragePooling2D": "avg", "GlobalMaxPooling2D": "max"}

# Other names are a user's own functions, which may be one of these.
_ACTIVATIONS = {
    "elu", "exponential", "gelu", "hard_sigmoid", "hard_silu", "hard_swish", "leaky_relu", "linear", "mish", "relu",
    "relu6", "selu", "sigmoid", "softplus", "softsign", "swish", "tanh",
}  # fmt: skip


class Node(NamedTuple):
    """A layer in a configuration.

    Attributes:
        kind: Class in Keras.
        config: Options, the name among them.
        inputs: Names of the layers before it.
        numbers: Arguments in Keras 3's call, None for a tensor.
    """

    kind: str
    config: dict[str, Any]
    inputs: list[str]
    numbers: tuple[float | None, ...] = ()

    @property
    def name(self) -> str:
        return str(self.config.get("name"))


def read_architecture(model: Any, arrays: Mapping[str, Stored], preprocessing: str | Scaling | None) -> Facts:
    """Read the facts in a configuration; none if it is not understood.

    Args:
        model: Configuration of a whole model, as parsed JSON.
        arrays: Arrays of the file, by layer and role, for layers that scale pixels by arrays.
        preprocessing: Scaling of pixels before the model, if a note says it.

    Returns:
        Padding, epsilon, scaling and size of the images up to the first convolution, and the last activation, as far
        as they are known.
    """
    try:
        if (backbone := _kerashub_backbone(model)) is not None:
            options = {} if backbone is model["config"] else model["config"]
            activation = options.get("activation")
            return dataclasses.replace(
                kerashub(backbone),
                activation=activation if isinstance(activation, str) else None,
                pooling=kerashub_pooling(options),
            )
        nodes = list(_nodes(model))
        ours = [node for node in nodes if _OURS.fullmatch(node.name)]
        network = ours or nodes
        mark = _mark(network)
        return Facts(
            padding=_padding(network, {node.name: node for node in nodes}),
            epsilon=_epsilon(network),
            preprocessing=_preprocessing(nodes, arrays, preprocessing, mark.preprocessing),
            crop=mark.crop,
            interpolation=mark.interpolation,
            size=_size(nodes),
            activation=_last_activation(nodes),
            hidden_activation=_hidden_activation(ours),
            strides=_strides(ours),
            residuals=_residuals(ours),
            pooling=_pooling(nodes),
        )
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError):
        return Facts()


def _mark(network: list[Node]) -> marks.Mark:
    """Return the network's own mark of its pixels; an empty one if it is impossible."""
    for node in network:
        if (mark := marks.of_config(node.config)) is not None:
            values = {name: value for name, value in mark._asdict().items() if value is not None}
            facts = from_json(json.dumps(values))
            return marks.Mark(facts.preprocessing, facts.crop, facts.interpolation)
    return marks.Mark()


def kerashub(config: Mapping[str, Any]) -> Facts:
    """Return the facts in the options of KerasHub's EfficientNetBackbone.

    Its "unfused" blocks pad as TensorFlow does, all others equally on all sides; so does a "valid" stem if a layer pads
    before it.
    """
    pads = config.get("include_stem_padding")
    is_known = (pads, config.get("stem_conv_padding")) in ((True, "valid"), (False, "same"))
    blocks = zip(config["stackwise_block_types"], config["stackwise_strides"], strict=True)
    strided = [(kind in ("fused", "cba"), kind != "unfused") for kind, stride in blocks if stride > 1]
    epsilon, activation = config.get("batch_norm_epsilon"), config.get("activation")
    return Facts(
        padding=padding_of([(False, bool(pads)), *strided]) if is_known else None,
        epsilon=None if epsilon is None else positive_fraction(epsilon),
        hidden_activation=common_name(activation) if isinstance(activation, str) else None,
        strides=strides(config["stackwise_strides"]),
    )


def kerashub_pooling(options: Mapping[str, Any]) -> str | None:
    """Return the pooling in the options of KerasHub's classifier."""
    pooling = options.get("pooling")
    return pooling if isinstance(pooling, str) else None


def _kerashub_backbone(model: Any) -> Mapping[str, Any] | None:
    for layer in (model, model["config"].get("backbone") if isinstance(model["config"], dict) else None):
        if isinstance(layer, dict) and layer.get("class_name") == "EfficientNetBackbone":
            config: Mapping[str, Any] = layer["config"]
            return config
    return None


def _nodes(model: Any, depth: int = 0) -> Iterator[Node]:
    """Yield the layers of a model and of models within it, in order."""
    config = model["config"]
    # Keras 1 had a list of layers for the configuration of a Sequential model.
    layers = config if isinstance(config, list) else config.get("layers", [])
    if depth > _DEEPEST:
        raise ValueError("its models are nested too deep")
    previous: list[str] = []
    for layer in layers:
        inner = layer["config"]
        inputs = _inputs(layer["inbound_nodes"]) if "inbound_nodes" in layer else previous
        if isinstance(inner, dict) and isinstance(inner.get("layer"), dict):  # TimeDistributed and other wrappers
            layer = inner["layer"]
            inner = layer["config"]
        if isinstance(inner, list) or "layers" in inner:
            yield from _nodes(layer, depth + 1)
        else:
            kind, options = str(layer["class_name"]), {"name": layer.get("name"), **inner}
            yield Node(kind, options, inputs, _arguments(layer.get("inbound_nodes")))
        previous = [str(layer.get("name") or (inner.get("name") if isinstance(inner, dict) else ""))]


def _inputs(nodes: Any) -> list[str]:
    """Return the names of the layers that Keras 2 (lists ``[name, call, output, …]``) or Keras 3 notes as inputs."""
    names: list[str] = []
    left = [nodes]
    while left:
        node = left.pop()
        if isinstance(node, dict):
            history = node.get("keras_history")
            left += [history] if history else node.values()
        elif isinstance(node, list) and len(node) >= 3 and isinstance(node[0], str) and isinstance(node[1], int):
            names.append(node[0])
        elif isinstance(node, list):
            left += node
    return names


def _arguments(nodes: Any) -> tuple[float | None, ...]:
    """Return the positional arguments of the one call of an operation of Keras 3."""
    match nodes:
        case [{"args": [*arguments], "kwargs": {}}]:
            return tuple(value if type(value) in (int, float) else None for value in arguments)
    return ()


def _size(nodes: list[Node]) -> int | None:
    """Return the side of the images that reach the first convolution; None if it is not known, or they are not square.

    A model within another one has an input of its own, and a layer may resize.
    """
    found = None
    for node in itertools.takewhile(lambda node: node.kind not in _CONVOLUTIONS, nodes):
        if node.kind == "InputLayer":
            shape = node.config.get("batch_shape") or node.config["batch_input_shape"]
            if len(shape) == 4 and any(shape[1:3]):  # or else it takes what is in front, or is not an image
                found = square(*shape[1:3]) or square(*shape[2:4])  # the channels are last, or first
        elif "height" in node.config:  # Resizing, and crops
            found = square(node.config["height"], node.config["width"])
    return found


def _padding(network: list[Node], by_name: Mapping[str, Node]) -> str | None:
    """Return the padding of the convolutions with a stride; None if it is none of ``PADDINGS``."""
    strided = [
        node
        for node in network
        if node.kind in _CONVOLUTIONS
        and max(_pair(node.config["strides"])) > 1 < max(_pair(node.config["kernel_size"]))
    ]
    found = [_padding_of(node, by_name) for node in strided]
    if None in found:
        return None
    # keras.applications' networks pad before such a convolution: as "same" does where a side is even, which is alike on
    # all sides where it is odd.
    if "even" in found:
        return "same"
    # The first full convolution with a stride is the stem, all others are fused.
    is_fused = [number > 0 and node.kind == "Conv2D" for number, node in enumerate(strided)]
    return padding_of(zip(is_fused, (name == "symmetric" for name in found), strict=True))


def _padding_of(node: Node, by_name: Mapping[str, Node]) -> str | None:
    if node.config["padding"] == "same":
        return "same"
    before = [by_name[name] for name in node.inputs if name in by_name]
    if len(before) != 1 or before[0].kind != "ZeroPadding2D":
        return None
    sides = [_pair(side) for side in _pair(before[0].config["padding"])]
    halves = [size // 2 for size in _pair(node.config["kernel_size"])]
    if all(side == (half, half) for side, half in zip(sides, halves, strict=True)):
        return "symmetric"
    if all(side in ((half - 1, half), (half, half)) for side, half in zip(sides, halves, strict=True)):
        return "even"
    return None


def _pair(value: Any) -> tuple[Any, Any]:
    first, second = value if isinstance(value, list | tuple) else (value, value)
    return tuple(first) if isinstance(first, list) else first, tuple(second) if isinstance(second, list) else second


def _epsilon(network: list[Node]) -> float | None:
    norms = Counter(node.config["epsilon"] for node in network if node.kind.startswith("BatchNormalization"))
    return positive_fraction(norms.most_common(1)[0][0]) if norms else None


def _hidden_activation(network: list[Node]) -> str | None:
    """Return the activation of all layers of that name; None for several, or one that is not Keras' own."""
    values = (node.config.get("activation") for node in network if node.kind == "Activation")
    # Keras notes a function that the user has registered as an object with its name.
    names = {str(value.get("config")) if isinstance(value, dict) else str(value) for value in values}
    name = common_name(names.pop()) if len(names) == 1 else ""
    return name if name in _ACTIVATIONS else None


def _strides(network: list[Node]) -> tuple[int, ...] | None:
    """Return the stride of each stage; None for a dilated network, whose weights are those of one with strides."""
    convolutions = [node for node in network if node.kind in _CONVOLUTIONS]
    if any(max(_pair(node.config.get("dilation_rate", 1))) > 1 for node in convolutions):
        return None
    found: dict[int, int] = {}
    for node in convolutions:
        if first := re.match(r"block(\d+)a_", node.name):
            stage = int(first[1])
            found[stage] = max(found.get(stage, 1), *_pair(node.config["strides"]))
    return tuple(found[stage] for stage in sorted(found)) or None


def _residuals(network: list[Node]) -> tuple[str, ...] | None:
    """Return the blocks that add their input to their output; None if the layers have other names."""
    if not any(node.name.startswith("block") for node in network):
        return None
    # A network that stands beside another one has a number or another end behind its layers' names.
    adding = (node.name.partition("_")[0] for node in network if re.match(r"block\d+[a-z]+_add", node.name))
    return tuple(sorted(set(adding)))


def _pooling(nodes: list[Node]) -> str | None:
    """Return the last pooling to vectors outside of the blocks."""
    kinds = [node.kind for node in nodes if not node.name.startswith("block")]
    return next((name for kind in reversed(kinds) if (name := _POOLINGS.get(kind))), None)


def _last_activation(nodes: list[Node]) -> str | None:
    """Return the classifier's activation, if the model ends in a classifier."""
    last = nodes[-1:] if nodes and nodes[-1].kind == "Dense" else nodes[-2:]
    if not last or last[0].kind != "Dense" or last[-1].kind not in ("Dense", "Activation"):
        return None
    activation = last[-1].config.get("activation")
    return activation if isinstance(activation, str) else None


def _preprocessing(
    nodes: list[Node], arrays: Mapping[str, Stored], before: str | Scaling | None, marked: str | Scaling | None
) -> str | Scaling | None:
    """Return the scaling of pixels before the model and by its layers before the first convolution; None for unknown.

    The layers take precedence over the mark that the network got when it was built.
    """
    first = next((number for number, node in enumerate(nodes) if node.kind in _CONVOLUTIONS), 0)
    in_front = [node for node in nodes[:first] if not marks.IDLE.fullmatch(node.kind)]
    if not in_front:
        return marked if before is None else before
    scale, offset = (np.array(values) for values in (((1.0,), (0.0,)) if before is None else scale_and_offset(before)))
    for node in in_front:
        try:
            step = _step(node, arrays)
            if step is None:
                return None
            scale, offset = scale * step[0], offset * step[0] + step[1]
        except ValueError:  # for another number of channels, or no numbers
            return None
    # Layers that take levels of 0..1, for example, do not show how pixels are scaled.
    return of_scale_and_offset(scale, offset) if is_of_pixels(scale, offset) else None


def _step(node: Node, arrays: Mapping[str, Stored]) -> tuple[np.ndarray, np.ndarray] | None:
    """Return factor and summand of a layer, for each channel; None if it does something else."""
    if node.kind == "Rescaling":
        return _numbers(node.config["scale"]), _numbers(node.config.get("offset", 0.0))
    if node.kind == "Normalization" and not node.config.get("invert"):
        mean, variance = (
            node.config.get(role) if node.config.get(role) is not None else arrays.get(f"{node.name}/{role}")
            for role in ("mean", "variance")
        )
        if mean is not None and variance is not None and (_numbers(variance) >= 0).all():
            return normalization(_numbers(mean), _numbers(variance))
    factor_and_summand: tuple[float, float] | None = None
    match node.kind, node.numbers:
        case "Concatenate", _:  # grey pixels as RGB
            factor_and_summand = 1, 0
        case "TrueDivide" | "Divide", (None, float() | int() as number) if number:
            factor_and_summand = 1 / number, 0
        case "Multiply", (None, float() | int() as number) | (float() | int() as number, None):
            factor_and_summand = number, 0
        case "Add", (None, float() | int() as number) | (float() | int() as number, None):
            factor_and_summand = 1, number
        case "Subtract", (None, float() | int() as number):
            factor_and_summand = 1, -number
    return None if factor_and_summand is None else (_numbers(factor_and_summand[0]), _numbers(factor_and_summand[1]))


def normalization(mean: np.ndarray, variance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return factor and summand of Keras' layer Normalization with these statistics."""
    scale = 1 / np.maximum(np.sqrt(variance), 1e-7)
    return scale, -mean * scale


def _numbers(value: Any) -> np.ndarray:
    # A list of many axes, or {"class_name": "__numpy__", "config": {"value": …}}.
    if isinstance(value, dict):
        value = value["config"]["value"]
    return np.ravel(np.asarray(value, np.float64))
