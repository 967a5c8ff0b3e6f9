"""OpenVINO and nncf send their makers nothing from here."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from efficientnet.common.private_imports import import_privately

REPOSITORY = Path(__file__).resolve().parents[2]
_PRIVATELY = "from efficientnet.common.private_imports import import_privately as get; "


def reports(folder: Path, program: str) -> bool:
    """Whether a program, in a process of its own, imports the package by which reports are sent."""
    (folder / "openvino_telemetry.py").write_text(f"open({str(folder / 'imported')!r}, 'w').close()\nraise ImportError")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(REPOSITORY)])}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment, capture_output=True)
    return (folder / "imported").exists()


@pytest.mark.parametrize("name", ["openvino", pytest.param("nncf", marks=pytest.mark.slow)])
def test_only_a_plain_import_finds_the_package_that_reports(tmp_path, name):
    pytest.importorskip(name)
    assert not reports(tmp_path, f"{_PRIVATELY} get('openvino').Core; get({name!r})")
    assert reports(tmp_path, f"import {name}")


def test_what_was_imported_before_stays(tmp_path):
    pytest.importorskip("openvino")
    program = "sys.modules['openvino_telemetry'] = sys; get('openvino'); import openvino_telemetry as found"
    assert not reports(tmp_path, f"{_PRIVATELY} import sys; {program}; assert found is sys")
    assert reports(tmp_path, f"{_PRIVATELY} get('openvino')\ntry: import openvino_telemetry\nexcept ImportError: pass")


def test_threads_import_one_after_the_other(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "openvino_telemetry", raising=False)
    names = [f"slow_{number}" for number in range(3)]
    for number, name in enumerate(names):
        (tmp_path / f"{name}.py").write_text(f"import time\ntime.sleep({0.1 * (number + 1)})")
    with ThreadPoolExecutor(3) as pool:
        assert [module.__name__ for module in pool.map(import_privately, names)] == names
    assert "openvino_telemetry" not in sys.modules
