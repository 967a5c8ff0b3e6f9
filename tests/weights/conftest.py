"""What the tests of downloading share."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from efficientnet.weights import download


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder, no package huggingface_hub, and no waiting."""
    folder = tmp_path / "home"
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    monkeypatch.setenv("EFFICIENTNET_HOME", str(folder))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    for variable in ("EFFICIENTNET_WEIGHTS_URL", "HF_ENDPOINT", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(download, "BACKOFF", 0.001)
    monkeypatch.setattr(download, "TIMEOUT", (5.0, 0.5))
    return folder
