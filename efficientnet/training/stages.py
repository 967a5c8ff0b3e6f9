"""The networks of a training's stages."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..checkpoints.facts import UNKNOWN, Facts
from ..family.variants import Variant
from .low_memory import with_recomputed_blocks
from .objectives import Objective
from .recipes import Recipe, Stage
from .schedules import learning_rate, make_optimizer

RANDOM_STATE = "seed_generator_state"  # end of the paths of variables that hold random states


class Networks(NamedTuple):
    """The networks of a stage.

    Attributes:
        full: Network from (batch, size, size, channels) raw pixels 0..255 to (batch, outputs), which is saved.
        body: Network from pixels to the features of the head's stage; None in other stages.
        trained: Compiled network that shares its layers with ``full``: from pixels, or from features, to outputs.
        rates: Schedule of the learning rate.
    """

    full: Any
    body: Any
    trained: Any
    rates: Any


def build(
    variant: Variant,
    weights: str | os.PathLike[str] | None,
    objective: Objective,
    stage: Stage,
    steps: int,
    images: int,
    given: Facts = UNKNOWN,
    channels: int = 3,
    low_memory: bool = False,
) -> Networks:
    """Build and compile what a stage trains; ``steps`` are those of an epoch, ``images`` those to train on.

    ``given`` holds the facts that the weights do not say; ``channels`` are those of an image. With ``low_memory`` the
    blocks are computed again for their gradients; the head alone has none.
    """
    import keras

    from ..keras import create

    recipe = objective.recipe
    with _policy(recipe.precision):
        network = create(
            variant, True, weights, input_shape=(stage.image_size, stage.image_size, channels),
            classes=objective.outputs, classifier_activation=objective.activation, dropout_rate=stage.dropout,
            drop_connect_rate=recipe.drop_connect, include_preprocessing=True, padding=given.padding,
            batch_norm_epsilon=given.epsilon, preprocessing=given.preprocessing,
        )  # fmt: skip
    outputs, finished = objective.finish(network.output)
    full = network if finished is network.output else keras.Model(network.input, finished, name=network.name)
    body = None
    if stage.trained == "head":
        features = full.get_layer("avg_pool").output
        body = keras.Model(full.input, features)
        trained = keras.Model(features, outputs)
        # As much as scikit-learn's logistic regression has by default. A thousand features separate few images in many
        # ways; this selects the one with the smallest weights.
        full.get_layer("probs").kernel.regularizer = keras.regularizers.L2(0.5 / (images * objective.averaged))
    else:
        _freeze(full, recipe, keras)
        # A second model, so that the first is saved without an optimizer.
        trained = keras.Model(full.input, outputs)
        trained = with_recomputed_blocks(trained) if low_memory else trained
    rates = compile_network(trained, objective, stage, steps)
    return Networks(full, body, trained, rates)


@contextlib.contextmanager
def _policy(name: str) -> Iterator[None]:
    """Build layers with this dtype policy within the context."""
    import keras

    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def in_float32(model: Any) -> Any:
    """Return the model to save: the model unchanged, or a copy that computes in 32 bits."""
    import keras

    if all(layer.compute_dtype == "float32" for layer in model.layers):
        return model
    copy = keras.models.clone_model(
        model, clone_function=lambda layer: type(layer).from_config({**layer.get_config(), "dtype": "float32"})
    )
    copy.set_weights(model.get_weights())
    return copy


def compile_network(
    network: Any, objective: Objective, stage: Stage, steps: int, *, jit_compile: bool | str = "auto"
) -> Any:
    """Compile what a stage trains, by the recipe and for the objective; return the schedule of the learning rate."""
    import keras

    recipe = objective.recipe
    epochs = stage.epochs if stage.trained == "head" else recipe.body_epochs
    rates = learning_rate(recipe, stage.trained, epochs, steps)
    parts = recipe.parts(stage.trained)
    optimizer = make_optimizer(recipe, rates, network.trainable_variables, epochs * steps, parts)
    if recipe.precision == "mixed_float16":  # small gradients would be zero
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
        optimizer.build(network.trainable_variables)
    network.compile(optimizer, objective.loss(stage), metrics=objective.metrics(), jit_compile=jit_compile)
    return rates


def _freeze(model: Any, recipe: Recipe, keras: Any) -> None:
    """Make only the layers trainable that the recipe trains."""
    parts = [layer.name.split("_")[0] for layer in model.layers]
    blocks = list(dict.fromkeys(part for part in parts if part.startswith("block")))
    trained = {*blocks[-recipe.unfreeze :], "top", "probs"} if recipe.unfreeze else set(parts)
    for layer, part in zip(model.layers, parts, strict=True):
        is_norm = isinstance(layer, keras.layers.BatchNormalization)
        layer.trainable = part in trained and not (is_norm and recipe.freeze_batch_norm)


def collect(networks: Networks) -> dict[str, NDArray[Any]]:
    """Return copies of all variables that a step changes, random states included, as NumPy arrays."""
    arrays = {f"model/{name}": to_numpy(variable) for name, variable in _named(networks.full).items()}
    optimizer = networks.trained.optimizer.variables
    return arrays | {f"optimizer/{index}": to_numpy(variable) for index, variable in enumerate(optimizer)}


def restore(networks: Networks, arrays: Mapping[str, NDArray[Any]], with_optimizer: bool) -> None:
    """Restore what :func:`collect` returned of these networks, or of those of another stage."""
    for name, variable in _named(networks.full).items():
        if f"model/{name}" in arrays:
            variable.assign(arrays[f"model/{name}"])
    if with_optimizer:
        for index, variable in enumerate(networks.trained.optimizer.variables):
            variable.assign(arrays[f"optimizer/{index}"])


def _named(model: Any) -> dict[str, Any]:
    """Return a model's variables by path, and random states by order: Keras numbers these through a whole process."""
    states = [variable for variable in model.variables if variable.path.endswith(RANDOM_STATE)]
    others = {variable.path: variable for variable in model.variables if not variable.path.endswith(RANDOM_STATE)}
    return others | {f"random/{index}": state for index, state in enumerate(states)}


@contextlib.contextmanager
def averaged(networks: Networks) -> Iterator[None]:
    """Replace the weights by their moving averages within the context, if the recipe has averages."""
    optimizer, variables = networks.trained.optimizer, networks.trained.trainable_variables
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)  # the optimizer within that of the scaled loss
    if not optimizer.use_ema:
        yield
        return
    # Keras' SwapEMAWeights adds and subtracts on TensorFlow, which rounds the restored weights.
    raw = [to_numpy(variable) for variable in variables]
    optimizer.finalize_variable_values(variables)
    for variable in variables:
        # On JAX, an array shared by model and optimizer would be gone after the model's first prediction.
        variable.assign(to_numpy(variable))
    try:
        yield
    finally:
        for variable, value in zip(variables, raw, strict=True):
            variable.assign(value)


def to_numpy(variable: Any) -> NDArray[Any]:
    """Return a copy of a variable's or tensor's value as a NumPy array, from whatever device."""
    import keras

    return np.array(keras.ops.convert_to_numpy(variable))
