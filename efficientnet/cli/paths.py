"""Paths on the command line."""

from __future__ import annotations

import argparse
from pathlib import Path


def given_path(text: str) -> Path:
    """Read a path that is not empty: of an empty text, Python makes the folder that the command runs in."""
    if not text:
        raise argparse.ArgumentTypeError("the path is empty")
    return Path(text)
