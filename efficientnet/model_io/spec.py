"""How pictures are made into what a model takes, and what its answers are called."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..checkpoints.keras_h5 import role
from ..common import arguments
from ..family.arrays import identify
from ..images.pixel_scaling import EVALUATION_CROP, Scaling, scale_and_offset
from ..images.pixels import fault, rgb_of_array, scaled
from ..images.resizing import MAP_INTERPOLATION_TO_ORDER, center_crop_and_resize
from ..keras_graph import marks
from ..keras_graph.walk import data_formats, functional
from .outputs import (
    UNKNOWN,
    Answer,
    Classes,
    Kind,
    are_distributions,
    are_shares,
    best_first,
    have_names,
    kind_of,
    last_activations,
    name_classes,
    softmax,
)

DEFAULT_INTERPOLATION = "bicubic"
# Of images for a model that takes any size and is none of the family.
_ANY_SIZE = 224


class InputSpec(NamedTuple):
    """What a predictor does before and after the model.

    Attributes:
        name: of the model.
        sides: height and width of its input, pixels; None for any.
        channels: of its input.
        channels_last: whether it takes (batch, height, width, channels), and not (batch, channels, height, width).
        scaling: of pixels 0..255 to what the model takes; None where the model does not tell.
        crop: the part of a picture's shorter side that is kept, 0..1.
        interpolation: of the resizing after that.
        classes: each output's id and label; empty for a model that gives no vector. A single sigmoid has two classes,
            the second of which is the one that it gives the probability of.
        default_size: side of the square that images are made into for sides that may be any, pixels.
        takes_pixels: whether arrays have to be pixels; False where the caller preprocesses them, and whatever floating
            numbers they are go to the model unchanged.
        activation: that the output has gone through last, such as "softmax", "sigmoid" or "linear"; "unknown" where
            the graph does not say.
        outputs: numbers that the model gives for an image; 0 where it gives no vector.
        remarks: what to say whenever it is opened, after the name of its file: what was assumed.
    """

    name: str
    sides: tuple[int | None, int | None]
    channels: int
    channels_last: bool
    scaling: Scaling | None
    crop: float = EVALUATION_CROP
    interpolation: str = DEFAULT_INTERPOLATION
    classes: tuple[tuple[str, str], ...] = ()
    default_size: int = _ANY_SIZE
    takes_pixels: bool = True
    activation: str = UNKNOWN
    outputs: int = 0
    remarks: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> InputSpec:
        """From what ``_asdict`` made, after JSON made lists of its tuples."""
        scaling = values["scaling"]
        return cls(
            **{
                **values,
                "sides": tuple(values["sides"]),
                "scaling": None if scaling is None else Scaling(*map(tuple, scaling)),
                "classes": tuple((key, label) for key, label in values["classes"]),
                "remarks": tuple(values["remarks"]),
            }
        )

    @property
    def is_scaled(self) -> bool:
        """Whether the levels of pixels have to be changed for the model."""
        return self.scaling is not None and (set(self.scaling.scale) != {1.0} or set(self.scaling.offset) != {0.0})

    @property
    def _are_pixels(self) -> bool:
        """Whether floating numbers have to be pixels."""
        return self.takes_pixels and self.scaling is not None

    def input_shape(self, batch: int) -> list[int]:
        """The model's input for so many images; -1 for sides that may be any."""
        height, width = (-1 if side is None else side for side in self.sides)
        return [batch, height, width, self.channels] if self.channels_last else [batch, self.channels, height, width]

    @property
    def image_sides(self) -> tuple[int, int]:
        """Height and width that images are made into, pixels."""
        height, width = (side or self.default_size for side in self.sides)
        return height, width

    def image_shape(self, batch: int) -> list[int]:
        """The same as the model's input for so many images."""
        return self._replace(sides=self.image_sides).input_shape(batch)

    def scale(self, batch: np.ndarray) -> np.ndarray:
        """Pixels 0..255 to what the model takes, float32."""
        if self.scaling is None or not self.is_scaled:
            return batch
        shape = (-1,) if self.channels_last else (-1, 1, 1)
        scale, offset = (np.array(values, np.float32).reshape(shape) for values in self.scaling)
        return batch * scale + offset

    def check(self, batch: np.ndarray) -> np.ndarray:
        """A batch in the model's layout as float32.

        Raises:
            ValueError: it is none, or not pixels.
        """
        expected = self.input_shape(len(batch) if batch.ndim else 0)
        fits = batch.ndim == 4 and all(side in (-1, own) for own, side in zip(batch.shape, expected, strict=True))
        if not fits or not batch.size:
            shown = ", ".join("any" if side == -1 else str(side) for side in expected[1:])
            raise ValueError(
                f"{self.name} takes a batch of at least one image, of shape (batch, {shown}); got shape {batch.shape}. "
                "A single image needs a batch axis, image[None]; images of other sizes, grey ones and those with "
                "opacity come as a list, [image]."
            )
        if self.scaling is None and batch.dtype.kind in "ui":
            raise ValueError(self._untold("Whole numbers are raw pixels, but"))
        if problem := fault(batch, self._are_pixels):
            raise ValueError(f"{problem}{self._advice(batch)}")
        batch = scaled(batch)
        return batch.astype(np.float32, copy=False) if batch.dtype.kind == "f" else batch

    def picture(self, pixels: Any, decides: bool = True) -> np.ndarray:
        """An image of any size as what ``check`` gives for it, without the batch axis: cropped and resized.

        Args:
            pixels: (height, width) or (height, width, 1) of grey levels, (height, width, 3) of RGB, (height, width, 4)
                with opacity, 0..255, or 0..65535 in uint16.
            decides: whether these levels alone say what white is, as in ``pixels.fault``.

        Raises:
            ValueError: it is no image, or the model takes none.
        """
        size = self.check_pictures()
        try:
            rgb = rgb_of_array(pixels, self._are_pixels, decides)
        except ValueError as error:
            raise ValueError(f"{error}{self._advice(pixels)}") from None
        square = center_crop_and_resize(rgb, size, size / self.crop - size, self.interpolation).astype(np.float32)
        return square if self.channels_last else square.transpose(2, 0, 1)

    def check_pictures(self) -> int:
        """The side of the square that pictures are made into, pixels.

        Raises:
            ValueError: the model takes none.
        """
        height, width = self.image_sides
        if self.scaling is None:
            raise ValueError(self._untold("To answer pictures,"))
        if height != width or self.channels != 3:
            raise ValueError(
                f"{self.name} takes images of {height} x {width} pixels with {self.channels} channels; pictures are "
                "made into square ones of 3. Give it arrays of its own shape."
            )
        return height

    @property
    def kind(self) -> Kind:
        """What the outputs are, as far as the graph says it; see ``outputs.kind_of``."""
        return kind_of(self.activation, self.outputs, have_names(self.classes))

    def top(self, scores: Any, k: int = 5) -> list[tuple[str, str, float]]:
        """The ``k`` classes that score best: id, label and score; of equal ones the first comes first.

        Args:
            scores: (outputs,), what the model gives for one image. The two classes of a single sigmoid score p and
                1 - p, others as they are.
            k: at least 1; all classes where there are fewer.

        Raises:
            ValueError: the model is no classifier, these are not its outputs, or ``k`` is less than 1.
        """
        scores = self.vector(scores)
        if self.outputs == 1 and self.kind != "binary":
            raise ValueError(f"{self.name} gives a single number, and no scores of classes: call predict().")
        return best_first(self.probabilities(scores), self.classes)[: arguments.whole("k", k)]

    def answer(self, scores: Any, threshold: float = 0.5, as_logits: bool = False) -> Answer:
        """What the model says of an image, by the kind of its outputs and by their values.

        Args:
            scores: (outputs,), what the model gives for one image.
            threshold: the least probability of a label, 0..1, where each has one of its own.
            as_logits: whether to take a softmax of them; see :meth:`check_logits`.

        Raises:
            ValueError: the model gives no vector, or these are not its outputs, or not finite.
        """
        scores, kind = self.vector(scores), self.kind
        if kind == "binary" and are_shares(scores):
            return Answer("binary", best_first(self.probabilities(scores), self.classes))
        if kind == "labels" and are_shares(scores):
            return Answer("labels", [entry for entry in best_first(scores, self.classes) if entry[2] >= threshold])
        if kind in ("probabilities", "unknown") and are_distributions(scores):
            return Answer("probabilities", best_first(scores, self.classes))
        if as_logits:
            return Answer("probabilities", best_first(softmax(scores), self.classes))
        if self.outputs > 1 and have_names(self.classes):
            return Answer("logits", best_first(scores, self.classes))
        names = self.classes[: self.outputs] if have_names(self.classes) else [
            (str(index), f"output_{index}") for index in range(self.outputs)
        ]  # fmt: skip
        return Answer("numbers", [(*name, float(score)) for name, score in zip(names, scores, strict=True)])

    def probabilities(self, scores: np.ndarray, as_logits: bool = False) -> np.ndarray:
        """The probabilities of ``classes``, which exclude each other, from what the model gives: (images, outputs).

        They are what the model gives itself, unless that is a single sigmoid or, with ``as_logits``, logits.
        """
        if self.kind == "binary":
            return np.concatenate([1 - scores, scores], axis=-1)
        if as_logits and not (self.kind == "unknown" and are_distributions(scores)):
            return softmax(scores)
        return scores

    def check_vector(self) -> None:
        """Makes sure that the model gives a vector for each image.

        Raises:
            ValueError: it does not.
        """
        if not self.outputs:
            raise ValueError(
                f"{self.name} gives no vector of scores for an image, but several outputs, feature maps or the like: "
                "efficientnet.inference.compile(model).predict(images) gives them as arrays."
            )

    def check_logits(self) -> None:
        """Makes sure that a softmax of the outputs makes sense.

        Raises:
            ValueError: they are probabilities already, or a single number.
        """
        self.check_vector()
        if self.outputs == 1 or self.kind in ("binary", "labels", "probabilities"):
            is_single = self.outputs == 1 and self.kind != "binary"
            what = "a single number" if is_single else f"probabilities already, by a {self.activation}"
            raise ValueError(f"A softmax is for logits of several classes; {self.name} gives {what}. Leave it out.")

    def check_labels(self) -> None:
        """Makes sure that each output is the probability of a label, to which a threshold can be applied.

        Raises:
            ValueError: it is not.
        """
        if self.kind != "labels":
            raise ValueError(
                f"A threshold is for models with several sigmoids, one for each label; {self.name} ends in "
                f"{self.activation} for {self.outputs} outputs. Leave it out."
            )

    def vector(self, scores: Any) -> np.ndarray:
        """What the model gives for one image, as an array (outputs,).

        Raises:
            ValueError: it gives no vector, or this is not one of its, or not finite.
        """
        self.check_vector()
        array = np.asarray(scores)
        if array.shape != (self.outputs,):
            raise ValueError(
                f"Expected the {self.outputs} outputs of {self.name} for one image; got an array of shape "
                f"{array.shape}."
            )
        if not np.isfinite(array).all():
            raise ValueError(
                f"{self.name} gives NaN or infinite numbers for this image: look for NaN in its weights, or for an "
                "overflow of a precision of 16 bits."
            )
        return array

    def _advice(self, pixels: Any) -> str:
        if "float" not in str(getattr(pixels, "dtype", "float")) or not self._are_pixels:
            return ""
        return ' The predictor preprocesses them itself, unless the model is compiled with preprocessing="none".'

    def _untold(self, start: str) -> str:
        return (
            f"{start} {self.name} does not tell how it wants its pixels: compile it with preprocessing=, the mode of "
            'preprocess_input that it was trained with ("none" for raw ones).'
        )


