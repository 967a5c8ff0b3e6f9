"""Files that an index lists, which an attacker may have written: only those beside it are opened."""

from __future__ import annotations

import os
from pathlib import Path, PureWindowsPath


def beside(index: Path, name: str) -> Path:
    """Return the path of a file that an index names.

    Args:
        index: Path of the index.
        name: Name in the index, which may be any text.

    Raises:
        ValueError: It is not a plain name, a link to a file elsewhere, or missing.
    """
    # Windows' rules know separators of both kinds and drives.
    if PureWindowsPath(name).name != name or name in ("", "..") or not name.isprintable():
        raise ValueError("that is not a plain name, as of a file beside the index")
    path = index.with_name(name)
    # In Hugging Face's cache both are links into one other folder.
    if _folder(path) not in (_folder(index), os.path.realpath(index.parent)):
        raise ValueError("it is a link to a file elsewhere")
    if not os.path.isfile(path):  # unlike Path's, it does not fail on names that are too long
        raise ValueError("there is no such file beside the index")
    return path


def _folder(path: Path) -> str:
    """Return the folder of a file after all links are followed."""
    return os.path.dirname(os.path.realpath(path))
