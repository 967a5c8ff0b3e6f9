"""A network's arrays as counted from its blocks are those of the model that Keras builds."""

import math

import pytest

from efficientnet import get_variant, list_variants
from efficientnet.family import arrays as layout
from efficientnet.family import costs
from efficientnet.family.arrays import role


@pytest.mark.slow
@pytest.mark.parametrize("name", ["b0", "lite1", "edgetpu-s", "condconv-b0-4e", "v2-b1"])
def test_layers_are_those_of_the_model(eff, name):
    """Also in their order within a kind, by which Keras' own files number them."""
    variant = get_variant(name)
    model = eff.create(variant, weights=None, input_shape=(64, 64, 1), classes=7)
    counted = layout.layers(variant, classes=7, channels=1)
    for kind in layout.ROLES:
        built = [
            (layer.name, {role(weight.name): tuple(weight.shape) for weight in layer.weights})
            for layer in model.layers
            if type(layer).__name__ == kind
        ]
        assert [(layer.name, layer.shapes) for layer in counted if layer.kind == kind] == built
    assert {layer.kind for layer in counted} == set(layout.ROLES)


@pytest.mark.parametrize("name", list_variants())
def test_parameters_add_up(name):
    variant = get_variant(name)
    trainable = sum(
        math.prod(shape)
        for layer in layout.layers(variant)
        for role, shape in layer.shapes.items()
        if not role.startswith("moving_")
    )
    assert trainable == costs.cost(variant).parameters


def test_places():
    places = list(layout.places(get_variant("b0")))
    assert [(place.block.name, place.stage, place.repeat) for place in places[:4]] == [
        ("block1a", 0, 0),
        ("block2a", 1, 0),
        ("block2b", 1, 1),
        ("block3a", 2, 0),
    ]
    assert [place.number for place in places] == list(range(16))


@pytest.mark.parametrize("name", list_variants())
def test_a_variant_is_identified_by_its_blocks(name):
    arrays = {
        f"{layer.name}/{role}": shape
        for layer in layout.layers(get_variant(name))
        for role, shape in layer.shapes.items()
    }
    assert layout.identify({**arrays, "decoder/kernel": (3, 3, 8, 8)}) == get_variant(name)
    arrays.pop("block2a_project_bn/gamma")
    assert layout.identify(arrays) is None
