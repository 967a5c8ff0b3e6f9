"""Runs the tests of tests/frameworks and tests/parity on each framework besides the one of this process."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]


FILES = [
    str(path.relative_to(ROOT))
    for folder in ("frameworks", "parity")
    for path in sorted((ROOT / "tests" / folder).glob("test_*.py"))
]
ONLY_OF_THE_BACKEND = ("-m", "not once_per_keras and not once")
ONLY_OF_THE_KERAS = ("-m", "not once")
# JAX compiles each network, which takes longer than computing it: it does so in little time and once.
JAX = {
    "KERAS_BACKEND": "jax",
    "XLA_FLAGS": f"{os.environ['XLA_FLAGS']} --xla_cpu_multi_thread_eigen=false --xla_cpu_use_fusion_emitters=false",
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
}


class Framework(NamedTuple):
    package: str
    environment: dict[str, str]
    arguments: tuple[str, ...] = (*FILES, *ONLY_OF_THE_BACKEND)


# The default of this process, Keras 3 on TensorFlow through `efficientnet.keras`, is not among them.
FRAMEWORKS = {
    "keras-jax": Framework("jax", JAX),
    "keras-torch": Framework("torch", {"KERAS_BACKEND": "torch"}),
    "keras-openvino": Framework("openvino", {"KERAS_BACKEND": "openvino"}),
    "tf_keras": Framework(
        "tf_keras",
        {"EFFICIENTNET_TEST_MODULE": "efficientnet.tfkeras", "TF_USE_LEGACY_KERAS": "1"},
        (*FILES, *ONLY_OF_THE_KERAS),
    ),
    # The same Keras as this process' by another door: what goes through the door is enough.
    "tensorflow.keras": Framework(
        "tensorflow",
        {"EFFICIENTNET_TEST_MODULE": "efficientnet.tfkeras"},
        ("tests/frameworks/test_saving.py", "tests/parity/test_qubvel.py", *ONLY_OF_THE_BACKEND),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FRAMEWORKS)
def test_framework(name, tmp_path):
    framework = FRAMEWORKS[name]
    if any(variable in os.environ for variable in ("KERAS_BACKEND", "EFFICIENTNET_TEST_MODULE")):
        pytest.skip("this run is for one framework, chosen by the environment")
    if find_spec(framework.package) is None:
        pytest.skip(f"{framework.package} is not installed: pip install 'efficientnet[test]>=2'")
    command = [sys.executable, "-m", "pytest", "-q", *framework.arguments]
    # What is short on one framework is long where each network is compiled; all of it runs as slow here.
    ours = {"JAX_COMPILATION_CACHE_DIR": str(tmp_path), "EFFICIENTNET_CHECK_SPEED": ""}
    environment = {**os.environ, **framework.environment, **ours}
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    print(run.stdout[-8000:], run.stderr[-1000:])
    assert run.returncode == 0, f"tests failed on {name}; their output is above"
    assert " passed" in run.stdout
