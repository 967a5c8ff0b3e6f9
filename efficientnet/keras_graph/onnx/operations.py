"""Functions of ``keras.ops``, and of TensorFlow in legacy Keras, that a Keras tensor was given to."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from . import activation, pooling
from .merging import concatenate
from .normalization import unit_length
from .shape import TO_THE_END, pad, resize
from .writer import Operand, Value, Writer, unsupported

# TensorFlow's names of what Keras calls otherwise.
_ALIASES = {
    "shape": "newshape", "perm": "axes", "paddings": "pad_width", "multiples": "repeats", "clip_value_min": "x_min",
    "clip_value_max": "x_max", "method": "interpolation", "constant_values": "value",
}  # fmt: skip


def write_operation(writer: Writer, call: Any, values: Sequence[Value], name: str) -> list[Value]:
    """Write the call of a function, to which ``keras_operation`` gives this name.

    Raises:
        UnsupportedLayerError: The function cannot be written, or not with these arguments.
    """
    key = name.rpartition(".")[2].replace("_", "").lower()
    write = _FUNCTIONS.get(_SYNONYMS.get(key, key))
    if write is None:
        raise unsupported(call.layer, "has no ONNX form here")
    try:
        args, kwargs = _bound(write, *_given(call, values))
        results = write(writer, *args, **kwargs)
    except (TypeError, KeyError, IndexError) as error:
        raise unsupported(call.layer, f"is called in a way that has no ONNX form here ({error})") from error
    return results if isinstance(results, list) else [results]


def _given(call: Any, values: Sequence[Value]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a function's arguments, by name and in order, and the values that it takes by default."""
    args, kwargs = call.arguments(values)
    layer = call.layer
    if hasattr(layer, "function") or hasattr(layer, "symbol"):
        signature = inspect.signature(layer.function)
        settings: dict[str, Any] = {}
        options = signature.parameters
    else:
        signature = inspect.signature(layer.call)
        options = inspect.signature(type(layer).__init__).parameters
        settings = {name: getattr(layer, name) for name in options if name != "name" and hasattr(layer, name)}
    bound = signature.bind(*args, **kwargs)
    bound.apply_defaults()
    defaults = {name: option.default for name, option in options.items()}
    given = {**bound.arguments, **settings}
    given.pop("name", None)
    return given, defaults


def _bound(
    write: Callable[..., Any], given: dict[str, Any], defaults: dict[str, Any]
) -> tuple[list[Any], dict[str, Any]]:
    """Return the arguments of one of the functions below: values in order, and settings by Keras' names.

    Raises:
        TypeError: There is a setting that the function does not know.
    """
    _, *parameters = inspect.signature(write).parameters.values()
    count = sum(parameter.kind is inspect.Parameter.POSITIONAL_ONLY for parameter in parameters)
    known = {parameter.name for parameter in parameters[count:]}
    settings = {}
    for name, value in list(given.items())[count:]:
        keras_name = _ALIASES.get(name, name)
        if keras_name in known:
            settings[keras_name] = value
        elif value is not None and value is not defaults.get(name) and value != defaults.get(name):
            raise TypeError(f"{name}={value!r}")
    return list(given.values())[:count], settings


def _operand(value: Any) -> Operand:
    """Return a value, or a constant of any of Keras' backends as numbers."""
    if isinstance(value, Value):
        return value
    return np.asarray(value.detach().cpu() if hasattr(value, "detach") else value, np.float32)


def _value(x: Any) -> Value:
    if not isinstance(x, Value):
        raise TypeError(f"a constant, {x!r}")
    return x


def _axes(axis: Any) -> list[int] | None:
    return None if axis is None else [int(a) for a in (axis if isinstance(axis, (list, tuple, np.ndarray)) else [axis])]


def _binary(operation: str) -> Callable[..., Value]:
    def write(writer: Writer, x1: Any, x2: Any, /) -> Value:
        return writer.combine(operation, _operand(x1), _operand(x2))

    return write


