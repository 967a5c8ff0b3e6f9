"""The cost of a model: parameters, multiply-adds and activations, layer by layer, and measured times."""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np

from ..common import arguments
from ..common.arguments import MOST_IMAGES
from ..common.packages import missing
from ..family.arrays import role
from . import liveness, onnx, openvino
from .walk import LayerCall, Tensor, functional, keras_layer, keras_operation, run, visit

Shape = tuple[int, ...]

# Layers that multiply nothing by weights, or only what can be folded into a convolution. (The papers count neither
# normalization nor activations, nor the sums that pooling takes.)
_WITHOUT_MULTIPLY_ADDS = re.compile(
    r"(Global|Adaptive)?(Average|Max)Pooling[123]D|(ZeroPadding|Cropping|UpSampling|SpatialDropout)[123]D"
    r"|(Sync)?BatchNormalization|(Group|Layer|RMS|Unit)?Normalization|(Alpha)?Dropout|Gaussian(Dropout|Noise)"
    r"|Activation|ActivityRegularization|Softmax|PReLU|ReLU|LeakyReLU|ThresholdedReLU|ELU"
    r"|Add|Subtract|Multiply|Average|Maximum|Minimum|Concatenate"
    r"|Flatten|Reshape|Permute|RepeatVector|Identity|Masking|Embedding"
    r"|Rescaling|Resizing|CenterCrop|CategoryEncoding|Random(Brightness|Contrast|Crop|Flip|Height|Rotation|Translation"
    r"|Width|Zoom|ColorDegeneration|ColorJitter|Erasing|Grayscale|Hue|Invert|Perspective|Posterization|Saturation"
    r"|Sharpness|Shear)"
)
# The same for functions of keras.ops and, in legacy Keras, of TensorFlow: lower case, without underscores.
_OPERATIONS_WITHOUT_MULTIPLY_ADDS = re.compile(
    r"abs|absolute|add|subtract|sub|multiply|mul|divide|truediv|truedivide|floordivide|floordiv|negative|neg|mod|power"
    r"|pow|square|sqrt|rsqrt|reciprocal|exp|expm1|log|log1p|erf|sign|round|floor|ceil|clip|clipbyvalue|maximum|minimum"
    r"|relu|relu6|leakyrelu|elu|selu|gelu|celu|glu|silu|swish|hardsilu|hardswish|sigmoid|hardsigmoid|logsigmoid|tanh"
    r"|softplus|softsign|softmax|logsoftmax|cast|identity|stopgradient|where|equal|notequal|greater|greaterequal|less"
    r"|lessequal|logical(and|or|not|xor)|(reduce)?(mean|sum|max|min|prod|variance|std)|amax|amin|var|average|maxpool"
    r"|averagepool|avgpool|argmax|argmin|reshape|ravel|transpose|expanddims|squeeze|concat|concatenate|stack|unstack"
    r"|split|getitem|slice|take|gather|pad|tile|repeat|broadcastto|flip|reverse|roll|moveaxis|swapaxes|resize|shape"
    r"|depthtospace|spacetodepth"
)
# Weights that training does not move by gradients.
_STATISTICS = {"Normalization": ("mean", "variance", "count")}
_MOVING_STATISTICS = ("moving_mean", "moving_variance")


@dataclass(frozen=True)
class LayerCost:
    """The cost of one call of a layer.

    Attributes:
        name: Name of the layer, after that of a model within the model, ``"body/stem_conv"``.
        kind: Class of the layer.
        block: Part of the network; see :func:`block_of`.
        output_shape: Shape of the output, without the batch.
        parameters: Number of trainable parameters, frozen or not; counted at the layer's first call.
        macs: Multiply-adds for one image; None if a layer of this class cannot be counted.
        activations: Numbers that a convolution or dense layer gives out for one image (arXiv 2003.13678); 0 for others.
        output_bytes: Bytes of the output, for the whole batch.
        weights: Numbers in its kernels; counted at the layer's first call.
    """

    name: str
    kind: str
    block: str
    output_shape: Shape
    parameters: int
    macs: int | None
    activations: int
    output_bytes: int
    weights: int


