"""The page of an evaluation of labels or numbers."""

import re
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from efficientnet.evaluation import LabelEvaluation, write_report
from efficientnet.evaluation.figures import draw_values
from efficientnet.evaluation.values import ValueEvaluation

PATHS = [Path(f"{index}.jpg") for index in range(4)]


def numbers(names):
    truth = np.arange(4.0)[:, np.newaxis] + np.arange(len(names))
    return ValueEvaluation("mine", "photos.csv", names, PATHS, truth + 0.5, truth, unreadable=[], notes=["a <b> note"])


def test_numbers(tmp_path):
    write_report(numbers(["age", "height"]), tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert "Mean absolute error on 4 images: age 0.5, height 0.5." in page
    assert re.findall("<h2>(.*?)</h2>", page) == ["Measures", "Notes"]
    assert "a &lt;b&gt; note" in page and page.count("data:image/png") == 2


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 3, 12])
def test_a_panel_for_each_of_the_first_numbers(count):
    figure = draw_values(numbers([f"number $x_{index}$" for index in range(count)]))
    figure.draw_without_rendering()
    shown = [axes for axes in figure.axes if axes.axison]
    assert len(shown) == min(count, 8)
    assert [axes.lines[1].get_xydata()[0].tolist() for axes in shown] == [[i, i + 0.5] for i in range(len(shown))]


@pytest.mark.slow
def test_labels(tmp_path):
    truth = np.array([[1, 0], [1, 1], [0, 1], [0, 0]], bool)
    found = LabelEvaluation(
        "mine", "photos", ["cat", "dog"], PATHS, np.where(truth, 0.9, 0.2), truth, threshold=0.5,
        unreadable=[(Path("c.jpg"), "it is empty")], notes=[], is_complete=False,
    )  # fmt: skip
    write_report(found, tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert "The mean average precision of 2 labels is 100.0%, on 4 images." in page
    assert re.findall("<h2>(.*?)</h2>", page) == ["Measures", "Labels", "Calibration", "Notes"]
    assert "c.jpg: it is empty" in page
