"""Fine-tunes a pretrained network on your own pictures, or with --demo on scikit-learn's handwritten digits.

    python scripts/finetune.py --demo
    python scripts/finetune.py flowers           (pictures in flowers/rose/, flowers/tulip/, …)
    efficientnet predict --model runs/flowers/model.keras photo.jpg

First a new classifier is trained on the features that the frozen network gives, which are computed once. Then the
last blocks are trained with it, more slowly and on pictures that are moved about a little. Batch norm keeps the
statistics of the pretraining throughout: those of a few pictures would be worse.

The folder --out gets model.keras, the best epoch's model, which takes raw pixels 0..255, holds its class names and
opens with plain Keras (where it is saved again, without the names); log.csv; curves.png, if Matplotlib is installed;
and checkpoint.npz, from which --resume goes on.
"""

from __future__ import annotations

import argparse
import csv
import functools
import json
import math
import os
import sys
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from efficientnet import Variant, get_variant
from efficientnet.backends import import_keras
from efficientnet.datasets import Data, batches, load_digits, load_folder
from efficientnet.files import replacing
from efficientnet.notes import write_class_names

DEMO_SIZE = 96  # pixels
LABEL_SMOOTHING = 0.1
LOG_FIELDS = ("epoch", "phase", "loss", "accuracy", "val_loss", "val_accuracy", "seconds")


def augmentation(flip: bool) -> Any:
    """Layers that move each picture about a little in its own way; with ``flip`` they mirror half of them."""
    import keras

    layers = [
        keras.layers.RandomRotation(0.03, fill_mode="nearest"),
        keras.layers.RandomTranslation(0.08, 0.08, fill_mode="nearest"),
        keras.layers.RandomZoom(0.1, fill_mode="nearest"),
    ]
    return keras.Sequential([*layers, keras.layers.RandomFlip("horizontal")] if flip else layers)


def build_model(variant: Variant, weights: str | None, classes: int, size: int, unfreeze: int) -> Any:
    """A flat Keras model from (batch, size, size, 3) raw pixels 0..255 to (batch, classes) probabilities.

    Trainable are the last ``unfreeze`` blocks and what follows, but for batch norm.
    """
    import keras

    from efficientnet.keras import create

    input_shape = (size, size, 3)
    base = create(variant, False, weights, input_shape=input_shape, pooling="avg", include_preprocessing=True)
    blocks = list(dict.fromkeys(layer.name.split("_")[0] for layer in base.layers if layer.name.startswith("block")))
    trained = {*blocks[-unfreeze:], "top"}
    for layer in base.layers:
        layer.trainable = layer.name.split("_")[0] in trained and not isinstance(layer, keras.layers.BatchNormalization)
    x = keras.layers.Dropout(variant.dropout_rate, name="top_dropout")(base.output)
    x = keras.layers.Dense(classes, activation="softmax", name="probs", dtype="float32")(x)
    return keras.Model(base.input, x, name=f"{variant.name}-finetuned")


def quality(row: dict[str, Any]) -> tuple[float, float]:
    """What makes an epoch better than another: its accuracy in validation, then its loss."""
    return row["val_accuracy"], -row["val_loss"]


