"""Models whose outputs are in dictionaries, lists and both: every engine gives them in the same places."""

from collections import OrderedDict

import numpy as np
import pytest

from efficientnet.export import export
from efficientnet.inference import compile

keras = pytest.importorskip("keras")

ENGINES = ("keras", "openvino", "onnxruntime")
# What each returns for the outputs "a" and "b": names of a dictionary, or a list.
STRUCTURES = {
    "sorted": (lambda a, b: {"a": a, "b": b}, ["a", "b"]),
    "dictionary": (lambda a, b: {"b": b, "a": a}, ["a", "b"]),
    "ordered": (lambda a, b: OrderedDict([("b", b), ("a", a)]), ["b", "a"]),
    "list in a dictionary": (lambda a, b: {"b": [b], "a": a}, ["a", "b"]),
    "tuples": (lambda a, b: (b, (a, b)), "bab"),
    "dictionary in a list": (lambda a, b: [a, {"b": b, "a": a}], "aab"),
    "lists in a dictionary": (lambda a, b: {"b": [b, a], "a": a}, "aba"),
}


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).uniform(0, 255, (2, 8, 8, 3)).astype(np.float32)


def build(structure):
    inputs = keras.Input((8, 8, 3))
    mean = keras.layers.GlobalAveragePooling2D()(inputs)
    a, b = (keras.layers.Rescaling(scale, name=name)(mean) for scale, name in ((1 / 4, "quarter"), (1 / 2, "half")))
    return keras.Model(inputs, structure(a, b))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", STRUCTURES)
def test_outputs_are_where_the_model_has_them(images, engine, name):
    pytest.importorskip(engine)
    structure, places = STRUCTURES[name]
    mean = images.mean(axis=(1, 2))
    expected = {"a": mean / 4, "b": mean / 2}
    with compile(build(structure), engine, preprocessing="none", cache=False) as predictor:
        found = predictor.predict(images)
    if isinstance(found, dict):
        assert [*found] == places
        for place in places:
            np.testing.assert_allclose(found[place], expected[place], rtol=1e-4)
    else:
        assert len(found) == len(places)
        for output, place in zip(found, places, strict=True):
            np.testing.assert_allclose(output, expected[place], rtol=1e-4)


@pytest.mark.parametrize(
    ("format", "name", "runtime"),
    [
        ("onnx", "model.onnx", "onnxruntime"), ("openvino", "model.xml", "openvino"),
        ("litert", "model.tflite", "ai_edge_litert"), ("saved_model", "model", "tensorflow"),
    ],
)  # fmt: skip
def test_an_export_of_an_ordered_dictionary(images, tmp_path, format, name, runtime):
    pytest.importorskip(runtime)
    pytest.importorskip("onnx")
    export(build(STRUCTURES["ordered"][0]), tmp_path / name, format)
    with compile(str(tmp_path / name), preprocessing="none") as predictor:
        found = predictor.predict(images)
    np.testing.assert_allclose(found["a"], images.mean(axis=(1, 2)) / 4, rtol=1e-4)
    np.testing.assert_allclose(found["b"], images.mean(axis=(1, 2)) / 2, rtol=1e-4)
