"""The configuration of a model that Keras 2 saved, as Keras 3 takes it.

Layers, and how they are connected, come out as Keras 3 itself writes them, so that it reads all of them in one way.
Nothing that has an effect is dropped: what Keras 3 cannot do is refused by the layer's name.
"""

from __future__ import annotations

import inspect
from collections.abc import Collection
from typing import Any

from ..common.text import get_logger
from . import tf_operations

logger = get_logger()

_MODELS = ("Functional", "Model", "Sequential")

# Keys that Keras 2 wrote and Keras 3's layers do not know, with the values at which they have no effect on the
# outputs; None where no value has one.
_IDLE: dict[str, tuple[Any, ...] | None] = {
    "gain": (1.0,),  # an option of Identity, which does not use it
    "groups": None,  # where the layer has no groups; Conv2D, which has some, keeps it
    "implementation": None,  # how fast, not what
    "input_length": None,
    "kernel_constraint": None,  # SeparableConv has separate options for its two kernels
    "kernel_initializer": None,
    "kernel_regularizer": None,
    "key_shape": None,  # found again when the layer is called
    "noise_shape": (None,),
    "query_shape": None,
    "renorm": (False,),
    "rng_type": None,
    "softmax_robust_masking": (False,),
    "time_major": (False,),
    "trainable": None,  # where the layer has no weights
    "value_shape": None,
    "virtual_batch_size": (None,),
    "vocabulary_size": None,  # written beside the vocabulary
    "zero_output_for_mask": (False,),
}
_RECURRENT = {"Bidirectional", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D", "GRU", "LSTM", "RNN", "SimpleRNN"}

# As TensorFlow 1.13 and others called them, what a layer is called now.
_RENAMED = {
    "BatchNormalizationV1": "BatchNormalization",
    "BatchNormalizationV2": "BatchNormalization",
    "SyncBatchNormalization": "BatchNormalization",
    "ThresholdedReLU": "ReLU",
}
_RENAMED_KEYS = {"LeakyReLU": {"alpha": "negative_slope"}, "ThresholdedReLU": {"theta": "threshold"}}
_ADDED_KEYS = {"SyncBatchNormalization": {"synchronized": True}}

# Augmentation that Keras 3 does not have, or that does not resize as it did; what is there instead does what it does
# when a model predicts, where the first two do nothing.
_AUGMENTATION: dict[str, tuple[str, dict[str, Any]]] = {
    "RandomHeight": ("Identity", {}),
    "RandomWidth": ("Identity", {}),
    "RandomCrop": ("Resizing", {"crop_to_aspect_ratio": True}),
}

# Keras 3 takes these, and fails when the model predicts.
_LOST_INTERPOLATIONS = ("gaussian", "mitchellcubic")

_ACTIVATIONS = {"softmax_v2": "softmax"}


class Refusal(ValueError):
    """Keras 3 has no form for a part of the model; the message is the rest of a sentence about the file."""


def modernise(model: dict[str, Any], layers: Any, custom: Collection[str]) -> dict[str, Any]:
    """Convert the configuration of a model of Keras 2 for Keras 3.

    Args:
        model: Configuration in the file: ``{"class_name": "Functional", "config": {…}}``.
        layers: Keras 3's ``layers``.
        custom: Names of the classes and functions that Keras is given besides its own, which stay unchanged.

    Raises:
        Refusal: Keras 3 cannot build a part of it.
    """
    if model["class_name"] not in _MODELS or model["class_name"] in custom:
        return model
    return _Conversion(layers, custom).layer(model)


class _Conversion:
    def __init__(self, layers: Any, custom: Collection[str]) -> None:
        self.layers = layers
        self.custom = custom

    def layer(self, layer: dict[str, Any]) -> dict[str, Any]:
        """Convert one layer; a model with all of its layers."""
        kind, config = layer["class_name"], layer["config"]
        if kind in self.custom or layer.get("registered_name") in self.custom:
            dtype = {"dtype": self._value("dtype", config["dtype"])} if "dtype" in config else {}
            return {**layer, "config": {**config, **dtype}}
        if kind in _MODELS:
            return self._model(layer)
        if kind == "Lambda":
            return {"class_name": kind, "config": config}  # Keras 3 reads it as Keras 2 wrote it
        if kind in tf_operations.LAYERS:
            return layer  # converted with its calls, which hold its arguments
        name = config.get("name", kind)
        if kind in _AUGMENTATION:
            instead, options = _AUGMENTATION[kind]
            logger.warning(
                "%s (%s): Keras 3 does not have this augmentation; %s is in its place. Predictions are the same, "
                "training goes on without it.", name, kind, instead,
            )  # fmt: skip
            kept = {key: config[key] for key in ("height", "width") if key in config}
            return _builtin(instead, {**kept, "name": _name(name), **options})
        config = {_RENAMED_KEYS.get(kind, {}).get(key, key): value for key, value in config.items()}
        config |= _ADDED_KEYS.get(kind, {})
        kind = _RENAMED.get(kind, kind)
        cls = getattr(self.layers, kind, None)
        if not isinstance(cls, type):
            raise Refusal(
                f"its layer {name!r} is a {kind}, which Keras 3 does not have; where it is your own, pass "
                f"custom_objects={{{kind!r}: {kind}}}"
            )
        shape = config.pop("batch_input_shape", None)
        if kind == "InputLayer" and shape is not None:
            config["batch_shape"] = shape
        axis = config.get("axis")
        if kind == "BatchNormalization" and isinstance(axis, list):
            (config["axis"],) = axis
        if str(config.get("interpolation")).lower() in _LOST_INTERPOLATIONS:
            raise Refusal(
                f"its layer {name!r} ({kind}) has interpolation={config['interpolation']!r}, which Keras 3 cannot do"
            )
        accepted = _accepted(cls)
        for key in [key for key in config if key not in accepted]:
            if key not in _IDLE:
                raise Refusal(f"its layer {name!r} ({kind}) has {key}={config[key]!r}, which Keras 3 does not know")
            idle = _IDLE[key]
            if idle is not None and config[key] not in idle:
                raise Refusal(f"its layer {name!r} ({kind}) has {key}={config[key]!r}, which Keras 3 cannot do")
            del config[key]
        config = {key: self._value(key, value) for key, value in config.items()}
        if "name" in config:
            config["name"] = _name(config["name"])
        if any("activation" in key and value in self.custom for key, value in config.items() if isinstance(value, str)):
            # As Keras 2 wrote it, so that Keras 3 looks for the function among the custom objects first.
            return {"class_name": kind, "config": config}
        return _builtin(kind, config)

    def _model(self, layer: dict[str, Any]) -> dict[str, Any]:
        config = layer["config"]
        if isinstance(config, list):  # Keras before 2.2.3, of a Sequential
            config = {"name": layer.get("name", "sequential"), "layers": config}
        config = dict(config)
        inner = [self.layer(item) for item in config["layers"]]
        if "output_layers" in config:
            references = _References(config["layers"])
            inner = [references.connect(*pair) for pair in zip(inner, config["layers"], strict=True)]
            config["input_layers"] = references.ends(config["input_layers"])
            config["output_layers"] = references.ends(config["output_layers"])
        elif (shape := _input_shape(config["layers"])) is not None:
            inner.insert(0, _builtin("InputLayer", {"batch_shape": shape}))
        config |= {"layers": inner, "name": _name(config["name"])}
        is_sequential = layer["class_name"] == "Sequential"
        return {
            "module": "keras",
            "class_name": "Sequential" if is_sequential else "Model",
            "config": config,
            "registered_name": None,
        }

    def _value(self, key: str, value: Any) -> Any:
        """Convert a value of a layer's configuration: a wrapped layer, an initializer, an activation, …, or plain."""
        if isinstance(value, list):
            return [self._value(key, item) for item in value]
        if key == "activation" or key.endswith("_activation"):
            return self._activation(value)
        if not (isinstance(value, dict) and "class_name" in value and "config" in value):
            return value
        kind, config = value["class_name"], value["config"]
        if kind in self.custom or value.get("registered_name") in self.custom:
            return value
        if key == "dtype":
            return config["name"]  # a mixed precision policy by its name
        if hasattr(self.layers, kind) or kind in _MODELS or kind in _RENAMED:
            return self.layer(value)
        if key.endswith("_initializer"):
            # TensorFlow 1 wrote a dtype, which is the layer's own.
            config = {k: v for k, v in config.items() if k != "dtype"}
        # By its name alone, Keras 3 looks for it among its own.
        return {"class_name": kind, "config": config}

    def _activation(self, value: Any) -> Any:
        if isinstance(value, dict) and isinstance(value.get("config"), str):
            value = value["config"]
        if isinstance(value, dict):
            return self.layer(value) if "class_name" in value else value
        if value == "hard_sigmoid" and value not in self.custom:
            # Keras 2's has a slope of 1/5, Keras 3's of 1/6.
            return _builtin("Sequential", {"name": "hard_sigmoid", "layers": _hard_sigmoid()}, "keras")
        return _ACTIVATIONS.get(value, value)


def _input_shape(layers: list[dict[str, Any]]) -> list[int | None] | None:
    """Return the input shape of a sequential model from its first layer, where Keras before 2.4 saved it."""
    if not layers or layers[0]["class_name"] == "InputLayer":
        return None
    shape: list[int | None] | None = layers[0]["config"].get("batch_input_shape")
    return shape


def _hard_sigmoid() -> list[dict[str, Any]]:
    return [_builtin("Rescaling", {"scale": 0.2, "offset": 0.5}), _builtin("ReLU", {"max_value": 1.0})]


def _builtin(kind: str, config: dict[str, Any], module: str = "keras.layers") -> dict[str, Any]:
    return {"module": module, "class_name": kind, "config": config, "registered_name": None}


def _accepted(cls: type) -> set[str]:
    """Return the options that a layer's class takes, those of the classes that it hands further ones to included."""
    names: set[str] = set()
    for parent in cls.__mro__:
        if "__init__" not in vars(parent):
            continue
        parameters = inspect.signature(vars(parent)["__init__"]).parameters.values()
        names.update(parameter.name for parameter in parameters)
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
            break
    return names


class _References:
    """How a functional model's layers are connected.

    Keras 2 refers to a tensor as ``[layer, call, output]``, and counts the calls of a model within the model from 1.
    """

    def __init__(self, layers: list[dict[str, Any]]) -> None:
        self.nested = {layer["name"] for layer in layers if "layers" in layer["config"]}
        self.sequential = {layer["name"] for layer in layers if layer["class_name"] == "Sequential"}

    def connect(self, layer: dict[str, Any], old: dict[str, Any]) -> dict[str, Any]:
        """Return a converted layer with its name and its calls."""
        nodes = old["inbound_nodes"]
        if old["class_name"] in tf_operations.LAYERS:
            return self._operation(old, nodes)
        calls = [self._call(old["class_name"], node) for node in nodes]
        return {**layer, "name": _name(old["name"]), "inbound_nodes": calls}

    def ends(self, references: Any) -> Any:
        """Convert the inputs or the outputs of a model: a single one is that tensor; of a list Keras 3 makes a list."""
        if isinstance(references, dict):
            return {key: self.ends([value]) for key, value in references.items()}
        if _is_reference(references):
            # Keras 3, too, counts the calls of a functional model from 1 here, those of a sequential one from 0.
            name, call, output = references
            return [_name(name), call - 1 if name in self.sequential else call, output]
        return self.ends(references[0]) if len(references) == 1 else [self.ends(item) for item in references]

    def _operation(self, old: dict[str, Any], nodes: list[Any]) -> dict[str, Any]:
        if len(nodes) != 1:
            raise Refusal(f"its operation {old['name']!r} is called {len(nodes)} times")
        tensors, keywords = self._arguments(nodes[0])
        try:
            kind, config, arguments = tf_operations.convert_operation(old["config"]["function"], tensors, keywords)
        except tf_operations.UnknownOperation as error:
            raise Refusal(f"its operation {old['name']!r} {error}") from None
        *module, kind = kind.split(".")
        layer = {
            "module": ".".join(module),
            "class_name": kind,
            "config": {"name": old["name"], **config},
            "registered_name": None if module == ["keras", "layers"] else kind,
        }
        return {**layer, "name": old["name"], "inbound_nodes": [{"args": arguments, "kwargs": {}}]}

    def _call(self, kind: str, node: Any) -> dict[str, Any]:
        tensors, keywords = self._arguments(node)
        if isinstance(tensors, list) and len(tensors) == 1:
            tensors = tensors[0]
        if kind in _RECURRENT and isinstance(tensors, list):  # Keras 2 put the states that it begins with behind it
            tensors, *states = tensors
            keywords = {**keywords, "initial_state": states}
        if kind in _RECURRENT and keywords.pop("constants", None) is not None:
            raise Refusal(f"its layer of class {kind} is called with constants, which Keras 3 cannot do")
        return {"args": [tensors], "kwargs": keywords}

    def _arguments(self, node: Any) -> tuple[Any, dict[str, Any]]:
        """Return the first argument of a call, and the others, which stand beside each tensor of the first."""
        keywords: dict[str, Any] = {}

        def first(item: Any) -> Any:
            if _is_reference(item):
                if len(item) == 4:
                    keywords.update(item[3])
                return item[2] if item[0] == "_CONSTANT_VALUE" else self._tensor(*item[:3])
            if isinstance(item, dict):
                return {key: first(value) for key, value in item.items()}
            return [first(value) for value in item]

        tensors = first(node)
        return tensors, {key: self._other(value) for key, value in keywords.items()}

    def _other(self, value: Any) -> Any:
        if _is_reference(value) and len(value) == 3:
            return self._tensor(*value)
        if isinstance(value, list):
            return [self._other(item) for item in value]
        if isinstance(value, dict):
            return {key: self._other(item) for key, item in value.items()}
        return value

    def _tensor(self, name: str, call: int, output: int) -> dict[str, Any]:
        history = [_name(name), call - 1 if name in self.nested else call, output]
        # Shape and dtype are the layer's to say.
        config = {"shape": [], "dtype": "float32", "keras_history": history}
        return {"class_name": tf_operations.TENSOR, "config": config}


def _name(name: str) -> str:
    """Return a layer's name without slashes, which Keras 3 does not take."""
    return name.replace("/", "_")


def _is_reference(value: Any) -> bool:
    return isinstance(value, list) and len(value) in (3, 4) and isinstance(value[0], str) and isinstance(value[1], int)
