"""Where a model to compile comes from; loaded only where no cached engine stands for it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import checkpoints
from ..checkpoints.facts import UNKNOWN, Facts
from ..checkpoints.hub_folder import read_config
from ..checkpoints.marks import Mark
from ..checkpoints.soundness import check_model
from ..common.hashes import digest_of
from ..common.text import log_remarks
from ..errors import CheckpointError
from ..exported_files.formats import format_of, whole
from ..family.variants import get_variant
from ..images.pixel_scaling import Scaling, formula, scale_and_offset
from ..keras_files import metadata, opening
from ..keras_graph import marks
from ..keras_graph.fold import in_float32
from ..model_io.describing import describe_model
from ..model_io.outputs import Remark, assumed_names
from ..model_io.spec import InputSpec
from ..weights import finding, published
from . import cache
from .exported import ExportedFile


@dataclass(frozen=True)
class ModelSource:
    """Model to compile.

    Attributes:
        load: Function that returns the Keras model and its spec; it loads them at the first call. For an exported file,
            which holds no such model, it raises ``ValueError``.
        content: Function that returns a key for all that they are made of; None if there is none.
        name: Name of the model, of its file, or of its weights.
        file: File of the whole saved model; None for other models.
        exported: Exported file; None for other models.

    Example:
        >>> from efficientnet.keras import EfficientNet
        >>> source = ModelSource.of_model(EfficientNet(0.25, 0.25, 32, weights=None, model_name="small"))
        >>> with compile(source, cache=False) as predictor:
        ...     print(source.name, predictor.spec.sides)
        small (32, 32)
    """

    load: functools._lru_cache_wrapper[tuple[Any, InputSpec]]
    content: Callable[[], str | None]
    name: str
    file: Path | None = None
    exported: ExportedFile | None = None

    def key(self, *parts: Any) -> str | None:
        """Return the cache's key for an engine made of the model and these parts; None if it is not to be kept."""
        content = self.content()
        return None if content is None else cache.key_of(content, *parts)

    def remind(self, spec: InputSpec) -> None:
        """Log a spec's remarks, as loading does, if a cached engine has made that unnecessary."""
        if not self.load.cache_info().currsize:
            log_remarks(self.name, (remark.text for remark in spec.remarks))

    @classmethod
    def of_model(
        cls,
        model: Any,
        preprocessing: str | Scaling | None = None,
        crop: float | None = None,
        interpolation: str | None = None,
        class_names: Any = None,
        keep: bool = True,
    ) -> ModelSource:
        """Return the source of a Keras model.

        Args:
            model, preprocessing, crop, interpolation, class_names: As in ``compile``.
            keep: Whether the cache keeps its engines.
        """
        spec = describe_model(model, preprocessing, crop, interpolation, class_names)

        def content() -> str | None:
            key = cache.model_key(model) if keep else None
            return None if key is None else f"{key} {spec}"

        load = functools.cache(lambda: (in_float32(check_model(model, model.name)), spec))
        return cls(load, functools.cache(content), model.name)

    @classmethod
    def of_file(
        cls,
        path: str | Path,
        preprocessing: str | Scaling | None = None,
        crop: float | None = None,
        interpolation: str | None = None,
        class_names: Any = None,
        keep: bool = True,
    ) -> ModelSource:
        """Return the source of a whole saved model, or of an exported one.

        Args:
            path: Path of the file or folder.
            preprocessing, crop, interpolation, class_names, keep: As in ``of_model``; by default what the file records.
        """
        path = opening.locate(path)
        if (format := format_of(path)) is not None:
            exported = ExportedFile(whole(path), format, preprocessing, crop, interpolation, class_names)
            key = functools.cache(lambda: exported.content() if keep else None)
            return cls(functools.cache(exported.refuse), key, str(path), path, exported)
        opening.check_exists(path)

        def load() -> tuple[Any, InputSpec]:
            from .. import keras

            model = in_float32(check_model(keras.load_model(path, compile=False), path))
            names = metadata.read_class_names(path) if class_names is None else class_names
            mark = marks.read_mark(model)
            spec = describe_model(model, preprocessing, crop, interpolation, names)
            assumed = () if names is not None or _is_imagenets(model, mark) else assumed_names(spec.classes)
            spec = spec._replace(remarks=(*_remarks(mark, preprocessing), *assumed))
            log_remarks(path, (remark.text for remark in spec.remarks))
            return model, spec.with_targets(metadata.read_targets(path), metadata.read_thresholds(path))

        def content() -> str | None:
            given = (preprocessing, crop, interpolation, class_names)
            return f"{digest_of(path)} {given}" if keep and path.is_file() else None

        return cls(functools.cache(load), functools.cache(content), str(path), path)

    @classmethod
    def of_variant(cls, name: str, weights: str = "imagenet", given: Facts = UNKNOWN, keep: bool = True) -> ModelSource:
        """Return the source of a variant with weights, at the size and the crop that these are evaluated with.

        Args:
            name: Name of the variant, or its .json file.
            weights: Published set or file, as in ``create``.
            given: Facts that the weights do not record; preprocessing and class names override what they record.
            keep: As in ``of_model``.
        """
        variant = get_variant(name)
        chosen = published.resolve(weights, variant)
        size = variant.resolution if chosen is None else chosen.resolution

        def load() -> tuple[Any, InputSpec]:
            from .. import keras
            from ..model import assemble
            from ..weights.loading import find

            found = find(weights, variant, given=given)
            reading = found.reading
            in_file, said = reading.classes, reading.checkpoint.facts
            if in_file is None:
                raise CheckpointError(
                    f"{weights} holds no classifier of {variant.name}, and so there is nothing to predict: train one "
                    f"on it with `efficientnet train IMAGES --model {name} --weights {weights}`."
                )
            # The first of 1,001 classes is the background, which is not a prediction.
            classes = 1000 if in_file == 1001 else in_file
            names = said.class_names if said.class_names and len(said.class_names) == classes else None
            activation = said.activation or "softmax"
            model = assemble(
                variant, weights=found, classes=classes, input_shape=(size, size, reading.channels),  # type: ignore[arg-type]  # read once
                classifier_activation=None if activation == "linear" else activation, padding=given.padding,
                batch_norm_epsilon=given.epsilon, preprocessing=given.preprocessing, **keras.FRAMEWORK._asdict(),
            )  # fmt: skip
            said = finding.of_reading(reading) if chosen is None else finding.of_set(chosen)
            subject = "scaling" if "preprocessing" in found.trained.unknown else ""
            assumed = finding.unknown_message(found.trained, variant)
            others = [*map(finding.contradiction_message, finding.contradictions(said, given))]
            others += checkpoints.remarks(reading)
            remarks = (*([Remark(assumed, subject)] if assumed else []), *map(Remark, others))
            spec = describe_model(model, class_names=given.class_names or names)._replace(remarks=remarks)
            return in_float32(model), spec

        def content() -> str | None:
            file = _file(weights, chosen) if keep else None
            if file is None:
                return None
            return f"{variant} {chosen} {given} {digest_of(file)} {read_config(file)}"

        return cls(functools.cache(load), functools.cache(content), weights)


