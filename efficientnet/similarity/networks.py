"""Networks that describe images by vectors: a variant's features, or those that a saved classifier decides by."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..cleaning.features import feature_network
from ..common import arguments
from ..common.hashes import digest_of
from ..datasets.sizes import evaluation_crop, fitting_size, usual_side
from ..family.variants import get_variant
from ..images.pixel_scaling import EVALUATION_CROP
from ..inference import ModelSource, Predictor, compile
from ..keras_files.opening import is_saved_model
from ..keras_graph.walk import data_formats, functional, keras_layer, keras_of
from ..model_io.describing import check_view, describe_model
from ..model_io.spec import InputSpec

_KEYS = {"model", "weights", "size", "crop", "digest"}


@dataclass(frozen=True)
class FeatureNetwork:
    """A network from images to vectors.

    Attributes:
        source: Model to compile.
        settings: Arguments of :func:`network_of` that make it again, and ``"digest"``, the SHA-256 of the model's or
            the weights' file, None if there is none.

    Example:
        >>> network = network_of("lite0", size=96)
        >>> network.settings["model"], network.settings["size"]
        ('lite0', 96)
    """

    source: ModelSource
    settings: dict[str, Any]

    @classmethod
    def of_settings(cls, settings: Mapping[str, Any]) -> FeatureNetwork:
        """Return the network that has these settings.

        Raises:
            ValueError, OSError: There is no such network, or its file has changed since.
        """
        if not (isinstance(settings, Mapping) and {"model"} <= settings.keys() <= _KEYS):
            raise ValueError(f"settings={settings!r}: expected those of a FeatureNetwork, {', '.join(sorted(_KEYS))}.")
        network = network_of(**{key: value for key, value in settings.items() if key != "digest"})
        network.check_same(settings)
        return network

    def compile(self, **options: Any) -> Predictor:
        """Return the predictor of the vectors; options are those of ``inference.compile``."""
        return compile(self.source, **options)

    def check_same(self, settings: Mapping[str, Any]) -> None:
        """Check that vectors of these settings can be compared with the network's.

        Raises:
            ValueError: They are of another model, other weights, or another size.
        """
        if _identity(settings) != _identity(self.settings):
            shown = ("; ".join(f"{key} {value}" for key, value in each.items()) for each in (settings, self.settings))
            raise ValueError(
                "The embeddings are of another network ({}) than this one ({}): give that one, or embed the images "
                "anew into another folder.".format(*shown)
            )


class Described(NamedTuple):
    """The vector of an image, float32, or why it has none."""

    vector: NDArray[np.float32] | None
    error: str | None


def describe(predictor: Predictor, sources: Iterable[Any]) -> Iterator[Described]:
    """Yield the vector of each image, in their order; one that cannot be read has an error, and the others go on.

    Args:
        predictor: Predictor of a :class:`FeatureNetwork`.
        sources: Images, as in ``Predictor.predict``.

    Raises:
        ValueError: The network returns no vectors, or does not record how pixels are scaled.
    """
    predictor.spec.check_vector()
    predictor.spec.check_images()
    for record in predictor.stream(sources):
        if record.error is not None:
            yield Described(None, record.error)
            continue
        try:
            vector = predictor.spec.vector(record.outputs)
        except ValueError as error:  # NaN
            yield Described(None, str(error))
        else:
            yield Described(vector.astype(np.float32), None)


def _identity(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return what vectors depend on: of files their content, wherever they lie."""
    known = dict(settings)
    if known.get("digest"):
        del known["model" if known.get("weights") is None else "weights"]
    return known


