"""From images of any size to heat maps that lie over them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ..common import arguments
from ..images.bands import with_channels
from ..images.pixel_scaling import Scaling
from ..images.pixels import as_array
from ..inference import Predictor
from ..keras_graph.detours import keras_outputs
from ..keras_graph.marks import model_preprocessing
from ..model_io.describing import describe_model
from ..model_io.images import read_pixels
from ..model_io.inputs import as_list
from ..model_io.spec import InputSpec
from .gradients import MeanEvidence, cut
from .occlusion import Occlusion

METHODS = ("gradcam", "hirescam", "occlusion")

Box = tuple[int, int, int, int]


class Explanation(NamedTuple):
    """Where in an image a network sees the evidence for a class.

    Attributes:
        heat_map: (height, width) float32 of the image's own size: 0 for no evidence for the class or evidence against
            it, 1 for the most evidence; all 0 if there is none anywhere.
        seen: Part of the image that the network gets, after the crop: left, top, right, bottom in pixels. Outside of
            it the map is 0.
        class_index: Index of the class.
        label: Name of the class.
        score: The network's output for the class, a probability if the network gives these.

    Example:
        >>> from efficientnet.keras import EfficientNet
        >>> model = EfficientNet(0.25, 0.25, 64, weights=None, classes=5)
        >>> (found,) = explain(model, "misc/panda.jpg", class_index=3)
        >>> found.heat_map.shape, found.seen, found.label
        ((600, 800), (138, 38, 663, 563), 'class_3')
    """

    heat_map: NDArray[np.float32]
    seen: Box
    class_index: int
    label: str
    score: float

    @property
    def unseen(self) -> str:
        """The part of the image that the network does not get, in words; empty if it gets all."""
        height, width = self.heat_map.shape
        left, top, right, bottom = self.seen
        margins = {"left": left, "top": top, "right": width - right, "bottom": height - bottom}
        if not any(margins.values()):
            return ""
        share = 1 - (right - left) * (bottom - top) / (width * height)
        cut = ", ".join(f"{margin} px at the {side}" for side, margin in margins.items() if margin)
        return f"{share:.0%} of the image, which the crop cuts off ({cut})"


class Evidence(Protocol):
    """What a method finds out about one image."""

    @property
    def outputs(self) -> NDArray[np.float32]:
        """The model's outputs for the image, (outputs,)."""
        ...

    def of_class(self, index: int) -> NDArray[np.float32]:
        """Return the evidence for a class, (rows, columns) of any size; below 0 it is against the class."""
        ...


def explain(
    model: Any,
    images: Any,
    method: str = "gradcam",
    class_index: int | Sequence[int] | None = None,
    layer: str | None = None,
    *,
    preprocessing: str | Scaling | None = None,
    crop: float | None = None,
    interpolation: str | None = None,
) -> list[Explanation]:
    """Compute heat maps that show where a classifier sees the evidence for a class.

    ``"gradcam"`` weighs each feature map of a layer by the mean of its gradient, and adds them up (Grad-CAM,
    arXiv 1610.02391, section 3). ``"hirescam"`` multiplies features and gradients at each place, so that the map shows
    what the class score is made of (HiResCAM, arXiv 2011.08891). Both are the same for a network that ends
    in global average pooling and one dense layer. The gradients are those of the score before the last softmax or
    sigmoid. ``"occlusion"`` moves a square of the image's mean color over the image, and measures how much the output
    drops (arXiv 1311.2901, section 4.2). It needs no layer and no gradient, and about 200 predictions.

    Args:
        model: A Keras classifier of images: functional or Sequential, of either Keras, also with networks as layers.
            Keras on OpenVINO computes no gradients: there it has to end in global average pooling and one dense layer,
            or the method has to be ``"occlusion"``. For ``"occlusion"`` also a predictor, which
            ``efficientnet.inference.compile`` makes of any model, exported files among them.
        images: One image or several, as in ``model_inputs``: paths, URLs, bytes, Pillow images, arrays
            (height, width, 3) of 0..255. For a model whose input is not square, arrays of its own size.
        method: "gradcam", "hirescam" or "occlusion".
        class_index: Index of the class, for all images or for each; by default the class that the model finds most
            probable, or the first number of a model that predicts numbers. The index 0 of a single sigmoid is the class
            whose probability is 1 minus the output.
        layer: Name of the layer whose output is looked at; of a network within the model ``"network/layer"``, or the
            name of the network for its last layer. By default the last layer with a spatial output, before the pooling;
            of a model that is the mean of several networks, that of each, and the map is the mean of theirs.
        preprocessing, crop, interpolation: As in ``model_inputs``. A predictor has its own.

    Returns:
        An :class:`Explanation` for each image, with its map of the image's own size.

    Raises:
        ValueError: The model is not a classifier, has no such class or layer, cannot be explained by this method, or
            does not record how its pixels are scaled; or an item is not an image.
        OSError: An image cannot be read.

    Example:
        >>> from efficientnet.keras import EfficientNet
        >>> model = EfficientNet(0.25, 0.25, 64, weights=None, classes=5)
        >>> found = explain(model, ["misc/panda.jpg"], method="hirescam", class_index=3)
        >>> found[0].heat_map.shape
        (600, 800)
    """
    explainer = Explainer(model, _spec(model, preprocessing, crop, interpolation), method, layer)
    sources, is_batch = as_list(images, explainer.spec)
    if isinstance(class_index, str):
        raise ValueError(f"class_index={class_index!r}: expected the index of the class, or one for each image.")
    wanted: list[Any] = [class_index] * len(sources)
    if isinstance(class_index, Iterable) and getattr(class_index, "ndim", True):
        wanted = list(class_index)
    if len(wanted) != len(sources):
        raise ValueError(f"class_index has {len(wanted)} classes for {len(sources)} images: expected one for each.")
    return [
        explainer(source, None if index is None else [index], decides=not is_batch)[0]
        for source, index in zip(sources, wanted, strict=True)
    ]  # fmt: skip


