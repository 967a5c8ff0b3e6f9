"""The most used package on top of the older `efficientnet`, unmodified, on ours.

`segmentation_models` 1.0.1 is of 2020. Under `tensorflow.keras`, legacy or Keras 3, all of it works that is tried
here. With `keras` itself as its framework, Keras 3's `keras.backend` no longer has the functions (`mean`, `sum`)
that its own losses and metrics call: networks build and train, with Keras' losses in place of its own.
"""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

PEERS = ("segmentation_models", "classification_models", "keras_applications")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not all(map(find_spec, PEERS)),
        reason="needs: pip install --no-deps segmentation_models==1.0.1 image-classifiers==1.0.0 keras_applications",
    ),
]

# What it chooses its framework by is read once, at import: so each in a process of its own.
SCRIPT = """
import json, sys, traceback
import numpy as np
import segmentation_models as sm

def is_changed(before, layer):
    return bool((before[layer] != model.get_layer(layer).get_weights()[0]).any())

def step(loss):
    # Compiling one step takes longer than computing it, except on JAX.
    model.compile("sgd", loss=loss, metrics=None, run_eagerly=sm._KERAS_BACKEND.backend() != "jax")
    before = {name: model.get_layer(name).get_weights()[0] for name in ("stem_conv", "block4a_dwconv", "final_conv")}
    value = float(model.train_on_batch(x, y))
    return {"loss": value, "changed": all(is_changed(before, name) for name in before)}

rng = np.random.default_rng(0)
x = sm.get_preprocessing("efficientnetb0")(rng.uniform(0, 255, (2, 64, 64, 3)).astype("float32"))
y = rng.integers(0, 2, (2, 64, 64, 1)).astype("float32")
model = sm.Unet("efficientnetb0", encoder_weights=None, input_shape=(64, 64, 3))
report = {"framework": sm.framework(), "x": [float(x.min()), float(x.max())], "output": model.output_shape}
for name, loss in (("own", sm.losses.bce_jaccard_loss), ("keras", "binary_crossentropy")):
    try:
        report[name] = step(loss)
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1].filename
        report[name] = {"error": f"{type(error).__name__}: {error}", "where": where}
json.dump(report, open(sys.argv[1], "w"))
"""


def run(tmp_path, **variables):
    result = tmp_path / "report.json"
    subprocess.run(
        [sys.executable, "-c", SCRIPT, str(result)], cwd=ROOT, env={**os.environ, **variables}, check=True, timeout=600
    )
    report = json.loads(result.read_text())
    assert report["output"] == [None, 64, 64, 1]
    assert -2.2 < report["x"][0] < -2.0
    assert 2.5 < report["x"][1] < 2.7
    return report


def check_step(step):
    assert "error" not in step, step
    assert 0 < step["loss"] < 10
    assert step["changed"]


def test_whole_under_legacy_keras(eff, tmp_path):
    check_whole_on_tensorflow_keras(tmp_path, TF_USE_LEGACY_KERAS="1")


def test_whole_under_keras_3_as_tensorflow_keras(eff, tmp_path):
    check_whole_on_tensorflow_keras(tmp_path, TF_USE_LEGACY_KERAS="0")


def check_whole_on_tensorflow_keras(tmp_path, **variables):
    if {"KERAS_BACKEND", "EFFICIENTNET_TEST_MODULE"} & set(os.environ):
        pytest.skip("part of the run on the default framework")
    pytest.importorskip("tensorflow")
    if variables["TF_USE_LEGACY_KERAS"] == "1":
        pytest.importorskip("tf_keras", reason="needs pip install 'efficientnet[legacy]>=2'")
    report = run(tmp_path, SM_FRAMEWORK="tf.keras", **variables)
    assert report["framework"] == "tf.keras"
    check_step(report["own"])
    check_step(report["keras"])


@pytest.mark.once_per_keras
def test_as_far_as_its_own_code_allows_on_keras_3(eff, backend, tmp_path):
    if eff.__name__ != "efficientnet.keras":
        pytest.skip("part of the runs on keras")
    report = run(tmp_path, SM_FRAMEWORK="keras")
    assert report["framework"] == "keras"
    if backend == "openvino":
        assert "not supported with openvino" in report["keras"]["error"]  # which does not train at all
        return
    check_step(report["keras"])
    assert report["own"]["error"] == "AttributeError: module 'keras.backend' has no attribute 'mean'"
    assert Path(report["own"]["where"]).parts[-3:] == ("segmentation_models", "base", "functional.py")
