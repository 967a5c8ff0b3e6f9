"""Which backend Keras gets, with some of them hidden from sight."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from efficientnet.network import backends
from efficientnet.network.backends import import_keras

pytest.importorskip("keras")
pytest.importorskip("openvino")

# Hides packages from find_spec and import alike, as if they were not installed.
HIDE = """
import sys
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {hidden!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
import importlib.util
find_spec = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name.split(".")[0] in {hidden!r} else find_spec(name, *rest)
sys.meta_path.insert(0, Hidden())
"""


@pytest.fixture
def run(tmp_path):
    """Imports a shim in a fresh process; returns the backend it runs on, or its error, and what it said."""

    def run(hidden=(), config=None, module="efficientnet.keras", **environment):
        home = tmp_path / "keras"
        home.mkdir(exist_ok=True)
        if config is not None:
            (home / "keras.json").write_text(json.dumps(config))
        code = HIDE.format(hidden=set(hidden) or {"-"}) + (
            f"import {module} as shim; print(shim.FRAMEWORK.backend.backend())"
        )
        inherited = {key: value for key, value in os.environ.items() if key not in ("KERAS_BACKEND", "KERAS_HOME")}
        process = subprocess.run(
            [sys.executable, "-c", code],
            env={**inherited, "KERAS_HOME": str(home), **environment},
            capture_output=True,
            text=True,
        )
        return process.stdout.strip(), process.stderr

    return run


BACKENDS = ("tensorflow", "jax", "torch", "openvino")


@pytest.mark.slow
def test_without_tensorflow_an_installed_one_is_taken_and_said(run):
    for _ in range(2):  # the second time, Keras' own configuration file is there and says "tensorflow"
        backend, said = run(hidden=("tensorflow", "jax", "torch"))
        assert backend == "openvino"
        assert "Keras runs on openvino, since TensorFlow is not installed" in said


@pytest.mark.slow
def test_a_choice_is_never_overridden(run):
    backend, said = run(hidden=("tensorflow", "torch"), KERAS_BACKEND="openvino")
    assert backend == "openvino"
    assert "Keras runs on" not in said
    backend, said = run(hidden=("tensorflow", "torch"), KERAS_BACKEND="tensorflow")
    assert backend == ""
    assert "tensorflow" in said.splitlines()[-1]


@pytest.mark.slow
def test_a_configured_backend_is_a_choice(run):
    backend, said = run(hidden=("tensorflow", "torch"), config={"backend": "openvino"})
    assert backend == "openvino"
    assert "Keras runs on" not in said


@pytest.mark.slow
def test_no_backend_at_all(run):
    _, said = run(hidden=BACKENDS)
    assert "nothing for it to run on: pip install 'efficientnet[tensorflow]>=2'" in said
    _, said = run(hidden=("keras",))
    assert "needs Keras 3 and a backend: pip install 'efficientnet[tensorflow]>=2'" in said


def test_tfkeras_without_tensorflow(run):
    _, said = run(hidden=("tensorflow",), module="efficientnet.tfkeras")
    assert "efficientnet.tfkeras needs TensorFlow: pip install 'efficientnet[tensorflow]>=2'" in said


def test_legacy_keras_that_is_not_installed(run):
    pytest.importorskip("tensorflow")
    _, said = run(hidden=("tf_keras",), module="efficientnet.tfkeras", TF_USE_LEGACY_KERAS="1")
    assert "pip install 'efficientnet[legacy]>=2'" in said


@pytest.mark.slow
def test_the_command_builds_with_the_channels_last(tmp_path):
    """Though Keras' configuration file, as one of years ago may, has them first."""
    (tmp_path / "keras.json").write_text(json.dumps({"image_data_format": "channels_first"}))
    code = """
import keras
from efficientnet.keras import EfficientNet
keras.config.set_image_data_format("channels_last")
EfficientNet(0.25, 0.25, 32, weights=None, include_preprocessing=True).save("last.keras")
"""
    environment = {**os.environ, "KERAS_HOME": str(tmp_path), "EFFICIENTNET_HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True)
    image = os.path.join(os.path.dirname(__file__), "..", "..", "misc", "panda.jpg")
    run = [sys.executable, "-m", "efficientnet", "predict", os.path.abspath(image), "--model", "last.keras"]
    done = subprocess.run(
        [*run, "--engine", "keras", "--csv"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("version", ["2.15.0", "3.11.3"])
def test_a_keras_that_is_too_old(version, monkeypatch):
    import keras

    monkeypatch.setattr(keras, "__version__", version)
    with pytest.raises(ImportError, match=rf"Keras {version} is installed: expected 3\.12 or later\. pip install -U"):
        import_keras()


def test_the_oldest_keras_is_that_of_the_metadata():
    setup = (Path(__file__).resolve().parents[2] / "setup.py").read_text()
    oldest = ".".join(map(str, backends._OLDEST))
    assert set(re.findall(r"keras>=([\d.]+)\"", setup)) == {oldest, "3.15", "2.16"}  # on OpenVINO, and legacy Keras