def network_of(
    model: str = "lite0", weights: str | None = None, size: int | None = None, crop: float | None = None
) -> FeatureNetwork:
    """Return the network whose vectors describe images.

    For a variant, the vector has the mean of each of the three coarsest feature maps and of the last one. For a saved
    model, it is what the last dense layer takes, or the output of a model without one.

    Args:
        model: Name of a variant or its .json file; or the file of a saved model, or the folder of a training.
        weights: Published set or file of a variant's weights; "imagenet" by default.
        size: Side of a variant's input, pixels; by default the variant's.
        crop: Part of an image's shorter side that is kept, 0..1; by default 0.875, or what a saved model records.

    Raises:
        ValueError, OSError, TypeError: There is no such model, or weights, a size or a crop are wrong, or are given for
            a saved model.

    Example:
        >>> network_of("lite0", size=96).settings["size"]
        96
    """
    model = arguments.path("model", model, "the name of a variant, or the file of a saved model")
    if is_saved_model(model):
        given = {"weights": weights, "size": size, "crop": crop}
        if shown := ", ".join(f"{key}={value!r}" for key, value in given.items() if value is not None):
            raise ValueError(f"{shown}: {model} is a whole model, which has its own. Leave it out.")
        return _of_file(ModelSource.of_file(model))
    variant = get_variant(model)
    weights = "imagenet" if weights is None else arguments.path("weights", weights, "a published set, or a file")
    size = variant.resolution if size is None else arguments.whole("size", size)
    check_view(crop, interpolation=None)
    crop = EVALUATION_CROP if crop is None else float(crop)
    base = ModelSource.of_variant(model, weights)  # for the key of its weights; it is never loaded

    def load() -> tuple[Any, InputSpec]:
        network = feature_network(variant, weights, size)
        return network, describe_model(network, crop=crop)

    def content() -> str | None:
        known = base.content()
        return None if known is None else f"{known} features {size} {crop}"

    source = ModelSource(functools.cache(load), functools.cache(content), f"{variant.name}_features")
    is_file = Path(weights).is_file()
    settings = {
        "model": str(Path(model).absolute()) if model.endswith(".json") else model,
        "weights": str(Path(weights).absolute()) if is_file else weights, "size": size, "crop": crop,
        "digest": digest_of(Path(weights)) if is_file else None,
    }  # fmt: skip
    return FeatureNetwork(source, settings)


def network_for(
    images: Sequence[Path], model: str = "lite0", weights: str | None = None, size: int | None = None
) -> FeatureNetwork:
    """Return the network for these images: small ones are kept whole, and enlarged less by a variant.

    Args:
        images: Images to describe, of which some are read.
        model, weights, size: As in :func:`network_of`; the size that fits the images by default.

    Raises:
        ValueError, OSError: As in :func:`network_of`.
    """
    if is_saved_model(model):
        return network_of(model, weights, size)
    side = usual_side(images, channels=3)
    fitting = fitting_size(side, get_variant(model).resolution)
    return network_of(model, weights, fitting if size is None else size, evaluation_crop(side))


def _of_file(whole: ModelSource) -> FeatureNetwork:
    """Return the network that ends where a saved model's last dense layer begins."""
    file = whole.file
    assert file is not None  # since it is a file's

    def load() -> tuple[Any, InputSpec]:
        model, spec = whole.load()
        network = _before_classifier(model)
        return network, describe_model(network, spec.scaling, spec.crop, spec.interpolation)

    def content() -> str | None:
        known = whole.content()
        return None if known is None else f"{known} features"

    source = ModelSource(functools.cache(load), functools.cache(content), whole.name, file)
    return FeatureNetwork(
        source, {"model": str(file.absolute()), "digest": digest_of(file) if file.is_file() else None}
    )


def _before_classifier(model: Any) -> Any:
    graph, keras = functional(model), keras_of(model)
    dense = [layer for layer in graph.layers if keras_layer(layer) == "Dense"]
    output = dense[-1].input if dense else graph.outputs[0]
    if len(graph.outputs) != 1 or len(output.shape) not in (2, 4):
        place = "its last dense layer takes" if dense else "no dense layer; the first output is"
        raise ValueError(
            f"{model.name} has {len(graph.outputs)} outputs, and {place} {tuple(output.shape)}: expected one output, "
            "and vectors or feature maps there. Of a training in folds, take the model of one fold."
        )
    if len(output.shape) == 4:
        order = "channels_first" if data_formats(graph) == {"channels_first"} else "channels_last"
        output = keras.layers.GlobalAveragePooling2D(data_format=order)(output)
    return keras.Model(graph.inputs, output, name=f"{model.name}_features")
