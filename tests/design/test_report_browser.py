"""The report as a browser shows it: no error, and never wider than the window."""

import html

import numpy as np
import pytest
from chromium import found_by_page, needs_chromium

from efficientnet.design.report import write_report
from efficientnet.design.results import Network, Results

pytest.importorskip("matplotlib")

# A frame is a window to what is in it, and can be narrower than the browser's own smallest one.
FRAME = """<!DOCTYPE html><body><iframe srcdoc="{page}" style="width: {width}px; height: 800px; border: 0"></iframe>
<script>
onload = () => {{
  const page = document.querySelector("iframe").contentDocument;
  const images = [...page.images].map(image => image.naturalWidth);
  document.body.dataset.found = [page.documentElement.scrollWidth, ...images].join(" ");
}};
</script>"""

pytestmark = [pytest.mark.slow, needs_chromium]


def look_at(page, width, folder):
    """The width that a page takes in a window, that of its images, and what the browser complains of."""
    (folder / "frame.html").write_text(FRAME.format(page=html.escape(page), width=width), encoding="utf-8")
    found, complaints = found_by_page((folder / "frame.html").as_uri(), folder)
    taken, *images = map(int, found.split())
    return taken, images, complaints


@pytest.fixture
def page(tmp_path):
    rng = np.random.default_rng(0)
    data = {"name": "a_name_without_any_space_that_is_wider_than_a_phone", "classes": 10}
    networks = [Network("baseline", 1.0, 1.0, 224, 5_000_000, 390_000_000, (0.6, 0.61))]
    for method in ("width", "depth", "resolution", "compound", "width at depth 2 and resolution 1.3"):
        for budget in (2, 4):
            accuracies = tuple(map(float, rng.normal(0.7, 0.01, 2)))
            networks.append(Network(method, 1.4, 1.0, 224, 10_000_000, 390_000_000 * budget, accuracies))
    Results("compare", "mobilenet", data, {"epochs": 10}, tuple(networks)).save(tmp_path / "compare.json")
    candidates = [Network("candidate", 1.1, 1.2, 256, 7_000_000, 780_000_000, n.accuracies) for n in networks[1:]]
    Results("search", "mobilenet", data, {"epochs": 10}, tuple(candidates)).save(tmp_path / "search.json")
    return write_report(tmp_path).read_text("utf-8")


@pytest.mark.parametrize("width", [360, 1280])
def test_fits_the_window_without_an_error(page, width, tmp_path):
    taken, images, complaints = look_at(page, width, tmp_path)
    assert width - 20 < taken <= width  # the scroll bar takes some of it
    assert len(images) == 3
    assert all(images)
    assert not complaints


def test_what_does_not_fit_and_what_fails_is_seen(tmp_path):
    page = '<div style="width: 900px">wide</div><img src="data:image/png;base64,AAAA"><script>missing()</script>'
    taken, images, complaints = look_at(page, 360, tmp_path)
    assert taken > 360
    assert images == [0]
    assert "missing is not defined" in complaints[0]
