"""Fine-tuning Lite0 without settings, against other ways to do it, on small sets of images.

    python scripts/finetune_study.py --out runs/finetune
    python scripts/finetune_study.py --out runs/finetune --tasks digits-5 --methods "logistic regression" --seeds 0

Each task is drawn anew for each seed, and each method gets the same draw, in a process of its own. The test images are
used once, at the end. --out gets results.jsonl with the score of each run and the seconds that its training took.
Killed, the same command goes on with the runs that are missing. The table has means over the seeds and their 95%
intervals (Student's t); a score is the accuracy, the mean recall where the classes differ in number, or the mean
average precision of labels.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from study.methods import METHODS
from study.tasks import TASKS

RESULTS = "results.jsonl"
# Student's t, two-sided 95%, by the number of seeds.
_T = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}


def run_one(task: str, method: str, seed: int) -> dict[str, Any]:
    """Run a method on a task in this process; return the row of the results."""
    drawn = TASKS[task](seed)
    started = time.monotonic()
    predict = METHODS[method](drawn, seed)
    seconds = time.monotonic() - started
    score = drawn.score(predict(drawn.test.pixels))
    return {"task": task, "method": method, "seed": seed, "score": round(score, 5), "seconds": round(seconds)}


def run_missing(out: Path, tasks: Sequence[str], methods: Sequence[str], seeds: Sequence[int]) -> int:
    """Run what has no row in the results, each in a process of its own; return how many of them failed."""
    failed = 0
    for seed in seeds:
        for task in tasks:
            for method in methods:
                if any((row["task"], row["method"], row["seed"]) == (task, method, seed) for row in read(out)):
                    continue
                command = [sys.executable, __file__, "--out", str(out), "--one", task, method, str(seed)]
                # Threads that wait do not take the processor from what else runs.
                environment = {"TF_CPP_MIN_LOG_LEVEL": "3", "OMP_WAIT_POLICY": "PASSIVE", **os.environ}
                if subprocess.run(command, check=False, env=environment).returncode:
                    print(f"failed: {task}, {method}, seed {seed}", file=sys.stderr)
                    failed += 1
    return failed


def read(out: Path) -> list[dict[str, Any]]:
    """Return the rows of the results so far."""
    path = out / RESULTS
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the results as Markdown: a row per task, a column per method, and the means over the tasks of all."""
    methods = [method for method in METHODS if any(row["method"] == method for row in rows)]
    tasks = [task for task in TASKS if any(row["task"] == task for row in rows)]
    lines = [f"| task | {' | '.join(methods)} |", f"|---|{'--:|' * len(methods)}"]
    means: list[list[float]] = []
    for task in tasks:
        scores = [
            [row["score"] for row in rows if row["task"] == task and row["method"] == method] for method in methods
        ]
        lines.append(f"| {task} | {' | '.join(map(_cell, scores))} |")
        if all(scores):
            means.append([float(np.mean(each)) for each in scores])
    if means:
        lines.append(f"| mean of {len(means)} tasks | {' | '.join(_cell([m]) for m in np.mean(means, axis=0))} |")
    return "\n".join(lines)


def _cell(scores: Sequence[float]) -> str:
    if not scores:
        return "–"
    mean = f"{100 * np.mean(scores):.1f}"
    if len(scores) not in _T:
        return mean
    return f"{mean} ± {100 * _T[len(scores)] * np.std(scores, ddof=1) / math.sqrt(len(scores)):.1f}"


def main(argv: list[str] | None = None) -> int:
    """Run the script; return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    arguments.out.mkdir(parents=True, exist_ok=True)
    if arguments.one:
        task, method, seed = arguments.one
        row = run_one(task, method, int(seed))
        with (arguments.out / RESULTS).open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(row, flush=True)
        return 0
    failed = run_missing(arguments.out, arguments.tasks, arguments.methods, arguments.seeds)
    print(table(read(arguments.out)))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
