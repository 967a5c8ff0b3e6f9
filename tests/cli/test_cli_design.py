"""The commands `efficientnet design …`, without training; tests/design/test_experiments.py trains."""

import functools
import json
from contextlib import nullcontext

import pytest

pytest.importorskip("keras")

from efficientnet import design, get_variant
from efficientnet.cli import number_types
from efficientnet.cli.main import main
from efficientnet.design import Baseline, LatencyModel, Network, Results
from efficientnet.design.timing import Timed
from efficientnet.family.costs import cost


def cells(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_grid_and_what_it_makes_of_b0(capsys):
    assert main(["design", "candidates", "b0"]) == 0
    lines = [cells(line) for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == ["α", "β", "γ", "α·β²·γ²", "input", "multiply-adds", "× the baseline's"]
    paper = next(line for line in lines if line[:3] == ["1.2", "1.1", "1.15"])
    assert paper[3:5] == ["1.920", "258"]
    # Rounding repeats up makes a real network dearer than the formula has it.
    assert float(paper[6]) > 2.4


@pytest.mark.slow
def test_fit_to_a_budget_and_use_what_comes_out(tmp_path, capsys):
    out = tmp_path / "mine.json"
    assert main(["design", "fit", "b0", "--macs", "0.5G", "--rule", "1,1.1,1.15", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    mine = get_variant(out)
    assert mine.name == "mine"
    assert mine.depth == 1
    assert f"{cost(mine).macs:,}" in printed
    assert 0.45e9 < cost(mine).macs <= 0.5e9
    assert main(["profile", str(out), "--size", "32"]) == 0
    assert f"{cost(mine).parameters:,}" in capsys.readouterr().out


def test_shrinking_by_tinynets_rule(tmp_path, capsys):
    out = tmp_path / "tiny-c.json"
    assert main(["design", "fit", "b0", "--macs", "100M", "--rule", "tiny", "--out", str(out)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "φ = -1.892: width × 0.550, depth × 0.862, 184 pixels"
    macs = next(cells(line) for line in lines if "multiply-adds" in line)
    assert macs == ["multiply-adds", "99,536,432", "100,000,000", "99.5% (binding)"]
    assert cost(get_variant(out)).macs == 99_536_432
    assert lines[-2].startswith("Published EfficientNets with as many multiply-adds reach 71.6% top-1")


def test_several_budgets_and_every_currency(capsys):
    budgets = ["--bytes", "5M", "--memory", "50M", "--precision", "int8"]
    assert main(["design", "fit", "b0", *budgets]) == 0
    rows = {row[0]: row for row in map(cells, capsys.readouterr().out.splitlines()[2:])}
    assert rows["bytes of the file"] == ["bytes of the file", "4,991,852", "5,000,000", "99.8% (binding)"]
    assert rows["bytes of memory"] == ["bytes of memory", "5,970,208", "50,000,000", "11.9%"]
    assert {"multiply-adds", "parameters", "activations"} < rows.keys()


def test_the_memory_of_a_training(capsys):
    assert main(["design", "fit", "b0", "--memory", "8G", "--training", "--batch-size", "16"]) == 0
    printed = capsys.readouterr().out
    (memory,) = (cells(line) for line in printed.splitlines() if "bytes of memory" in line)
    assert 7.8e9 < int(memory[1].replace(",", "")) <= 8e9
    assert "memory is that of a training step of 16 images" in printed


def test_where_rounding_jumps_both_neighbours_are_shown(capsys):
    assert main(["design", "fit", "b0", "--macs", "100M"]) == 0
    macs = next(cells(line) for line in capsys.readouterr().out.splitlines() if "multiply-adds" in line)
    assert macs == ["multiply-adds", "93,786,976", "100,000,000", "93.8% (binding)", "100,890,880"]


def test_fit_with_the_coefficients_that_a_search_found(tmp_path, capsys):
    networks = tuple(
        Network(method, width, depth, resolution, 1, 1, (accuracy,))
        for method, width, depth, resolution, accuracy in (
            ("baseline", 1.0, 1.0, 64, 0.5), ("candidate", 1.0, 1.4, 80, 0.7), ("candidate", 1.2, 1.0, 96, 0.9),
        )
    )  # fmt: skip
    Results("search", "efficientnet-b0", {}, {}, networks).save(tmp_path / "search.json")
    # Whose input is 224 pixels, and not the 64 of the search: γ is 96 / 64.
    assert main(["design", "fit", "b0", "--macs", "1G", "--search", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert main(["design", "fit", "b0", "--macs", "1G", "--rule", "1,1.2,1.5"]) == 0
    assert capsys.readouterr().out == printed


def test_a_search_that_found_nothing_has_no_coefficients(tmp_path, capsys):
    networks = (Network("baseline", 1.0, 1.0, 224, 1, 1, (0.5,)), Network("candidate", 1.0, 1.4, 280, 1, 1, stopped=1))
    Results("search", "efficientnet-b0", {}, {}, networks).save(tmp_path / "search.json")
    assert main(["design", "fit", "b0", "--macs", "1G", "--search", str(tmp_path)]) == 2
    assert "no training of a candidate was finished" in capsys.readouterr().err


def test_results_of_trainings_that_were_all_given_up(tmp_path, capsys):
    from efficientnet.cli.design import _print_results

    networks = (Network("baseline", 1.0, 1.0, 224, 1, 1, stopped=1), Network("candidate", 1.0, 1.4, 280, 1, 1))
    _print_results(Results("search", "efficientnet-b0", {}, {}, networks), tmp_path)
    assert "| given up |" in capsys.readouterr().out


def test_results_of_a_single_seed_have_no_standard_error(tmp_path, capsys):
    from efficientnet.cli.design import _print_results

    networks = [Network("baseline", 1.0, 1.0, 224, 1, 1, (0.5,)), Network("width", 2.0, 1.0, 224, 1, 1, (0.75, 0.25))]
    _print_results(Results("compare", "efficientnet-b0", {}, {}, tuple(networks)), tmp_path)
    rows = [cells(line)[5:7] for line in capsys.readouterr().out.splitlines()[2:4]]
    assert sorted(rows) == [["50.00%", ""], ["50.00%", "± 25.00%"]]


def test_a_module_that_cannot_be_imported_is_named(tmp_path, monkeypatch, capsys):
    (tmp_path / "broken_networks.py").write_text("1 / 0\n")
    monkeypatch.chdir(tmp_path)
    assert main(["design", "fit", "broken_networks:network", "--macs", "1M"]) == 2
    assert "broken_networks:network: importing broken_networks failed with ZeroDiv" in capsys.readouterr().err


@pytest.mark.slow
def test_a_custom_function(tmp_path, monkeypatch, capsys):
    (tmp_path / "my_networks.py").write_text(
        "import keras\n"
        "def net(width, depth, resolution, classes):\n"
        "    x = inputs = keras.Input((resolution, resolution, 3))\n"
        "    for _ in range(round(2 * depth)):\n"
        "        x = keras.layers.Conv2D(round(8 * width), 3)(x)\n"
        "    x = keras.layers.GlobalAveragePooling2D()(x)\n"
        "    return keras.Model(inputs, keras.layers.Dense(classes, activation='softmax')(x))\n"
    )
    monkeypatch.chdir(tmp_path)
    assert main(["design", "fit", "my_networks:net", "--resolution", "32", "--macs", "2M"]) == 0
    assert "φ = " in capsys.readouterr().out
    assert main(["design", "fit", "my_networks:other", "--macs", "2M"]) == 2
    assert "has no attribute 'other'. Expected module:function" in capsys.readouterr().err


MODEL = LatencyModel(Timed(), {"pointwise": 1e-11, "moved": 1e-10}, 0.03)


@pytest.fixture
def model(monkeypatch):
    """A latency model instead of a table, and the times that it predicts instead of measured ones."""

    def compiled(self, variant):
        spent = MODEL.milliseconds(variant) / 1000
        return nullcontext(lambda: spent)

    monkeypatch.setattr(design, "latency_model", lambda *arguments, **options: MODEL)
    monkeypatch.setattr(Baseline, "build", Baseline.scaled)
    monkeypatch.setattr(Timed, "compiled", compiled)


def test_times_are_predicted(model, capsys):
    assert main(["design", "latency", "b0", "lite0"]) == 0
    header, _, b0, lite0, _, error = map(cells, capsys.readouterr().out.splitlines())
    assert header == ["", "input", "multiply-adds", "milliseconds, predicted"]
    assert b0 == ["efficientnet-b0", "224", "385,814,752", f"{MODEL.milliseconds('b0'):.3g}"]
    assert lite0[0] == "efficientnet-lite0"
    assert error == ["median error for the measured networks, each predicted without it: 3.0%"]


def test_a_budget_of_milliseconds_by_prediction(model, capsys):
    assert main(["design", "fit", "b0", "--milliseconds", "20", "--predict"]) == 0
    row = next(cells(line) for line in capsys.readouterr().out.splitlines() if "milliseconds" in line)
    assert row == ["milliseconds", "19", "20", "95.0% (binding)", "21.3"]


def test_the_fastest_proportions_are_saved(model, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(design, "find_fastest", functools.partial(design.find_fastest, steps=5))
    out = tmp_path / "fast.json"
    assert main(["design", "fastest", "b0", "--macs", "2G", "--finalists", "2", "--out", str(out)]) == 0
    rows = [cells(line) for line in capsys.readouterr().out.splitlines()[2:]]
    assert [row[0] for row in rows] == ["compound", "1", "2"]
    saved = get_variant(out)
    assert [f"{saved.width:.3f}", f"{saved.depth:.3f}", str(saved.resolution)] == rows[1][1:4]
    assert f"{cost(saved).macs:,}" == rows[1][4]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fit", "b0", "--macs", "1k"], "The budget of 1,000 multiply-adds is too small for the smallest network"),
        (["fit", "b0", "--macs", "1G", "--rule", "tiny"], "is not reached by the largest network"),
        (
            ["fit", "b0", "--macs", "1G", "--rule", "other"],
            "--rule other: expected compound, tiny, fast, or three numbers",
        ),
        (
            ["fit", "b0", "--macs", "1G", "--rule", "1,2"],
            "--rule 1,2: expected compound, tiny, fast, or three numbers",
        ),
        (["fit", "b0", "--macs", "1G", "--alpha", "0.5"], "--alpha 0.5 belongs to the rule fast"),
        (["fit", "b0"], "There is no budget: give at least one of macs"),
        (["compare", "b0", "--data", "digits", "--out", "run", "--macs", "1G", "--rule", "tiny"], "only shrinks"),
        (["fit", "b0", "--macs", "1G", "--rule", "0.9,1,1"], "alpha=0.9"),
        (["fit", "mobilenet-v1", "--macs", "1G", "--out", "mine.json"], "only EfficientNets are saved as variants"),
        (["fit", "b0", "--macs", "1G", "--out", "mine.txt"], "ends in .json"),
        (["fit", "b0", "--resolution", "16", "--macs", "1G"], "at least 32 pixels"),
        (["fit", "resnet-34", "--macs", "1G"], "Unknown variant"),
        (["fit", "b0", "--macs", "1G", "--search", "nowhere"], "nowhere"),
        (["candidates", "--target", "1"], "target=1.0"),
        (
            ["compare", "b0", "--data", "nowhere", "--out", "run", "--macs", "1G"],
            "There is no file or folder nowhere: expected a folder",
        ),
        (["fit", "b0", "--macs", "1G", "--predict"], "--predict searches for a budget of milliseconds"),
        (["fit", "resnet-50", "--milliseconds", "9", "--predict"], "resnet-50 is not an EfficientNet"),
        (
            ["fit", "b0", "--milliseconds", "9", "--predict", "--training", "--precision", "int8"],
            "--precision int8 is for predictions, and --training in f32 or f16",
        ),
        (["fit", "b0", "--memory", "1G", "--batch-size", "8"], "--batch-size is that of a training step"),
        (["fit", "b0", "--macs", "1G", "--threads", "2"], "--threads: no time is measured, so give --milliseconds or"),
        (["fit", "b0", "--milliseconds", "9", "--out", "mine.txt"], "ends in .json"),
        (
            ["stages", "b0", "--data", "digits", "--out", "run", "--engine", "litert"],
            "--engine: no time is measured, so give --milliseconds or --cost milliseconds",
        ),
        (["latency", "resnet-34"], "Unknown variant"),
        (["fastest", "b0", "--macs", "1G", "--out", "fast.txt"], "ends in .json"),
        (["latency", "condconv-b0-4e"], "mixes kernels for each image"),
        (["latency", "--engine", "fastest"], "engine='fastest' differs between networks"),
        (["fastest", "b0", "--macs", "1M"], "macs=1,000,000: expected more than those of efficientnet-b0"),
        (["fastest", "resnet-50", "--macs", "9G"], "resnet-50 is not an EfficientNet"),
        (["stages", "resnet-50", "--data", "digits", "--out", "run"], "resnet-50 has no stages that can be changed"),
        (["stages", "b0", "--data", ".", "--out", "run"], "run lies in ., whose images it would be among"),
        (["report", "nowhere"], "nowhere holds nothing to report on"),
    ],
)
def test_calls_that_cannot_be_met(arguments, message, tmp_path, monkeypatch, capsys):
    """Each is refused before the machine is measured, which takes minutes, and leaves no file."""

    def measure(*_):
        raise AssertionError("measured")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Timed, "compiled", measure)
    assert main(["design", *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("amount", ["a lot", "1T", "-5"])
def test_amounts(amount, capsys):
    with pytest.raises(SystemExit):
        main(["design", "fit", "b0", f"--macs={amount}"])
    assert "not an amount such as 400M" in capsys.readouterr().err


@pytest.mark.parametrize(("option", "plain", "others"), [
    ("--bytes", "5M", ["5MB", "5 MB", "5000kB", "5000000B", "5000000"]),
    ("--memory", "1G", ["1GB", "1000MB"]),
])  # fmt: skip
def test_units_of_bytes(option, plain, others, capsys):
    def fit(amount):
        assert main(["design", "fit", "b0", option, amount]) == 0
        return capsys.readouterr().out

    assert {fit(amount) for amount in others} == {fit(plain)}


def test_units_of_time(capsys):
    assert (number_types.milliseconds("10ms"), number_types.milliseconds("0.01s")) == (10.0, 10.0)
    with pytest.raises(SystemExit):
        main(["design", "fit", "b0", "--milliseconds", "1G"])
    assert "'1G' is not a time such as 10, 10ms or 0.01s" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--seeds", "--resolution", "--training-images", "--validation-images"])
def test_counts(option, capsys):
    with pytest.raises(SystemExit):
        main(["design", "search", "b0", "--data", "digits", "--out", "run", option, "0"])
    assert f"argument {option}: 0 is not at least 1" in capsys.readouterr().err


def test_a_report_of_a_folder(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    networks = [Network("candidate", 1.0, 1.4, 280, 10, 10, (0.7, 0.8))]
    Results("search", "b0", {"name": "mine"}, {}, tuple(networks)).save(tmp_path / "search.json")
    assert json.loads((tmp_path / "search.json").read_text())["format"] == 1
    assert main(["design", "report", str(tmp_path)]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "report.html")
    assert (tmp_path / "report.md").exists()
