"""Writing files whole."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path to write to, which then takes the place of ``path``, so that this is never half written.

    It has the same suffix, lies in the same folder, and is this process' own; it is removed where writing fails.
    """
    part = path.with_name(f"part-{os.getpid()}-{path.name}")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