@dataclass(frozen=True)
class Profile:
    """The cost of a model.

    Attributes:
        name: Name of the model.
        batch_size: Batch size that the bytes of outputs are counted for.
        layers: Calls of layers, in order.
        peak: Most numbers that are in memory at once, of inputs and outputs of layers, while the batch is predicted.
        kept: Numbers that the gradients of the batch need, of inputs and outputs of layers.
    """

    name: str
    batch_size: int
    layers: tuple[LayerCost, ...]
    peak: int
    kept: int

    @property
    def parameters(self) -> int:
        """Number of trainable parameters, without batch norms' moving statistics."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def macs(self) -> int:
        """Multiply-adds of convolutions and dense layers for one image, without those of ``uncounted`` layers."""
        return sum(layer.macs or 0 for layer in self.layers)

    @property
    def activations(self) -> int:
        """Numbers that convolutions and dense layers give out for one image."""
        return sum(layer.activations for layer in self.layers)

    @property
    def output_bytes(self) -> int:
        """Bytes of all layers' outputs for the batch: about what training keeps of the forward pass."""
        return sum(layer.output_bytes for layer in self.layers)

    @property
    def uncounted(self) -> tuple[LayerCost, ...]:
        """Layers whose multiply-adds are unknown and so missing from the sum."""
        return tuple(layer for layer in self.layers if layer.macs is None)

    def blocks(self) -> tuple[LayerCost, ...]:
        """Return costs by block, in order; ``kind`` is "block", the shape is that of the last layer's output."""
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
                output_bytes=sum(layer.output_bytes for layer in group),
                weights=sum(layer.weights for layer in group),
            )
            for block, group in groups.items()
        )


def profile(
    model: Any, batch_size: int = 1, input_shape: Sequence[int] | Sequence[Sequence[int]] | None = None
) -> Profile:
    """Count the cost of a functional or sequential model, of either Keras and on any backend.

    Multiply-adds are what the papers call FLOPS: those of convolutions' and dense layers' kernels, one image at a
    time. Biases, normalization, activations and pooling are left out. A layer that is called several times counts as
    often, at the size of each call, its parameters once; the layers of models within the model count one by one.

    Args:
        model: Model of convolutions, dense, pooling, normalization and merging layers, and other layers of Keras that
            multiply by no weights. Layers of another kind are listed in ``uncounted``.
        batch_size: Batch size that the bytes of outputs are counted for.
        input_shape: Shape without the batch, or a list of one for each input; for a model with sides that are None.

    Raises:
        ValueError: The model has no graph, a side is None and no ``input_shape`` was given, or it does not fit.
    """
    shapes = [(batch_size, *shape) for shape in _input_shapes(model, batch_size, input_shape)]
    layers: list[LayerCost] = []
    steps: list[liveness.Step] = []
    seen: set[int] = set()

    def see(call: LayerCall, inputs: list[Tensor], outputs: list[Tensor]) -> None:
        if any(None in tensor.shape for tensor in (*inputs, *outputs)):
            raise ValueError(
                f"{model.name}: layer {call.name!r} gives {outputs[0].shape}, a size that depends on the numbers it "
                "takes, and so cannot be counted; profile the models before and after it one by one."
            )
        macs = _macs(call.layer, inputs, outputs)
        steps.append(liveness.Step(inputs, outputs, bool(macs), call.layer))
        is_known = id(call.layer) in seen
        layers.append(
            LayerCost(
                name=call.name,
                kind=type(call.layer).__name__,
                block=block_of(call.name),
                output_shape=_known(outputs[0])[1:],
                parameters=0 if is_known else _parameters(call.layer),
                macs=None if macs is None else macs // batch_size,
                activations=math.prod(_known(outputs[0])[1:]) if macs else 0,
                output_bytes=sum(math.prod(_known(tensor)) * _item_size(tensor) for tensor in outputs),
                weights=_kernel_size(call.layer) if macs and not is_known else 0,
            )
        )
        seen.add(id(call.layer))

    visit(model, shapes, see)
    return Profile(model.name, batch_size, tuple(layers), liveness.peak(steps), liveness.kept(steps))


