"""Where a model to compile comes from; loaded only where no cached engine stands for it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import marks, notes, registry, saved_models
from ..checkpoints import CheckpointError
from ..checkpoints.facts import UNKNOWN, Facts
from ..preprocessing import Scaling, formula, scale_and_offset
from ..soundness import check_model
from ..text import get_logger
from ..variants import get_variant
from . import cache
from .recipe import Recipe, describe

logger = get_logger()


@dataclass(frozen=True)
class Source:
    """A model to compile.

    Attributes:
        load: gives the Keras model and its recipe; loads them at the first call.
        content: gives a name for all that they are made of, None where there is none.
    """

    load: Callable[[], tuple[Any, Recipe]]
    content: Callable[[], str | None]

    def key(self, *parts: Any) -> str | None:
        """The cache's name for an engine that is made of the model and of these parts; None for not to be kept."""
        content = self.content()
        return None if content is None else cache.key_of(content, *parts)

    @classmethod
    def of_model(
        cls,
        model: Any,
        preprocessing: str | Scaling | None = None,
        crop: float | None = None,
        interpolation: str | None = None,
        class_names: Any = None,
        keep: bool = True,
    ) -> Source:
        """A Keras model.

        Args:
            model, preprocessing, crop, interpolation, class_names: as in ``recipe.describe``.
            keep: whether the cache keeps engines of it.
        """
        recipe = describe(model, preprocessing, crop, interpolation, class_names)

        def content() -> str | None:
            key = cache.model_key(model) if keep else None
            return None if key is None else f"{key} {recipe}"

        return cls(functools.cache(lambda: (check_model(model, model.name), recipe)), functools.cache(content))

    @classmethod
    def of_file(
        cls,
        path: str | Path,
        preprocessing: str | Scaling | None = None,
        crop: float | None = None,
        interpolation: str | None = None,
        class_names: Any = None,
        keep: bool = True,
    ) -> Source:
        """A whole saved model; what is not given the file may say: its pixels, its crop, what its classes are called.

        Args:
            path: of the file.
            preprocessing, crop, interpolation, class_names, keep: as in ``of_model``.
        """
        path = saved_models.locate(path)

        def load() -> tuple[Any, Recipe]:
            from .. import keras

            model = check_model(keras.load_model(path, compile=False), path)
            names = notes.read_class_names(path) if class_names is None else class_names
            _report(path, marks.read(model), preprocessing)
            return model, describe(model, preprocessing, crop, interpolation, names)

        def content() -> str | None:
            given = (preprocessing, crop, interpolation, class_names)
            return f"{cache.file_key(path)} {given}" if keep and path.is_file() else None

        return cls(functools.cache(load), functools.cache(content))

    @classmethod
    def of_variant(cls, name: str, weights: str = "imagenet", given: Facts = UNKNOWN, keep: bool = True) -> Source:
        """A variant with published weights or a file's, at the size and the crop that these are evaluated with.

        Args:
            name: of the variant, or its .json file.
            weights: as ``create`` takes them.
            given: what the weights do not say; preprocessing and names of classes go before what they say.
            keep: as in ``of_model``.
        """
        variant = get_variant(name)
        chosen = registry.resolve(weights, variant)
        size = variant.resolution if chosen is None else chosen.resolution

        def load() -> tuple[Any, Recipe]:
            from .. import keras
            from ..model import assemble
            from ..weights import find

            reading = find(weights, variant).reading
            in_file, said = reading.classes, reading.checkpoint.facts
            if in_file is None:
                raise CheckpointError(
                    f"{weights} holds no classifier of {variant.name}, and so there is nothing to predict: train one "
                    f"on it with `efficientnet train PICTURES --model {name} --weights {weights}`."
                )
            # Of 1,001 classes the first is the background, which is no answer.
            classes = 1000 if in_file == 1001 else in_file
            names = said.class_names if said.class_names and len(said.class_names) == classes else None
            activation = said.activation or "softmax"
            model = assemble(
                variant, weights=weights, classes=classes, input_shape=(size, size, 3),
                classifier_activation=None if activation == "linear" else activation, padding=given.padding,
                batch_norm_epsilon=given.epsilon, preprocessing=given.preprocessing, **keras.FRAMEWORK._asdict(),
            )  # fmt: skip
            return model, describe(model, class_names=given.class_names or names)

        def content() -> str | None:
            file = _file(weights, chosen) if keep else None
            return None if file is None else f"{variant} {chosen} {given} {cache.file_key(file)}"

        return cls(functools.cache(load), functools.cache(content))


def _report(path: Path, mark: marks.Mark, preprocessing: str | Scaling | None) -> None:
    """Logs what the scaling of pixels is that is not sure to be the one that a saved model was trained with."""
    if mark.preprocessing is None:
        return
    if preprocessing is not None and scale_and_offset(preprocessing) != scale_and_offset(mark.preprocessing):
        logger.warning(
            "%s: its pixels are scaled as it is told to, %s, and not as it says itself, %s.",
            path, formula(preprocessing), formula(mark.preprocessing),
        )  # fmt: skip
    if preprocessing is None and not mark.is_known:
        logger.warning(
            "%s was built without weights, and does not say how its pixels were scaled in training; assumed: %s. "
            "preprocessing= (in a command: --preprocessing) says it.", path, formula(mark.preprocessing),
        )  # fmt: skip


def _file(weights: str, chosen: registry.WeightSet | None) -> Path | None:
    """The file that weights are read from, where it is a single one on this machine."""
    path = Path(weights).expanduser() if chosen is None else registry.path(chosen)
    return path if path.is_file() else None
