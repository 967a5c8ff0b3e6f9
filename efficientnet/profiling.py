"""What a model costs: parameters, multiply-adds and activations, layer by layer; and how long each takes here."""

from __future__ import annotations

import importlib
import math
import re
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np

from . import openvino_graph
from .backends import deep_recursion
from .checkpoints.keras_h5 import role
from .layer_calls import LayerCall, layer_calls

Shape = tuple[int, ...]

# Layers that multiply nothing by weights, or only what can be folded into a convolution. (The papers count neither
# normalisation nor activations, nor the sums that pooling takes.)
_WITHOUT_MULTIPLY_ADDS = re.compile(
    r"(Global)?(Average|Max)Pooling[123]D|(ZeroPadding|Cropping|UpSampling|SpatialDropout)[123]D"
    r"|(Sync)?BatchNormalization|(Group|Layer|RMS|Unit)?Normalization|Dropout|Gaussian(Dropout|Noise)"
    r"|Activation|Softmax|PReLU|ReLU|LeakyReLU|ThresholdedReLU|ELU"
    r"|Add|Subtract|Multiply|Average|Maximum|Minimum|Concatenate"
    r"|Flatten|Reshape|Permute|RepeatVector|Rescaling|Resizing|CenterCrop|Identity"
)
_MOVING_STATISTICS = ("moving_mean", "moving_variance")


@dataclass(frozen=True)
class LayerCost:
    """What one call of a layer costs.

    Attributes:
        name: of the layer.
        kind: its class.
        block: what it is a part of; see :func:`block_of`.
        output_shape: without the batch.
        parameters: trainable numbers, frozen or not; counted where the layer is called first.
        macs: multiply-adds for one image; None where a layer of this class cannot be counted.
        activations: bytes of what it gives, for the whole batch.
    """

    name: str
    kind: str
    block: str
    output_shape: Shape
    parameters: int
    macs: int | None
    activations: int


@dataclass(frozen=True)
class Profile:
    """What a model costs.

    Attributes:
        name: of the model.
        batch_size: that the activations are counted for.
        layers: each call of a layer, in order.
    """

    name: str
    batch_size: int
    layers: tuple[LayerCost, ...]

    @property
    def parameters(self) -> int:
        """Trainable numbers; batch norm's moving statistics are not among them."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def macs(self) -> int:
        """Multiply-adds of convolutions and dense layers for one image, without those of ``uncounted`` layers."""
        return sum(layer.macs or 0 for layer in self.layers)

    @property
    def activations(self) -> int:
        """Bytes of all layers' outputs for the batch: about what training keeps of the way forward."""
        return sum(layer.activations for layer in self.layers)

    @property
    def uncounted(self) -> tuple[LayerCost, ...]:
        """Layers whose multiply-adds are unknown, and so missing from the sum."""
        return tuple(layer for layer in self.layers if layer.macs is None)

    def blocks(self) -> tuple[LayerCost, ...]:
        """The costs by block, in order; ``kind`` is "block", the shape that of the last layer's output."""
        groups: dict[str, list[LayerCost]] = {}
        for layer in self.layers:
            groups.setdefault(layer.block, []).append(layer)
        return tuple(
            LayerCost(
                name=block,
                kind="block",
                block=block,
                output_shape=group[-1].output_shape,
                parameters=sum(layer.parameters for layer in group),
                macs=None if any(layer.macs is None for layer in group) else sum(layer.macs or 0 for layer in group),
                activations=sum(layer.activations for layer in group),
            )
            for block, group in groups.items()
        )


