"""Imports the packages of tests/peers.txt, which the tests compare with."""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import pytest


def import_torchvision(torch: Any) -> ModuleType:
    """Import torchvision, which timm needs, too; skip the test without it.

    It has no build for processors alone. It imports beside that of PyTorch once its operators are known.
    """
    if find_spec("torchvision") is None:
        pytest.skip("needs: pip install --no-deps -r tests/peers.txt")
    try:
        return importlib.import_module("torchvision")
    except RuntimeError:
        for name in ("nms", "qnms"):
            torch.library.define(f"torchvision::{name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        return importlib.import_module("torchvision")
