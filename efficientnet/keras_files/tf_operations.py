"""TensorFlow's functions in the graph of a model of Keras 2, such as ``x / 255.`` or ``tf.nn.relu(x)``, for Keras 3.

Keras 2 saves each as a layer ``TFOpLambda`` with the function's name. Keras 3 saves its own functions as operations,
into which those are converted here; models with them open with plain Keras 3 on every backend.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Mapping
from typing import Any

# The classes of such layers in Keras 2.
LAYERS = ("TFOpLambda", "SlicingOpLambda")

# How Keras 3 writes down a tensor of the graph, and an array.
TENSOR, _ARRAY = "__keras_tensor__", "__numpy__"


class UnknownOperation(ValueError):
    """A function has no form in Keras 3; the message is the rest of a sentence about it."""


@dataclasses.dataclass(frozen=True)
class _Operation:
    """An operation of Keras 3 that does what a function of TensorFlow does.

    Attributes:
        kind: Class, without ``keras.src.ops``: ``"numpy.Mean"``.
        operands: Names of TensorFlow's arguments that are tensors, after the first, which always is one.
        options: Keras' name of each further argument of TensorFlow's.
        idle: Further arguments and the only value that is taken.
        defaults: Keras' options where TensorFlow's argument is left out and its default is another one.
        change: Change of an option's value, by Keras' name.
    """

    kind: str
    operands: tuple[str, ...] = ()
    options: Mapping[str, str] = dataclasses.field(default_factory=dict)
    idle: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    defaults: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    change: Mapping[str, Callable[[Any], Any]] = dataclasses.field(default_factory=dict)


def convert_operation(function: str, first: Any, others: Mapping[str, Any]) -> tuple[str, dict[str, Any], list[Any]]:
    """Convert a call of a function of TensorFlow to an operation of Keras 3.

    Args:
        function: Name of the function, ``"math.reduce_mean"``.
        first: First argument, with tensors in the form of Keras 3's files.
        others: Other arguments by name.

    Returns:
        The operation's class with its module, its configuration, and what it is called with.

    Raises:
        UnknownOperation: There is no such operation, or not with these arguments.
    """
    if function == "__operators__.getitem":
        return _get_item(first, others["slice_spec"])
    operation = _OPERATIONS.get(function.removeprefix("compat.v1."))
    if operation is None:
        raise UnknownOperation(f"is tf.{function}, which has no form in Keras 3 here")
    config: dict[str, Any] = dict(operation.defaults)
    arguments = [_operand(first)]
    given = dict(others)
    for name in operation.operands:
        arguments.append(_operand(given.pop(name, None)))
    for name, value in given.items():
        if value is None or name == "name" or (name in operation.idle and operation.idle[name] == value):
            continue
        option = operation.options.get(name)
        if option is None or _has_tensor(value):
            shown = "a computed value" if _has_tensor(value) else repr(value)
            raise UnknownOperation(f"is tf.{function} with {name}={shown}, which has no form in Keras 3 here")
        config[option] = operation.change[option](value) if option in operation.change else value
    module = "keras." if operation.kind.startswith("layers.") else "keras.src.ops."
    return module + operation.kind, config, arguments


def _operand(value: Any) -> Any:
    """Return a tensor, a list of them, a number, or an array, which Keras 2 wrote as a list of numbers."""
    if not isinstance(value, list) or _has_tensor(value):
        return value
    dtype = "float32" if any(isinstance(number, float) for number in _flat(value)) else "int32"
    return {"class_name": _ARRAY, "config": {"value": value, "dtype": dtype}}


def _flat(value: Any) -> list[Any]:
    return [number for item in value for number in _flat(item)] if isinstance(value, list) else [value]


def _has_tensor(value: Any) -> bool:
    if isinstance(value, dict):
        return value.get("class_name") == TENSOR or any(map(_has_tensor, value.values()))
    return isinstance(value, list) and any(map(_has_tensor, value))


def _get_item(tensor: Any, spec: Any) -> tuple[str, dict[str, Any], list[Any]]:
    """Convert ``x[…]``; Keras 3 cannot read an ellipsis from a file, but takes from the last axis in other ways."""
    if _has_tensor(spec):
        raise UnknownOperation("takes a part whose place is computed, which has no form in Keras 3 here")
    if not isinstance(spec, list) or not any(isinstance(item, dict) and "start" not in item for item in spec):
        return "keras.src.ops.numpy.GetItem", {}, [tensor, _key(spec)]
    last = spec[-1]
    if len(spec) == 2 and isinstance(last, int):
        return "keras.src.ops.numpy.Take", {"axis": -1}, [tensor, last]
    if len(spec) == 2 and last == {"start": None, "stop": None, "step": -1}:
        return "keras.src.ops.numpy.Flip", {"axis": -1}, [tensor]
    raise UnknownOperation("is x[…] with an ellipsis, which has no form in Keras 3 here")


def _key(spec: Any) -> Any:
    if isinstance(spec, list):
        return [_key(item) for item in spec]
    return {"class_name": "__slice__", "config": spec} if isinstance(spec, dict) else spec


def _sections(sizes: int | list[int]) -> int | list[int]:
    """Return the places to cut at, of the sizes of the parts."""
    return sizes if isinstance(sizes, int) else list(itertools.accumulate(sizes))[:-1]


def _pixels(size: int | list[int]) -> int | list[int]:
    """Return the height and the width of TensorFlow's four numbers, which include batch and channels."""
    return size[1:3] if isinstance(size, list) and len(size) == 4 else size


