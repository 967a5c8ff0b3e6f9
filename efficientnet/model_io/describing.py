"""The spec of a Keras model: how images are prepared for it and what its outputs are, from its graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..common import arguments
from ..exported_files.activations import UNKNOWN
from ..family.arrays import identify, role
from ..images.pixel_scaling import EVALUATION_CROP, Scaling, for_channels, numbers_for, scale_and_offset
from ..images.resizing import MAP_INTERPOLATION_TO_ORDER
from ..keras_graph import marks
from ..keras_graph.walk import data_formats, functional, output_names
from .outputs import Classes, last_activations, name_classes
from .spec import ANY_SIZE, DEFAULT_INTERPOLATION, InputSpec


def describe_model(
    model: Any,
    preprocessing: str | Scaling | None = None,
    crop: float | None = None,
    interpolation: str | None = None,
    class_names: Sequence[str] | Sequence[tuple[str, str]] | None = None,
) -> InputSpec:
    """Return the spec of a model.

    Args:
        model: Keras model that takes images.
        preprocessing: Scaling of pixels that it expects; by default what it records.
        crop, interpolation: As in ``InputSpec``; by default what the model records, or else the paper's.
        class_names: Labels, or ids and labels, in the order of the outputs; by default ImageNet's for 1,000 outputs.
            For a single sigmoid, both classes or the second alone.

    Raises:
        ValueError: The model does not take images, or the number of names is not that of its outputs.
    """
    graph = functional(model)
    shapes = [tuple(tensor.shape) for tensor in graph.inputs]
    if len(shapes) != 1 or len(shapes[0]) != 4:
        raise ValueError(
            f"{model.name} takes {', '.join(map(str, shapes))}: expected one input, images of shape (batch, height, "
            "width, channels)."
        )
    mark = marks.read_mark(model)
    crop = (mark.crop or EVALUATION_CROP) if crop is None else crop
    check_view(crop, interpolation)
    sides, channels, channels_last = _layout(model, shapes[0])
    given = [tuple(tensor.shape) for tensor in graph.outputs]
    count = given[0][-1] or 0 if len(given) == 1 and len(given[0]) == 2 else 0
    activation = last_activations(model)[0] if count else UNKNOWN
    spec = InputSpec(
        name=model.name,
        sides=sides,
        channels=channels,
        channels_last=channels_last,
        scaling=_scaling(model, preprocessing, mark.preprocessing, channels),
        crop=crop,
        interpolation=interpolation or mark.interpolation or DEFAULT_INTERPOLATION,
        classes=named_classes(model.name, activation, count, class_names),
        default_size=_own_size(model) if None in sides else ANY_SIZE,
        activation=activation,
        outputs=count,
        output_names=output_names(model),
    )
    return spec._replace(takes_pixels=preprocessing is None or spec.is_scaled)


def check_view(crop: float | None, interpolation: str | None) -> None:
    """Check how images are cropped and resized; None stands for what the model records.

    Raises:
        ValueError: The crop is not a part, or there is no such interpolation.
    """
    if crop is not None:
        expected = "the part of the shorter side that is kept, more than 0, at most 1"
        arguments.number("crop", crop, lambda part: 0 < part <= 1, expected)
    if interpolation is not None:
        arguments.choice("interpolation", interpolation, MAP_INTERPOLATION_TO_ORDER)


def _layout(model: Any, shape: Sequence[Any]) -> tuple[tuple[int | None, int | None], int, bool]:
    """Return height and width, channels, and whether these come last."""
    channels_last = data_formats(model) != {"channels_first"}
    height, width, channels = shape[1:] if channels_last else (shape[2], shape[3], shape[1])
    return (height, width), int(channels), channels_last


def _own_size(model: Any) -> int:
    """Return the resolution of the variant that a model is made of."""
    shapes = {}
    for weight in model.weights:
        path: str = getattr(weight, "path", weight.name)
        layer = path.rpartition("/")[0].rpartition("/")[2]
        shapes[f"{layer}/{role(path)}"] = tuple(weight.shape)
    variant = identify(shapes)
    return ANY_SIZE if variant is None else variant.resolution


def _scaling(model: Any, given: str | Scaling | None, own: str | Scaling | None, channels: int) -> Scaling | None:
    wanted = own if given is None else given
    if wanted is None:
        return None
    if given is None and len(scale_and_offset(wanted).scale) != channels and for_channels(wanted, channels) != wanted:
        return None  # the network within the model takes another number of channels
    return numbers_for(wanted, channels)


def named_classes(model: str, activation: str, count: int, names: Any) -> Classes:
    """Return the classes of a model with these names.

    Raises:
        ValueError: There are more or fewer names than outputs.
    """
    classes = name_classes(activation, count, names)
    if classes is None:
        raise ValueError(f"{model} has {count} outputs but {len(names)} class names.")
    return classes