class Run:
    """A run and its folder. ``history``, a row for each finished epoch, tells how far it has come."""

    def __init__(self, folder: Path, model: Any, settings: dict[str, Any]) -> None:
        """Starts a run, or takes up the one in ``folder``, which then has to be of the same ``settings``."""
        self.folder, self.model, self.settings = folder, model, settings
        self.model_path, self.checkpoint = folder / "model.keras", folder / "checkpoint.npz"
        self.history: list[dict[str, Any]] = []
        if not self.checkpoint.exists():
            folder.mkdir(parents=True, exist_ok=True)
            return
        with np.load(self.checkpoint) as arrays:
            state = json.loads(str(arrays["state"]))
        if state["settings"] != settings:
            raise ValueError(
                f"{folder} holds a run with {state['settings']}, this would be one with {settings}: "
                "choose another --out, or repeat the options of that run."
            )
        self.history = state["history"]
        self.restore("model", model.variables)
        print(f"{folder}: going on after epoch {len(self.history)}")

    def restore(self, kind: str, variables: Sequence[Any]) -> None:
        """Puts back what the checkpoint holds of the "model" or the "optimizer"."""
        with np.load(self.checkpoint) as arrays:
            for index, variable in enumerate(variables):
                variable.assign(arrays[f"{kind}/{index}"])

    def rows(self, phase: str) -> list[dict[str, Any]]:
        return [row for row in self.history if row["phase"] == phase]

    def is_finished(self, phase: str, epochs: int, patience: int) -> bool:
        """Whether a phase has had all its epochs, or ``patience`` of them since its best one."""
        rows = self.rows(phase)
        best = max(range(len(rows)), key=lambda index: quality(rows[index]), default=0)
        return len(rows) >= epochs or len(rows) > best + patience

    def end_epoch(self, row: dict[str, Any], optimizer: Any) -> None:
        """Writes all files. The checkpoint comes last: with it the epoch counts, without it is repeated."""
        if all(quality(row) > quality(other) for other in self.history):
            with replacing(self.model_path) as part:
                self.model.save(part)
                write_class_names(part, self.settings["classes"])
        self.history.append(row)
        with replacing(self.folder / "log.csv") as part, part.open("w", newline="") as file:
            log = csv.DictWriter(file, LOG_FIELDS)
            log.writeheader()
            log.writerows(self.history)
        if find_spec("matplotlib"):
            self.draw_curves()
        arrays = {"state": np.array(json.dumps({"settings": self.settings, "history": self.history}))}
        for kind, variables in (("model", self.model.variables), ("optimizer", optimizer.variables)):
            arrays |= {f"{kind}/{index}": np.asarray(variable) for index, variable in enumerate(variables)}
        with replacing(self.checkpoint) as part:
            np.savez(part, **arrays)

    def draw_curves(self) -> None:
        """Draws loss and accuracy over the epochs."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(10, 4), layout="constrained")
        epochs = [row["epoch"] for row in self.history]
        for axes, field in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
            for key, label in ((field, "training"), (f"val_{field}", "validation")):
                axes.plot(epochs, [row[key] for row in self.history], marker=".", label=label)
            if self.rows("top"):
                axes.axvline(len(self.rows("head")) + 0.5, color="grey", linestyle=":", label="last blocks, too")
            axes.set(xlabel="epoch", ylabel=field)
            axes.legend()
        with replacing(self.folder / "curves.png") as part:
            figure.savefig(part)


def train_phase(
    phase: str, network: Any, inputs: np.ndarray, data: Data, run: Run, options: argparse.Namespace
) -> None:
    """Trains what is trainable in ``network``, which maps ``inputs`` to probabilities, epoch by epoch."""
    import keras

    epochs, learning_rate = getattr(options, f"epochs_{phase}"), getattr(options, f"lr_{phase}")
    targets = np.eye(len(data.classes), dtype=np.float32)[data.labels]
    batch_size = min(options.batch_size, len(data.training))
    steps = len(data.training) // batch_size  # what is left over has its chance in another epoch
    # Adam's first steps are its rashest, so the rate rises for an epoch before it falls.
    decay_steps = max(1, (epochs - 1) * steps)
    schedule = keras.optimizers.schedules.CosineDecay(0.0, decay_steps, warmup_target=learning_rate, warmup_steps=steps)
    optimizer = keras.optimizers.Adam(schedule)
    loss = keras.losses.CategoricalCrossentropy(label_smoothing=LABEL_SMOOTHING)
    network.compile(optimizer, loss, metrics=["accuracy"])
    optimizer.build(network.trainable_variables)
    if run.rows(phase):
        run.restore("optimizer", optimizer.variables)
    while not run.is_finished(phase, epochs, options.patience):
        epoch = len(run.history) + 1
        started = time.monotonic()
        # Seeded by the epoch, so that a resumed run draws what an uninterrupted one would have.
        keras.utils.set_random_seed(options.seed + epoch)
        rows = np.random.permutation(data.training)[: steps * batch_size]
        moved = augmentation(flip=not options.demo)
        augment = functools.partial(moved, training=True) if inputs is data.pixels else None
        history = network.fit(
            batches(inputs, targets, rows, batch_size, augment),
            validation_data=batches(inputs, targets, data.validation, batch_size),
            steps_per_epoch=steps,
            validation_steps=math.ceil(len(data.validation) / batch_size),
            shuffle=False,
            verbose=1 if sys.stdout.isatty() else 0,
        ).history
        row = {"epoch": epoch, "phase": phase, **{key: round(float(values[0]), 5) for key, values in history.items()}}
        if not math.isfinite(row["loss"] + row["val_loss"]):
            raise ValueError(f"The loss is no longer finite ({row}): start again with a lower --lr-{phase}.")
        row["seconds"] = round(time.monotonic() - started, 2)
        run.end_epoch(row, optimizer)
        print("  ".join(f"{key} {row[key]}" for key in LOG_FIELDS), flush=True)


def train(model: Any, data: Data, run: Run, options: argparse.Namespace) -> None:
    """Trains the classifier, then the last blocks with it."""
    import keras

    if not run.is_finished("head", options.epochs_head, options.patience):
        features = model.get_layer("avg_pool").output
        body = keras.Model(model.input, features)
        pictures = batches(data.pixels, data.labels, np.arange(len(data.pixels)), options.batch_size)
        vectors = np.concatenate([np.asarray(body.predict_on_batch(x)) for x, _ in pictures])
        train_phase("head", keras.Model(features, model.output), vectors, data, run, options)
    if not run.is_finished("top", options.epochs_top, options.patience):
        if not run.rows("top"):
            model.load_weights(run.model_path)
        # A twin that shares the layers is compiled, so that the model itself is saved without an optimizer.
        train_phase("top", keras.Model(model.input, model.output), data.pixels, data, run, options)


def fraction_or_folder(text: str) -> float | Path:
    return Path(text) if Path(text).is_dir() else float(text)


def parse_options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("data", nargs="?", type=Path, metavar="DATA", help="folder with a folder of pictures per class")
    what.add_argument("--demo", action="store_true", help="scikit-learn's handwritten digits instead")
    add = parser.add_argument
    add("--model", default="lite0", help="variant, or the .json file of one (default: %(default)s)")
    add("--weights", default="imagenet", help="published set, file, or none (default: %(default)s)")
    add("--out", type=Path, metavar="FOLDER", help="of the run (default: runs/ and the name of DATA)")
    add("--image-size", type=int, metavar="PIXELS", help=f"(default: the variant's; {DEMO_SIZE} with --demo)")
    add("--batch-size", type=int, default=32, metavar="N", help="(default: %(default)s)")
    add("--epochs-head", type=int, default=15, metavar="N", help="at most (default: %(default)s)")
    add("--epochs-top", type=int, default=10, metavar="N", help="at most (default: %(default)s)")
    add("--unfreeze", type=int, default=5, metavar="N", help="how many of the last blocks (default: %(default)s)")
    add("--lr-head", type=float, default=3e-3, metavar="RATE", help="(default: %(default)s)")
    add("--lr-top", type=float, default=5e-4, metavar="RATE", help="(default: %(default)s)")
    add("--patience", type=int, default=5, metavar="N", help="epochs without a better one (default: %(default)s)")
    add("--seed", type=int, default=0, metavar="N", help="of all that is random (default: %(default)s)")
    add("--validation", type=fraction_or_folder, default=0.2, help="fraction, or folder like DATA (default: 0.2)")
    add("--resume", action="store_true", help="go on after the last finished epoch of the run in --out")
    options = parser.parse_args(argv)
    for name, least in (("batch_size", 1), ("epochs_head", 1), ("epochs_top", 0), ("unfreeze", 1), ("patience", 1)):
        if getattr(options, name) < least:
            parser.error(f"--{name.replace('_', '-')} {getattr(options, name)}: expected at least {least}")
    is_folder = isinstance(options.validation, Path)
    if options.demo if is_folder else not 0 < options.validation < 1:
        parser.error(f"--validation {options.validation}: expected a fraction between 0 and 1, or with DATA a folder")
    return options


def fine_tune(options: argparse.Namespace) -> None:
    """Does what the command line says."""
    keras = import_keras()
    if keras.backend.backend() == "openvino":
        raise ValueError("Keras on OpenVINO answers but cannot train: set KERAS_BACKEND to tensorflow, jax or torch.")
    variant = get_variant(options.model)
    size = options.image_size or (DEMO_SIZE if options.demo else variant.resolution)
    out = options.out or Path("runs", "demo" if options.demo else options.data.resolve().name)
    if (out / "checkpoint.npz").exists() and not options.resume:
        raise ValueError(f"{out} holds a run: go on with it by --resume, or choose another --out.")

    held_out = options.validation
    data = load_digits(held_out, size) if options.demo else load_folder(options.data, held_out, size)
    data.check()
    print(f"{len(data.training)} pictures to train on, {len(data.validation)} to validate, {len(data.classes)} classes")
    keras.utils.set_random_seed(options.seed)
    weights = None if options.weights == "none" else options.weights
    model = build_model(variant, weights, len(data.classes), size, options.unfreeze)
    settings = {"model": variant.name, "weights": weights, "size": size, "unfreeze": options.unfreeze}
    settings |= {"validation": str(held_out), "classes": data.classes}
    run = Run(out, model, settings)
    train(model, data, run, options)
    best = max(run.history, key=quality)
    print(f"{run.model_path}: epoch {best['epoch']}, accuracy {best['val_accuracy']:.4f} in validation")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the script; returns its exit status: 0, 2 for what cannot be trained, 130 where interrupted."""
    options = parse_options(argv)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        fine_tune(options)
    except (ValueError, ImportError, OSError) as error:
        print(f"finetune.py: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Interrupted; the same command with --resume goes on after the last finished epoch.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
