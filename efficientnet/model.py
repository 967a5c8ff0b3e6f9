"""The one graph builder, for whichever Keras it is handed, and the public constructors.

The graph holds only layers that come with Keras, so that a saved model opens with plain Keras. The modules
of that Keras (``backend``, ``layers``, ``models``, ``utils``) are arguments, as the keras_applications
convention has them; ``efficientnet.keras`` and ``efficientnet.tfkeras`` bind them.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import inspect
import os
import re
from collections.abc import Callable, Sequence
from typing import Any, Concatenate, NamedTuple, ParamSpec, TypeVar

import numpy as np

from . import conditional, scaling
from . import weights as weight_sets
from .backends import deep_recursion
from .initialization import (
    CONV_INITIALIZER,
    DENSE_INITIALIZER,
    call_drawing_weights,
    generator,
    scaled_conv_initializer,
)
from .preprocessing import Scaling, scale_and_offset
from .saved_models import remember_preprocessing
from .scaling import Block
from .variants import V1_BLOCKS, BlockArgs, Variant, get_variant

POOLINGS = (None, "avg", "max")

P = ParamSpec("P")
T = TypeVar("T")


class Framework(NamedTuple):
    """The modules of one Keras."""

    backend: Any
    layers: Any
    models: Any
    utils: Any


class Graph(NamedTuple):
    """What every part of the graph is built with.

    ``call(layer, x)`` calls a new layer for the first time; see :func:`call_drawing_weights`.
    """

    variant: Variant
    keras: Framework
    channel_axis: int
    call: Callable[[Any, Any], Any]


def build(
    variant: Variant,
    keras: Framework,
    *,
    include_top: bool = True,
    input_tensor: Any = None,
    input_shape: Sequence[int | None] | None = None,
    pooling: str | None = None,
    classes: int | None = None,
    classifier_activation: str | Callable[[Any], Any] | None = "softmax",
    dropout_rate: float | None = None,
    drop_connect_rate: float = 0.2,
    preprocessing: str | Scaling | None = None,
    features_only: bool = False,
    name: str | None = None,
    draw_weights: bool = True,
) -> Any:
    """Builds a variant as a functional Keras model (arXiv 1905.11946, table 1).

    Args:
        variant: a row of the table, or one of your own.
        keras: the modules to build with.
        include_top: whether to end in the classifier.
        input_tensor: a Keras tensor, (batch, height, width, channels), to build on instead of a new input.
        input_shape: without the batch; sides of at least 32 pixels or None. The variant's own by default.
        pooling: without a top: None for the last feature map, ``"avg"`` or ``"max"`` for vectors.
        classes: outputs of the classifier; the variant's own by default.
        classifier_activation: of the classifier; None for logits.
        dropout_rate: before the classifier, 0..1; the variant's own by default.
        drop_connect_rate: stochastic depth of the deepest block, 0..1.
        preprocessing: a mode of ``preprocess_input``, or its numbers, to put in front, so that the model takes raw
            pixels 0..255; None for none.
        features_only: five outputs instead: what the last block at each stride 2, 4, 8, 16, 32 gives.
        name: of the model; the variant's by default.
        draw_weights: False leaves kernels zero, for a caller that fills them at once.

    Returns:
        A Keras model from (batch, height, width, channels) to (batch, classes) probabilities, to
        (batch, height / 32, width / 32, filters), to (batch, filters), or to a list of five feature maps.

    Raises:
        ValueError, TypeError: an argument is out of its range; the message says which and what is.
    """
    _check_options(pooling, features_only, classes, dropout_rate, drop_connect_rate)
    layers = keras.layers
    channels_first = keras.backend.image_data_format() == "channels_first"
    call = functools.partial(call_drawing_weights, generator() if draw_weights else None)
    graph = Graph(variant, keras, 1 if channels_first else 3, call)

    images = _input(graph, input_tensor, input_shape)
    x = images
    if preprocessing is not None:
        if images.shape[graph.channel_axis] != 3:
            raise ValueError(
                f"include_preprocessing=True takes RGB, 3 channels; got an input of shape {tuple(images.shape)[1:]}."
            )
        scale, offset = (np.reshape(v, (3, 1, 1) if channels_first else 3) for v in scale_and_offset(preprocessing))
        x = layers.Rescaling(scale.tolist(), offset.tolist(), name="rescaling")(x)

    x = _conv_norm(graph, x, scaling.stem_filters(variant), "stem_", kernel_size=3, strides=2)
    stride, feature_maps = 2, {2: x}
    for block in scaling.scale_blocks(variant):
        x = _mb_conv(graph, x, block, drop_connect_rate * block.drop_connect_fraction)
        stride *= block.strides
        feature_maps[stride] = x
    if features_only:
        x = list(feature_maps.values())
    else:
        x = _conv_norm(graph, x, scaling.head_filters(variant), "top_")
        if include_top:
            x = layers.GlobalAveragePooling2D(name="avg_pool")(x)
            dropout_rate = variant.dropout_rate if dropout_rate is None else dropout_rate
            if dropout_rate > 0:
                x = layers.Dropout(dropout_rate, name="top_dropout")(x)
            classifier = layers.Dense(
                variant.classes if classes is None else classes,
                activation=classifier_activation,
                kernel_initializer=DENSE_INITIALIZER,
                name="probs",
                # Half precision is too coarse for probabilities and their loss.
                dtype="float32" if "float16" in str(x.dtype) else None,
            )
            x = call(classifier, x)
        elif pooling == "avg":
            x = layers.GlobalAveragePooling2D(name="avg_pool")(x)
        elif pooling == "max":
            x = layers.GlobalMaxPooling2D(name="max_pool")(x)

    inputs = images if input_tensor is None else keras.utils.get_source_inputs(input_tensor)
    with deep_recursion():
        return keras.models.Model(inputs, x, name=name or variant.name)


def _mb_conv(graph: Graph, inputs: Any, block: Block, drop_rate: float) -> Any:
    """Mobile inverted bottleneck: expand, depthwise, squeeze and excite, project, add.

    A fused one (arXiv 2104.00298, section 3.2) has one full convolution for the first two; and where it does not
    expand, for all three, with an activation behind it. With experts, the kernels are each image's own.
    """
    layers = graph.keras.layers
    prefix = f"{block.name}_"
    spatial, pointwise = (block.kernel_size, block.strides), (1, 1)
    routing = conditional.routing_weights(graph, inputs, block) if block.experts > 1 else None
    x = inputs
    if block.expands:
        size = spatial if block.fused else pointwise
        x = _conv_norm(graph, x, block.expanded_filters, f"{prefix}expand_", *size, routing=routing)
    if not block.fused:
        x = _norm(graph, _depthwise(graph, x, block, routing), prefix)
        x = layers.Activation(graph.variant.activation, name=f"{prefix}activation")(x)
    if block.se_filters:
        x = _squeeze_excite(graph, x, block)
    is_single = block.fused and not block.expands
    size = spatial if is_single else pointwise
    x = _conv_norm(graph, x, block.output_filters, f"{prefix}project_", *size, activation=is_single, routing=routing)
    if block.residual:
        if drop_rate > 0:
            # Stochastic depth: one draw for each image of the batch (arXiv 1603.09382).
            x = layers.Dropout(drop_rate, noise_shape=(None, 1, 1, 1), name=f"{prefix}drop")(x)
        x = layers.Add(name=f"{prefix}add")([x, inputs])
    return x


def _depthwise(graph: Graph, x: Any, block: Block, routing: Any = None) -> Any:
    name = f"{block.name}_dwconv" if routing is None else f"{block.name}_dw_experts"
    x, padding = _pad(graph, x, name, block.kernel_size, block.strides)
    depthwise = graph.keras.layers.DepthwiseConv2D(
        block.kernel_size,
        strides=block.strides,
        padding=padding,
        depth_multiplier=block.experts,
        use_bias=False,
        depthwise_initializer=scaled_conv_initializer(block.experts),
        name=name,
    )
    x = graph.call(depthwise, x)
    return x if routing is None else conditional.mix_outputs(graph, x, routing, f"{block.name}_dw")


def _pad(graph: Graph, x: Any, name: str, kernel_size: int, strides: int) -> tuple[Any, str]:
    """What a convolution is called with, and the ``padding`` that it gets, so that it pads as the variant does."""
    if strides == 1 or graph.variant.padding == "same":  # with a stride of 1 both are symmetric
        return x, "same"
    return graph.keras.layers.ZeroPadding2D(kernel_size // 2, name=f"{name}_pad")(x), "valid"


def _squeeze_excite(graph: Graph, x: Any, block: Block) -> Any:
    """Scales each channel by a gate computed from all channels' averages (arXiv 1709.01507)."""
    layers = graph.keras.layers
    prefix = f"{block.name}_se_"
    vector = (1, 1, block.expanded_filters) if graph.channel_axis == 3 else (block.expanded_filters, 1, 1)
    gate = layers.GlobalAveragePooling2D(name=f"{prefix}squeeze")(x)
    gate = layers.Reshape(vector, name=f"{prefix}reshape")(gate)
    for part, filters, activation in (
        ("reduce", block.se_filters, graph.variant.activation),
        ("expand", block.expanded_filters, "sigmoid"),
    ):
        conv = layers.Conv2D(
            filters,
            1,
            padding="same",
            activation=activation,
            kernel_initializer=CONV_INITIALIZER,
            name=f"{prefix}{part}",
        )
        gate = graph.call(conv, gate)
    return layers.Multiply(name=f"{prefix}excite")([x, gate])


