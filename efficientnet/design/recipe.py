"""The short training that all networks of a design share."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..common import arguments
from ..datasets.data import Data, batches
from ..errors import DivergedError
from ..network.backends import import_keras


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


def checked(recipe: Any) -> ShortTraining:
    """Return the recipe unchanged; the default one for None.

    Raises:
        TypeError: The argument is not a recipe.
    """
    return (
        ShortTraining()
        if recipe is None
        else arguments.instance("recipe", recipe, ShortTraining, "a ShortTraining, or None")
    )


def train(
    model: Any, data: Data, recipe: ShortTraining, seed: int, report: Callable[[int, float], None] | None = None
) -> float:
    """Train a model by the recipe.

    Args:
        model: Keras model from (batch, size, size, 3) raw pixels 0..255 to (batch, classes) probabilities.
        data: Images of that size.
        recipe: Hyperparameters of the training.
        seed: Seed of all that is random but the model's first weights.
        report: Function that takes each epoch, from 1, and its validation accuracy; it may raise to stop.

    Returns:
        Top-1 accuracy on the validation images after the last epoch, 0..1.

    Raises:
        DivergedError: The loss is no longer finite.
    """
    keras = import_keras()
    rng = np.random.default_rng(seed)
    batch_size = min(recipe.batch_size, len(data.training))
    steps = len(data.training) // batch_size  # the rest may come in another epoch
    # Adam's first steps are its least reliable, so the rate rises for an epoch before it falls.
    decay_steps = max(1, (recipe.epochs - 1) * steps)
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, decay_steps, warmup_target=recipe.learning_rate, warmup_steps=steps
    )
    model.compile(
        keras.optimizers.AdamW(rate, weight_decay=recipe.weight_decay),
        keras.losses.CategoricalCrossentropy(label_smoothing=recipe.label_smoothing),
        # XLA would take longer to compile each small network than it then saves; JAX has nothing else.
        jit_compile="auto" if keras.backend.backend() == "jax" else False,
    )
    targets = np.eye(len(data.classes), dtype=np.float32)[data.labels]
    accuracy = math.nan
    for epoch in range(1, recipe.epochs + 1):
        rows = rng.permutation(data.training)[: steps * batch_size]
        history = model.fit(
            batches(data.pixels, targets, rows, batch_size, lambda x: _augment(x, recipe, rng)),
            steps_per_epoch=steps,
            shuffle=False,
            verbose=0,
        ).history
        if not math.isfinite(history["loss"][0]):
            raise DivergedError(f"The loss is no longer finite in epoch {epoch}: lower the recipe's learning rate.")
        accuracy = evaluate(model, data, batch_size)
        if report is not None:
            report(epoch, accuracy)
    return accuracy


def train_anew(
    build: Callable[[], Any],
    data: Data,
    recipe: ShortTraining,
    seed: int,
    report: Callable[[int, float], None] | None = None,
) -> tuple[float, Any]:
    """Build a model and train it by :func:`train`; the seed draws its first weights, too.

    The backend's memory of earlier models is freed.

    Returns:
        The accuracy and the model.
    """
    keras = import_keras()
    keras.backend.clear_session()
    keras.utils.set_random_seed(seed)
    model = build()
    return train(model, data, recipe, seed, report), model


def evaluate(model: Any, data: Data, batch_size: int) -> float:
    """Return top-1 accuracy on the validation images, 0..1."""
    right = 0
    # Full batches but for the last, so that a compiling backend meets two shapes only.
    for x, labels in batches(data.pixels, data.labels, data.validation, batch_size):
        right += int(np.sum(np.argmax(np.asarray(model.predict_on_batch(x)), axis=-1) == labels))
    return right / len(data.validation)


def _augment(x: NDArray[np.float32], recipe: ShortTraining, rng: np.random.Generator) -> NDArray[np.float32]:
    """Mirror half of the images and shift each a little; the edge's pixels fill the gap."""
    if recipe.flip:
        mirrored = rng.random(len(x)) < 0.5
        x[mirrored] = x[mirrored, :, ::-1]
    size = x.shape[1]
    most = round(recipe.shift * size)
    if not most:
        return x
    padded = np.pad(x, ((0, 0), (most, most), (most, most), (0, 0)), mode="edge")
    moved = np.empty_like(x)
    for index, (top, left) in enumerate(rng.integers(0, 2 * most + 1, (len(x), 2))):
        moved[index] = padded[index, top : top + size, left : left + size]
    return moved
