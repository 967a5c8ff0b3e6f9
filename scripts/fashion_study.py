"""What pretraining is worth: Lite0 on 2,000 images of Fashion-MNIST, from its published weights and from random ones.

    python scripts/fashion_study.py --out runs/fashion

Both networks are trained by ``efficientnet train`` for the same number of epochs, and validated on all 10,000 test
images after each. The settings were found on 2,000 other images of the training set. ``--out`` gets a run for each,
and results.json; the curves go to misc/training. Killed, the same command goes on where it was.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SETTINGS = [
    "fashion-mnist", "--training-images", "2000", "--model", "lite0", "--image-size", "128",
    "--learning-rate", "2e-3", "--set", "magnitude=[0, 0]", "--set", "erase=0", "--set", "epoch_steps=0",
    "--set", "unfreeze=null", "--set", "patience=null",
]  # fmt: skip
# 18 epochs each. Without pretraining there is nothing to freeze or to spare.
NETWORKS = {
    "pretrained": ("imagenet", ["head_epochs=2", "epochs=18"]),
    "random": (
        "none",
        ["head_epochs=0", "epochs=18", "freeze_batch_norm=false", "layer_decay=1"],
    ),
}


def main(argv: list[str] | None = None) -> int:
    """Run the script; return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    out = parser.parse_args(argv).out
    results = {}
    for name, (weights, fields) in NETWORKS.items():
        run = out / name
        command = [sys.executable, str(ROOT / "scripts" / "train.py"), *SETTINGS, "--weights", weights]
        command += [argument for field in fields for argument in ("--set", field)]
        subprocess.run([*command, "--out", str(run), "--resume"], check=True)
        with (run / "log.csv").open() as file:
            rows = list(csv.DictReader(file))
        # The last epoch's, not the best one's: the test images choose nothing.
        results[name] = {
            "accuracy": float(rows[-1]["val_accuracy"]),
            "minutes": sum(float(row["seconds"]) for row in rows) / 60,
        }
        images = ROOT / "misc" / "training"
        images.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(run / "curves.png", images / f"fashion-{name}.png")
    (out / "results.json").write_text(json.dumps(results, indent=2) + "\n")
    print(json.dumps(results, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