def _conv_norm(
    graph: Graph,
    x: Any,
    filters: int,
    prefix: str,
    kernel_size: int = 1,
    strides: int = 1,
    activation: bool = True,
    routing: Any = None,
) -> Any:
    """Convolution without bias, batch norm, activation."""
    name = f"{prefix}conv"
    if routing is not None:
        x = conditional.pointwise(graph, x, routing, filters, prefix)
    else:
        x, padding = _pad(graph, x, name, kernel_size, strides)
        conv = graph.keras.layers.Conv2D(
            filters,
            kernel_size,
            strides=strides,
            padding=padding,
            use_bias=False,
            kernel_initializer=CONV_INITIALIZER,
            name=name,
        )
        x = graph.call(conv, x)
    x = _norm(graph, x, prefix)
    if activation:
        x = graph.keras.layers.Activation(graph.variant.activation, name=f"{prefix}activation")(x)
    return x


def _norm(graph: Graph, x: Any, prefix: str) -> Any:
    norm = graph.keras.layers.BatchNormalization(
        axis=graph.channel_axis,
        momentum=graph.variant.batch_norm_momentum,
        epsilon=graph.variant.batch_norm_epsilon,
        name=f"{prefix}bn",
    )
    return graph.call(norm, x)


def _check_options(
    pooling: str | None,
    features_only: bool,
    classes: int | None,
    dropout_rate: float | None,
    drop_connect_rate: float,
) -> None:
    if pooling not in POOLINGS:
        raise ValueError(f"pooling={pooling!r}: expected one of {', '.join(map(repr, POOLINGS))}.")
    if features_only and pooling is not None:
        raise ValueError(f"pooling={pooling!r} with features_only=True: feature maps are not pooled; leave one out.")
    if classes is not None and (isinstance(classes, bool) or classes != int(classes) or classes < 1):
        raise ValueError(f"classes={classes!r}: expected an integer of at least 1.")
    for option, rate in (("dropout_rate", dropout_rate), ("drop_connect_rate", drop_connect_rate)):
        if rate is not None and not 0 <= rate < 1:
            raise ValueError(f"{option}={rate!r}: expected a fraction, at least 0 and less than 1.")


