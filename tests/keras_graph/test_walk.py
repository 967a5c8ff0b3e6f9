"""Values that are propagated through a graph are freed when no later call takes them."""

import weakref

import pytest

from efficientnet.keras_graph.walk import run

keras = pytest.importorskip("keras")


class Value:
    pass


def test_values_are_freed():
    inputs = keras.Input((4,))
    x = inputs
    for _ in range(5):
        x = keras.layers.Add()([keras.layers.Dense(4)(x), x])
    made: list[weakref.ref] = []
    alive = []

    def apply(call, values):
        values.clear()
        value = Value()
        made.append(weakref.ref(value))
        alive.append(sum(reference() is not None for reference in made))
        return [value]

    (result,) = run(keras.Model(inputs, x), [Value()], apply)
    assert result is made[-1]()
    assert max(alive) <= 3  # this one, the one before, and the shortcut