def profile(model: Any, batch_size: int = 1, input_shape: Sequence[int] | None = None) -> Profile:
    """Counts a functional or sequential Keras model, of either Keras and on any backend.

    Multiply-adds are what the papers call FLOPS: those of convolutions' and dense layers' kernels, one image at a
    time. Biases, normalisation, activations and pooling are left out. A layer that is called several times counts as
    often, its parameters once; the layers of models within the model count one by one.

    Args:
        model: convolutions, dense, pooling, normalisation and merging layers, and whatever else Keras brings that
            multiplies by no weights. Layers of another kind are named in ``uncounted``.
        batch_size: that the activations are counted for.
        input_shape: without the batch; for a model whose height or width is None.

    Raises:
        ValueError: the model has no graph, or a side is None and no ``input_shape`` was given.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size={batch_size!r}: expected an integer of at least 1.")
    if input_shape is not None:
        model = _with_input_shape(model, tuple(input_shape))
    layers: list[LayerCost] = []
    seen: set[int] = set()
    for call in _leaf_calls(model):
        shapes = [_shape(tensor) for tensor in (*call.inputs, *call.outputs)]
        if any(None in shape for shape in shapes):
            raise ValueError(
                f"{model.name}: the sizes in layer {call.layer.name!r} are not known, {shapes[-1]}, since the model "
                "takes images of any: pass input_shape=, such as (224, 224, 3)."
            )
        parameters = 0 if id(call.layer) in seen else _parameters(call.layer)
        seen.add(id(call.layer))
        outputs = [_shape(tensor) for tensor in call.outputs]
        layers.append(
            LayerCost(
                name=call.layer.name,
                kind=type(call.layer).__name__,
                block=block_of(call.layer.name),
                output_shape=outputs[0],
                parameters=parameters,
                macs=_macs(call),
                activations=batch_size
                * sum(math.prod(s) * _item_size(t) for s, t in zip(outputs, call.outputs, strict=True)),
            )
        )
    return Profile(model.name, batch_size, tuple(layers))


def block_of(layer: str) -> str:
    """The part of a network that a layer belongs to, by its name.

    That is the name up to the number of a block, ``"block2a_dwconv"`` -> ``"block2a"``, ``"conv2_block1_1_bn"`` ->
    ``"conv2_block1"``, ``"block_12_expand"`` -> ``"block_12"``; where there is none, the first word, ``"stem_conv"`` ->
    ``"stem"``.
    """
    match = re.match(r".*?block_?\d+[a-z]*(?=_|$)", layer)
    return match[0] if match else layer.split("_")[0]


def measure(
    model: Any, batch_size: int = 1, input_shape: Sequence[int] | None = None, repeats: int = 20
) -> Mapping[str, float]:
    """Seconds that each layer takes on this machine's processor, in float32, as OpenVINO itself counts them.

    OpenVINO computes batch norm, activation and addition within the convolution before them. So the time of these
    stands with the convolution, and layers without a time of their own are left out.

    Args:
        model: as for ``inference.compile`` with ``engine="openvino"``.
        batch_size: images at a time.
        input_shape: without the batch; for a model whose height or width is None.
        repeats: the median of so many runs is taken.

    Returns:
        Layer name -> seconds for the batch. What is spent outside all layers, on bringing the input into another
        order, goes by the name ``"input and output"``.

    Raises:
        ImportError: OpenVINO is not installed.
        ValueError: a layer has no OpenVINO form, or a side is None and no ``input_shape`` was given.
    """
    if find_spec("openvino") is None:
        raise ImportError("Measuring the time of each layer needs OpenVINO: pip install 'efficientnet[openvino]'.")
    import openvino

    if input_shape is not None:
        model = _with_input_shape(model, tuple(input_shape))
    shape = tuple(model.input_shape)[1:]
    if None in shape:
        raise ValueError(f"{model.name} takes images of any size: pass input_shape=, such as (224, 224, 3).")
    options = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY", "PERF_COUNT": True}
    compiled = openvino.Core().compile_model(openvino_graph.convert(model), "CPU", options)
    request = compiled.create_infer_request()
    batch = np.random.default_rng(0).uniform(0, 255, (batch_size, *shape)).astype(np.float32)
    request.infer([batch])  # the first run prepares what the others reuse
    runs: list[dict[str, float]] = []
    kernels = _layers_with_kernels(model)
    names = {call.layer.name for call in _leaf_calls(model)}
    for _ in range(repeats):
        request.infer([batch])
        run: dict[str, float] = {}
        for operation in request.get_profiling_info():
            name = operation.node_name.partition("/")[0]
            if operation.node_type in ("Convolution", "GroupConvolution", "MatMul", "FullyConnected"):
                name = kernels.get(name, name)
            if name not in names:
                name = "input and output"
            run[name] = run.get(name, 0.0) + operation.real_time.total_seconds()
        runs.append(run)
    medians = {name: statistics.median(run.get(name, 0.0) for run in runs) for name in runs[0]}
    return {name: seconds for name, seconds in medians.items() if seconds > 0}


def _layers_with_kernels(model: Any) -> dict[str, str]:
    """For each layer without a kernel: the convolution or dense layer that a chain of such layers starts from.

    OpenVINO calls a convolution by the batch norm that it has folded into it.
    """
    made_by: dict[int, str] = {}
    found: dict[str, str] = {}
    for layer, inputs, outputs in _leaf_calls(model):
        name = layer.name
        if not any(role(weight.name) == "kernel" for weight in getattr(layer, "weights", ())):
            sources = [made_by[id(tensor)] for tensor in inputs if id(tensor) in made_by]
            name = found[layer.name] = found.get(sources[0], sources[0]) if sources else layer.name
        made_by.update({id(tensor): name for tensor in outputs})
    return found


def _leaf_calls(model: Any) -> Iterator[LayerCall]:
    """All calls of layers, those within nested models in the place of these."""
    for call in layer_calls(model):
        if hasattr(call.layer, "layers"):
            yield from _leaf_calls(call.layer)
        else:
            yield call


def _with_input_shape(model: Any, shape: Shape) -> Any:
    """The same layers anew on an input of this shape."""
    is_legacy = any(base.__module__.startswith("tf_keras") for base in type(model).__mro__)
    keras = importlib.import_module("tf_keras" if is_legacy else "keras")
    given = tuple(model.input_shape)[1:] if not isinstance(model.input_shape, list) else ()
    if len(given) != len(shape) or any(side not in (None, new) for side, new in zip(given, shape, strict=True)):
        raise ValueError(f"input_shape={shape}: {model.name} takes {given or 'several inputs'}, without the batch.")
    with deep_recursion():
        return keras.models.clone_model(model, input_tensors=keras.Input(shape))


def _shape(tensor: Any) -> Any:
    return tuple(tensor.shape)[1:]


def _item_size(tensor: Any) -> int:
    name = getattr(tensor.dtype, "name", tensor.dtype)
    return 2 if name == "bfloat16" else np.dtype(name).itemsize


def _parameters(layer: Any) -> int:
    weights = getattr(layer, "weights", ())  # operations of keras.ops have none
    return sum(math.prod(weight.shape) for weight in weights if role(weight.name) not in _MOVING_STATISTICS)


def _macs(call: LayerCall) -> int | None:
    """Multiply-adds for one image; None where the layer's class is not known here."""
    layer = call.layer
    if type(layer).__module__.split(".")[0] not in ("keras", "tf_keras"):
        return None  # a class of the user's own may do anything, also where it goes by a layer's name
    kind = type(layer).__name__
    if _WITHOUT_MULTIPLY_ADDS.fullmatch(kind):
        return 0
    count = _COUNTERS.get(kind)
    return None if count is None else count(call)