def _input(graph: Graph, tensor: Any, shape: Sequence[int | None] | None) -> Any:
    """The input layer's tensor, or the checked tensor that was given."""
    if tensor is not None:
        try:
            is_keras_tensor = graph.keras.backend.is_keras_tensor(tensor)
        except ValueError:  # legacy Keras refuses to tell of anything but TensorFlow's tensors
            is_keras_tensor = False
        if not is_keras_tensor:
            raise TypeError(
                f"input_tensor is a {type(tensor).__name__}: expected a Keras tensor of the same Keras as the model, "
                "such as layers.Input(shape=(224, 224, 3)); to run the model on an array, call the model with it."
            )
        shape = tuple(tensor.shape)[1:]
    elif shape is None:
        size = graph.variant.resolution
        shape = (size, size, 3) if graph.channel_axis == 3 else (3, size, size)
    shape = tuple(shape)
    if len(shape) != 3 or shape[graph.channel_axis - 1] is None:
        order = "(height, width, channels)" if graph.channel_axis == 3 else "(channels, height, width)"
        raise ValueError(f"input_shape={shape}: expected {order}; height and width may be None, channels may not.")
    sides = shape[:2] if graph.channel_axis == 3 else shape[1:]
    if any(side is not None and side < scaling.MIN_RESOLUTION for side in sides):
        raise ValueError(
            f"input_shape={shape}: height and width have to be at least {scaling.MIN_RESOLUTION} pixels, since the "
            "network halves them five times; enlarge the images."
        )
    return graph.keras.layers.Input(shape=shape) if tensor is None else tensor