def describe(
    model: Any,
    preprocessing: str | Scaling | None = None,
    crop: float | None = None,
    interpolation: str | None = None,
    class_names: Sequence[str] | Sequence[tuple[str, str]] | None = None,
) -> InputSpec:
    """The spec of a model.

    Args:
        model: a Keras model that takes images.
        preprocessing: how it wants its pixels; by default what it tells itself.
        crop, interpolation: as in ``InputSpec``; by default what it tells itself, or else the paper's.
        class_names: labels, or ids and labels, in the order of the outputs; by default ImageNet's where there are
            1,000. Of a single sigmoid, both classes or the second alone.

    Raises:
        ValueError: it does not take images, or has another number of outputs than there are names.
    """
    graph = functional(model)
    shapes = [tuple(tensor.shape) for tensor in graph.inputs]
    if len(shapes) != 1 or len(shapes[0]) != 4:
        raise ValueError(
            f"{model.name} takes {', '.join(map(str, shapes))}: expected one input, images of shape (batch, height, "
            "width, channels)."
        )
    mark = marks.read(model)
    crop = (mark.crop or EVALUATION_CROP) if crop is None else crop
    expected = "the part of the shorter side that is kept, more than 0, at most 1"
    arguments.number("crop", crop, lambda part: 0 < part <= 1, expected)
    if interpolation is not None:
        arguments.choice("interpolation", interpolation, MAP_INTERPOLATION_TO_ORDER)
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
        classes=_classes(model.name, activation, count, class_names),
        default_size=_own_size(model) if None in sides else _ANY_SIZE,
        activation=activation,
        outputs=count,
    )
    return spec._replace(takes_pixels=preprocessing is None or spec.is_scaled)