def _remarks(mark: Mark, preprocessing: str | Scaling | None) -> tuple[Remark, ...]:
    """Return what to report where the scaling of pixels may not be the one that a saved model was trained with."""
    if mark.preprocessing is None:
        return ()
    if preprocessing is not None and scale_and_offset(preprocessing) != scale_and_offset(mark.preprocessing):
        text = (
            f"gets pixels scaled as given, {formula(preprocessing)}, and not as it says itself, "
            f"{formula(mark.preprocessing)}."
        )
        return (Remark(text),)
    if preprocessing is None and not mark.is_known:
        text = (
            "was built without weights, and does not say how its pixels were scaled in training; assumed: "
            f"{formula(mark.preprocessing)}. preprocessing= (in a command: --preprocessing) says it."
        )
        return (Remark(text, "scaling"),)
    return ()


def _is_imagenets(model: Any, mark: Mark) -> bool:
    """Return whether a model ends in the classifier of a network that was built with its weights."""
    last = model.layers[-1]
    while hasattr(last, "layers"):
        last = last.layers[-1]
    return mark.preprocessing is not None and mark.is_known and last.name == "probs"


def _file(weights: str, chosen: published.PublishedWeights | None) -> Path | None:
    """Return the file that weights are read from, if it is a single one on this machine."""
    path = Path(weights).expanduser() if chosen is None else published.path(chosen)
    return path if path.is_file() else None
