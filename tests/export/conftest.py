"""What the tests of exports have in common."""

import numpy as np
import pytest
from tiny_exports import build

from efficientnet.inference import eight_bits


@pytest.fixture(scope="module")
def model():
    """With a head that tells classes apart, as a trained one does."""
    model = build(classes=5)
    head = model.get_layer("probs")
    rng = np.random.default_rng(0)
    head.set_weights([rng.normal(0, 3, value.shape) for value in head.get_weights()])
    return model


@pytest.fixture(scope="module")
def images():
    """Of any size, as the pixels of photographs would be."""
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (80, 64 + 4 * number, 3), dtype=np.uint8) for number in range(6)]


@pytest.fixture
def few_views(monkeypatch):
    monkeypatch.setattr(eight_bits, "_MOST_VIEWS", 40)
    monkeypatch.setattr(eight_bits, "_LEAST_VIEWS", 40)
