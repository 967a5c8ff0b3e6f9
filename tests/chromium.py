"""What Chromium makes of a page."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
_FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--enable-logging=stderr", "--v=0",
]  # fmt: skip

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium or Chrome on PATH, and neither is there")


def found_by_page(address: str, folder: Path, *flags: str) -> tuple[str, list[str]]:
    """Return what a page writes into the attribute ``data-found`` of its body, and what the browser complains of."""
    assert CHROMIUM is not None
    command = [CHROMIUM, *_FLAGS, f"--user-data-dir={folder / 'profile'}", *flags, "--dump-dom", address]
    process = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    found = re.search(r'data-found="([^"]*)"', process.stdout)
    assert found, process.stderr
    return found[1], [line for line in process.stderr.splitlines() if "CONSOLE" in line]
