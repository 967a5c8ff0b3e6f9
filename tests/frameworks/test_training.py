"""Training and transfer learning."""

import numpy as np
import pytest


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    return rng.uniform(-1, 1, (8, 32, 32, 3)).astype("float32"), rng.integers(0, 4, 8)


def test_a_step_changes_every_weight(tiny, keras, trainable, data):
    model = tiny(weights=None, input_shape=(32, 32, 3), classes=4, drop_connect_rate=0.0)
    before = {layer.name: layer.get_weights() for layer in model.layers}
    model.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
    loss = model.train_on_batch(*data)
    assert np.isfinite(np.asarray(loss)).all()
    for layer in model.layers:
        pairs = list(zip(before[layer.name], layer.get_weights(), strict=True))
        assert all(np.isfinite(new).all() for _, new in pairs), layer.name
        assert not pairs or any((old != new).any() for old, new in pairs), layer.name


def test_a_frozen_body_stays_while_the_head_learns(tiny, keras, trainable, data):
    body = tiny(weights=None, include_top=False, pooling="avg", input_shape=(32, 32, 3))
    body.trainable = False
    head = keras.layers.Dense(4, activation="softmax")(body.output)
    model = keras.models.Model(body.input, head)
    before = body.get_weights()
    model.compile("adam", "sparse_categorical_crossentropy")
    history = model.fit(*data, epochs=3, batch_size=4, verbose=0).history["loss"]
    assert history[-1] < history[0]
    for old, new in zip(before, body.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
