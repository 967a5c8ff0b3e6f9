"""Runs the tests of tests/frameworks and tests/parity on each framework besides the one of this process."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Name -> what chooses it. The default of this process, Keras 3 on TensorFlow, is not among them.
FRAMEWORKS = {
    "keras-jax": {"KERAS_BACKEND": "jax"},
    "keras-torch": {"KERAS_BACKEND": "torch"},
    "keras-openvino": {"KERAS_BACKEND": "openvino"},
    "tf_keras": {"EFFICIENTNET_TEST_MODULE": "efficientnet.tfkeras", "TF_USE_LEGACY_KERAS": "1"},
    "tensorflow.keras": {"EFFICIENTNET_TEST_MODULE": "efficientnet.tfkeras", "KERAS_BACKEND": "tensorflow"},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FRAMEWORKS)
def test_framework(name):
    chosen = FRAMEWORKS[name]
    if any(variable in os.environ for variable in ("KERAS_BACKEND", "EFFICIENTNET_TEST_MODULE")):
        pytest.skip("this run is for one framework, chosen by the environment")
    package = {"tf_keras": "tf_keras", "tensorflow.keras": "tensorflow"}.get(name, name.removeprefix("keras-"))
    if find_spec(package) is None:
        pytest.skip(f"{package} is not installed: pip install 'efficientnet[test]'")
    command = [sys.executable, "-m", "pytest", "-q", "-x", "tests/frameworks", "tests/parity"]
    run = subprocess.run(command, cwd=ROOT, env={**os.environ, **chosen}, capture_output=True, text=True)
    print(run.stdout[-8000:])
    assert run.returncode == 0, f"{name}: {run.stdout[-3000:]}{run.stderr[-1000:]}"
    assert " passed" in run.stdout
