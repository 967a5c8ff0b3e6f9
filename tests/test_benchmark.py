"""The benchmark measures what it says; how fast anything is, no test asks."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from efficientnet.preprocessing import center_crop_and_resize

SCRIPT = Path(__file__).resolve().parents[1] / "scripts" / "benchmark.py"


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("benchmark", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_two_sides_alternate(benchmark):
    calls = []

    def measurement(side, value):
        return lambda: calls.append(side) or value

    case = benchmark.Case("a case", measurement("ours", 0.25), measurement("peer", 0.5))
    row = benchmark.compare(case, benchmark.Effort(pairs=3, seconds=0))
    assert calls == ["ours", "peer"] * 3
    assert row.ratios() == [0.5, 0.5, 0.5]


def test_a_line_shows_medians_quartiles_and_the_ratio_of_neighbours(benchmark):
    row = benchmark.Row("a case", "s", [0.010, 0.020, 0.090], [0.020, 0.040, 0.060])
    cells = [cell.strip() for cell in benchmark.table_line(row).strip("|").split("|")]
    assert cells == ["a case", "20 (15–55) ms", "40 (30–50) ms", "0.50 (0.50–1.00)"]


def test_the_older_preprocessing_does_the_same_work(benchmark):
    pytest.importorskip("skimage")
    image = np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)
    ours, older = center_crop_and_resize(image, 32), benchmark.older_center_crop_and_resize(image, 32)
    np.testing.assert_allclose(ours, older, atol=1e-3)


def test_the_import_that_must_stay_light_is_refused_when_it_is_not(benchmark):
    assert benchmark.import_seconds("json", {}, ["csv"]) > 0
    with pytest.raises(RuntimeError, match="csv"):
        benchmark.import_seconds("csv", {}, ["csv"])


def test_command_prints_a_table_and_writes_every_measurement(benchmark, tmp_path, capsys):
    pytest.importorskip("skimage")
    report = tmp_path / "report.json"
    benchmark.main(["--quick", "--only", "preprocess", "--json", str(report)])
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    rows = json.loads(report.read_text())["rows"]
    assert len(lines) == len(rows) + 1 == 3
    assert all(len(row["ours"]) == len(row["peer"]) >= 3 for row in rows)


def test_unknown_backend_is_refused(benchmark, capsys):
    with pytest.raises(SystemExit):
        benchmark.main(["--backend", "theano"])
    assert "theano" in capsys.readouterr().err
