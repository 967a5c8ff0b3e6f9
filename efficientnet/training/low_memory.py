"""Training with less memory: of each block only the input is kept, and the rest is computed again for the gradients.

Source: Training Deep Nets with Sublinear Memory Cost, arXiv 1604.06174.
"""

from __future__ import annotations

import itertools
from typing import Any


def with_recomputed_blocks(model: Any) -> Any:
    """Return a model of the same layers that computes its blocks twice in a training step, for less memory.

    It differs in nothing else: outputs, gradients, random numbers and moving statistics are the same.

    Args:
        model: Functional Keras model of a network of this package; the layers' names show the blocks.
    """
    import keras

    parts = _parts(model, keras)

    class LowMemory(keras.Model):  # type: ignore[misc]
        def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
            if not training:
                return super().call(inputs, training, mask)
            x = inputs
            for part in parts:  # not an attribute, which would be a layer of the model
                x = _recomputed(part, x, keras)
            return x

    return LowMemory(model.input, model.output, name=model.name)


def _parts(model: Any, keras: Any) -> list[Any]:
    """Return the model as a chain of models that share its layers: up to the stem, each block, and the rest."""
    last = {layer.name.split("_")[0]: layer for layer in model.layers}
    ends = [layer.output for part, layer in last.items() if part.startswith(("stem", "block"))]
    tensors = [model.input, *ends, model.output]
    return [keras.Model(start, end) for start, end in itertools.pairwise(tensors)]


def _recomputed(part: Any, x: Any, keras: Any) -> Any:
    """Return a part's outputs in training, of which no gradient needs more than its input.

    To compute it twice must change nothing: so it takes all variables as they are now, and changes none.
    """
    state = [(variable, variable.value) for variable in part.trainable_variables]
    # Copies, since these change before the second time.
    state += [(variable, variable.value * 1) for variable in part.non_trainable_variables]
    norms = [layer for layer in part.layers if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable]
    statistics = [variable for norm in norms for variable in (norm.moving_mean, norm.moving_variance)]

    def compute(x: Any) -> tuple[Any, ...]:
        with keras.StatelessScope(state, initialize_variables=False) as scope:
            y = part(x, training=True)
        return y, *(keras.ops.stop_gradient(scope.get_current_value(variable)) for variable in statistics)

    y, *moved = keras.remat(compute)(x)
    for variable, value in zip(statistics, moved, strict=True):
        variable.assign(value)
    for layer in part.layers:
        if (generator := getattr(layer, "seed_generator", None)) is not None:
            generator.next()
    return y
