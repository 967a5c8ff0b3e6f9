"""The study of compound scaling in docs/design.md: step 1 and the comparison at equal cost, on Fashion-MNIST.

    python scripts/design_study.py --out runs/study

All settings and seeds are in design_study.json beside this script. The trainings are shared out among as many
processes as the machine has cores, one thread each. Killed, the same command goes on where it was. At the end the
results and the light figures of the report are copied to misc/design.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from efficientnet import Variant, get_variant
from efficientnet.datasets.builtin import load_fashion_mnist
from efficientnet.design import (
    Baseline,
    Coefficients,
    Results,
    ShortTraining,
    candidates,
    compare,
    load_results,
    search,
)
from efficientnet.design.report import write_report
from efficientnet.family.costs import cost

SETTINGS = Path(__file__).with_suffix(".json")
MISC = Path(__file__).resolve().parents[1] / "misc" / "design"
STEPS = ("search", "compare")


def small_baseline(settings: dict[str, Any]) -> Variant:
    """Return the first stages of a variant, with a few of its numbers changed."""
    changes = dict(settings)
    variant = get_variant(changes.pop("variant"))
    blocks = variant.blocks[: changes.pop("stages")]
    return dataclasses.replace(variant, name=f"{variant.name}-small", blocks=blocks, **changes)


def best_coefficients(results: Results, resolution: int) -> Coefficients:
    """Return α, β, γ of the most accurate candidate."""
    best = results.finished_of("candidate")[0]
    return Coefficients(best.depth, best.width, best.resolution / resolution)


def work(step: str, folder: Path, settings: dict[str, Any]) -> None:
    """Do a step, together with whichever other processes do the same."""
    variant = small_baseline(settings["baseline"])
    chosen = settings["data"]
    data = load_fashion_mnist().subset(chosen["training"], chosen["validation"], chosen["seed"])
    recipe = ShortTraining(**settings["recipe"])
    own = settings[step]
    baseline = Baseline.from_variant(variant)
    if step == "search":
        grid = candidates(own["target"], own["tolerance"], own["steps"])
        search(
            baseline, data, folder, grid=grid, target=own["target"], cost_tolerance=own["cost_tolerance"],
            seeds=own["seeds"], recipe=recipe,
        )  # fmt: skip
    else:
        coefficients = best_coefficients(load_results(folder.parent / "search" / "search.json"), variant.resolution)
        least = cost(variant, classes=len(data.classes)).macs
        compare(
            baseline, [times * least for times in own["times_baseline"]], data, folder,
            coefficients=coefficients, seeds=own["seeds"], recipe=recipe, tolerance=own["tolerance"],
            widths_at=own["widths_at"],
        )  # fmt: skip


def share_out(step: str, out: Path) -> None:
    """Run a step in one process for each core, which takes less time than one process with all cores."""
    command = [sys.executable, __file__, "--out", str(out), "--step", step]
    workers = [
        subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}) for _ in range(os.cpu_count() or 1)
    ]
    if any([worker.wait() for worker in workers]):
        raise SystemExit(f"A process of the {step} failed: see above; the same command goes on where it was.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="of the run")
    parser.add_argument("--step", choices=STEPS, help="work on this step alone, sharing it with other processes")
    arguments = parser.parse_args()
    settings = json.loads(SETTINGS.read_text())
    os.environ["KERAS_BACKEND"] = settings["backend"]
    if arguments.step:
        work(arguments.step, arguments.out / arguments.step, settings)
        return
    for step in STEPS:
        if not (arguments.out / step / f"{step}.json").exists():
            share_out(step, arguments.out)
    report = arguments.out / "report"
    report.mkdir(exist_ok=True)
    for step in STEPS:
        for name in (f"{step}.json", "images.npz"):
            if (arguments.out / step / name).exists():
                shutil.copy(arguments.out / step / name, report)
    shutil.copytree(arguments.out / "compare" / "models", report / "models", dirs_exist_ok=True)
    write_report(report)
    MISC.mkdir(exist_ok=True)
    for file in (*report.glob("*.json"), *report.glob("figures/*-light.png")):
        shutil.copy(file, MISC)


if __name__ == "__main__":
    main()
