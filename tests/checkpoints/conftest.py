"""What the tests of checkpoints share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from torch_files import LAYOUTS, WRITERS


@pytest.fixture
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The current folder, in which files are written by their names alone."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(params=LAYOUTS)
def write(request: pytest.FixtureRequest) -> Callable[..., bytes]:
    """The bytes of a file of PyTorch, in each of its layouts."""
    return WRITERS[request.param]