def create(
    variant: Variant | str | os.PathLike[str],
    include_top: bool = True,
    weights: str | os.PathLike[str] | None = "imagenet",
    input_tensor: Any = None,
    input_shape: Sequence[int | None] | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    *,
    classifier_activation: str | Callable[[Any], Any] | None = "softmax",
    dropout_rate: float | None = None,
    drop_connect_rate: float = 0.2,
    include_preprocessing: bool = False,
    features_only: bool = False,
    padding: str | None = None,
    batch_norm_epsilon: float | None = None,
    name: str | None = None,
    backend: Any = None,
    layers: Any = None,
    models: Any = None,
    utils: Any = None,
) -> Any:
    """Builds a network of the family with its weights.

    Args:
        variant: its name, the path of a ``.json`` file that a design or ``save_variant`` wrote, or a ``Variant``.
        include_top: whether to end in the classifier.
        weights: the name of a published set (``list_weights(variant)``); None for random weights; the path of a
            file of weights, whoever saved it; ``https://…#sha256=…`` or ``hf://…``. With another number of classes
            than a published set has, its body is kept and the classifier starts at random. Of 1,001 classes the
            first, the background, is left out unless ``classes=1001``.
        input_tensor: a Keras tensor (batch, height, width, channels) to build on instead of a new input.
        input_shape: (height, width, channels), sides of at least 32 pixels or None; the variant's by default.
            Other numbers of channels than 3 need ``weights=None`` or a file made so.
        pooling: without a top: None for the last feature map, ``"avg"`` or ``"max"`` for vectors.
        classes: outputs of the classifier.
        classifier_activation: of the classifier; None for logits.
        dropout_rate: before the classifier, 0..1; the variant's by default.
        drop_connect_rate: stochastic depth of the deepest block, 0..1 (arXiv 1603.09382).
        include_preprocessing: whether the model takes raw pixels 0..255 and scales them itself. Otherwise it
            takes what ``preprocess_input`` gives in the mode of the weights.
        features_only: five outputs instead: what the last block at each stride 2, 4, 8, 16, 32 gives.
        padding: ``"same"``, as TensorFlow pads, or ``"symmetric"``, as PyTorch does; what the weights were trained
            with by default, or else the variant's.
        batch_norm_epsilon: likewise.
        name: of the model.
        backend, layers, models, utils: the modules of the Keras to build with (``efficientnet.model`` only).

    Returns:
        A Keras model from (batch, height, width, channels) float32 to (batch, classes) probabilities, to
        (batch, height / 32, width / 32, filters), to (batch, filters), or to a list of five feature maps.

    Raises:
        ValueError, TypeError: an argument is out of its range; the message says which and what is accepted.
        OSError: weights cannot be fetched; the message says what to place where.
        ImportError: weights come with a Python package that is not installed; the message names it.
    """
    variant = get_variant(variant)
    keras = Framework(backend, layers, models, utils)
    if None in keras:
        missing = ", ".join(f"{field}=" for field, module in keras._asdict().items() if module is None)
        raise TypeError(
            f"{variant.name} was not told which Keras to build with ({missing} missing): import it from "
            "efficientnet.keras or efficientnet.tfkeras, or pass backend=, layers=, models= and utils=."
        )
    found = None
    mode: str | Scaling = variant.preprocessing
    if weights is not None:
        found = weight_sets.find(weights, variant, include_top and not features_only, classes, padding)
        mode = found.preprocessing
        variant = dataclasses.replace(variant, padding=found.padding, batch_norm_epsilon=found.epsilon)
    if padding is not None:
        variant = dataclasses.replace(variant, padding=padding)
    if batch_norm_epsilon is not None:
        variant = dataclasses.replace(variant, batch_norm_epsilon=batch_norm_epsilon)
    model = build(
        variant,
        keras,
        include_top=include_top,
        input_tensor=input_tensor,
        input_shape=input_shape,
        pooling=pooling,
        classes=classes,
        classifier_activation=classifier_activation,
        dropout_rate=dropout_rate,
        drop_connect_rate=drop_connect_rate,
        preprocessing=mode if include_preprocessing else None,
        features_only=features_only,
        name=name,
        draw_weights=found is None or found.fresh_classifier,
    )
    if found is not None:
        in_front = [] if input_tensor is None else models.Model(model.inputs, input_tensor).layers
        weight_sets.load(model, found, skip_layers={layer.name for layer in in_front})
    remember_preprocessing(model, "none" if include_preprocessing else mode)
    return model


