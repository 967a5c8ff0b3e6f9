"""Many threads that ask a predictor at once, in a fresh process: none waits for ever, and all get the same."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from efficientnet.family.variants import V1_BLOCKS

pytest.importorskip("keras")

# What OpenVINO, ONNX Runtime, LiteRT and Keras prepare at the first call, they prepare once for a process.
PROGRAM = """
import sys, threading
from concurrent.futures import ThreadPoolExecutor
import numpy as np
from efficientnet.inference import compile

images = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3), np.uint8)
barrier = threading.Barrier(8)

def ask(predictor):
    barrier.wait()
    return predictor(images)

for engine in sys.argv[2:]:
    predictor = compile(sys.argv[1], engine=engine, preprocessing="torch")
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, [predictor] * 8))
    for answer in answers:
        np.testing.assert_allclose(answer, answers[0], atol=1e-6)
    print(engine)
"""
SECONDS = 120  # a start takes one; the rest is for a busy machine


@pytest.fixture(scope="module")
def path(tiny, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "tiny.keras"
    tiny(weights=None, classes=5, input_shape=(32, 32, 3), blocks_args=V1_BLOCKS[:1]).save(path)
    return path


def start(path, *engines, **environment):
    """Eight threads for each engine in a fresh process; a failure, or SECONDS without an end, is an exception."""
    path_of_python = os.pathsep.join(filter(None, sys.path))
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, path, *engines], check=True, timeout=SECONDS, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": path_of_python, "OMP_NUM_THREADS": "1", **environment},
    )  # fmt: skip
    assert done.stdout.split() == list(engines)


@pytest.mark.slow
def test_openvino_never_hangs_with_a_warm_cache(path):
    pytest.importorskip("openvino")
    start(path, "openvino")
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: start(path, "openvino"), range(8)))


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch", "openvino"])
def test_every_engine(path, backend):
    """Those besides Keras once, each with the libraries of its own."""
    engines = {"onnxruntime": "onnxruntime", "litert": "ai_edge_litert"} if backend == "tensorflow" else {}
    for package in (backend, *engines.values()):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"needs {package}")
    without = "" if backend == "tensorflow" else "tensorflow"  # which Keras would import to open the file
    start(path, *engines, "keras", KERAS_BACKEND=backend, EFFICIENTNET_TEST_WITHOUT=without)