def _positions(layer: Any, tensor: Any) -> int:
    """Over how many positions of a feature map a kernel moves."""
    shape: Shape = _shape(tensor)
    sides = shape[1:] if layer.data_format == "channels_first" else shape[:-1]
    return math.prod(sides)


def _kernel_sizes(layer: Any) -> list[int]:
    """Numbers in each of the layer's kernels."""
    return [math.prod(w.shape) for w in layer.weights if role(w.name) in ("kernel", "pointwise_kernel")]


def _convolution(call: LayerCall) -> int:
    """Each number of a kernel is used once at each position of the output, in grouped and depthwise ones as well."""
    return sum(_kernel_sizes(call.layer)) * _positions(call.layer, call.outputs[0])


def _transposed_convolution(call: LayerCall) -> int:
    return sum(_kernel_sizes(call.layer)) * _positions(call.layer, call.inputs[0])


def _dense(call: LayerCall) -> int:
    shape: Shape = _shape(call.outputs[0])
    return sum(_kernel_sizes(call.layer)) * math.prod(shape[:-1])


_COUNTERS: dict[str, Callable[[LayerCall], int]] = {
    **{f"Conv{n}D": _convolution for n in (1, 2, 3)},
    **{f"DepthwiseConv{n}D": _convolution for n in (1, 2)},
    **{f"SeparableConv{n}D": _convolution for n in (1, 2)},
    **{f"Conv{n}DTranspose": _transposed_convolution for n in (1, 2, 3)},
    "Dense": _dense,
}
