"""The short training that all networks of a design share."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..common import arguments
from ..datasets.data import Data
from ..network.backends import import_keras
from ..training.batches import Batches
from ..training.recipes import Recipe, Stage
from ..training.steps import fit


@dataclass(frozen=True)
class ShortTraining:
    """AdamW with one rise and a cosine fall of the learning rate; the last epoch's accuracy counts.

    Attributes:
        epochs: Epochs of training.
        batch_size: Images per step.
        learning_rate: Peak learning rate, after one epoch; it falls to zero from there.
        weight_decay: Weight decay of AdamW (arXiv 1711.05101).
        label_smoothing: Share of the target that is spread over all classes, 0..1.
        flip: Whether half of the images are mirrored.
        shift: Largest random shift of an image, as a fraction of its side.

    Example:
        >>> ShortTraining(epochs=3, flip=False).learning_rate
        0.003
    """

    epochs: int = 10
    batch_size: int = 64
    learning_rate: float = 3e-3
    weight_decay: float = 1e-2
    label_smoothing: float = 0.1
    flip: bool = True
    shift: float = 0.1

    def __post_init__(self) -> None:
        for field in ("epochs", "batch_size"):
            arguments.whole(field, getattr(self, field))
        for field in ("learning_rate", "weight_decay", "label_smoothing", "shift"):
            arguments.fraction(field, getattr(self, field))
        arguments.flag("flip", self.flip)

    def as_recipe(self) -> Recipe:
        """Return the recipe of ``efficientnet.training``, in which all weights learn from the first step."""
        return Recipe(
            name="short", head_epochs=0, epoch_steps=0, full_rate_steps=0, warmup_steps=0, layer_decay=1.0,
            magnitude=(0.0, 0.0), erase=0.0, freeze_batch_norm=False, **dataclasses.asdict(self),
        )  # fmt: skip


def checked_recipe(recipe: Any) -> ShortTraining:
    """Return the recipe unchanged; the default one for None.

    Raises:
        TypeError: The argument is not a recipe.
    """
    return (
        ShortTraining()
        if recipe is None
        else arguments.instance("recipe", recipe, ShortTraining, "a ShortTraining, or None")
    )


def checked_data(data: Any) -> Data:
    """Return the data unchanged.

    Raises:
        TypeError: The argument is not data.
        ValueError: Nothing can be learned from it.
    """
    found = arguments.instance("data", data, Data, "what efficientnet.datasets.data loads")
    if found.targets.kind != "classes":
        raise ValueError(f"{found.name} has {found.targets.what} to predict: a design compares classifiers of classes.")
    found.check()
    return found


def train(
    build: Callable[[], Any],
    data: Data,
    recipe: ShortTraining,
    seed: int,
    report: Callable[[int, float], None] | None = None,
) -> tuple[float, Any]:
    """Build a model and train it by the recipe. The backend's memory of earlier models is freed.

    Args:
        build: Builder of a Keras model from (batch, size, size, 3) raw pixels 0..255 to (batch, classes) probabilities.
        data: Images of that size.
        recipe: Hyperparameters of the training.
        seed: Seed of all that is random, the model's first weights too.
        report: Function that takes each epoch, from 1, and its validation accuracy; it may raise to stop.

    Returns:
        Top-1 accuracy on the validation images after the last epoch, 0..1, and the model.

    Raises:
        DivergedError: The loss is no longer finite.
    """
    keras = import_keras()
    keras.backend.clear_session()
    keras.utils.set_random_seed(seed)
    model = build()
    size = model.input_shape[1]
    stage = Stage("all", recipe.epochs, size, magnitude=0.0, mixup=0.0, dropout=0.0, trained="all")
    batches = Batches(data, recipe.as_recipe(), stage, seed, share=slice(None))
    # XLA would take longer to compile each small network than it then saves; JAX has nothing else.
    return fit(model, batches, report, "auto" if keras.backend.backend() == "jax" else False), model
