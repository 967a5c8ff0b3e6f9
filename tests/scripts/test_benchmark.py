"""The benchmark measures what it says; how fast anything is, no test asks."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from efficientnet import checkpoints
from efficientnet.preprocessing import center_crop_and_resize

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
PRODUCT = "large matrix product"


@pytest.fixture(scope="module")
def bench() -> Iterator[ModuleType]:
    """The command, and beside it its modules: ``bench.race``, ``bench.measuring`` …"""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(SCRIPTS)
        for module in ("benchmark", "bench.worker"):
            importlib.import_module(module)
        yield importlib.import_module("bench")


@pytest.fixture(scope="module")
def command(bench) -> ModuleType:
    return importlib.import_module("benchmark")


@pytest.fixture
def settings(bench, tmp_path):
    return bench.contenders.Settings("efficientnet-b0", 32, 10**6, "tensorflow", 1, 0.0, str(tmp_path))


def results(bench):
    return [
        bench.race.Result("reference", {1: [0.010, 0.020, 0.090]}, memory=9e8),
        bench.race.Result("this package, openvino", {1: [0.005, 0.005, 0.030]}, memory=1e8),
        bench.race.Result("nobody", {}, skipped="ImportError: no module named nobody"),
    ]


def test_the_two_sides_alternate(bench):
    calls = []

    def measurement(side, value):
        return lambda: calls.append(side) or value

    case = bench.measuring.Case("a case", measurement("ours", 0.25), measurement("peer", 0.5))
    row = bench.measuring.compare(case, bench.measuring.Effort(pairs=3, seconds=0))
    assert calls == ["ours", "peer"] * 3
    assert row.ratios() == [0.5, 0.5, 0.5]


def test_a_line_shows_medians_quartiles_and_the_ratio_of_neighbours(bench):
    row = bench.measuring.Row("a case", "s", [0.010, 0.020, 0.090], [0.020, 0.040, 0.060])
    cells = [cell.strip() for cell in bench.measuring.table_line(row).strip("|").split("|")]
    assert cells == ["a case", "20 (15–55) ms", "40 (30–50) ms", "0.50 (0.50–1.00)"]


def test_the_older_preprocessing_does_the_same_work(bench):
    pytest.importorskip("skimage")
    image = np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)
    ours, older = center_crop_and_resize(image, 32), bench.keras_parts.older_center_crop_and_resize(image, 32)
    np.testing.assert_allclose(ours, older, atol=1e-3)


def test_the_import_that_must_stay_light_is_refused_when_it_is_not(bench):
    assert bench.keras_parts.import_seconds("json", {}, ["csv"]) > 0
    with pytest.raises(RuntimeError, match="csv"):
        bench.keras_parts.import_seconds("csv", {}, ["csv"])


@pytest.mark.slow
def test_random_weights_are_a_whole_file_of_the_variant(bench, tmp_path):
    path = tmp_path / "b0.safetensors"
    size = bench.loading.write_random_weights(path, "b0")
    reading = checkpoints.read_checkpoint(path)
    assert (reading.variant.name, reading.differences) == ("efficientnet-b0", 0)
    assert 0 < path.stat().st_size - size < 10**6  # the header
    assert bench.loading.inspect_case(path).ours() > 0


def test_the_model_of_times_is_compared_with_networks_that_it_has_not_seen(command, tmp_path, monkeypatch, capsys):
    pytest.importorskip("scipy")
    from efficientnet.design import Baseline, LatencyModel, latency, timing

    model = LatencyModel(timing.Timed(), {"pointwise": 1e-11}, 0.03)

    def compiled(self, variant):
        spent = 1.1 * model.milliseconds(variant) / 1000
        return nullcontext(lambda: spent)

    monkeypatch.setattr(timing.Timed, "compiled", compiled)
    monkeypatch.setattr(Baseline, "build", Baseline.scaled)
    monkeypatch.setattr(latency, "latency_model", lambda *arguments, **options: model)
    report = tmp_path / "report.json"
    command.main(["--only", "latency-model", "--json", str(report)])
    assert capsys.readouterr().out.splitlines()[-1] == "median error 9.1%, worst 9.1%; within its table 3.0%"
    assert len(json.loads(report.read_text())["latency-model"]) == 20


@pytest.mark.slow
def test_command_prints_a_table_and_writes_every_measurement(command, tmp_path, capsys):
    pytest.importorskip("skimage")
    report = tmp_path / "report.json"
    command.main(["--quick", "--only", "preprocess", "--json", str(report)])
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    rows = json.loads(report.read_text())["rows"]
    assert len(lines) == len(rows) + 1 == 3
    assert all(len(row["ours"]) == len(row["peer"]) >= 3 for row in rows)


@pytest.mark.parametrize(
    "wrong", [["--backend", "theano"], ["--contender", "theano"], ["--batch", "0"], ["--rounds", "1"]]
)
def test_what_does_not_exist_is_refused(command, capsys, wrong):
    with pytest.raises(SystemExit):
        command.main(wrong)
    assert wrong[1] in capsys.readouterr().err


@pytest.mark.slow
def test_contenders_are_asked_in_turn_and_those_that_cannot_answer_are_left_out(bench, settings):
    older = bench.contenders.OLDER
    found = {r.name: r for r in bench.race.race([PRODUCT, "nobody", older], [1, 2], settings, rounds=2)}
    assert {batch: len(turns) for batch, turns in found[PRODUCT].seconds.items()} == {1: 2, 2: 2}
    assert found[PRODUCT].memory > 10**6
    assert not found["nobody"].seconds and "status 1: KeyError: 'nobody'" in found["nobody"].skipped
    assert "--old" in found[older].skipped


@pytest.mark.slow
def test_command_races(command, tmp_path, capsys):
    report = tmp_path / "report.json"
    options = ["--quick", "--batch", "1", "--contender", PRODUCT, "--against", PRODUCT, "--json", str(report)]
    command.main(["--only", "contenders", *options])
    (found,) = json.loads(report.read_text())["contenders"]
    assert len(found["seconds"]["1"]) == 3
    assert f"| {PRODUCT} |" in capsys.readouterr().out


@pytest.mark.slow
def test_a_contender_that_raises_reports_why_and_its_process_goes_on(bench, settings):
    with bench.race.worker(PRODUCT, settings._replace(macs="many"), None) as ask:
        assert [ask(1)["skipped"].split(":")[0] for _ in range(2)] == ["TypeError"] * 2


def test_a_turn_lasts_as_long_as_it_should_and_its_first_call_does_not_count(bench):
    calls = iter(range(100))
    assert bench.worker.turn(lambda: float(next(calls)), seconds=0) == [1.0]


def test_speed_compares_the_same_rounds(bench):
    reference, ours, nobody = results(bench)
    assert ours.speed(reference, 1) == [2, 4, 3]
    assert nobody.speed(reference, 1) == []


def test_table_has_medians_speeds_and_reasons(bench):
    lines = list(bench.race.table(results(bench), [1], "reference"))
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert cells[2] == ["reference", "20 (15–55)", "1", "900"]
    assert cells[3] == ["this package, openvino", "5 (5–17.5)", "3", "100"]
    assert lines[-1] == "skipped: nobody (ImportError: no module named nobody)"


def test_image_of_a_race(bench, tmp_path):
    pytest.importorskip("matplotlib")
    image = pytest.importorskip("PIL.Image")
    bench.chart.draw(results(bench), [1], "a title", tmp_path / "race.png")
    with image.open(tmp_path / "race.png") as image:
        assert image.getpixel((0, 0))[:3] == (255, 255, 255)


def test_photographs_are_the_same_each_time_and_all_there(bench, tmp_path):
    for folder in ("one", "other"):
        bench.photographs.make_photographs(tmp_path / folder, count=2)
    one, other = (sorted((tmp_path / folder).iterdir()) for folder in ("one", "other"))
    assert [path.name for path in one] == ["00000.jpg", "00001.jpg"]
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in other]
    assert len(list(tmp_path.iterdir())) == 2


def test_files_that_are_not_all_answered_are_no_measurement(bench, settings, tmp_path):
    bench.photographs.make_photographs(tmp_path / "photographs", count=2)
    settings = settings._replace(photographs=str(tmp_path / "photographs"))
    measure = bench.file_contenders.per_file(settings, lambda paths, batch: len(paths) - 1)(1)
    with pytest.raises(RuntimeError, match="1 of 2"):
        measure()