def _reduction(operation: str) -> Callable[..., Value]:
    def write(writer: Writer, x: Any, /, axis: Any = None, keepdims: bool = False) -> Value:
        return writer.reduce(operation, _value(x), _axes(axis), bool(keepdims))

    return write


def _var(writer: Writer, x: Any, /, axis: Any = None, keepdims: bool = False) -> Value:
    centered = writer.combine("Sub", x, writer.reduce("ReduceMean", _value(x), _axes(axis)))
    return writer.reduce("ReduceMean", writer.combine("Mul", centered, centered), _axes(axis), bool(keepdims))


def _std(writer: Writer, x: Any, /, axis: Any = None, keepdims: bool = False) -> Value:
    return writer.write("Sqrt", _var(writer, x, axis, keepdims))


def _log_sum_exp(writer: Writer, x: Any, /, axis: Any = None, keepdims: bool = False) -> Value:
    axes = _axes(axis)
    largest = writer.reduce("ReduceMax", _value(x), axes)
    powers = writer.write("Exp", writer.combine("Sub", x, largest))
    logarithm = writer.write("Log", writer.reduce("ReduceSum", powers, axes, bool(keepdims)))
    return writer.combine("Add", logarithm, largest if keepdims else writer.reduce("ReduceMax", x, axes, False))


def _square(writer: Writer, x: Any, /) -> Value:
    return writer.combine("Mul", x, x)


def _rsqrt(writer: Writer, x: Any, /) -> Value:
    return writer.write("Reciprocal", writer.write("Sqrt", _value(x)))


def _clip(writer: Writer, x: Any, /, x_min: Any, x_max: Any) -> Value:
    return activation.clip(writer, _value(x), float(x_min), float(x_max))


def _identity(writer: Writer, x: Any, /, dtype: Any = None) -> Value:
    return _value(x)  # values are float32 already


def _integers(values: Any) -> list[int]:
    """Return numbers that are known, such as a shape without tensors in it."""
    return [int(value) for value in (np.atleast_1d(values) if np.ndim(values) <= 1 else np.ravel(values))]


def _reshape(writer: Writer, x: Any, /, newshape: Any) -> Value:
    return writer.reshape(_value(x), _integers(newshape))


def _transpose(writer: Writer, x: Any, /, axes: Any = None) -> Value:
    order = range(_value(x).rank)[::-1] if axes is None else [axis % x.rank for axis in _integers(axes)]
    return writer.write("Transpose", writer.natural(x), perm=list(order))


def _swapaxes(writer: Writer, x: Any, /, axis1: int, axis2: int) -> Value:
    order = list(range(_value(x).rank))
    order[axis1], order[axis2] = order[axis2], order[axis1]
    return _transpose(writer, x, order)


def _moveaxis(writer: Writer, x: Any, /, source: Any, destination: Any) -> Value:
    rank = _value(x).rank
    pairs = dict(zip((axis % rank for axis in _integers(destination)), _integers(source), strict=True))
    rest = iter([axis for axis in range(rank) if axis not in {source % rank for source in pairs.values()}])
    return _transpose(writer, x, [pairs[axis] if axis in pairs else next(rest) for axis in range(rank)])


def _expand_dims(writer: Writer, x: Any, /, axis: Any) -> Value:
    axes = _integers(axis)
    rank = _value(x).rank + len(axes)
    return writer.write("Unsqueeze", writer.natural(x), writer.integers([a % rank for a in axes], "axes"), rank=rank)


def _squeeze(writer: Writer, x: Any, /, axis: Any) -> Value:
    axes = [a % _value(x).rank for a in _integers(axis)]
    return writer.write("Squeeze", writer.natural(x), writer.integers(axes, "axes"), rank=x.rank - len(axes))


def _concatenate(writer: Writer, xs: Any, /, axis: int = 0) -> Value:
    return concatenate(writer, [_value(x) for x in xs], int(axis))


