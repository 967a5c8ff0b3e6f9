"""The command ``efficientnet train``: from pictures to a model of one's own."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import cli_pixels
from .variants import get_variant

if TYPE_CHECKING:
    from .datasets import Data
    from .training import Recipe

SUCCESS = 0
_ENLARGED = {"digits": 96, "fashion-mnist": 96}  # small pictures, and the size that they are shown in, pixels


def add_parser(commands: Any) -> None:
    """Adds ``train``."""
    parser = commands.add_parser(
        "train",
        help="train a network on one's own pictures",
        description="Trains a network by a recipe, on a folder with a folder of pictures per class. The folder --out "
        "gets model.keras, the best epoch's model, which takes raw pixels 0..255, holds its class names and opens with "
        "plain Keras; log.csv; curves.png; and checkpoints, from which --resume goes on to the same weights.",
    )
    add_train_arguments(parser)


def add_train_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what ``train`` takes, and what it does."""
    add = parser.add_argument
    add("data", metavar="DATA", help="folder with a folder per class, CSV file of path and label, TFRecord files, "
        "tfds:NAME, digits, or fashion-mnist")  # fmt: skip
    add("--recipe", default="finetune", help="finetune (default), v1, v2, or the .json file of one")
    add(
        "--set",
        type=_setting,
        nargs="+",
        default=[],
        metavar="FIELD=VALUE",
        help="of the recipe, such as patience=3",
    )
    for name, kind in (("epochs", int), ("batch_size", int), ("learning_rate", float)):
        add(f"--{name.replace('_', '-')}", type=kind, metavar="N", help="of the recipe")
    add("--model", default="lite0", help="variant, or the .json file of one (default: %(default)s)")
    add("--weights", help="published set, file, or none (default: imagenet to fine-tune, none by v1 and v2)")
    add("--out", type=Path, metavar="FOLDER", help="of the run (default: runs/ and the name of DATA)")
    add("--image-size", type=int, metavar="PIXELS", help="of the last stage (default: the variant's)")
    add("--validation", type=_fraction_or_path, default=0.2, metavar="PART",
        help="fraction to hold out, or a folder or CSV file like DATA (default: 0.2)")  # fmt: skip
    add("--training-pictures", type=int, metavar="N", help="draw so many (default: all)")
    add("--class-weights", action="store_true", help="let each class count alike")
    add("--seed", type=int, default=0, metavar="N", help="of all that is random (default: %(default)s)")
    add("--checkpoint-steps", type=int, metavar="N", help="besides one after each epoch, every so many steps")
    add("--keep", type=int, default=2, metavar="N", help="of the last checkpoints (default: %(default)s)")
    add("--resume", action="store_true", help="go on with the training in --out")
    add("--distributed", nargs="*", metavar="HOST:PORT", help="train in several processes: the addresses of all, the "
        "same for each; none where the launcher tells them (TF_CONFIG, torchrun, Slurm)")  # fmt: skip
    add("--rank", type=int, metavar="N", help="this process' place among the addresses, from 0")
    add("--plan", action="store_true", help="do not train; tell steps, learning rates, memory and time")
    cli_pixels.add_options(parser)
    parser.set_defaults(run=_train)


def _setting(text: str) -> tuple[str, str]:
    field, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is no FIELD=VALUE")
    return field, value


def _fraction_or_path(text: str) -> float | Path:
    if Path(text).exists():
        return Path(text)
    try:
        fraction = float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no fraction, and there is no such folder or file") from error
    if not 0 < fraction < 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return fraction


def _train(arguments: argparse.Namespace) -> int:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from .training import Interrupted, Task, describe, train
    from .training.plan import make_plan

    processes = None
    if arguments.distributed is not None:
        from .training.distributed import connect

        processes = connect(arguments.distributed, arguments.rank)
    variant = get_variant(arguments.model)
    recipe = _recipe(arguments)
    size = arguments.image_size or _ENLARGED.get(arguments.data, variant.resolution)
    data = _load(arguments, recipe, size).subset(arguments.training_pictures, None, arguments.seed).resized(size)
    data.check()
    weights = arguments.weights or ("none" if recipe.name in ("v1", "v2") else "imagenet")
    weights = None if weights == "none" else weights
    task = Task(variant, weights, data, recipe, size, arguments.seed, arguments.class_weights)
    out = arguments.out or Path("runs", Path(arguments.data).stem)
    is_first = processes is None or processes.rank == 0
    if is_first:
        print(describe(data), flush=True)
    if arguments.plan:
        print(make_plan(task, out, processes))
        return SUCCESS
    try:
        best = train(
            task, out, resume=arguments.resume, checkpoint_steps=arguments.checkpoint_steps, keep=arguments.keep,
            processes=processes,
        )  # fmt: skip
    except Interrupted as interrupted:
        print(interrupted, file=sys.stderr)
        return 128 + interrupted.number
    if is_first:
        print(f"{out / 'model.keras'}: epoch {best['epoch']}, accuracy {best['val_accuracy']:.4f} in validation")
    return SUCCESS


def _recipe(arguments: argparse.Namespace) -> Recipe:
    from .training.recipes import get_recipe, with_fields

    recipe = get_recipe(arguments.recipe, get_variant(arguments.model))
    given = {field: getattr(arguments, field) for field in ("epochs", "batch_size", "learning_rate")}
    shorthands = {field: str(value) for field, value in given.items() if value is not None}
    if arguments.data == "digits":
        shorthands["flip"] = "false"  # mirrored, they are other characters
    return with_fields(recipe, shorthands | dict(arguments.set))


def _load(arguments: argparse.Namespace, recipe: Recipe, size: int) -> Data:
    from . import datasets
    from .training import sources

    name, validation = arguments.data, arguments.validation
    if isinstance(validation, float):
        if name == "digits":
            return datasets.load_digits(validation, size)
        if name.startswith("tfds:"):
            return sources.load_tfds(name.removeprefix("tfds:"), validation, size)
        if name.endswith((".tfrecord", ".tfrecords")) or "tfrecord-" in name:
            return sources.load_tfrecords(name, validation, size)
    if name == "fashion-mnist":
        return datasets.load_fashion_mnist()
    whole = None if recipe.crop < 1 else size  # random crops are cut from all of a picture
    load = datasets.load_csv if name.endswith(".csv") else datasets.load_folder
    return load(Path(name), validation, whole)