def block_of(layer: str) -> str:
    """Return the part of a network that a layer belongs to, from its name.

    That is the name up to the number of a block, ``"block2a_dwconv"`` -> ``"block2a"``, ``"conv2_block1_1_bn"`` ->
    ``"conv2_block1"``, ``"block_12_expand"`` -> ``"block_12"``; where there is none, the first word, ``"stem_conv"`` ->
    ``"stem"``. The name of a model within the model stays before it: ``"body/stem_conv"`` -> ``"body/stem"``.
    """
    path, slash, name = arguments.path("layer", layer, "the name of a layer").rpartition("/")
    match = re.match(r".*?block_?\d+[a-z]*(?=_|$)", name)
    return path + slash + (match[0] if match else name.split("_")[0])


def measure(
    model: Any,
    batch_size: int = 1,
    input_shape: Sequence[int] | Sequence[Sequence[int]] | None = None,
    repeats: int = 20,
    threads: int | None = None,
) -> Mapping[str, float]:
    """Measure the seconds of each layer on this machine's processor, in float32, as OpenVINO itself counts them.

    OpenVINO computes batch norm, activation and addition within the convolution before them. So their time is part of
    the convolution's, and layers without a separate time are left out.

    Args:
        model: Model as for ``inference.compile`` with ``engine="openvino"``.
        batch_size: Images per run.
        input_shape: Shape without the batch, or a list of one for each input; for a model with sides that are None.
        repeats: Number of runs, whose median is taken.
        threads: Number of threads; OpenVINO's choice by default.

    Returns:
        Layer name -> seconds for the batch, all calls of the layer together. The time outside all layers, for
        reordering the input, has the name ``"input and output"``.

    Raises:
        ImportError: OpenVINO is not installed.
        ValueError: A layer has no OpenVINO form, a side is None and no ``input_shape`` was given, or an argument is
            out of its range.
    """
    if find_spec("openvino") is None:
        raise missing("Measuring the time of each layer needs OpenVINO", "openvino")
    arguments.whole("repeats", repeats)
    threads = None if threads is None else arguments.whole("threads", threads)
    if arguments.whole("batch_size", batch_size) > MOST_IMAGES:
        raise ValueError(f"batch_size={batch_size}: measured are at most {MOST_IMAGES:,} images at a time.")
    shapes = _input_shapes(model, batch_size, input_shape)
    try:
        graph = openvino.convert(model)
    except onnx.UnsupportedLayerError as error:
        raise ValueError(f"{error.problem}, so that its time cannot be measured; profile() counts it.") from None
    options: dict[str, Any] = {
        "INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY", "PERF_COUNT": True,
        **({} if threads is None else {"INFERENCE_NUM_THREADS": threads}),
    }  # fmt: skip
    request = openvino.core().compile_model(graph, "CPU", options).create_infer_request()
    generator = np.random.default_rng(0)
    batches = [generator.uniform(0, 255, (batch_size, *shape)).astype(np.float32) for shape in shapes]
    request.infer(batches)  # the first run prepares what the others reuse
    runs: list[dict[str, float]] = []
    kernels = _layers_with_kernels(model)
    for _ in range(repeats):
        request.infer(batches)
        run_times: dict[str, float] = {}
        for operation in request.get_profiling_info():
            name = operation.node_name.partition(":")[0]
            if name not in kernels:
                name = "input and output"
            elif operation.node_type in ("Convolution", "GroupConvolution", "MatMul", "FullyConnected"):
                name = kernels[name]
            run_times[name] = run_times.get(name, 0.0) + operation.real_time.total_seconds()
        runs.append(run_times)
    medians = {name: statistics.median(times.get(name, 0.0) for times in runs) for name in runs[0]}
    return {name: seconds for name, seconds in medians.items() if seconds > 0}


def _layers_with_kernels(model: Any) -> dict[str, str]:
    """Map each layer to itself if it has a kernel, or else to the convolution or dense layer that leads to it.

    OpenVINO names a convolution after the batch norm that it has folded into it.
    """
    found: dict[str, str] = {}

    def trace(call: LayerCall, made_by: list[str]) -> list[str]:
        has_kernel = any(role(weight.name) == "kernel" for weight in getattr(call.layer, "weights", ()))
        found[call.name] = call.name if has_kernel or not made_by else made_by[0] or call.name
        return [found[call.name]] * len(call.outputs)

    run(model, [""] * len(functional(model).inputs), trace)
    return found