def constructor(create: Callable[Concatenate[Variant, P], T], name: str) -> Callable[P, T]:
    """The public constructor ``name``: ``create`` for that variant, with a signature and a docstring of its own."""
    variant = get_variant(name)
    cost = scaling.cost(variant)
    sets = sorted({row.name for row in weight_sets.list_weights(variant)})

    def construct(*args: P.args, **kwargs: P.kwargs) -> T:
        return create(variant, *args, **kwargs)

    construct.__name__ = construct.__qualname__ = name
    general = re.sub(r"^        variant:.*\n", "", create.__doc__ or "", flags=re.MULTILINE)
    construct.__doc__ = general.replace(
        "Builds a network of the family with its weights.",
        f"""{construct.__name__}: {cost.parameters / 1e6:.1f} million parameters ({variant.paper}).

    At its {variant.resolution} x {variant.resolution} pixels it takes {cost.macs / 1e9:.2f} billion multiply-adds.
    Preprocessing mode: "{variant.preprocessing}". Dropout: {variant.dropout_rate}.
    Published weights: {", ".join(map(repr, sets)) or "none in a format read here"}.""",
    )
    _hide_parameters(construct, create, {"variant"})
    return construct


def bind(function: Callable[P, T], keras: Framework) -> Callable[P, T]:
    """A function that takes ``backend, layers, models, utils``, with those of one Keras filled in."""

    @functools.wraps(function)
    def bound(*args: P.args, **kwargs: P.kwargs) -> T:
        return function(*args, **{**keras._asdict(), **kwargs})

    _hide_parameters(bound, function, set(Framework._fields))
    return bound


def _hide_parameters(function: Any, like: Callable[..., Any], hidden: set[str]) -> None:
    signature = inspect.signature(like)
    shown = [parameter for name, parameter in signature.parameters.items() if name not in hidden]
    function.__signature__ = signature.replace(parameters=shown)


