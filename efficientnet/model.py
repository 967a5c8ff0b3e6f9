"""EfficientNet as a functional Keras model: the graph from scaled block args, its weights, the public constructors.

``efficientnet.keras`` and ``efficientnet.tfkeras`` bind the constructors to a Keras; here its modules (``backend``,
``layers``, ``models``, ``utils``) are arguments.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import importlib
import inspect
import os
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from .checkpoints.marks import Mark
from .common import arguments
from .common.text import get_logger
from .family import costs, features, scaling
from .family.variants import V1_BLOCKS, BlockArgs, Variant, get_variant
from .images.pixel_scaling import Scaling, for_channels, formula
from .keras_graph import marks
from .network.backends import deep_recursion
from .network.binding import hide_parameters
from .network.blocks import conv_norm, mb_conv
from .network.context import Framework, Graph
from .network.head import feature_maps, head
from .network.initializers import call_drawing_weights, generator
from .network.inputs import input_layer, scale_pixels
from .network.options import Options
from .weights import finding
from .weights import loading as weight_sets

if TYPE_CHECKING:
    from keras import Model

# What efficientnet.keras and efficientnet.tfkeras bind to a Keras.
__all__ = [
    "EfficientNet", "EfficientNetB0", "EfficientNetB1", "EfficientNetB1Pruned", "EfficientNetB2",
    "EfficientNetB2Pruned", "EfficientNetB3", "EfficientNetB3Pruned", "EfficientNetB4", "EfficientNetB5",
    "EfficientNetB6", "EfficientNetB7", "EfficientNetB8", "EfficientNetCondConvB0x4", "EfficientNetCondConvB0x8",
    "EfficientNetCondConvB0x8Depth", "EfficientNetEdgeTPUL", "EfficientNetEdgeTPUM", "EfficientNetEdgeTPUS",
    "EfficientNetL2", "EfficientNetLite0", "EfficientNetLite1", "EfficientNetLite2", "EfficientNetLite3",
    "EfficientNetLite4", "EfficientNetTest", "EfficientNetV2B0", "EfficientNetV2B1", "EfficientNetV2B2",
    "EfficientNetV2B3", "EfficientNetV2L", "EfficientNetV2M", "EfficientNetV2RWM", "EfficientNetV2RWS",
    "EfficientNetV2RWT", "EfficientNetV2S", "EfficientNetV2XL", "create",
]  # fmt: skip

logger = get_logger()
P = ParamSpec("P")
T = TypeVar("T")


def build(
    variant: Variant,
    keras: Framework,
    options: Options,
    preprocessing: str | Scaling | None = None,
    grey_as_rgb: bool = False,
    draw_weights: bool = True,
    fresh_classifier: bool = False,
) -> Model:
    """Build a variant as a functional Keras model of layers that come with Keras (arXiv 1905.11946, table 1).

    Args:
        variant: Row of the table, or a custom variant.
        keras: Modules of the Keras to build with.
        options: What to build beside the body.
        preprocessing: Mode of ``preprocess_input``, or its numbers, to put in front of the network; None for none.
        grey_as_rgb: Whether grey pixels become RGB before they are scaled, where the scaling is another for each color:
            zeros of the padding are then other levels in each, which no kernel for a single channel can do.
        draw_weights: Whether to draw random weights. False leaves kernels zero, for a caller that fills them at once.
        fresh_classifier: Whether the classifier is new on a trained body: it starts at zero, so with the same
            probability for each class. Random weights would drown what it learns first, as the features of a trained
            body are large.
    """
    channel_axis = 1 if keras.backend.image_data_format() == "channels_first" else 3
    call = functools.partial(call_drawing_weights, generator() if draw_weights else None)
    graph = Graph(variant, keras, channel_axis, call)

    x = images = input_layer(graph, options, is_scaled=preprocessing is not None)
    if preprocessing is not None:
        x = scale_pixels(graph, x, preprocessing, grey_as_rgb)
    x = conv_norm(graph, x, scaling.stem_filters(variant), "stem_", kernel_size=3, strides=2)
    stride, by_stride = 2, {2: x}
    blocks = scaling.scale_blocks(variant)
    for trained, block in zip(blocks, features.dilate(blocks, options.output_stride), strict=True):
        x = mb_conv(graph, x, block, options.drop_connect_rate * block.drop_connect_fraction)
        stride *= trained.strides
        by_stride[stride] = x
    x = feature_maps(graph, by_stride, options) if options.features_only else head(graph, x, options, fresh_classifier)

    inputs = images if options.input_tensor is None else keras.utils.get_source_inputs(options.input_tensor)
    with deep_recursion():
        return keras.models.Model(inputs, x, name=options.name or variant.name)


def assemble(
    variant: Variant | str | os.PathLike[str],
    include_top: bool = True,
    weights: str | os.PathLike[str] | None = "imagenet",
    input_tensor: Any = None,
    input_shape: Sequence[int | None] | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    *,
    in_channels: int | None = None,
    classifier_activation: str | Callable[[Any], Any] | None = "softmax",
    dropout_rate: float | None = None,
    drop_connect_rate: float = 0.2,
    include_preprocessing: bool = False,
    features_only: bool = False,
    out_strides: Sequence[int] | None = None,
    output_stride: int = 32,
    named_features: bool = False,
    padding: str | None = None,
    batch_norm_epsilon: float | None = None,
    preprocessing: str | Scaling | None = None,
    name: str | None = None,
    backend: Any = None,
    layers: Any = None,
    models: Any = None,
    utils: Any = None,
) -> Model:
    """Build a network of the family with its weights.

    Args:
        variant: Name, path of a ``.json`` file that a design or ``save_variant`` wrote, or a ``Variant``.
        include_top: Whether the network ends in the classifier.
        weights: Name of a published set (``list_weights(variant)``); None for random weights; path of a file of
            weights, whoever saved it; ``https://…#sha256=…`` or ``hf://…``. The file may hold more than the network.
            If ``classes`` differs from the weights' number of classes, the body is kept and the classifier starts at
            zero. Of 1,001 classes the first, the background, is left out unless ``classes=1001``.
        input_tensor: Keras tensor (batch, height, width, channels) to build on instead of a new input; of any size.
        input_shape: (height, width, channels), sides of at least 32 pixels or None for any size. By default the
            variant's size with a classifier, and any size without one (CondConv's graph holds the size, and so has
            the variant's).
        pooling: Pooling of a network without a classifier: None for the last feature map, ``"avg"`` or ``"max"`` for
            vectors.
        classes: Number of outputs of the classifier.
        in_channels: Channels of the images, 3 by default, if ``input_shape`` does not say it. From weights for RGB, a
            grey image (1) predicts as the same in RGB, exactly so with ``include_preprocessing=True``: the first kernel
            is summed over its channels. For other numbers it is repeated, red, green, blue in turn, and scaled by
            3 / ``in_channels``.
        classifier_activation: Activation of the classifier; None for logits.
        dropout_rate: Dropout before the classifier, 0..1; the variant's by default.
        drop_connect_rate: Stochastic depth of the deepest block, 0..1 (arXiv 1603.09382).
        include_preprocessing: Whether the model takes raw pixels 0..255 and scales them itself. Otherwise it
            takes what ``preprocess_input`` returns in the mode of the weights.
        features_only: Whether to return feature maps instead: the last one at each stride 2, 4, 8, 16, 32.
        out_strides: Which feature maps, by these strides: ``(4, 8, 16, 32)``. All by default.
        output_stride: Stride of the coarsest map, 8, 16 or 32. Below 32 the last stages are dilated instead, with the
            same weights (arXiv 1706.05587): the maps of ``out_strides`` beyond it have this stride.
        named_features: Whether the feature maps are a dictionary instead of a list: ``{"P2": …, "P3": …}``, where
            ``"P3"`` is the map of stride 2 ** 3 in ``out_strides``. ``feature_info`` lists them. (Keras returns a
            list of one map as the map itself.)
        padding: ``"same"``, as TensorFlow pads, ``"symmetric"``, as PyTorch does, or ``"edgetpu"``, as the authors'
            EdgeTPU weights were trained. By default what the weights were trained with, or else the variant's.
        batch_norm_epsilon: Epsilon of the batch norms. By default what the weights were trained with, or else the
            variant's.
        preprocessing: Scaling of pixels before the network, a mode of ``preprocess_input`` or its numbers. By default
            what the weights were trained with, or else the variant's.
        name: Name of the model.
        backend, layers, models, utils: Modules of the Keras to build with (``efficientnet.model`` only).

    Returns:
        A Keras model. It takes (batch, height, width, channels) float32 and returns probabilities (batch, classes), a
        feature map (batch, height / 32, width / 32, filters), vectors (batch, filters), or a list or dictionary of
        feature maps.

    Raises:
        ValueError, TypeError: An argument is out of its range; the message says which and what is accepted.
        OSError: Weights cannot be fetched; the message says what to place where.
        ImportError: Weights come with a Python package that is not installed; the message names it.

    Example:
        >>> create("b0", weights=None, classes=5).output_shape
        (None, 5)
    """
    variant = get_variant(variant)
    keras = Framework(backend, layers, models, utils)
    if None in keras:
        missing = ", ".join(f"{field}=" for field, module in keras._asdict().items() if module is None)
        raise TypeError(
            f"{variant.name} does not know which Keras to build with ({missing} missing): import it from "
            "efficientnet.keras or efficientnet.tfkeras, or pass backend=, layers=, models= and utils=."
        )
    options = Options(
        include_top, input_tensor, input_shape, pooling, classes, in_channels, classifier_activation, dropout_rate,
        drop_connect_rate, features_only, out_strides, output_stride, named_features, name,
    )  # fmt: skip
    options.check(variant, layers)
    arguments.flag("include_preprocessing", include_preprocessing)
    if weights is not None and not isinstance(weights, weight_sets.Weights):
        arguments.path("weights", weights, "the name of a published set, the path of a file of weights, or None")
    given = finding.given_facts(padding, batch_norm_epsilon, preprocessing)
    found = None
    if weights is None:
        trained = finding.untrained(variant, given)
    else:
        found = weight_sets.find(weights, variant, options.has_classifier, classes, given)
        trained = found.trained
        found.report(classifier_activation if options.has_classifier else None)
    variant = dataclasses.replace(variant, padding=trained.padding, batch_norm_epsilon=trained.epsilon)
    model = build(
        variant,
        keras,
        options,
        preprocessing=trained.preprocessing if include_preprocessing else None,
        grey_as_rgb=found is not None and found.reading.channels == 3,
        draw_weights=found is None,
        fresh_classifier=found is not None and found.fresh_classifier,
    )
    if found is not None:
        in_front = [] if input_tensor is None else models.Model(model.inputs, input_tensor).layers
        weight_sets.load(model, found, skip_layers={layer.name for layer in in_front})
    is_known = found is not None and "preprocessing" not in trained.unknown
    channels = model.get_layer("stem_conv").weights[0].shape[2]
    mode = for_channels(trained.preprocessing, channels)
    marks.put(model, Mark(mode, trained.facts.crop, trained.facts.interpolation, is_known))
    return model


def _advised(assemble: Callable[P, T]) -> Callable[P, T]:
    """Return ``assemble``, which then logs how to scale pixels if ``preprocess_input(x)`` alone is not right."""
    known = inspect.signature(assemble).parameters

    @functools.wraps(assemble)
    def create(*args: P.args, **kwargs: P.kwargs) -> T:
        if unknown := next((option for option in kwargs if option not in known), None):
            close = difflib.get_close_matches(unknown, known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"the options are {', '.join(known)}."
            raise TypeError(f"A network has no option {unknown!r}: {hint}")
        model = assemble(*args, **kwargs)
        mark = marks.read_mark(model)
        if mark.is_known and mark.preprocessing not in (None, "torch", "none"):
            logger.warning(
                "%s takes pixels scaled as %s, which preprocess_input(x) alone does not do: give it "
                "model_inputs(images, model) or preprocess_input(x, model=model), or build it with "
                "include_preprocessing=True.",
                getattr(model, "name", ""), formula(mark.preprocessing),
            )  # fmt: skip
        return model

    create.__name__ = create.__qualname__ = "create"
    return create


create = _advised(assemble)


def constructor(create: Callable[Concatenate[Variant, P], T], name: str) -> Callable[P, T]:
    """Return the public constructor ``name``: ``create`` for that variant, with a custom signature and docstring."""
    variant = get_variant(name)
    cost = costs.cost(variant)
    sets = sorted({row.name for row in weight_sets.list_weights(variant)})

    def construct(*args: P.args, **kwargs: P.kwargs) -> T:
        return create(variant, *args, **kwargs)

    construct.__name__ = construct.__qualname__ = name
    # From Python 3.13 on, docstrings are compiled without their indentation.
    general = re.sub(r"^ *variant:.*\n", "", inspect.getdoc(create) or "", flags=re.MULTILINE)
    construct.__doc__ = general.replace('create("b0", ', f"{name}(").replace(
        "Build a network of the family with its weights.",
        f"Build {construct.__name__}: {cost.parameters / 1e6:.1f} million parameters ({variant.paper}).\n\n"
        f"At {variant.resolution} x {variant.resolution} pixels it takes {cost.macs / 1e9:.2f} billion multiply-adds.\n"
        f'Preprocessing mode: "{variant.preprocessing}". Dropout: {variant.dropout_rate}.\n'
        f"Published weights: {', '.join(map(repr, sets)) or 'none in a format read here'}.",
    )
    hide_parameters(construct, create, {"variant"})
    return construct


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
) -> Model:
    """Build any network of the family from its coefficients.

    Args:
        width_coefficient: Factor of all numbers of filters.
        depth_coefficient: Factor of all numbers of repeats.
        default_resolution: Side of the input, pixels, of a network with a classifier if ``input_shape`` is None.
        depth_divisor: Divisor to whose multiples the numbers of filters are rounded.
        blocks_args: Unscaled stages.
        model_name: Name of the model, and of the variant whose published weights ``weights`` may name.
        dropout_rate, drop_connect_rate, include_top, weights, input_tensor, input_shape, pooling, classes: As for
            :func:`EfficientNetB0`.
        **kwargs: Further arguments of :func:`EfficientNetB0`, ``backend``, ``layers``, ``models`` and ``utils`` among
            them.

    Returns:
        A Keras model.

    Raises:
        ValueError, TypeError: An argument is out of its range; the message says which and what is accepted.

    Example:
        >>> EfficientNet(0.25, 0.25, 64, weights=None, classes=5).output_shape
        (None, 5)
    """
    if isinstance(blocks_args, (str, dict)) or not hasattr(blocks_args, "__iter__"):
        raise TypeError(f"blocks_args={blocks_args!r}: expected a sequence of BlockArgs.")
    variant = Variant(
        model_name, width_coefficient, depth_coefficient, default_resolution, dropout_rate, tuple(blocks_args),
        depth_divisor=depth_divisor,
    )  # fmt: skip
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
EfficientNetV2RWT = constructor(create, "EfficientNetV2RWT")
EfficientNetV2RWS = constructor(create, "EfficientNetV2RWS")
EfficientNetV2RWM = constructor(create, "EfficientNetV2RWM")
EfficientNetTest = constructor(create, "EfficientNetTest")
EfficientNetB1Pruned = constructor(create, "EfficientNetB1Pruned")
EfficientNetB2Pruned = constructor(create, "EfficientNetB2Pruned")
EfficientNetB3Pruned = constructor(create, "EfficientNetB3Pruned")

# The older package's further names: found when asked for, in compat.py.
_OLDER_NAMES = ("DEFAULT_BLOCKS_ARGS", "get_dropout", "get_swish", "preprocess_input", "round_filters", "round_repeats")


def __getattr__(name: str) -> Any:
    if name in _OLDER_NAMES:
        return getattr(importlib.import_module("efficientnet.compat"), name)
    raise AttributeError(f"module 'efficientnet.model' has no attribute {name!r}")
