"""The report's figures, each in a light and a dark theme.

They follow figures 3, 4, 7 and 8 of arXiv 1905.11946. Nothing of Matplotlib's global state is used.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..common.text import clean
from ..explain.overlay import over_grey
from ..reports.theme import FONT_SIZE, Theme, new_figure, shorten, style
from .results import Network, Results
from .verdict import METHODS, budget_of, find_baseline, group_by_budget, quantity, standing

_MARKERS = {"width": "s", "depth": "^", "resolution": "D", "compound": "o", "baseline": "o"}
_LINES = {
    "width": (0, (5, 2)),
    "depth": (0, (1, 1.5)),
    "resolution": (0, (5, 1.5, 1, 1.5)),
    "compound": "-",
    "baseline": "",
}


def accuracy_lines(results: Results) -> dict[str, list[Network]]:
    """Return the finished networks of each method, cheapest first, and the baseline (figures 3 and 8)."""
    return _lines(results, (*METHODS, "baseline"))


def width_lines(results: Results) -> dict[str, list[Network]]:
    """Return those of each width scaling, at several depths and resolutions (figure 4); none without a second one."""
    others = dict.fromkeys(n.method for n in results.networks if n.method.startswith("width at "))
    lines = _lines(results, ("width", *others))
    return lines if lines.keys() - {"width"} else {}


def _lines(results: Results, methods: Iterable[str]) -> dict[str, list[Network]]:
    lines = {method: sorted(results.finished_of(method), key=lambda n: n.macs) for method in methods}
    return {method: networks for method, networks in lines.items() if networks}


def draw_lines(results: Results, lines: Mapping[str, Sequence[Network]], theme: Theme) -> Any:
    """Draw accuracy against multiply-adds, a line for each method; those of ``METHODS`` begin at the baseline.

    Args:
        results: Results of a comparison.
        lines: Networks by method, from :func:`accuracy_lines` or :func:`width_lines`.
        theme: ``LIGHT`` or ``DARK``.

    Returns:
        A ``matplotlib.figure.Figure``. Error bars are one standard error of the network's own seeds; they are left out
        for a single seed.

    Raises:
        ImportError: Matplotlib is missing; the message names the extra.
    """
    figure = new_figure(3.5, theme)
    axes = figure.subplots()
    baseline = find_baseline(results)
    start = [baseline] if baseline else []
    for index, (method, networks) in enumerate(lines.items()):
        color = (
            theme.ink if method == "baseline" else theme.methods.get(method, theme.series[index % len(theme.series)])
        )
        drawn = [*start, *networks] if method in METHODS else networks
        axes.errorbar(
            [n.macs for n in drawn], [100 * n.mean for n in drawn], yerr=_error(drawn), color=color,
            label=method.removeprefix("width ") if "width" in lines and method != "width" else method,
            marker=_MARKERS.get(method, "osD^vP"[index % 6]), linestyle=_LINES.get(method, "-"), markersize=5,
            linewidth=1.8 if method == "compound" else 1.4, elinewidth=1.1, capsize=2.5, zorder=3 + index / 10,
        )  # fmt: skip
    # Equal factors of multiply-adds are equally far apart.
    axes.set_xscale("log")
    ticks = [*(n.macs for n in start), *(budget_of(group) for group in group_by_budget(results))]
    axes.set_xticks(ticks, [quantity(tick) for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.set(xlabel="multiply-adds", ylabel="top-1 accuracy (%)")
    style(axes, theme, grid="y")
    bars, labels = axes.get_legend_handles_labels()
    _legend(figure, [bar[0] for bar in bars], labels, theme)
    return figure


def draw_search(results: Results, theme: Theme) -> Any:
    """Draw the candidates of a search, best first, with the accuracy of each seed (the paper's step 1).

    Filled dots are the best candidate and those within its noise; a cross marks candidates whose trainings were
    given up.

    Args, return value and errors are those of :func:`draw_lines`.
    """
    baseline = find_baseline(results)
    finished = results.finished_of("candidate")
    pruned = [n for n in results.networks if n.method == "candidate" and not n.accuracies and n.stopped]
    rows = [*finished, *pruned]
    figure = new_figure(1.35 + 0.22 * len(rows), theme)
    axes = figure.subplots()
    legend: dict[str, Any] = {}
    for place, network in enumerate(finished):
        kind = standing(results, network)
        color = theme.faint if kind == "worse" else theme.methods["compound"]
        face = theme.background if kind == "worse" else color
        seeds = axes.plot(
            [100 * value for value in network.accuracies], [place] * len(network.accuracies),
            "|", color=color, markersize=6, alpha=0.55, zorder=2,
        )  # fmt: skip
        legend.setdefault("one training", seeds[0])
        dot = axes.errorbar(
            [100 * network.mean], [place], xerr=_error([network]), fmt="o", color=color, markerfacecolor=face,
            markersize=8 if not place else 5.5, elinewidth=1.4, capsize=2.5, zorder=3,
        )  # fmt: skip
        legend.setdefault(kind, dot[0])
    if baseline:
        line = axes.axvline(100 * baseline.mean, color=theme.faint, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
        legend["baseline"] = line
    left = axes.get_xlim()[0]
    if places := [place for place, network in enumerate(rows) if network.stopped]:
        crosses = axes.plot([left] * len(places), places, "x", color=theme.faint, markersize=5, clip_on=False, zorder=3)
        legend["given up early"] = crosses[0]
    axes.set_xlim(left=left)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_yticks(range(len(rows)), [_factors(n, baseline) for n in rows])
    axes.set_xlabel("top-1 accuracy (%)")
    style(axes, theme, grid="x")
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", pad=8)
    _legend(figure, list(legend.values()), list(legend), theme)
    return figure


def draw_activation_maps(
    images: Sequence[NDArray[np.uint8]],
    labels: Sequence[str],
    maps: Mapping[str, Sequence[NDArray[np.float32]]],
    theme: Theme,
) -> Any:
    """Draw images, and where each network saw their class (figure 7).

    Args:
        images: Images, (height, width, 3) RGB, at least one.
        labels: Name of each image's class.
        maps: For each method, the class activation map of each image, (height, width), 0..1.
        theme: ``LIGHT`` or ``DARK``.

    Returns:
        A ``matplotlib.figure.Figure``.

    Raises:
        ImportError: Matplotlib is missing; the message names the extra.
    """
    columns = 1 + len(maps)
    side = 1.18
    figure = new_figure(side * len(images) + 0.3, theme, width=side * columns + 0.25)
    grid = figure.subplots(len(images), columns, squeeze=False)
    for axes, method in zip(grid[0], ["image", *maps], strict=True):
        axes.set_title(method, fontsize=FONT_SIZE, color=theme.methods.get(method, theme.ink), pad=5)
    for cells, image, label, *found in zip(grid, images, labels, *maps.values(), strict=True):
        grey = np.repeat(image.mean(axis=2, keepdims=True) / 255, 3, axis=2)
        for axes, shown in zip(cells, [image, *(over_grey(grey, one) for one in found)], strict=True):
            axes.set_axis_off()
            axes.imshow(shown)
        cells[0].text(
            -0.06, 0.5, shorten(label, 18), transform=cells[0].transAxes, rotation=90, ha="right", va="center",
            fontsize=FONT_SIZE, color=theme.ink, parse_math=False,
        )  # fmt: skip
    return figure


def _factors(network: Network, baseline: Network | None) -> str:
    resolution = f"{network.resolution / baseline.resolution:.2f}" if baseline else f"{network.resolution} px"
    return f"d {network.depth:.2f}  w {network.width:.2f}  r {resolution}"


def _error(networks: Sequence[Network]) -> list[float]:
    """Return the lengths of the error bars, per cent; 0 without a standard error."""
    return [0.0 if math.isnan(n.standard_error) else 100 * n.standard_error for n in networks]


def _legend(figure: Any, handles: Sequence[Any], labels: Sequence[str], theme: Theme) -> None:
    names = [clean(label) for label in labels]
    legend = figure.legend(
        handles, names, loc="outside upper center", ncols=min(len(names), 3), frameon=False, fontsize=FONT_SIZE - 0.5,
        labelcolor=theme.ink, handlelength=2.2, columnspacing=1.6,
    )  # fmt: skip
    for text in legend.get_texts():
        text.set_parse_math(False)  # a dollar sign in a name starts no formula