def EfficientNet(
    width_coefficient: float,
    depth_coefficient: float,
    default_resolution: int,
    dropout_rate: float = 0.2,
    drop_connect_rate: float = 0.2,
    depth_divisor: int = 8,
    blocks_args: Sequence[BlockArgs] = V1_BLOCKS,
    model_name: str = "efficientnet",
    include_top: bool = True,
    weights: str | os.PathLike[str] | None = "imagenet",
    input_tensor: Any = None,
    input_shape: Sequence[int | None] | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    **kwargs: Any,
) -> Any:
    """Any network of the family, from its coefficients.

    Args:
        width_coefficient: factor of all numbers of filters.
        depth_coefficient: factor of all numbers of repeats.
        default_resolution: side of the input where no ``input_shape`` is given, pixels.
        depth_divisor: numbers of filters are rounded to multiples of this.
        blocks_args: the unscaled stages.
        model_name: of the model, and of the variant whose published weights ``weights=`` may name.
        dropout_rate, drop_connect_rate, include_top, weights, input_tensor, input_shape, pooling, classes: as for
            :func:`EfficientNetB0`, and so are further keyword arguments, ``backend``, ``layers``, ``models``,
            ``utils`` among them.

    Returns:
        A Keras model.
    """
    variant = Variant(
        name=model_name,
        width=width_coefficient,
        depth=depth_coefficient,
        resolution=default_resolution,
        dropout_rate=dropout_rate,
        blocks=tuple(blocks_args),
        depth_divisor=depth_divisor,
    )
    return create(
        variant, include_top, weights, input_tensor, input_shape, pooling, classes,
        drop_connect_rate=drop_connect_rate, **kwargs,
    )  # fmt: skip


EfficientNetB0 = constructor(create, "EfficientNetB0")
EfficientNetB1 = constructor(create, "EfficientNetB1")
EfficientNetB2 = constructor(create, "EfficientNetB2")
EfficientNetB3 = constructor(create, "EfficientNetB3")
EfficientNetB4 = constructor(create, "EfficientNetB4")
EfficientNetB5 = constructor(create, "EfficientNetB5")
EfficientNetB6 = constructor(create, "EfficientNetB6")
EfficientNetB7 = constructor(create, "EfficientNetB7")
EfficientNetB8 = constructor(create, "EfficientNetB8")
EfficientNetL2 = constructor(create, "EfficientNetL2")
EfficientNetLite0 = constructor(create, "EfficientNetLite0")
EfficientNetLite1 = constructor(create, "EfficientNetLite1")
EfficientNetLite2 = constructor(create, "EfficientNetLite2")
EfficientNetLite3 = constructor(create, "EfficientNetLite3")
EfficientNetLite4 = constructor(create, "EfficientNetLite4")
EfficientNetEdgeTPUS = constructor(create, "EfficientNetEdgeTPUS")
EfficientNetEdgeTPUM = constructor(create, "EfficientNetEdgeTPUM")
EfficientNetEdgeTPUL = constructor(create, "EfficientNetEdgeTPUL")
EfficientNetCondConvB0x4 = constructor(create, "EfficientNetCondConvB0x4")
EfficientNetCondConvB0x8 = constructor(create, "EfficientNetCondConvB0x8")
EfficientNetCondConvB0x8Depth = constructor(create, "EfficientNetCondConvB0x8Depth")
EfficientNetV2B0 = constructor(create, "EfficientNetV2B0")
EfficientNetV2B1 = constructor(create, "EfficientNetV2B1")
EfficientNetV2B2 = constructor(create, "EfficientNetV2B2")
EfficientNetV2B3 = constructor(create, "EfficientNetV2B3")
EfficientNetV2S = constructor(create, "EfficientNetV2S")
EfficientNetV2M = constructor(create, "EfficientNetV2M")
EfficientNetV2L = constructor(create, "EfficientNetV2L")
EfficientNetV2XL = constructor(create, "EfficientNetV2XL")

# The older package's further names: found when asked for, in compat.py.
_OLDER_NAMES = ("DEFAULT_BLOCKS_ARGS", "get_dropout", "get_swish", "preprocess_input", "round_filters", "round_repeats")


def __getattr__(name: str) -> Any:
    if name in _OLDER_NAMES:
        return getattr(importlib.import_module("efficientnet.compat"), name)
    raise AttributeError(f"module 'efficientnet.model' has no attribute {name!r}")
