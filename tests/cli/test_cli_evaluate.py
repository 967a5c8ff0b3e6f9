"""The command ``efficientnet evaluate``: what it prints and writes, and with which exit status."""

import json
import re

import pytest
from color_models import color_model, save_with_names
from PIL import Image

from efficientnet.cli.main import main

keras = pytest.importorskip("keras")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Tells dark images from light ones."""
    network = color_model(keras, [[-4, 4]] * 3, [6, -6])
    return save_with_names(network, tmp_path_factory.mktemp("model"), ("dark", "light"))


@pytest.fixture
def data(tmp_path):
    for name, levels in (("dark", (0, 40, 230)), ("light", (250, 255))):
        for level in levels:
            path = tmp_path / "data" / name / f"{level}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (30, 20), (level, level, level)).save(path)
    return tmp_path / "data"


@pytest.mark.slow
def test_a_folder(model, data, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    out = tmp_path / "out"
    assert main(["evaluate", model, str(data), "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "model.keras on" in printed.splitlines()[0]
    assert re.search(r"\| top-1 +\| +80\.0% \| 37\.6% to 96\.4% \|", printed)
    assert (out / "report.md").read_text().startswith(printed.rstrip())
    assert "Beside each image is its heat map" in (out / "report.html").read_text()
    assert {path.name for path in out.iterdir()} == {
        "classes.csv", "confusion.png", "confusions.csv", "metrics.json", "mistakes.png", "predictions.csv",
        "reliability.png", "report.html", "report.md",
    }  # fmt: skip


def test_a_table_as_json_with_what_cannot_be_measured(model, data, capsys):
    (data / "broken.png").write_text("no image")
    table = data / "set.csv"
    table.write_text(
        "path,label\ndark/0.png,dark\nlight/250.png,Light\nlight/255.png,grey\nbroken.png,dark\nmissing.png,dark\n"
    )
    assert main(["evaluate", model, str(table), "--json"]) == 1
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert found["images"] == 2
    assert found["top1"]["value"] == 1
    assert len(found["unreadable"]) == 2
    assert "broken.png" in err
    assert "missing.png" in err
    assert "The class grey is not one of the model's 2." in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["lite0", "nowhere"], "There is no file or folder nowhere"),
        (["lite9", "data"], "Did you mean"),
        (["missing.keras", "data"], "No model at missing.keras"),
        (["lite0", "data", "--out", "data/dark/0.png"], "is a file: expected a folder"),
        (["missing.keras", "data", "--weights", "imagenet"], "is a whole model"),
    ],
)
def test_wrong_calls(arguments, message, data, monkeypatch, capsys):
    monkeypatch.chdir(data.parent)
    assert main(["evaluate", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err


def test_the_figures_are_not_written_among_the_images(model, data, capsys):
    assert main(["evaluate", model, str(data), "--out", str(data / "results")]) == 2
    assert "whose images it would be among" in capsys.readouterr().err
    assert {path.name for path in data.iterdir()} == {"dark", "light"}
