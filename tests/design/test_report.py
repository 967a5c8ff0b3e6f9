"""The report of a design: its verdict, its figures and tables, and what it makes of names and of damaged files."""

import dataclasses
import math
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from efficientnet.common.text import clean
from efficientnet.design.figures import accuracy_lines, draw_activation_maps, draw_lines, draw_search
from efficientnet.design.report import write_report
from efficientnet.design.results import Network, Results
from efficientnet.design.verdict import (
    group_by_budget,
    headline,
    headline_of_search,
    judge,
    judge_search,
    listing,
    quantity,
)
from efficientnet.reports.theme import DARK, LIGHT

pytest.importorskip("matplotlib")

DATA = {"name": "digits", "classes": 10, "training": 1437, "validation": 360}
RECIPE = {"epochs": 10, "learning_rate": 3e-3, "flip": False, "seeds": 3}
BASELINE = Network("baseline", 1.0, 1.0, 32, 800_000, 20_000_000, (0.60, 0.61, 0.62))


def network(method, mean, budget=2, noise=0.01, seeds=3, **changes):
    """A network whose seeds spread evenly around their mean."""
    spread = noise * np.linspace(-1, 1, seeds) if seeds > 1 else np.zeros(seeds)
    values = {"width": 1.2, "depth": 1.3, "resolution": 40, "parameters": 1_000_000, "macs": 20_000_000 * budget}
    return Network(method, **{**values, **changes}, accuracies=tuple(float(mean + value) for value in spread))


def results(*networks, kind="compare", **changes):
    return Results(kind, **{"baseline": "mobilenet", "data": DATA, "recipe": RECIPE, **changes}, networks=networks)


def comparison(compound=0.75, width=0.70, depth=0.69, resolution=0.66, **changes):
    means = {"width": width, "depth": depth, "resolution": resolution, "compound": compound}
    return results(BASELINE, *(network(method, mean, **changes) for method, mean in means.items() if mean))


def verdict(found):
    (group,) = group_by_budget(found)
    return judge(found, group)


def search_results(seeds=3):
    candidates = [network("candidate", mean, seeds=seeds) for mean in (0.66, 0.70, 0.701)]
    pruned = dataclasses.replace(network("candidate", 0, seeds=0), stopped=2)
    return results(BASELINE if seeds > 1 else candidates[0], *candidates, pruned, kind="search")