_AXIS = {"axis": "axis"}
_REDUCTION = {"axis": "axis", "keepdims": "keepdims"}
_CHANNELS_LAST = {"data_format": "NHWC"}
_PLAIN_MATMUL = dict.fromkeys(
    ("transpose_a", "transpose_b", "adjoint_a", "adjoint_b", "a_is_sparse", "b_is_sparse"), False
)
_POOLING = _Operation(
    "", options={"ksize": "pool_size", "strides": "strides", "padding": "padding"}, idle=_CHANNELS_LAST,
    change={"padding": str.lower, "pool_size": _pixels, "strides": _pixels},
)  # fmt: skip


def _unary(group: str, **kinds: str) -> dict[str, _Operation]:
    return {f"{group}.{name}": _Operation(kind) for name, kind in kinds.items()}


def _binary(**kinds: str) -> dict[str, _Operation]:
    return {f"math.{name}": _Operation(f"numpy.{kind}", ("y",)) for name, kind in kinds.items()}


def _reductions(**kinds: str) -> dict[str, _Operation]:
    return {f"math.reduce_{name}": _Operation(kind, options=_REDUCTION) for name, kind in kinds.items()}


_OPERATIONS = {
    **_unary(
        "math",
        abs="numpy.Absolute", ceil="numpy.Ceil", cos="numpy.Cos", erf="math.Erf", exp="numpy.Exp",
        expm1="numpy.Expm1", floor="numpy.Floor", is_nan="numpy.Isnan", log="numpy.Log", log1p="numpy.Log1p",
        logical_not="numpy.LogicalNot", negative="numpy.Negative", reciprocal="numpy.Reciprocal",
        round="numpy.Round", rsqrt="math.Rsqrt", sigmoid="nn.Sigmoid", sign="numpy.Sign", sin="numpy.Sin",
        softplus="nn.Softplus", sqrt="numpy.Sqrt", square="numpy.Square", tanh="numpy.Tanh",
    ),
    **_unary(
        "nn",
        elu="nn.Elu", relu="nn.Relu", relu6="nn.Relu6", selu="nn.Selu", sigmoid="nn.Sigmoid", softplus="nn.Softplus",
        softsign="nn.Softsign", tanh="numpy.Tanh",
    ),
    **_binary(
        add="Add", divide="TrueDivide", equal="Equal", floor_div="FloorDivide", floordiv="FloorDivide",
        floormod="Mod", greater="Greater", greater_equal="GreaterEqual", less="Less", less_equal="LessEqual",
        logical_and="LogicalAnd", logical_or="LogicalOr", maximum="Maximum", minimum="Minimum", multiply="Multiply",
        not_equal="NotEqual", pow="Power", subtract="Subtract", truediv="TrueDivide",
    ),
    **_reductions(
        all="numpy.All", any="numpy.Any", logsumexp="math.Logsumexp", max="numpy.Max", mean="numpy.Mean",
        min="numpy.Min", prod="numpy.Prod", std="numpy.Std", sum="numpy.Sum", variance="numpy.Var",
    ),
    "__operators__.add": _Operation("numpy.Add", ("y",)),
    "floor_div": _Operation("numpy.FloorDivide", ("y",)),
    "broadcast_to": _Operation("numpy.BroadcastTo", options={"shape": "shape"}),
    "cast": _Operation("core.Cast", options={"dtype": "dtype"}),
    "clip_by_value": _Operation("numpy.Clip", options={"clip_value_min": "x_min", "clip_value_max": "x_max"}),
    "concat": _Operation("numpy.Concatenate", options=_AXIS),
    "expand_dims": _Operation("numpy.ExpandDims", options=_AXIS),
    "gather": _Operation("numpy.Take", ("indices",), _AXIS, {"batch_dims": 0}, {"axis": 0}),
    "identity": _Operation("layers.Identity"),
    "image.flip_left_right": _Operation("numpy.Flip", defaults={"axis": -2}),
    "image.grayscale_to_rgb": _Operation("numpy.Repeat", defaults={"repeats": 3, "axis": -1}),
    "image.resize": _Operation(
        "image.Resize", options={"size": "size", "method": "interpolation", "antialias": "antialias"},
        idle={"preserve_aspect_ratio": False},
    ),
    "image.rgb_to_grayscale": _Operation("image.RGBToGrayscale"),
    "linalg.matmul": _Operation("numpy.Matmul", ("b",), idle=_PLAIN_MATMUL),
    "math.argmax": _Operation("numpy.Argmax", options=_AXIS, idle={"output_type": "int64"}, defaults={"axis": 0}),
    "math.argmin": _Operation("numpy.Argmin", options=_AXIS, idle={"output_type": "int64"}, defaults={"axis": 0}),
    "math.cumsum": _Operation(
        "numpy.Cumsum", options=_AXIS, idle={"exclusive": False, "reverse": False}, defaults={"axis": 0}
    ),
    "math.divide_no_nan": _Operation("numpy.DivideNoNan", ("y",)),
    "math.l2_normalize": _Operation("nn.Normalize", options={**_AXIS, "epsilon": "epsilon"}),
    "math.top_k": _Operation("math.TopK", options={"k": "k", "sorted": "sorted"}, idle={"index_type": "int32"}),
    "nn.avg_pool2d": dataclasses.replace(_POOLING, kind="nn.AveragePool"),
    "nn.bias_add": _Operation("numpy.Add", ("bias",), idle=_CHANNELS_LAST),
    "nn.depth_to_space": _Operation("nn.DepthToSpace", options={"block_size": "block_size"}, idle=_CHANNELS_LAST),
    "nn.gelu": _Operation("nn.Gelu", options={"approximate": "approximate"}, defaults={"approximate": False}),
    "nn.leaky_relu": _Operation("nn.LeakyRelu", options={"alpha": "negative_slope"}),
    "nn.log_softmax": _Operation("nn.LogSoftmax", options=_AXIS),
    "nn.max_pool2d": dataclasses.replace(_POOLING, kind="nn.MaxPool"),
    "nn.silu": _Operation("nn.Silu", idle={"beta": 1.0}),
    "nn.softmax": _Operation("nn.Softmax", options=_AXIS),
    "nn.space_to_depth": _Operation("nn.SpaceToDepth", options={"block_size": "block_size"}, idle=_CHANNELS_LAST),
    "norm": _Operation("linalg.Norm", options=_REDUCTION, idle={"ord": "euclidean"}),
    "one_hot": _Operation("nn.OneHot", options={"depth": "num_classes", **_AXIS}),
    "ones_like": _Operation("numpy.OnesLike", options={"dtype": "dtype"}, idle={"optimize": True}),
    "pad": _Operation(
        "numpy.Pad", options={"paddings": "pad_width", "mode": "mode"}, idle={"constant_values": 0},
        change={"mode": str.lower},
    ),
    "repeat": _Operation("numpy.Repeat", options={"repeats": "repeats", **_AXIS}),
    "reshape": _Operation("numpy.Reshape", options={"shape": "newshape"}),
    "reverse": _Operation("numpy.Flip", options=_AXIS),
    "roll": _Operation("numpy.Roll", options={"shift": "shift", **_AXIS}),
    "split": _Operation(
        "numpy.Split", options={"num_or_size_splits": "indices_or_sections", **_AXIS},
        change={"indices_or_sections": _sections},
    ),
    "squeeze": _Operation("numpy.Squeeze", options=_AXIS),
    "stack": _Operation("numpy.Stack", options=_AXIS),
    "stop_gradient": _Operation("core.StopGradient"),
    "tile": _Operation("numpy.Tile", options={"multiples": "repeats"}),
    "transpose": _Operation("numpy.Transpose", options={"perm": "axes"}, idle={"conjugate": False}),
    "unstack": _Operation("core.Unstack", options={"num": "num", **_AXIS}),
    "where": _Operation("numpy.Where", ("x", "y")),
    "zeros_like": _Operation("numpy.ZerosLike", options={"dtype": "dtype"}, idle={"optimize": True}),
}  # fmt: skip
