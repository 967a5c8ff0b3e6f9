"""Draws misc/accuracy.png: published accuracy against multiply-adds, from the package's own tables.

python scripts/draw_accuracy.py
"""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from efficientnet import get_variant, list_variants
from efficientnet.family import costs
from efficientnet.weights.published import resolve, weights_info

OUT = Path(__file__).resolve().parents[1] / "misc" / "accuracy.png"
# Weights -> color, name, and which point the name stands at, how far away, in points.
SETS = {
    "noisy-student": ("C1", "Noisy Student", 4, (-60, 14)),
    "imagenet": ("C0", "trained on ImageNet alone", 4, (10, -32)),
}
NUDGE = (7, -11)  # from a point to its own name


def points(name: str) -> list[tuple[float, float, str]]:
    """Multiply-adds in billions, top-1 in per cent and short name of each V1 variant with weights of that name."""
    found = []
    for variant in map(get_variant, list_variants("b?")):
        chosen = resolve(name, variant)
        if chosen and chosen.name == name and chosen.top1:
            label = variant.name.removeprefix("efficientnet-").upper()
            found.append((costs.cost(variant).macs / 1e9, 100 * chosen.top1, label))
    return found


def main() -> None:
    """Draw the figure."""
    figure = Figure(figsize=(8, 4.6), layout="constrained")
    axes = figure.subplots()
    for name, (color, label, at, offset) in SETS.items():
        line = points(name)
        macs, top1, _ = zip(*line, strict=True)
        axes.plot(macs, top1, color=color, marker="o", linewidth=2)
        for x, y, text in line:
            axes.annotate(text, (x, y), NUDGE, textcoords="offset points", color=color, fontsize=10)
        place = (macs[at], top1[at])
        axes.annotate(label, place, offset, textcoords="offset points", color=color, weight="bold", fontsize=11)
    macs, top1 = costs.cost(get_variant("lite0")).macs / 1e9, 100 * (weights_info("lite0").top1 or 0)
    axes.plot(macs, top1, color="C2", marker="s")
    axes.annotate("Lite0", (macs, top1), (9, -4), textcoords="offset points", color="C2", fontsize=10)
    axes.set(xscale="log", xlabel="multiply-adds for one image, billions", ylabel="ImageNet top-1 accuracy, %")
    ticks = (0.4, 1, 2, 5, 10, 20, 40)
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.set_xlim(0.32, 52)
    axes.set_ylim(74, 88)
    axes.grid(color="0.92")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(OUT, dpi=150)


if __name__ == "__main__":
    main()