class Tags(HTMLParser):
    """Reads a page, fails where tags do not match, and gathers attributes and text."""

    def __init__(self, text):
        super().__init__()
        self.open, self.found, self.text = [], [], ""
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))
        if tag not in ("meta", "img", "source"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data

    def of(self, tag):
        return [attributes for name, attributes in self.found if name == tag]


@pytest.fixture
def folder(tmp_path):
    comparison().save(tmp_path / "compare.json")
    search_results().save(tmp_path / "search.json")
    return tmp_path


@pytest.mark.parametrize(
    ("found", "outcome", "words"),
    [
        (comparison(), "better", r"was better than width alone \(70.0 .* It differs from width alone by 5.0 ± 0.8"),
        (comparison(compound=0.64), "worse", "was worse than width alone .*resolution alone .* by 6.0 ± 0.8"),
        (comparison(compound=0.705), "noise", "was better than .*; within the noise of width alone"),
        (comparison(compound=0.695), "noise", "was better than resolution alone .*; within the noise of width alone"),
        (comparison(compound=None), "no comparison", "no training of compound scaling was finished"),
        (comparison(width=None, depth=None, resolution=None), "no comparison", "only compound scaling was finished"),
    ],
)  # fmt: skip
def test_verdicts(found, outcome, words):
    decided = verdict(found)
    assert decided.outcome == outcome
    assert re.search(words, decided.text)


def test_one_seed_decides_nothing():
    once = dataclasses.replace(BASELINE, accuracies=(0.6,))
    networks = [network(method, mean, seeds=1) for method, mean in (("width", 0.6), ("compound", 0.9))]
    decided = verdict(results(once, *networks))
    assert decided.outcome == "unknown"
    assert "the noise is unknown" in decided.text
    assert "30.0 percentage points" in decided.text
    assert "nan" not in decided.text


def test_equal_accuracies_without_any_noise_are_no_win():
    perfect = comparison(compound=1.0, width=1.0, depth=0.9, noise=0)
    assert verdict(dataclasses.replace(perfect, networks=perfect.networks[1:])).outcome == "noise"


def test_a_rival_of_few_seeds_does_not_hide_one_that_is_clearly_better():
    found = results(
        network("width", 0.712, seeds=1), network("depth", 0.711, seeds=9), network("compound", 0.70, seeds=9)
    )
    decided = verdict(found)
    assert decided.outcome == "worse"
    assert "worse than depth alone" in decided.text


def test_unequal_costs_are_reported():
    networks = [network("width", 0.7), network("compound", 0.8, budget=2.2)]
    assert "differ by up to 10%" in verdict(results(*networks)).text
    assert "cost" not in verdict(results(networks[0], network("compound", 0.8, budget=2.05))).text


def test_networks_of_about_equal_cost_are_one_budget():
    networks = [
        network("width", 0.7, 1.95), network("compound", 0.7, 2.1), network("depth", 0.7, 2.05),
        network("compound", 0.7, 2.4), network("width", 0.7, 2.5), network("width", 0.7, 8.0),
        network("width at depth 2", 0.7, 2.0),
    ]  # fmt: skip
    groups = group_by_budget(results(BASELINE, *networks))
    assert [[n.method for n in group] for group in groups] == [
        ["width", "depth", "compound"], ["width", "compound"], ["width"],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("outcomes", "words"),
    [
        (["better"], "was best"),
        (["better", "better"], "best at all 2 budgets"),
        (["better", "worse"], "best at 1 of 2 budgets"),
        (["noise", "worse"], "did not win"),
        (["noise", "unknown"], "within the noise"),
        (["unknown"], "No verdict"),
        (["no comparison"], "not been compared"),
        ([], "not been compared"),
    ],
)
def test_headlines(outcomes, words):
    assert words in headline(outcomes)


def test_what_a_search_says():
    found = search_results()
    text = judge_search(found)
    assert "depth × 1.3, width × 1.2 and resolution × 1.25 best (70.1 ± 0.6%, the baseline 61.0 ± 0.6%)" in text
    assert "1 of the 2 other finished candidates is within the noise" in text
    assert headline_of_search(found) == "Best found: depth × 1.3, width × 1.2 and resolution × 1.25"
    alone = results(BASELINE, network("candidate", 0.7), network("candidate", 0.6), kind="search")
    assert "Every other finished candidate is worse" in judge_search(alone)
    flattered = dataclasses.replace(network("candidate", 0.9, seeds=1), stopped=2)
    assert "given up early (2), so its mean flatters it" in judge_search(results(BASELINE, flattered, kind="search"))
    assert "nothing is known of the noise" in judge_search(search_results(seeds=1))
    assert "no finished candidate" in judge_search(results(BASELINE, kind="search"))


@pytest.mark.parametrize(
    ("number", "text"),
    [(812, "812"), (999_600, "1.00 M"), (387_000_000, "387 M"), (1_830_000_000, "1.83 G"), (99_960, "100 k")],
)
def test_quantities(number, text):
    assert quantity(number) == text


def test_listing():
    assert [listing(list("abc")[:count]) for count in range(4)] == ["", "a", "a and b", "a, b and c"]


@pytest.mark.slow
def test_the_whole_report(folder):
    path = write_report(folder)
    assert path == folder / "report.html"
    page = Tags(path.read_text("utf-8"))
    markdown = (folder / "report.md").read_text("utf-8")
    text = " ".join(page.text.split())
    for words in (
        "Compound scaling was best",
        "The search found",
        "Images to train on | 1,437",
        "Epochs | 10",
        "Flip | no",
    ):
        assert words.replace(" | ", "") in text
        assert words in markdown
    assert text.index("Compound scaling was best") < text.index("What was done")
    assert "| Compound | 1.20 | 1.30 | 40 px | 1.00 M | 40.0 M | 75.0 ± 0.6% | 3 |" in markdown
    assert "| Given up | 1.20 | 1.30 | 40 px | 1.00 M | 40.0 M | – | 0 + 2 given up |" in markdown
    assert "Width at other depths" not in text
    assert [image["alt"][:10] for image in page.of("img")] == ["Line chart", "Dot plot o"]
    assert "Compound: 75.0\xa0±\xa00.6% at 40.0\xa0M." in page.of("img")[0]["alt"]
    for image, source in zip(page.of("img"), page.of("source"), strict=True):
        assert source["media"] == "(prefers-color-scheme: dark)"
        assert image["src"] != source["srcset"]
        assert image["src"].startswith("data:image/png;base64,")
    assert "http" not in path.read_text("utf-8")
    assert not page.of("script") + page.of("link")
    figures = {file.name: file.read_bytes()[:4] for file in (folder / "figures").iterdir()}
    names = {f"{name}-{theme}.png" for name in ("accuracy", "search") for theme in ("light", "dark")}
    assert figures == dict.fromkeys(names, b"\x89PNG")
    assert all(f"figures/{name}" in markdown for name in names)


@pytest.mark.slow
def test_either_file_is_enough(tmp_path):
    search_results().save(tmp_path / "search.json")
    assert "Best found" in write_report(tmp_path).read_text("utf-8")
    (tmp_path / "search.json").unlink()
    waiting = results(*(dataclasses.replace(n, accuracies=()) for n in comparison().networks))
    waiting.save(tmp_path / "compare.json")
    text = write_report(tmp_path).read_text("utf-8")
    assert "not been compared yet" in text
    assert "nan" not in re.sub(r"data:[^\"]*", "", text)


@pytest.mark.slow
def test_width_at_other_depths_and_resolutions(tmp_path):
    more = [network("width at depth 2", 0.7, budget) for budget in (2, 4)]
    found = comparison()
    dataclasses.replace(found, networks=(*found.networks, *more)).save(tmp_path / "compare.json")
    page = Tags(write_report(tmp_path).read_text("utf-8"))
    assert (
        "Width at depth 2: 70.0\xa0±\xa00.6% at 40.0\xa0M, 70.0\xa0±\xa00.6% at 80.0\xa0M." in page.of("img")[1]["alt"]
    )
    assert (tmp_path / "figures" / "width-dark.png").exists()


@pytest.mark.slow
def test_names_are_text_and_nothing_else(tmp_path):
    name = "<script>alert('&amp;')</script> \"$x | _y_ \ud800\x00\n# z"
    found = comparison()
    more = network(f"width at {name}", 0.7)
    dataclasses.replace(
        found, networks=(*found.networks, more), baseline=name, data={"name": name}, recipe={name: name}
    ).save(tmp_path / "compare.json")
    page = Tags(write_report(tmp_path).read_text("utf-8"))
    assert not page.of("script")
    assert page.text.count(clean(name)) >= 4
    markdown = (tmp_path / "report.md").read_text("utf-8")
    assert "<script" not in markdown.replace("\\<script", "")
    rows = [line for line in markdown.splitlines() if line.startswith("| Width at")]
    assert len(rows) == 1
    assert len(re.findall(r"(?<!\\)\|", rows[0])) == 9


@pytest.mark.slow
def test_an_interrupted_report_leaves_the_one_before(folder, monkeypatch):
    before = write_report(folder).read_bytes()
    write = Path.write_bytes

    def fail(path, content):
        write(path, content[: len(content) // 2])
        raise OSError("disk full")

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(OSError, match="disk full"):
        write_report(folder)
    assert (folder / "report.html").read_bytes() == before


def test_nothing_to_report_on(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"search\.json.*design search.*compare\.json.*design compare"):
        write_report(tmp_path)
    (tmp_path / "compare.json").write_text("{}")
    with pytest.raises(ValueError, match="does not hold the results"):
        write_report(tmp_path)


def test_without_matplotlib(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"pip install 'efficientnet\[design\]>=2'"):
        write_report(folder)
    assert not (folder / "report.html").exists()


def test_lines_start_at_the_baseline_and_bars_are_standard_errors():
    found = comparison()
    (axes,) = draw_lines(found, accuracy_lines(found), LIGHT).axes
    containers = {container.get_label(): container for container in axes.containers}
    assert list(containers) == ["width", "depth", "resolution", "compound", "baseline"]
    line, _, (bars,) = containers["compound"]
    np.testing.assert_allclose(line.get_xydata(), [(20e6, 61), (40e6, 75)])
    half = (bars.get_segments()[1][1, 1] - bars.get_segments()[1][0, 1]) / 2
    assert half == pytest.approx(100 * 0.01 / math.sqrt(3))


def test_the_search_marks_the_best_the_equal_and_the_given_up():
    (axes,) = draw_search(search_results(), DARK).axes
    accent, background = DARK.methods["compound"], DARK.background
    faces = [container[0].get_markerfacecolor() for container in axes.containers]
    assert faces == [accent, accent, background]
    (crosses,) = [line for line in axes.lines if line.get_marker() == "x"]
    assert list(crosses.get_ydata()) == [3]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["d 1.30  w 1.20  r 1.25"] * 4


def test_activation_maps_are_brightest_where_the_evidence_is():
    evidence = np.zeros((4, 4), np.float32)
    evidence[0, 0] = 1
    image = np.full((4, 4, 3), 100, np.uint8)
    figure = draw_activation_maps([image], ["$a cat"], {"width": [evidence], "compound": [1 - evidence]}, LIGHT)
    assert [axes.get_title() for axes in figure.axes] == ["image", "width", "compound"]
    width, compound = (axes.images[0].get_array() for axes in figure.axes[1:])
    red_over_blue = width[..., 0] - width[..., 2]
    assert red_over_blue[0, 0] > 0.3
    np.testing.assert_allclose(red_over_blue[1:], 0, atol=1e-6)  # no evidence leaves a grey image
    np.testing.assert_allclose(compound[0, 0], width[1, 1])
