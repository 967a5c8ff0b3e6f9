"""Learning rate schedules and optimizers, from Keras' own parts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from .recipes import Recipe

DECAY_RATE, DECAY_EPOCHS = 0.97, 2.4  # for the decay "exponential"
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
        """A rise from zero in a number of steps, followed by another schedule."""

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
    """Return the momentum of the weights' moving average: the recipe's, or the papers' code's after these steps."""
    return min(recipe.average, (1 + steps) / (10 + steps))


def make_optimizer(recipe: Recipe, schedule: Any, variables: Sequence[Any], steps: int, parts: int = 1) -> Any:
    """Build a Keras optimizer for these trainable variables, with weight decay on their kernels only.

    Args:
        recipe: Recipe with the optimizer's settings.
        schedule: Schedule of the learning rate.
        variables: Trainable variables, in the order in which images pass through them.
        steps: Number of steps in all.
        parts: Number of parts of a step, whose gradients are averaged.
    """
    import keras

    if parts > 1:
        schedule = _per_part(schedule, parts)
    kernels = [variable for variable in variables if is_kernel(variable)]
    options: dict[str, Any] = {"gradient_accumulation_steps": parts if parts > 1 else None}
    if recipe.average:
        options |= {"use_ema": True, "ema_momentum": average_momentum(recipe, steps)}
    if recipe.optimizer == "rmsprop":
        for kernel in kernels:
            kernel.regularizer = keras.regularizers.L2(recipe.weight_decay / 2)
        kind = keras.optimizers.RMSprop
        options |= _RMSPROP
    else:
        factors = rate_factors(variables, recipe.layer_decay)
        kind = keras.optimizers.AdamW if recipe.layer_decay == 1 else _layerwise_adamw(factors)
        options |= {"weight_decay": recipe.weight_decay}
    optimizer = (_averaging_once(kind) if parts > 1 else kind)(schedule, **options)
    if recipe.optimizer == "adamw":
        optimizer.exclude_from_weight_decay(var_list=[v for v in variables if not is_kernel(v)])
    optimizer.build(variables)
    return optimizer


def _per_part(schedule: Any, parts: int) -> Any:
    """Return the schedule by the number of parts: Keras counts these, and not the steps."""
    import keras

    class PerPart(keras.optimizers.schedules.LearningRateSchedule):  # type: ignore[misc]
        """A schedule whose steps have several parts."""

        def __call__(self, step: Any) -> Any:
            return schedule(keras.ops.floor_divide(step, parts))

        def get_config(self) -> dict[str, Any]:
            return {"schedule": schedule, "parts": parts}

    return PerPart()


def _averaging_once(kind: Any) -> Any:
    """Return the class of optimizers with moving averages of the weights after each step, not after each of its parts.

    Keras' own (3.15) would move them after each part, towards weights that have not changed.
    """
    import keras

    class AveragingOnce(kind):  # type: ignore[misc]
        """An optimizer whose steps may have parts."""

        def _update_model_variables_moving_average(self, variables: Any) -> None:
            if not self.use_ema:
                return
            is_last = keras.ops.equal((self._iterations + 1) % self.gradient_accumulation_steps, 0)
            own = keras.ops.where(keras.ops.equal(self.iterations, 0), 0.0, self.ema_momentum)
            momentum = keras.ops.where(is_last, own, 1.0)
            for variable, average in zip(variables, self._model_variables_moving_average, strict=True):
                if average is not None:
                    average.assign(momentum * average + (1 - momentum) * variable)

    return AveragingOnce


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