def _layout(model: Any, shape: Sequence[Any]) -> tuple[tuple[int | None, int | None], int, bool]:
    """Height and width, channels, and whether these come last."""
    channels_last = data_formats(model) != {"channels_first"}
    height, width, channels = shape[1:] if channels_last else (shape[2], shape[3], shape[1])
    return (height, width), int(channels), channels_last


def _own_size(model: Any) -> int:
    """The resolution of the variant that a model is made of."""
    shapes = {}
    for weight in model.weights:
        path: str = getattr(weight, "path", weight.name)
        layer = path.rpartition("/")[0].rpartition("/")[2]
        shapes[f"{layer}/{role(path)}"] = tuple(weight.shape)
    variant = identify(shapes)
    return _ANY_SIZE if variant is None else variant.resolution


def _scaling(model: Any, given: str | Scaling | None, own: str | Scaling | None, channels: int) -> Scaling | None:
    wanted = own if given is None else given
    if wanted is None:
        return None
    scaling = scale_and_offset(wanted)
    if channels == len(scaling.scale):
        return scaling
    if len(set(scaling.scale)) == len(set(scaling.offset)) == 1:
        return Scaling(scaling.scale[:1] * channels, scaling.offset[:1] * channels)
    if given is None:  # what a network within the model wants of three channels
        return None
    raise ValueError(
        f"preprocessing={given!r} scales red, green and blue, each in its own way; {model.name} takes "
        f'{channels} channels. Preprocess the images yourself, and compile the model with preprocessing="none".'
    )


def _classes(model: str, activation: str, count: int, names: Any) -> Classes:
    classes = name_classes(activation, count, names)
    if classes is None:
        raise ValueError(f"{model} has {count} outputs but {len(names)} class names.")
    return classes
