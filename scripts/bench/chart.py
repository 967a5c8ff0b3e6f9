"""The chart of a race: milliseconds per image, by contender."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path

from .contenders import OURS
from .race import Result

INK, FAINT, OWN, OTHERS = "#1f2328", "#7d8590", "#d1492e", "#9fb3c8"


def draw(results: Sequence[Result], batches: Sequence[int], title: str, path: Path) -> None:
    """Draw bars, the fastest on top, with the quartiles of the rounds; a panel for each batch size.

    Args:
        results: of a race; those without measurements are left out.
        batches: the panels.
        title: of the whole.
        path: of the PNG to write.
    """
    from matplotlib.figure import Figure

    measured = [result for result in results if result.seconds]
    figure = Figure(figsize=(6.2 * len(batches), 1.3 + 0.3 * len(measured)), layout="constrained", facecolor="white")
    figure.suptitle(title, color=INK, fontsize=12)
    for axes, batch in zip(figure.subplots(1, len(batches), squeeze=False)[0], batches, strict=True):
        ranked = sorted((r for r in measured if batch in r.seconds), key=lambda r: -statistics.median(r.seconds[batch]))
        quartiles = [statistics.quantiles([1e3 * s for s in r.seconds[batch]], n=4, method="inclusive") for r in ranked]
        middles = [middle for _, middle, _ in quartiles]
        axes.barh(
            [result.name for result in ranked],
            middles,
            xerr=[[middle - low for low, middle, _ in quartiles], [high - middle for _, middle, high in quartiles]],
            color=[OWN if result.name.startswith(OURS) else OTHERS for result in ranked],
            error_kw={"ecolor": FAINT, "capsize": 2, "elinewidth": 1},
            height=0.7,
        )
        for row, (_, middle, high) in enumerate(quartiles):
            axes.annotate(
                f"{middle:.1f}", (high, row), (5, 0), textcoords="offset points", va="center", color=INK, fontsize=9
            )
        axes.set_title(f"batch {batch}", color=INK, fontsize=11)
        axes.set_xlabel("milliseconds per image", color=INK)
        axes.set_xlim(0, 1.12 * max(high for *_, high in quartiles))
        axes.tick_params(colors=INK, labelsize=9)
        axes.grid(axis="x", color="0.92")
        axes.set_axisbelow(True)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(axis="y", length=0)
    figure.savefig(path, dpi=130)
