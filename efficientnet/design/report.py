"""The report of a design: a run's results as one HTML page, as Markdown and as figures."""

from __future__ import annotations

import functools
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..common import arguments
from ..common.files import write_file
from ..explain import explain
from ..reports.page import Figure, Page, Paragraph, Section, Table, to_html, to_markdown
from ..reports.theme import render_themes
from .figures import accuracy_lines, draw_activation_maps, draw_lines, draw_search, width_lines
from .results import Network, Results, load_results
from .verdict import (
    METHODS,
    accuracy,
    budget_of,
    find_baseline,
    group_by_budget,
    headline,
    headline_of_search,
    judge,
    judge_search,
    listing,
    points,
    proportions,
    quantity,
    standing,
)

_KINDS = ("search", "compare")
_COUNTS = {"classes": "classes", "training": "images to train on", "validation": "images held out"}
_MAX_IMAGES = 6


def write_report(folder: str | os.PathLike[str]) -> Path:
    """Write ``report.html``, ``report.md`` and ``figures/*.png`` of a run into its folder.

    Args:
        folder: Folder with ``search.json``, ``compare.json`` or both, which ``efficientnet design search`` and
            ``compare`` write. Class activation maps are drawn if ``images.npz`` and ``models/METHOD.keras`` are
            there.

    Returns:
        The path of ``report.html``, one self-contained page. Each file takes its name only when it is
        complete, and ``report.html`` last.

    Raises:
        FileNotFoundError: The folder holds neither; the message names the commands that write them.
        ValueError: A file in it has other content.
        ImportError: Matplotlib is missing; the message names the extra.

    Example:
        >>> baseline = Network("baseline", 1.0, 1.0, 64, parameters=10_000, macs=1_000_000, accuracies=(0.75, 0.25))
        >>> data = {"name": "photos", "classes": 2, "training": 8, "validation": 4}
        >>> Results("compare", "mine", data, {}, (baseline,)).save("compare.json")
        >>> write_report(".").name
        'report.html'
    """
    folder = Path(arguments.path("folder", folder, "the folder of a design"))
    found = {kind: load_results(path) for kind in _KINDS if (path := folder / f"{kind}.json").exists()}
    if not found:
        raise FileNotFoundError(
            f"{folder} holds nothing to report on: expected search.json, which `efficientnet design search` writes, or "
            "compare.json, which `efficientnet design compare` writes. Give the folder of such a run."
        )
    images: dict[str, bytes] = {}
    page = _compose(found, folder, images)
    (folder / "figures").mkdir(exist_ok=True)
    for name, content in images.items():
        write_file(folder / "figures" / name, content)
    write_file(folder / "report.md", to_markdown(page, "figures").encode())
    write_file(folder / "report.html", to_html(page, images).encode())
    return folder / "report.html"


def _compose(found: dict[str, Results], folder: Path, images: dict[str, bytes]) -> Page:
    """Return the report, and put the PNG files of its figures into ``images``."""
    findings: list[str] = []
    figures: list[Section] = []
    tables: list[Section] = []
    short = ""
    if "compare" in found:
        compare = found["compare"]
        verdicts = [judge(compare, group) for group in reversed(group_by_budget(compare))]
        short = headline([verdict.outcome for verdict in verdicts])
        findings += [verdict.text for verdict in verdicts]
        figures += _comparison_figures(compare, images)
        tables.append(Section("All networks of the comparison", (_comparison_table(compare),)))
    if "search" in found:
        search = found["search"]
        short = short or headline_of_search(search)
        findings.append(judge_search(search))
        figures += _search_figure(search, images)
        tables.append(Section("All networks of the search", (_search_table(search),)))
    figures += _maps_section(folder, images)
    about = found.get("compare") or found["search"]
    return Page(
        title=f"Compound scaling of {about.baseline} on {about.data.get('name', 'your own data')}",
        verdict=short,
        findings=tuple(findings),
        sections=(
            Section("What was done", (_settings(found), Paragraph(_explain_noise(found)))),
            *figures,
            *tables,
        ),
    )


