"""How images are prepared for a model, and what its outputs are called."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from ..common import arguments
from ..exported_files.activations import UNKNOWN
from ..images.bands import with_channels
from ..images.pixel_scaling import EVALUATION_CROP, Scaling
from ..images.pixels import fault, scaled
from ..images.resizing import center_crop_and_resize, central_square
from .outputs import (
    Kind,
    Prediction,
    Remark,
    are_distributions,
    are_shares,
    best_first,
    have_names,
    kind_of,
    softmax,
)

DEFAULT_INTERPOLATION = "bicubic"
DEFAULT_THRESHOLD = 0.5  # least probability of a label that counts as predicted
# Kinds of outputs that a model's last activation does not show, by the kind of its targets.
_KINDS: Mapping[str, Kind] = {"values": "numbers", "ordinal": "probabilities"}
# Side of images for a model that takes any size and is not of the family.
ANY_SIZE = 224


class InputSpec(NamedTuple):
    """Preparation of images and meaning of outputs: what a predictor does before and after the model.

    Attributes:
        name: Name of the model.
        sides: Height and width of the input, pixels; None for any.
        channels: Number of channels of the input.
        channels_last: Whether the input is (batch, height, width, channels) and not (batch, channels, height, width).
        scaling: Scaling of pixels 0..255 to the model's input; None if the model does not record it.
        crop: Part of an image's shorter side that is kept, 0..1.
        interpolation: Interpolation of the resizing after that.
        classes: Id and label of each output; empty for a model without a vector of scores. A single sigmoid has two
            classes and gives the probability of the second.
        default_size: Side of the square that images are resized to if the input may have any size, pixels.
        takes_pixels: Whether arrays have to be pixels. False if the caller preprocesses them: then any floating
            numbers go to the model unchanged.
        activation: Activation of the output, such as "softmax", "sigmoid" or "linear"; "unknown" if the graph does
            not say.
        outputs: Numbers that the model returns per image; 0 without a vector of scores.
        output_names: Names of the outputs, in their order, if the model returns a dictionary.
        targets: Kind of targets that the model was trained on, as ``datasets.targets`` has them; empty if unknown.
        thresholds: Least probability of each label that counts as predicted; empty for 0.5 of all.
        remarks: Assumptions to report whenever the model is opened.

    Example:
        >>> InputSpec("mine", sides=(64, 64), channels=3, channels_last=True, scaling=None).input_shape(8)
        [8, 64, 64, 3]
    """

    name: str
    sides: tuple[int | None, int | None]
    channels: int
    channels_last: bool
    scaling: Scaling | None
    crop: float = EVALUATION_CROP
    interpolation: str = DEFAULT_INTERPOLATION
    classes: tuple[tuple[str, str], ...] = ()
    default_size: int = ANY_SIZE
    takes_pixels: bool = True
    activation: str = UNKNOWN
    outputs: int = 0
    output_names: tuple[str, ...] = ()
    remarks: tuple[Remark, ...] = ()
    targets: str = ""
    thresholds: tuple[float, ...] = ()

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> InputSpec:
        """Return the spec from what ``_asdict`` made, after JSON made lists of its tuples."""
        scaling = values["scaling"]
        return cls(
            **{
                **values,
                "sides": tuple(values["sides"]),
                "scaling": None if scaling is None else Scaling(*map(tuple, scaling)),
                "classes": tuple((key, label) for key, label in values["classes"]),
                "output_names": tuple(values["output_names"]),
                "remarks": tuple(Remark(*remark) for remark in values["remarks"]),
                "thresholds": tuple(values.get("thresholds", ())),
            }
        )

    def with_targets(self, targets: str | None, thresholds: tuple[float, ...] | None) -> InputSpec:
        """Return the spec with what a file says of its model's targets.

        Raises:
            ValueError: The number of thresholds is not that of the outputs.
        """
        if thresholds and len(thresholds) != self.outputs:
            raise ValueError(f"{self.name} has {self.outputs} outputs but {len(thresholds)} thresholds: save it again.")
        return self._replace(targets=targets or "", thresholds=thresholds or ())

    def settled(self, subject: str) -> InputSpec:
        """Return the spec without the remarks on a fact that another source has settled."""
        return self._replace(remarks=tuple(remark for remark in self.remarks if remark.subject != subject))

    @property
    def is_scaled(self) -> bool:
        """Whether the levels of pixels have to be changed for the model."""
        return self.scaling is not None and (set(self.scaling.scale) != {1.0} or set(self.scaling.offset) != {0.0})

    @property
    def _are_pixels(self) -> bool:
        """Whether floating numbers have to be pixels."""
        return self.takes_pixels and self.scaling is not None

    def input_shape(self, batch: int) -> list[int]:
        """Return the shape of the model's input for a batch; -1 for sides that may be any."""
        height, width = (-1 if side is None else side for side in self.sides)
        return [batch, height, width, self.channels] if self.channels_last else [batch, self.channels, height, width]

    @property
    def image_sides(self) -> tuple[int, int]:
        """Height and width that images are resized to, pixels."""
        height, width = (side or self.default_size for side in self.sides)
        return height, width

    def image_shape(self, batch: int) -> list[int]:
        """Return the shape of a batch of prepared images."""
        return self._replace(sides=self.image_sides).input_shape(batch)

    def scale(self, batch: np.ndarray) -> np.ndarray:
        """Scale pixels 0..255 to the model's input, float32."""
        if self.scaling is None or not self.is_scaled:
            return batch
        shape = (-1,) if self.channels_last else (-1, 1, 1)
        scale, offset = (np.array(values, np.float32).reshape(shape) for values in self.scaling)
        return batch * scale + offset

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Return whether a batch of this shape is in the model's layout and size."""
        sides = zip(shape[1:], self.input_shape(1)[1:], strict=False)
        return len(shape) == 4 and all(side in (-1, own) for own, side in sides)

    def check(self, batch: np.ndarray) -> np.ndarray:
        """Check a batch in the model's layout and return it as float32.

        Raises:
            ValueError: The shape is another one, or the numbers are not pixels.
        """
        if not self.fits(batch.shape) or not batch.size:
            shown = ", ".join("any" if side == -1 else str(side) for side in self.input_shape(1)[1:])
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

    def image(self, pixels: Any, decides: bool = True) -> np.ndarray:
        """Crop and resize an image of any size to what ``check`` returns for it, without the batch axis.

        A model of images that are not square takes arrays of its own height and width, which stay as they are.

        Args:
            pixels: (height, width) or (height, width, 1) of grey levels, (height, width, 3) of RGB, (height, width, 4)
                with opacity, 0..255, or 0..65535 in uint16. For a model of other than 1 or 3 channels (height, width,
                channels).
            decides: Whether these levels alone say what white is, as in ``pixels.fault``.

        Raises:
            ValueError: The array is not an image, or the model takes no images of any size.
        """
        size = None if self._is_own_shape(pixels) else self.check_images()
        try:
            levels = with_channels(pixels, self.channels, self._are_pixels, decides)
        except ValueError as error:
            raise ValueError(f"{error}{self._advice(pixels)}") from None
        if size is not None:
            levels = center_crop_and_resize(levels, size, self._crop_padding(size), self.interpolation)
        image = levels.astype(np.float32)
        return image if self.channels_last else image.transpose(2, 0, 1)

    def _is_own_shape(self, pixels: Any) -> bool:
        """Return whether an array is as a model of images that are not square takes it, as it cannot be made so."""
        height, width = self.image_sides
        return self.scaling is not None and height != width and getattr(pixels, "shape", ())[:2] == (height, width)

    def seen(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Return the part of an image of this size that :meth:`image` keeps: left, top, right, bottom in pixels."""
        size = self.check_images()
        return central_square(height, width, size, self._crop_padding(size))

    def _crop_padding(self, size: int) -> float:
        return size / self.crop - size

    def check_images(self) -> int:
        """Return the side of the square that images are resized to, pixels.

        Raises:
            ValueError: The model takes no square images, or does not record how their pixels are scaled.
        """
        height, width = self.image_sides
        if self.scaling is None:
            raise ValueError(self._untold("Images need to be scaled, but"))
        if height != width:
            raise ValueError(
                f"{self.name} takes images of {height} x {width} pixels; image files are made square. Pass arrays of "
                "the model's shape."
            )
        return height

    @property
    def kind(self) -> Kind:
        """Kind of the outputs, as far as the graph or the model's targets say it; see ``outputs.kind_of``."""
        return _KINDS.get(self.targets) or kind_of(self.activation, self.outputs, have_names(self.classes))

    def top(self, scores: Any, k: int = 5) -> list[tuple[str, str, float]]:
        """Return the ``k`` classes that score best: id, label and score; of equal ones the first comes first.

        Args:
            scores: (outputs,), the model's outputs for one image. The two classes of a single sigmoid score p and
                1 - p, others the output itself.
            k: Number of classes, at least 1; all classes if there are fewer.

        Raises:
            ValueError: The model is not a classifier, these are not its outputs, or ``k`` is less than 1.
        """
        scores = self.vector(scores)
        if self.outputs == 1 and self.kind != "binary":
            raise ValueError(f"{self.name} returns a single number, and no scores of classes: call predict().")
        return best_first(self.probabilities(scores), self.classes)[: arguments.whole("k", k)]

    def prediction(self, scores: Any, threshold: float | None = None, as_logits: bool = False) -> Prediction:
        """Return the prediction for an image, by the kind of the outputs and by their values.

        Args:
            scores: (outputs,), the model's outputs for one image.
            threshold: Least probability of a label, 0..1, for a multi-label model; that of each label by default.
            as_logits: Whether to take a softmax of the outputs; see :meth:`check_logits`.

        Raises:
            ValueError: The model returns no vector, or these are not its outputs, or not finite.
        """
        scores, kind = self.vector(scores), self.kind
        if kind == "binary" and are_shares(scores):
            return Prediction("binary", best_first(self.probabilities(scores), self.classes))
        if kind == "labels" and are_shares(scores):
            chosen = np.flatnonzero(scores >= self.label_thresholds(threshold))
            return Prediction("labels", best_first(scores[chosen], [self.classes[index] for index in chosen]))
        if kind in ("probabilities", "unknown") and are_distributions(scores):
            return Prediction("probabilities", best_first(scores, self.classes))
        if as_logits:
            return Prediction("probabilities", best_first(softmax(scores), self.classes))
        if self.outputs > 1 and have_names(self.classes) and self.targets != "values":
            return Prediction("logits", best_first(scores, self.classes))
        names = self.classes[: self.outputs] if have_names(self.classes) else [
            (str(index), f"output_{index}") for index in range(self.outputs)
        ]  # fmt: skip
        return Prediction("numbers", [(*name, float(score)) for name, score in zip(names, scores, strict=True)])

    def label_thresholds(self, threshold: float | None = None) -> np.ndarray:
        """Return the least probability of each label that counts as predicted, (outputs,): a given one, or its own."""
        own = self.thresholds or (DEFAULT_THRESHOLD,) * self.outputs
        return np.array(own if threshold is None else (threshold,) * self.outputs)

    def probabilities(self, scores: np.ndarray, as_logits: bool = False) -> np.ndarray:
        """Return the probabilities of ``classes``, which exclude each other, from outputs (images, outputs).

        They equal the outputs, unless these are a single sigmoid or, with ``as_logits``, logits.
        """
        if self.kind == "binary":
            return np.concatenate([1 - scores, scores], axis=-1)
        if as_logits and not (self.kind == "unknown" and are_distributions(scores)):
            return softmax(scores)
        return scores

    def agreement(self, found: np.ndarray, expected: np.ndarray) -> float:
        """Return the share of images with the same prediction: the same best class, or the same labels.

        Args:
            found, expected: (images, outputs) of a model with classes.
        """
        if self.kind == "labels":
            chosen = [scores >= self.label_thresholds() for scores in (found, expected)]
            return float((chosen[0] == chosen[1]).all(axis=-1).mean())
        best = [self.probabilities(scores).argmax(axis=-1) for scores in (found, expected)]
        return float((best[0] == best[1]).mean())

    def check_vector(self) -> None:
        """Check that the model returns a vector for each image.

        Raises:
            ValueError: It does not.
        """
        if not self.outputs:
            raise ValueError(
                f"{self.name} returns no vector of scores per image, but several outputs, feature maps or the like: "
                "efficientnet.inference.compile(model).predict(images) returns them as arrays."
            )

    def check_logits(self) -> None:
        """Check that a softmax of the outputs makes sense.

        Raises:
            ValueError: They are probabilities already, or a single number.
        """
        self.check_vector()
        if self.outputs == 1 or self.targets == "values" or self.kind in ("binary", "labels", "probabilities"):
            are_probabilities = self.kind in ("binary", "labels", "probabilities")
            number = "a single number" if self.outputs == 1 else "values to predict"
            what = f"probabilities already, by a {self.activation}" if are_probabilities else number
            raise ValueError(f"A softmax is for logits of several classes; {self.name} gives {what}. Leave it out.")

    def check_labels(self) -> None:
        """Check that each output is the probability of a label, to which a threshold can be applied.

        Raises:
            ValueError: It is not.
        """
        if self.kind != "labels":
            raise ValueError(
                f"A threshold is for models with several sigmoids, one for each label; {self.name} ends in "
                f"{self.activation} for {self.outputs} outputs. Leave it out."
            )

    def vector(self, scores: Any) -> np.ndarray:
        """Return the model's outputs for one image as an array (outputs,).

        Raises:
            ValueError: The model returns no vector, or these are not its outputs, or not finite.
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
            f"{start} {self.name} does not record how its pixels are scaled: compile it with preprocessing=, the mode "
            'of preprocess_input that it was trained with ("none" for raw pixels).'
        )