def _spec(model: Any, preprocessing: str | Scaling | None, crop: float | None, interpolation: str | None) -> InputSpec:
    """Return the spec of a model that says how its pixels are scaled."""
    if not isinstance(model, Predictor):
        if preprocessing is None:
            model_preprocessing(model)  # raises if the scaling is unknown
        return describe_model(model, preprocessing, crop, interpolation)
    given = {"preprocessing": preprocessing, "crop": crop, "interpolation": interpolation}
    if names := [f"{name}={value!r}" for name, value in given.items() if value is not None]:
        raise ValueError(f"{', '.join(names)}: a predictor prepares images by itself. Give it to compile() instead.")
    if model.spec.scaling is None:
        model.spec.check_images()  # raises the error
    return model.spec


class Explainer:
    """A model, prepared to be asked for the evidence in one image after another."""

    def __init__(self, model: Any, spec: InputSpec, method: str = "gradcam", layer: str | None = None) -> None:
        """Prepare the model; arguments and errors are those of :func:`explain`, ``spec`` describes the model."""
        self.method = arguments.choice("method", method, METHODS)
        self.spec = spec
        spec.check_vector()
        if layer is not None and method == "occlusion":
            raise ValueError(f"layer={layer!r}: occlusion looks at no layer. Leave it out, or choose another method.")
        if isinstance(model, Predictor) and method != "occlusion":
            raise ValueError(
                f"method={method!r}: {spec.name} is compiled or exported, and has no layers of Keras any more: choose "
                "the method 'occlusion' (--method occlusion), which needs none, or give the Keras model."
            )
        self._networks = [] if method == "occlusion" else cut(model, method, layer)
        self._model = model

    def __call__(
        self, source: Any, classes: Sequence[int] | None = None, top: int = 1, decides: bool = True
    ) -> list[Explanation]:
        """Explain one image.

        Args:
            source: Image, as in :func:`explain`.
            classes: Indices of the classes; by default the most probable ones, or the first of several numbers.
            top: Number of these.
            decides: Whether the levels of this image alone say what white is, as in ``pixels.fault``.
        """
        image, size, seen = self._prepare(read_pixels(source, self.spec.channels), decides)
        evidence: Evidence = (
            MeanEvidence([network(self.spec.scale(image[np.newaxis])) for network in self._networks])
            if self._networks
            else Occlusion(self._outputs, self.spec, image)
        )
        scores = self.spec.probabilities(self.spec.vector(evidence.outputs))
        if classes is None:
            # Numbers of different units, such as an age and a weight, have no order.
            order = np.arange(len(scores)) if self.spec.targets == "values" else np.argsort(-scores, kind="stable")
            classes = order[:top].tolist()
        return [
            Explanation(
                _laid_over(self._of_class(evidence, index), size, seen),
                seen, index, self.spec.classes[index][1], float(scores[index]),
            )
            for index in map(self._checked, classes)
        ]  # fmt: skip

    def _outputs(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the model's outputs, (batch, outputs), for images that ``InputSpec.image`` returned."""
        if isinstance(self._model, Predictor):
            return np.asarray(self._model.predict_prepared(images))
        outputs: NDArray[np.float32] = keras_outputs(self._model, self.spec.scale(images))[0]
        return outputs

    def _prepare(self, pixels: Any, decides: bool) -> tuple[NDArray[np.float32], tuple[int, int], Box]:
        """Return an image before the scaling, its height and width, and the part of it that is kept."""
        height, width = (*as_array(pixels).shape, 0, 0)[:2]
        if (height, width) != self.spec.image_sides or height == width:
            return self.spec.image(pixels, decides), (height, width), self.spec.seen(height, width)
        levels = with_channels(pixels, self.spec.channels, decides=decides).astype(np.float32)
        image = levels if self.spec.channels_last else levels.transpose(2, 0, 1)
        return image, (height, width), (0, 0, width, height)

    def _checked(self, index: Any) -> int:
        count = len(self.spec.classes)
        if arguments.whole("class_index", index, 0) >= count:
            raise ValueError(f"class_index={index!r}: {self.spec.name} has {count} classes: expected 0 to {count - 1}.")
        return int(index)

    def _of_class(self, evidence: Evidence, index: int) -> NDArray[np.float32]:
        if self.spec.kind != "binary":
            return evidence.of_class(index)
        return evidence.of_class(0) * (1 if index else -1)  # evidence for one class is evidence against the other


def _laid_over(evidence: NDArray[np.float32], shape: tuple[int, int], seen: Box) -> NDArray[np.float32]:
    """Enlarge the evidence to the part of the image that was seen, and scale what is for the class to 0..1."""
    from PIL import Image

    if not np.isfinite(evidence).all():
        raise ValueError("The evidence is NaN or infinite: look for NaN in the model's weights.")
    left, top, right, bottom = seen
    # What is against the class is left out first: a cubic curve rises above 0 beside what is far below.
    enlarged = Image.fromarray(np.maximum(evidence, 0)).resize((right - left, bottom - top), Image.Resampling.BICUBIC)
    heat_map = np.zeros(shape, np.float32)
    heat_map[top:bottom, left:right] = np.maximum(np.asarray(enlarged), 0)
    highest = heat_map.max()
    if highest > 0:
        heat_map /= highest
    return heat_map