def _stack(writer: Writer, xs: Any, /, axis: int = 0) -> Value:
    return concatenate(writer, [_expand_dims(writer, x, axis) for x in xs], int(axis))


def _split(writer: Writer, x: Any, /, indices_or_sections: Any, axis: int = 0) -> list[Value]:
    if np.ndim(indices_or_sections):
        raise TypeError(f"parts of different sizes, {indices_or_sections}")
    count = int(indices_or_sections)
    return writer.write_parts(count, "Split", _value(x), axis=writer.axis(x, axis))


def _flip(writer: Writer, x: Any, /, axis: Any = None) -> Value:
    axes = range(_value(x).rank) if axis is None else _integers(axis)
    return writer.slice(x, [(a, -1, -TO_THE_END, -1) for a in axes])


def _pad(writer: Writer, x: Any, /, pad_width: Any, mode: str = "constant", value: Any = None) -> Value:
    widths = [(int(before), int(after)) for before, after in np.broadcast_to(pad_width, (_value(x).rank, 2))]
    modes = {"constant": "constant", "reflect": "reflect", "edge": "edge"}
    return pad(writer, x, dict(enumerate(widths)), modes[mode.lower()], float(value or 0))


def _tile(writer: Writer, x: Any, /, repeats: Any) -> Value:
    counts = _integers(repeats)
    counts = [1] * (_value(x).rank - len(counts)) + counts
    if len(counts) > x.rank:
        raise TypeError(f"repeats={repeats}")
    return writer.write("Tile", writer.natural(x), writer.integers(counts, "repeats"))


def _matmul(writer: Writer, x1: Any, x2: Any, /) -> Value:
    first, second = (
        writer.natural(x) if isinstance(x, Value) else writer.floats(_operand(x), "value") for x in (x1, x2)
    )
    if min(first.rank, second.rank) < 2:
        raise TypeError("a vector")
    return writer.write("MatMul", first, second, rank=max(first.rank, second.rank))


def _getitem(writer: Writer, x: Any, key: Any, /) -> Value:
    keys = [_as_slice(part) for part in (key if isinstance(key, (list, tuple)) else [key])]
    taken = sum(part is not None and part is not Ellipsis for part in keys)
    rest = [slice(None)] * (_value(x).rank - taken)
    if Ellipsis in keys:
        place = keys.index(Ellipsis)
        keys[place : place + 1] = rest
    else:
        keys += rest
    cuts, dropped, added = [], [], []
    axes, places = itertools.count(), itertools.count()
    for part in keys:
        if part is None:
            added.append(next(places))
            continue
        axis = next(axes)
        if isinstance(part, slice):
            next(places)
            step = 1 if part.step is None else int(part.step)
            first = (0 if step > 0 else -1) if part.start is None else int(part.start)
            last = (TO_THE_END if step > 0 else -TO_THE_END) if part.stop is None else int(part.stop)
            if part != slice(None):
                cuts.append((axis, first, last, step))
        else:
            number = int(part)
            cuts.append((axis, number, number + 1 if number != -1 else TO_THE_END, 1))
            dropped.append(axis)
    if cuts:
        x = writer.slice(x, cuts)
    if dropped:
        x = _squeeze(writer, x, dropped)
    return _expand_dims(writer, x, added) if added else x


def _as_slice(part: Any) -> Any:
    """Return a slice, which legacy Keras keeps as a dictionary."""
    return slice(part["start"], part["stop"], part["step"]) if isinstance(part, dict) else part


def _normalize(writer: Writer, x: Any, /, axis: Any = -1, order: int = 2, epsilon: float | None = None) -> Value:
    if order != 2:
        raise TypeError(f"order={order}")
    return unit_length(writer, _value(x), _axes(axis) or [-1], (1e-7 if epsilon is None else epsilon) ** 2)


def _l2_normalize(writer: Writer, x: Any, /, axis: Any = None, epsilon: float = 1e-12) -> Value:
    return unit_length(writer, _value(x), range(x.rank) if axis is None else _axes(axis) or [], epsilon)


