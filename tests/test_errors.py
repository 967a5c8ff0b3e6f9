"""The tree of exceptions: one base, and the built-in kind that callers of older code catch."""

import ast
from pathlib import Path

import pytest

from efficientnet import errors
from efficientnet.checkpoints import read_checkpoint

PACKAGE = Path(errors.__file__).parent


def test_each_has_the_base_and_stands_in_the_tree():
    classes = [value for value in vars(errors).values() if isinstance(value, type)]
    assert all(issubclass(kind, errors.EfficientNetError) for kind in classes)
    assert all(kind.__name__ in errors.__doc__ for kind in classes)
    assert issubclass(errors.CheckpointError, ValueError) and issubclass(errors.DownloadError, OSError)


@pytest.mark.slow
def test_public_ones_are_nowhere_else():
    """What ends in Error elsewhere is caught within its own room."""
    found = {
        node.name
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef) and node.name.endswith("Error") and path.name != "errors.py"
    }
    assert found == {"UnusualError"}


def test_one_clause_catches_them(tmp_path):
    (tmp_path / "empty.h5").write_bytes(b"")
    with pytest.raises(errors.EfficientNetError):
        read_checkpoint(tmp_path / "empty.h5")
