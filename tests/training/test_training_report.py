"""The page and the model card of a training."""

import dataclasses
import json
import re

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("keras")
pytest.importorskip("matplotlib")

from small_task import small_task

from efficientnet.datasets import load
from efficientnet.training import train, write_report

pytestmark = pytest.mark.usefixtures("eagerly")


def files_task(folder):
    """The same training, of image files."""
    rng = np.random.default_rng(0)
    for label in ("dark <b>", "light"):
        (folder / label).mkdir(parents=True)
        for index in range(8):
            levels = rng.integers(0, 100, (20, 20, 3), np.uint8) + (150 if label == "light" else 0)
            Image.fromarray(levels.astype(np.uint8)).save(folder / label / f"{index}.png")
    task = small_task()
    return dataclasses.replace(task, data=load(folder, 0.3, 20))


def sections(page):
    return re.findall(r"<h2>(.*?)</h2>", page)


@pytest.mark.slow
def test_files_are_evaluated(tmp_path):
    task = files_task(tmp_path / "images")
    best = train(task, tmp_path / "run")
    (tmp_path / "run" / "left_out.csv").write_text('index,path\n3,"a,\nb.png"\n5,c.png\n')
    write_report(task, tmp_path / "run")
    page = (tmp_path / "run" / "report.html").read_text()
    count = len(task.data.validation)
    assert f"{100 * best['val_accuracy']:.1f}% of {count} images are right, in validation." in page
    assert f"epoch {best['epoch']}" in page
    assert "2 training images, listed in left_out.csv, were left out." in page
    expected = {"Curves", "Measures", "Calibration", "Confusions", "Classes", "Use the model", "Settings"}
    assert expected <= set(sections(page)) <= expected | {"The worst mistakes", "Notes"}
    assert ("The worst mistakes" in sections(page)) == (best["val_accuracy"] < 1)
    assert "<b>" not in page and "dark &lt;b&gt;" in page
    assert "http" not in page.replace("http://www.w3.org", "")


@pytest.mark.slow
def test_arrays_have_curves_and_settings(tmp_path):
    task = small_task()
    best = train(task, tmp_path)
    write_report(task, tmp_path)
    page, card = (tmp_path / name for name in ("report.html", "README.md"))
    assert sections(page.read_text()) == ["Curves", "Use the model", "Settings"]
    assert f"Accuracy {best['val_accuracy']:.4g} in validation" in page.read_text()
    front, text = card.read_text().removeprefix("---\n").split("---\n", 1)
    head = dict(line.split(": ", 1) for line in front.splitlines())
    assert json.loads(head["library_name"]) == "keras"
    assert text.lstrip().startswith("# efficientnet-b0 trained on noise")
    assert f"| average | {task.recipe.average} |" in text
