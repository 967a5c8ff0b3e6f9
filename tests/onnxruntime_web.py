"""The npm package onnxruntime-web, of the version whose hashes the package holds."""

from __future__ import annotations

import re
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from efficientnet.export.deployments import web


def unpacked(cache: Path) -> Path:
    """Return its folder, downloaded once; skip the test where npm or its registry cannot be reached."""
    version = re.search(r"onnxruntime-web@([\d.]+)", web._ADDRESS)
    assert version
    folder = cache / version[0]
    if not (folder / "package").is_dir():
        if shutil.which("npm") is None:
            pytest.skip("needs npm, which downloads onnxruntime-web")
        folder.mkdir(parents=True, exist_ok=True)
        process = subprocess.run(["npm", "pack", version[0]], cwd=folder, capture_output=True, text=True, timeout=300)
        if process.returncode:
            pytest.skip(f"npm cannot download onnxruntime-web: {process.stderr.strip().splitlines()[-1]}")
        (archive,) = folder.glob("*.tgz")
        with tarfile.open(archive) as packed:
            packed.extractall(folder, filter="data")
    return folder / "package"