def _settings(found: dict[str, Results]) -> Table:
    """Return what was scaled, on which data, and how each network was trained; equal settings are listed once."""
    groups: dict[tuple[tuple[str, ...], ...], str] = {}
    for kind, results in found.items():
        data = {"data": results.data.get("name", "without a name")}
        data |= {label: results.data[key] for key, label in _COUNTS.items() if key in results.data}
        settings = {"baseline": results.baseline, **data, **results.recipe}
        rows = tuple((_name(key.replace("_", " ")), _say(value)) for key, value in settings.items())
        groups.setdefault(rows, f"The {kind}" if groups else "")
    return Table("Settings", ("Setting", "Value"), tuple((heading, rows) for rows, heading in groups.items()))


def _say(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else f"{value:g}" if isinstance(value, float) else str(value)


def _name(text: str) -> str:
    return text[:1].upper() + text[1:]


def _explain_noise(found: dict[str, Results]) -> str:
    spreads = [results.deviation for results in found.values() if results.deviation >= 0]
    text = (
        "Accuracy is top-1 on the held-out images: the mean over the seeds ± its standard error. A difference counts "
        "as noise while it is less than twice its own standard error"
    )
    if not spreads:
        return f"{text}; without a network that was trained with two seeds, every difference does."
    return f"{text}. Seeds alone spread a network's accuracy by {listing([*map(points, spreads)])} percentage points."


def _comparison_figures(results: Results, images: dict[str, bytes]) -> list[Section]:
    sections = []
    for name, lines, title, alternative, caption in (
        (
            "accuracy", accuracy_lines(results), "Accuracy against cost", "a line for each way of scaling",
            "Each line starts at the baseline and grows it in one way, so that points above each other cost the same. "
            "Bars are one standard error. On the axis of multiply-adds, equal distances are equal factors.",
        ),
        (
            "width", width_lines(results), "Width at other depths and resolutions", "a line for each of these",
            "Each line grows the width, at another depth and resolution. Where the lines of greater depth and "
            "resolution rise further, the dimensions help each other: the reason to scale them together.",
        ),
    ):  # fmt: skip
        if not lines.keys() - {"baseline"}:
            continue
        images |= render_themes(name, functools.partial(draw_lines, results, lines))
        text = f"Line chart of top-1 accuracy against multiply-adds, {alternative}."
        for method, networks in lines.items():
            reached = ", ".join(f"{accuracy(n)} at {quantity(n.macs)}" for n in networks)
            text += f" {_name(method)}: {reached}."
        sections.append(Section(title, (Figure(name, text, caption),)))
    return sections


def _search_figure(results: Results, images: dict[str, bytes]) -> list[Section]:
    finished = results.finished_of("candidate")
    if not finished:
        return []
    images |= render_themes("search", lambda theme: draw_search(results, theme))
    best, baseline = finished[0], find_baseline(results)
    text = (
        f"Dot plot of {len(finished)} candidates, ranked by accuracy. The best, {proportions(best, baseline)}, has "
        f"{accuracy(best)}."
    )
    for kind, heading in (("within noise", "Within the noise of it"), ("worse", "Worse")):
        if group := [n for n in finished if standing(results, n) == kind]:
            text += f" {heading}: {len(group)}, from {accuracy(group[0])} to {accuracy(group[-1])}."
    if pruned := sum(n.stopped > 0 for n in results.networks):
        text += f" Given up early: {pruned}."
    text += f" The baseline has {accuracy(baseline)}." if baseline else ""
    caption = (
        "Candidates of about the same cost, best first, by their factors of depth (d), width (w) and resolution (r). "
        "Dots are means with one standard error, short strokes the single trainings."
    )
    return [Section("The search", (Figure("search", text, caption),))]


def _maps_section(folder: Path, images: dict[str, bytes]) -> list[Section]:
    """Return class activation maps if the folder holds images and models."""
    models = {method: folder / "models" / f"{method}.keras" for method in ("baseline", *METHODS)}
    models = {method: path for method, path in models.items() if path.exists()}
    if not models or not (folder / "images.npz").exists():
        return []
    pixels, labels, classes = _load_images(folder / "images.npz")
    maps: dict[str, list[NDArray[np.float32]]] = {}
    problems = []
    from ..keras import load_model

    for method, path in models.items():
        try:
            model = load_model(path, compile=False)
            found = explain(model, pixels, class_index=labels, preprocessing="none", crop=1.0, interpolation="bilinear")
            maps[method] = [one.heat_map for one in found]
        except (ValueError, OSError) as error:
            problems.append(Paragraph(f"No maps of {method}: {error}"))
    title = "Where the networks look"
    if not maps:
        return [Section(title, tuple(problems))]
    names = [classes[label] for label in labels]
    images |= render_themes("activation-maps", lambda theme: draw_activation_maps([*pixels], names, maps, theme))
    shares = [f"{100 * np.mean(np.stack(found) > 0.5):.0f}% for {method}" for method, found in maps.items()]
    alternative = (
        f"{len(names)} held-out images, of {listing(names)}, each beside its class activation maps. The evidence is "
        f"above half of its highest in this part of the images, on average: {listing(shares)}."
    )
    caption = (
        "Class activation maps of the images' own classes: the brighter, the more of the evidence lies there. The "
        "scaled networks are those of the largest budget."
    )
    return [Section(title, (Figure("activation-maps", alternative, caption, is_wide=True), *problems))]


def _load_images(path: Path) -> tuple[NDArray[np.uint8], list[int], list[str]]:
    """Read at most six images (n, height, width, 3), their labels, and the names of all classes."""
    try:
        with np.load(path) as arrays:
            pixels, labels, classes = (arrays[name] for name in ("pixels", "labels", "classes"))
        if pixels.ndim != 4 or pixels.shape[3] != 3 or pixels.dtype != np.uint8 or not pixels.size:
            raise ValueError(f"pixels are {pixels.dtype} of shape {pixels.shape}")
        if labels.shape != pixels.shape[:1] or labels.min() < 0 or labels.max() >= len(classes):
            raise ValueError(f"labels {labels} do not fit {len(pixels)} images, {len(classes)} classes")
    except (ValueError, LookupError, EOFError, AttributeError, TypeError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{path} does not hold the images of a comparison ({error}): expected pixels (n, height, width, 3) uint8, "
            "labels (n,) and classes. Remove the file for a report without class activation maps, or run "
            "`efficientnet design compare` again."
        ) from None
    return pixels[:_MAX_IMAGES], [int(label) for label in labels[:_MAX_IMAGES]], [str(name) for name in classes]


def _row(network: Network, name: str) -> tuple[str, ...]:
    seeds = str(len(network.accuracies)) + (f" + {network.stopped} given up" if network.stopped else "")
    return (
        _name(name), f"{network.width:.2f}", f"{network.depth:.2f}", f"{network.resolution} px",
        quantity(network.parameters), quantity(network.macs), accuracy(network), seeds,
    )  # fmt: skip


def _table(label: str, first: str, groups: Sequence[tuple[str, Sequence[tuple[str, ...]]]]) -> Table:
    header = (first, "Width", "Depth", "Resolution", "Parameters", "Multiply-adds", "Accuracy", "Seeds")
    return Table(label, header, tuple((heading, tuple(rows)) for heading, rows in groups if rows))


def _comparison_table(results: Results) -> Table:
    groups = [
        ("", [n for n in results.networks if n.method == "baseline"]),
        *((f"About {quantity(budget_of(group))} multiply-adds", group) for group in group_by_budget(results)),
        ("Other ways of scaling", [n for n in results.networks if n.method not in ("baseline", *METHODS)]),
    ]
    return _table(
        "The comparison", "Method", [(heading, [_row(n, n.method) for n in group]) for heading, group in groups]
    )


def _search_table(results: Results) -> Table:
    rows = [_row(n, standing(results, n)) for n in results.finished_of("candidate")]
    unfinished = [n for n in results.networks if n.method == "candidate" and not n.accuracies]
    rows += [_row(n, "given up" if n.stopped else "not trained") for n in unfinished]
    baseline = [_row(n, n.method) for n in results.networks if n.method == "baseline"]
    return _table("The search's candidates", "Candidate", [("", baseline), ("Candidates, best first", rows)])
