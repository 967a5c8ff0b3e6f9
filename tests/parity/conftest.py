"""The packages that networks are compared with."""

import importlib
from importlib.util import find_spec

import pytest
from peers import import_torchvision


@pytest.fixture(scope="module")
def once_on_torch(backend, is_legacy):
    """Skips a test on all frameworks but PyTorch."""
    if is_legacy or backend != "torch":
        pytest.skip("part of the run on PyTorch, which needs no time to compile; the graph is the same everywhere")


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


@pytest.fixture(scope="module")
def timm(torch):
    if find_spec("timm") is None:
        pytest.skip("needs: pip install --no-deps timm==1.0.22")
    import_torchvision(torch)
    return importlib.import_module("timm")
