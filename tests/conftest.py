"""Which Keras the tests under tests/frameworks and tests/parity run on.

``EFFICIENTNET_TEST_MODULE`` names the shim (``efficientnet.keras``, the default, or ``efficientnet.tfkeras``);
``KERAS_BACKEND`` and ``TF_USE_LEGACY_KERAS`` choose what is underneath, as for any user. Without a choice these
tests run on the default, and tests/test_every_framework.py runs them on each other framework that is installed.
"""

from __future__ import annotations

import dataclasses
import functools
import gc
import importlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tiny_blocks import tiny_blocks

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
for threads in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS"):
    # pytest-xdist keeps each core busy, and threads that wait for a core compute meanwhile, for nothing.
    os.environ.setdefault(threads, "1")
# XLA takes longer to compile a small network well than to compute it: JAX does so, and Keras' ``fit`` on TensorFlow.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true")
LEAN = str(Path(__file__).resolve().parent / "lean")
if LEAN not in sys.path:  # for the processes that tests start: see the module that is in there
    sys.path.insert(0, LEAN)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (LEAN, os.environ.get("PYTHONPATH"))))
sys.modules["openvino_telemetry"] = None  # nor does this process find it, which may have begun without that folder
gc.set_threshold(10_000)  # a search for garbage goes through all frameworks' objects: not after each 700 new ones

DATA = Path(__file__).resolve().parent / "data"
LONGEST = 3  # seconds of a test that is not marked as slow
SHARED = Path(__file__).resolve().parents[2] / "shared"


def _computing() -> float:
    """Seconds of computing by this process and those that it has waited for."""
    return sum(os.times()[:4])


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run what takes minutes first, so that pytest-xdist's workers share out what is short at the end."""
    longest = ("test_every_framework.py", "test_fuzz.py")
    items.sort(key=lambda item: item.path.name not in longest)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Where EFFICIENTNET_CHECK_SPEED is set, fail a test that takes too long for one without the marker ``slow``.

    Neither waiting for a busy machine nor several threads count, and the first test that imports a framework pays
    for all behind it.
    """
    started, computed, modules = time.monotonic(), _computing(), len(sys.modules)
    yield
    took = min(time.monotonic() - started, _computing() - computed)
    is_spared = item.get_closest_marker("slow") is not None or len(sys.modules) > modules + 200
    if os.environ.get("EFFICIENTNET_CHECK_SPEED") and took > LONGEST and not is_spared:
        pytest.fail(f"{item.nodeid} took {took:.1f} s: make it shorter than {LONGEST} s, or mark it as slow.")


@pytest.fixture(scope="session", autouse=True)
def _home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Compiled engines go to a folder of the tests' own, unless one is given."""
    with pytest.MonkeyPatch.context() as patch:
        if "EFFICIENTNET_HOME" not in os.environ:
            patch.setenv("EFFICIENTNET_HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(scope="session")
def shared() -> Path:
    """More golden files and a photograph, which lie beside the checkout and are not part of it."""
    if not SHARED.is_dir():
        pytest.skip(f"needs the golden files of {SHARED}, which is not there")
    return SHARED


@pytest.fixture(scope="session")
def panda() -> Path:
    """An image that Lite0 predicts as a giant panda."""
    return DATA.parents[1] / "misc" / "panda.jpg"


@pytest.fixture(scope="session")
def facts() -> Path:
    """What the publishers say of their networks and weights."""
    return DATA / "facts"


@pytest.fixture(scope="session")
def golden(request: pytest.FixtureRequest) -> Callable[[str], Path]:
    """Finds a folder of golden files by name: in tests/data/golden, or else in the shared ones."""

    def find(name: str) -> Path:
        ours = DATA / "golden" / name
        return ours if ours.is_dir() else request.getfixturevalue("shared") / "golden" / name

    return find


@pytest.fixture(scope="session")
def eff() -> ModuleType:
    """The shim under test."""
    module = os.environ.get("EFFICIENTNET_TEST_MODULE", "efficientnet.keras")
    pytest.importorskip("tensorflow" if module.endswith("tfkeras") else "keras")
    return importlib.import_module(module)


@pytest.fixture(scope="session")
def keras(eff: ModuleType) -> ModuleType:
    """The Keras underneath it."""
    return eff._keras


@pytest.fixture(scope="session")
def backend(keras: ModuleType) -> str:
    return keras.backend.backend()


@pytest.fixture(scope="session")
def is_legacy(keras: ModuleType) -> bool:
    return not hasattr(keras, "ops")


@pytest.fixture(scope="session")
def tiny(eff: ModuleType) -> Callable[..., Any]:
    """Builds a network with every kind of layer and few of each: two of B0's stages, narrowed."""
    return functools.partial(eff.EfficientNet, 0.5, 1.0, 64, blocks_args=tiny_blocks("b0"), model_name="tiny")


@pytest.fixture(scope="session")
def tiny_lite(eff: ModuleType) -> Callable[..., Any]:
    """Builds the same of Lite0, which has other activations and no gates."""
    from efficientnet import get_variant

    whole = get_variant("lite0")
    small = dataclasses.replace(whole, name="tiny-lite", width=0.5, resolution=64, blocks=tiny_blocks("lite0"))
    return functools.partial(eff.create, small)


@pytest.fixture(scope="session")
def tiny_condconv(eff: ModuleType) -> Callable[..., Any]:
    """Builds one stage of ordinary kernels and one of experts, with a stride."""
    from efficientnet import get_variant

    whole = get_variant("condconv-b0-4e")
    last = dataclasses.replace(whole.blocks[5], input_filters=16, num_repeat=2)
    small = dataclasses.replace(whole, name="tiny-condconv", width=0.5, resolution=32, blocks=(whole.blocks[0], last))
    return functools.partial(eff.create, small)


@pytest.fixture
def trainable(backend: str) -> None:
    if backend == "openvino":
        pytest.skip("Keras on OpenVINO answers, it does not train")


@pytest.fixture
def eagerly(backend: str) -> Iterator[None]:
    """Let TensorFlow compute step by step: it would take longer to compile a small network than to compute it."""
    if backend != "tensorflow":
        yield
        return
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture
def channels_first(keras: ModuleType) -> Iterator[None]:
    keras.backend.set_image_data_format("channels_first")
    yield
    keras.backend.set_image_data_format("channels_last")
