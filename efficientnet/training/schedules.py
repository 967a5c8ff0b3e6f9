"""Learning rate schedules and optimizers, from Keras' own parts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from .recipes import Recipe

DECAY_RATE, DECAY_EPOCHS = 0.97, 2.4  # of "exponential"
_RMSPROP = {"rho": 0.9, "momentum": 0.9, "epsilon": 1e-3}


def learning_rate(recipe: Recipe, trained: str, epochs: int, steps_per_epoch: int) -> Any:
    """Build a ``keras.optimizers.schedules.LearningRateSchedule``.

    Args:
        recipe: Recipe with the rate, the decay and the warm-up.
        trained: Trained part, "head", "blocks" or "all".
        epochs: Epochs that the optimizer is used for.
        steps_per_epoch: Steps of an epoch.
    """
    import keras

    schedules = keras.optimizers.schedules
    steps = epochs * steps_per_epoch
    highest = recipe.rate(trained, steps)
    # At least a step is left for the fall. Adam's first steps are its least reliable;
    # an epoch of a small set has too few.
    warmup = min(round(recipe.warmup_epochs * steps_per_epoch), steps - 1)
    warmup = max(warmup, min(recipe.warmup_steps, steps // 2))
    if recipe.decay == "cosine":
        if not warmup:
            return schedules.CosineDecay(highest, max(1, steps))
        return schedules.CosineDecay(0.0, steps - warmup, warmup_target=highest, warmup_steps=warmup)

    class WarmUp(schedules.LearningRateSchedule):  # type: ignore[misc, name-defined]
        """A rise from zero in so many steps, followed by another schedule."""

        def __init__(self, after: Any, steps: int) -> None:
            super().__init__()
            self.after, self.steps = after, steps

        def __call__(self, step: Any) -> Any:
            step = keras.ops.cast(step, "float32")
            return keras.ops.where(step < self.steps, highest * step / self.steps, self.after(step))

        def get_config(self) -> dict[str, Any]:
            return {"after": self.after, "steps": self.steps}

    falling = schedules.ExponentialDecay(
        highest, max(1, round(DECAY_EPOCHS * steps_per_epoch)), DECAY_RATE, staircase=True
    )
    return WarmUp(falling, warmup) if warmup else falling


def average_momentum(recipe: Recipe, steps: int) -> float:
    """Return the momentum of the weights' moving average: the recipe's, or the papers' code's after so many steps."""
    return min(recipe.average, (1 + steps) / (10 + steps))


def make_optimizer(recipe: Recipe, schedule: Any, variables: Sequence[Any], steps: int) -> Any:
    """Build a Keras optimizer for these trainable variables, with weight decay on their kernels only.

    Args:
        recipe: Recipe with the optimizer's settings.
        schedule: Schedule of the learning rate.
        variables: Trainable variables, in the order in which images pass through them.
        steps: Number of steps in all.
    """
    import keras

    kernels = [variable for variable in variables if is_kernel(variable)]
    options: dict[str, Any] = {}
    if recipe.average:
        options = {"use_ema": True, "ema_momentum": average_momentum(recipe, steps)}
    if recipe.optimizer == "rmsprop":
        for kernel in kernels:
            kernel.regularizer = keras.regularizers.L2(recipe.weight_decay / 2)
        optimizer = keras.optimizers.RMSprop(schedule, **_RMSPROP, **options)
    else:
        factors = rate_factors(variables, recipe.layer_decay)
        kind = keras.optimizers.AdamW if recipe.layer_decay == 1 else _layerwise_adamw(factors)
        optimizer = kind(schedule, weight_decay=recipe.weight_decay, **options)
        optimizer.exclude_from_weight_decay(var_list=[v for v in variables if not is_kernel(v)])
    optimizer.build(variables)
    return optimizer


def is_kernel(variable: Any) -> bool:
    """Return whether a variable is the kernel of a convolution or of a dense layer."""
    return str(variable.name).endswith("kernel")


def rate_factors(variables: Sequence[Any], layer_decay: float) -> list[float]:
    """Return each variable's factor of the learning rate: 1 for the head, less for each block in front of it."""
    parts = [_part(variable) for variable in variables]
    order = list(dict.fromkeys(parts))
    return [layer_decay ** (len(order) - 1 - order.index(part)) for part in parts]


def _part(variable: Any) -> str:
    """Return the block of a variable, or "stem" or "head"."""
    layer = variable.path.split("/")[-2] if "/" in variable.path else variable.name
    found = re.match(r"block\w+?(?=_)|stem", layer)
    return found[0] if found else "head"


def _layerwise_adamw(factors: Sequence[float]) -> Any:
    import keras

    class LayerwiseAdamW(keras.optimizers.AdamW):  # type: ignore[misc]
        """AdamW with a separate learning rate for each variable."""

        def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
            super().update_step(gradient, variable, learning_rate * factors[self._get_variable_index(variable)])

    return LayerwiseAdamW
