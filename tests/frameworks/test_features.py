"""Feature maps: which of them, dilated or not, and in what form; on whichever Keras is under test."""

import dataclasses

import numpy as np
import pytest

from efficientnet import get_variant
from efficientnet.export import export
from efficientnet.exported_files.opening import open_exported
from efficientnet.keras_graph.profile import profile

pytestmark = pytest.mark.usefixtures("eagerly")


def images(*shape):
    return np.random.default_rng(0).normal(0, 1, shape).astype("float32")


def small(name, **changes):
    return dataclasses.replace(get_variant(name), name=f"small-{name}", width=0.25, **{"depth": 0.1, **changes})


@pytest.fixture(scope="module")
def lite(eff):
    """Builds all stages of Lite0, whose maps depend on their surroundings alone: it has no gates."""

    def build(depth=0.1, **options):
        variant = small("lite0", padding="symmetric", depth=depth)
        return eff.create(variant, **{"weights": None, "features_only": True, **options})

    return build


def predict(model, x):
    outputs = model.predict(x, verbose=0)
    outputs = [outputs[name] for name in sorted(outputs)] if isinstance(outputs, dict) else outputs
    return [np.asarray(output) for output in outputs]


@pytest.mark.slow
@pytest.mark.parametrize("output_stride", [8, pytest.param(16, marks=pytest.mark.once_per_keras)])
def test_a_dilated_network_gives_the_same_maps_and_more_between(lite, output_stride, eff):
    strided, dilated = lite(depth=0.4), lite(depth=0.4, output_stride=output_stride)  # two blocks in some stages
    dilated.set_weights(strided.get_weights())
    x = images(1, 64, 64, 3)
    pairs = zip(predict(strided, x), predict(dilated, x), (2, 4, 8, 16, 32), strict=True)
    for coarse, fine, stride in pairs:
        step = max(1, stride // output_stride)
        assert fine.shape[1] == 64 // min(stride, output_stride)
        np.testing.assert_allclose(fine[:, ::step, ::step], coarse, atol=1e-5 * np.abs(coarse).max())


@pytest.mark.slow
@pytest.mark.once
@pytest.mark.parametrize("name", ["b0", "lite0", "edgetpu-s", "v2-b0", "condconv-b0-4e"])
@pytest.mark.parametrize("output_stride", [8, 32])
def test_feature_info_is_what_the_model_has(eff, name, output_stride):
    variant = small(name)
    model = eff.create(variant, weights=None, features_only=True, output_stride=output_stride, input_shape=(64, 64, 3))
    for feature, output in zip(eff.feature_info(variant, output_stride), model.outputs, strict=True):
        side = 64 // feature.stride
        assert tuple(output.shape) == (None, side, side, feature.channels)
        assert output is model.get_layer(feature.layer).output
        assert feature.name == f"P{int(np.log2(feature.stride))}" or feature.stride == output_stride


@pytest.mark.once
def test_feature_info_of_a_network_of_fewer_and_larger_strides(eff):
    stages = get_variant("lite0").blocks[:2]
    variant = dataclasses.replace(
        get_variant("lite0"), name="odd", blocks=(stages[0], dataclasses.replace(stages[1], strides=6))
    )
    assert [feature[:2] for feature in eff.feature_info(variant)] == [("P1", 2), ("P3", 12)]
    assert [feature[:2] for feature in eff.feature_info(variant, 8)] == [("P1", 2), ("P3", 2)]


@pytest.mark.slow
@pytest.mark.once
def test_chosen_maps_in_the_order_asked_for(lite):
    whole, some = lite(), lite(out_strides=(32, 4))
    assert [output.shape[-1] for output in some.outputs] == [whole.outputs[place].shape[-1] for place in (4, 1)]
    assert tuple(lite(out_strides=[8]).outputs[0].shape) == tuple(whole.outputs[2].shape)


@pytest.mark.slow
@pytest.mark.once_per_keras
def test_a_body_and_a_classifier_may_be_dilated(eff):
    body = eff.create(small("b0"), weights=None, include_top=False, output_stride=16, input_shape=(64, 64, 3))
    assert tuple(body.output.shape)[1:3] == (4, 4)
    assert eff.create(small("b0"), weights=None, classes=3, output_stride=8).output_shape == (None, 3)


@pytest.mark.slow
@pytest.mark.once_per_keras
@pytest.mark.parametrize("kind", ["model.keras", "model.h5"])
def test_a_saved_dictionary_of_dilated_maps_opens_with_plain_keras(eff, keras, lite, kind, tmp_path):
    model = lite(out_strides=(4, 8, 16, 32), output_stride=16, named_features=True, input_shape=(64, 64, 3))
    x = images(2, 64, 64, 3)
    expected = model.predict(x, verbose=0)
    assert {name: value.shape[1] for name, value in expected.items()} == {"P2": 16, "P3": 8, "P4": 4, "P5": 4}
    model.save(tmp_path / kind)
    for load in (keras.models.load_model, eff.load_model):
        found = load(tmp_path / kind).predict(x, verbose=0)
        assert sorted(found) == sorted(expected)
        for name, value in expected.items():
            np.testing.assert_allclose(found[name], value, atol=1e-6)


@pytest.mark.slow
@pytest.mark.once
def test_strided_weights_fill_a_dilated_network(lite, tmp_path):
    whole = lite(features_only=False, classes=3)
    whole.save_weights(tmp_path / "w.weights.h5")
    body = lite(weights=tmp_path / "w.weights.h5", output_stride=8)
    name = "block7a_project_conv"
    np.testing.assert_array_equal(body.get_layer(name).get_weights()[0], whole.get_layer(name).get_weights()[0])


@pytest.mark.slow
@pytest.mark.parametrize("format", ["onnx", pytest.param("openvino", marks=pytest.mark.once_per_keras)])
def test_an_export_has_the_same_dilated_maps_by_name(lite, format, tmp_path):
    for package in ("onnx", {"onnx": "onnxruntime"}.get(format, format)):
        pytest.importorskip(package)
    model = lite(out_strides=(4, 32), output_stride=8, named_features=True, input_shape=(64, 64, 3))
    path = tmp_path / ("model.onnx" if format == "onnx" else "model.xml")
    report = export(model, path, format)
    assert report.images
    assert [output.name for output in open_exported(path, format).ports.outputs] == ["P2", "P5"]


@pytest.mark.slow
@pytest.mark.once
def test_a_dilated_network_costs_more_and_has_no_more_parameters(lite):
    strided, dilated = (profile(lite(output_stride=s, input_shape=(64, 64, 3))) for s in (32, 8))
    assert dilated.parameters == strided.parameters
    fine, coarse = ({layer.name: layer.macs for layer in found.layers} for found in (dilated, strided))
    factors = {"block3a_dwconv": 1, "block4a_dwconv": 4, "block7a_dwconv": 16}
    assert {name: fine[name] / coarse[name] for name in factors} == factors


@pytest.mark.once_per_keras
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"out_strides": (3, 4)}, r"out_strides=\(3, 4\): expected different ones out of \(2, 4, 8, 16, 32\)"),
        ({"out_strides": (4, 4)}, r"out_strides=\(4, 4\): expected different ones"),
        ({"out_strides": ()}, r"out_strides=\(\): expected different ones"),
        ({"out_strides": 4}, r"out_strides=4: expected strides out of \(2, 4"),
        ({"out_strides": ("P2",)}, "out_strides='P2': expected an integer"),
        ({"output_stride": 4}, "output_stride=4: expected one of 8, 16, 32"),
        ({"named_features": "yes"}, "named_features='yes': expected True or False"),
        ({"out_strides": (4,), "features_only": False}, "out_strides= is for feature maps: add features_only=True"),
        ({"named_features": True, "features_only": False}, "named_features= is for feature maps"),
    ],
)
def test_bad_values_are_named_before_weights_are_looked_for(eff, options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        eff.EfficientNetB0(**{"weights": "no such set", "features_only": True, **options})
