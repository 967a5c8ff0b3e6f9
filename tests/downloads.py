"""A small file to download, and what the tests of downloading do with it."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
import textwrap
from pathlib import Path

from flaky_server import FlakyServer

from efficientnet.weights.download import fetch

ROOT = Path(__file__).resolve().parents[1]
NAME = "weights.h5"
CONTENT = random.Random(0).randbytes(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
FILES = {f"/{NAME}": CONTENT}


def fetch_from(server: FlakyServer) -> Path:
    return fetch(f"{server.url}/{NAME}", file_hash=f"sha256:{SHA256}")


def part_of(home: Path) -> Path:
    return home / f"{NAME}.{SHA256[:8]}.part"


def names_in(home: Path) -> set[str]:
    """The files of a cache folder but for lock files, which some platforms keep."""
    return {path.name for path in home.iterdir() if path.suffix != ".lock"}


def start_child(script: str, **variables: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        cwd=ROOT,
        env={**os.environ, **variables},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