def _input_shapes(model: Any, batch_size: int, given: Any) -> list[Shape]:
    """Return the shape of each input, without the batch, all sides known."""
    arguments.whole("batch_size", batch_size)
    own = [tuple(tensor.shape)[1:] for tensor in functional(model).inputs]
    if given is None:
        if any(None in shape for shape in own):
            raise ValueError(
                f"{model.name} takes inputs of any size, {_listed(own)} without the batch: pass input_shape=, such as "
                "(224, 224, 3)."
            )
        return own
    arguments.instance("input_shape", given, (list, tuple), "(height, width, channels), or a list of such")
    is_several = any(isinstance(part, (list, tuple)) for part in given)
    shapes = [tuple(shape) for shape in given] if is_several else [tuple(given)]
    fits = len(shapes) == len(own) and all(
        len(shape) == len(sides) and all(side in (None, new) for side, new in zip(sides, shape, strict=True))
        for shape, sides in zip(shapes, own, strict=True)
    )
    if not fits:
        raise ValueError(
            f"input_shape={_listed(shapes)}: expected what {model.name} takes, {_listed(own)}, without the batch."
        )
    return shapes


def _listed(shapes: Sequence[Any]) -> str:
    return ", ".join(map(str, shapes))


def _known(tensor: Tensor) -> Shape:
    """Return the shape of a tensor all of whose sides are known."""
    return tuple(side for side in tensor.shape if side is not None)


def _item_size(tensor: Tensor) -> int:
    return 2 if tensor.dtype == "bfloat16" else np.dtype(tensor.dtype).itemsize


def _parameters(layer: Any) -> int:
    statistics = _STATISTICS.get(keras_layer(layer) or "", _MOVING_STATISTICS)
    weights = getattr(layer, "weights", ())  # operations of keras.ops have none
    return sum(math.prod(weight.shape) for weight in weights if role(weight.name) not in statistics)


def _macs(layer: Any, inputs: list[Tensor], outputs: list[Tensor]) -> int | None:
    """Return the multiply-adds for the batch; None if the layer's class is unknown."""
    operation = keras_operation(layer)
    if operation is not None:
        name = operation.rpartition(".")[2].replace("_", "").lower()
        return 0 if _OPERATIONS_WITHOUT_MULTIPLY_ADDS.fullmatch(name) else None
    kind = keras_layer(layer)
    if kind is None:
        return None  # a custom class may do anything, even under a layer's name
    if _WITHOUT_MULTIPLY_ADDS.fullmatch(kind):
        return 0
    count = _COUNTERS.get(kind)
    return None if count is None else count(layer, inputs[0], outputs[0])


def _positions(layer: Any, tensor: Tensor) -> int:
    """Return the number of positions of the feature maps that a kernel moves over."""
    batch, *sides = _known(tensor)
    return batch * math.prod(sides[1:] if layer.data_format == "channels_first" else sides[:-1])


def _kernel_size(layer: Any) -> int:
    """Return the number of weights in the layer's kernels."""
    weights = getattr(layer, "weights", ())
    return sum(math.prod(w.shape) for w in weights if role(w.name) in ("kernel", "pointwise_kernel"))


def _convolution(layer: Any, x: Tensor, output: Tensor) -> int:
    """Count a convolution: each weight is used once at each output position, in grouped and depthwise ones, too."""
    return _kernel_size(layer) * _positions(layer, output)


def _transposed_convolution(layer: Any, x: Tensor, output: Tensor) -> int:
    return _kernel_size(layer) * _positions(layer, x)


def _dense(layer: Any, x: Tensor, output: Tensor) -> int:
    return _kernel_size(layer) * math.prod(_known(output)[:-1])


def _dot(layer: Any, x: Tensor, output: Tensor) -> int:
    axis = layer.axes[0] if isinstance(layer.axes, (list, tuple)) else layer.axes
    return math.prod(_known(output)) * (x.shape[axis] or 1)


_COUNTERS: dict[str, Callable[[Any, Tensor, Tensor], int]] = {
    **{f"Conv{n}D": _convolution for n in (1, 2, 3)},
    **{f"DepthwiseConv{n}D": _convolution for n in (1, 2)},
    **{f"SeparableConv{n}D": _convolution for n in (1, 2)},
    **{f"Conv{n}DTranspose": _transposed_convolution for n in (1, 2, 3)},
    "Dense": _dense,
    "Dot": _dot,
}
