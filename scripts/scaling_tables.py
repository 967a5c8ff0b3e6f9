"""Prints tables of compound scaling: B1–B7 fitted to their published costs, and the paper's tables 3 and 7."""

from __future__ import annotations

import os
import sys

from efficientnet import get_variant
from efficientnet.design import Factors, fit_budget, get_baseline
from efficientnet.family import costs
from efficientnet.reports.tables import table

COMPOUND = Factors(width=1.2, depth=1.4, resolution=1.3)
# arXiv 1905.11946, tables 3 and 7: billions of multiply-adds. For two networks the paper names no compound factors.
DEPTH, WIDTH, RESOLUTION = Factors(depth=4), Factors(width=2), Factors(resolution=2)
PUBLISHED = {
    "mobilenet-v1": {Factors(): 0.6, WIDTH: 2.2, RESOLUTION: 2.2, COMPOUND: 2.3},
    "mobilenet-v2": {Factors(): 0.3, DEPTH: 1.2, WIDTH: 1.1, RESOLUTION: 1.2, None: 1.3},
    "resnet-50": {Factors(): 4.1, DEPTH: 16.2, WIDTH: 14.7, RESOLUTION: 16.4, None: 16.7},
    "b0": {Factors(): 0.4, DEPTH: 1.8, WIDTH: 1.8, RESOLUTION: 1.9, COMPOUND: 1.8},
}


def fits() -> str:
    """Return B1–B7 from B0, α, β, γ and the published multiply-adds alone, beside what was published."""
    rows = []
    for number in range(1, 8):
        variant = get_variant(f"b{number}")
        published = costs.cost(variant)
        fit = fit_budget(get_baseline("b0"), macs=published.macs)
        macs, parameters = fit.prices["macs"], fit.prices["parameters"]
        rows.append(
            [
                f"B{number}", f"{published.macs / 1e9:.2f} G", f"{macs / 1e9:.2f} G",
                f"{macs / published.macs - 1:+.1%}", f"{fit.phi:.2f}",
                f"{fit.factors.width:.2f} / {variant.width}", f"{fit.factors.depth:.2f} / {variant.depth}",
                f"{fit.resolution} / {variant.resolution}",
                f"{parameters / 1e6:.1f} / {published.parameters / 1e6:.1f} M",
            ]
        )  # fmt: skip
    header = ["", "published", "fitted", "", "φ", "width", "depth", "input", "parameters"]
    return table(header, rows)


def published_tables() -> str:
    rows = []
    for name, published in PUBLISHED.items():
        baseline = get_baseline(name)
        for factors, billions in published.items():
            fit = factors or fit_budget(baseline, macs=(billions + 0.05) * 1e9).factors
            how = ", ".join(f"{key} × {value:.3g}" for key, value in fit._asdict().items() if value != 1)
            counted = baseline.cost(fit).macs / 1e9
            agrees = abs(counted - billions) <= max(0.05, 0.03 * billions)
            fitted = "" if factors else " (fitted)"
            rows.append([name, (how or "baseline") + fitted, billions, f"{counted:.2f}", "" if agrees else "no"])
    return table(["", "scaled by", "paper", "counted", "agrees"], rows)


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    print(fits(), published_tables(), sep="\n\n", file=sys.stdout)