def _resize(
    writer: Writer, x: Any, /, size: Any, interpolation: str = "bilinear", data_format: str = "channels_last"
) -> Value:
    if _value(x).rank != 4:
        raise TypeError(f"{x.rank} axes")
    return resize(writer, x, _integers(size), interpolation, data_format)


def _space(operation: str, **options: Any) -> Callable[..., Value]:
    def write(writer: Writer, x: Any, /, block_size: int, data_format: str = "channels_last") -> Value:
        names = {"NHWC": "channels_last", "NCHW": "channels_first"}  # TensorFlow's
        x = writer.channels_second(_value(x), names.get(data_format, data_format))
        return writer.write(operation, x, blocksize=block_size, **options)

    return write


def _pooling(kind: str) -> Callable[..., Value]:
    def write(
        writer: Writer, x: Any, /, pool_size: Any, strides: Any = None, padding: str = "valid", data_format: Any = None
    ) -> Value:
        return pooling.pool(writer, kind, _value(x), pool_size, strides, padding, data_format)

    return write


# Other names, among them TensorFlow's, of the functions below.
_SYNONYMS = {
    "sub": "subtract", "mul": "multiply", "truediv": "divide", "truedivide": "divide", "realdiv": "divide",
    "pow": "power", "abs": "absolute", "neg": "negative", "reducemean": "mean", "reducesum": "sum", "max": "amax",
    "reducemax": "amax", "min": "amin", "reducemin": "amin", "reduceprod": "prod", "reducevariance": "var",
    "reducestd": "std", "reducelogsumexp": "logsumexp", "clipbyvalue": "clip", "concat": "concatenate",
    "stopgradient": "identity", "cast": "identity", "copy": "identity", "exponential": "exp", "reverse": "flip",
    "l2normalize": "l2norm", "swish": "silu", "hardswish": "hardsilu",
}  # fmt: skip

_FUNCTIONS: dict[str, Callable[..., Value | list[Value]]] = {
    **activation.FUNCTIONS,
    "add": _binary("Add"),
    "subtract": _binary("Sub"),
    "multiply": _binary("Mul"),
    "divide": _binary("Div"),
    "power": _binary("Pow"),
    "maximum": _binary("Max"),
    "minimum": _binary("Min"),
    **{
        name: activation.unary(operation)
        for name, operation in {
            "absolute": "Abs", "negative": "Neg", "exp": "Exp", "log": "Log", "sqrt": "Sqrt", "sin": "Sin",
            "cos": "Cos", "reciprocal": "Reciprocal", "erf": "Erf", "floor": "Floor", "ceil": "Ceil", "round": "Round",
            "sign": "Sign",
        }.items()
    },
    "square": _square,
    "rsqrt": _rsqrt,
    "clip": _clip,
    "identity": _identity,
    "mean": _reduction("ReduceMean"),
    "sum": _reduction("ReduceSum"),
    "amax": _reduction("ReduceMax"),
    "amin": _reduction("ReduceMin"),
    "prod": _reduction("ReduceProd"),
    "logsumexp": _log_sum_exp,
    "var": _var,
    "std": _std,
    "reshape": _reshape,
    "transpose": _transpose,
    "swapaxes": _swapaxes,
    "moveaxis": _moveaxis,
    "expanddims": _expand_dims,
    "squeeze": _squeeze,
    "concatenate": _concatenate,
    "stack": _stack,
    "split": _split,
    "flip": _flip,
    "pad": _pad,
    "tile": _tile,
    "matmul": _matmul,
    "getitem": _getitem,
    "normalize": _normalize,
    "l2norm": _l2_normalize,
    "resize": _resize,
    "depthtospace": _space("DepthToSpace", mode="DCR"),
    "spacetodepth": _space("SpaceToDepth"),
    "maxpool": _pooling("MaxPool"),
    "averagepool": _pooling("AveragePool"),
}  # fmt: skip
