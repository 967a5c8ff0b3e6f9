"""Many threads that ask a predictor at once, in a fresh process: none waits for ever, and all get the same."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

pytest.importorskip("keras")

# What OpenVINO, ONNX Runtime, LiteRT and Keras prepare at the first call, they prepare once for a process.
PROGRAM = """
import sys, threading
from concurrent.futures import ThreadPoolExecutor
import numpy as np
from efficientnet.inference import compile

predictor = compile(sys.argv[1], engine=sys.argv[2], preprocessing="torch")
images = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3), np.uint8)
barrier = threading.Barrier(8)

def ask(_):
    barrier.wait()
    return predictor(images)

with ThreadPoolExecutor(8) as pool:
    answers = list(pool.map(ask, range(8)))
for answer in answers:
    np.testing.assert_allclose(answer, answers[0], atol=1e-6)
"""
SECONDS = 120  # a start takes one; the rest is for a busy machine


@pytest.fixture(scope="module")
def path(tiny, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "tiny.keras"
    tiny(weights=None, classes=5, input_shape=(32, 32, 3)).save(path)
    return path


def start(path, engine, **environment):
    """Eight threads in a fresh process; a failure, or SECONDS without an end, is an exception."""
    path_of_python = os.pathsep.join(filter(None, sys.path))
    subprocess.run(
        [sys.executable, "-c", PROGRAM, path, engine], check=True, timeout=SECONDS,
        env={**os.environ, "PYTHONPATH": path_of_python, "OMP_NUM_THREADS": "1", **environment},
    )  # fmt: skip


@pytest.mark.slow
def test_openvino_never_hangs_with_a_warm_cache(path):
    pytest.importorskip("openvino")
    start(path, "openvino")
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: start(path, "openvino"), range(12)))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("engine", "backend", "package"),
    [
        ("onnxruntime", "tensorflow", "onnxruntime"),
        ("litert", "tensorflow", "ai_edge_litert"),
        *(("keras", backend, backend) for backend in ("tensorflow", "jax", "torch", "openvino")),
    ],
)
def test_every_engine(path, engine, backend, package):
    if not all(map(importlib.util.find_spec, (package, backend))):
        pytest.skip(f"needs {package} and {backend}")
    start(path, engine, KERAS_BACKEND=backend)
