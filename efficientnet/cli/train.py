"""The command ``efficientnet train``: from images to a custom model."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..common.files import check_apart, check_writable
from ..common.json_files import read_object
from ..common.packages import install
from ..common.text import lines, notify, plain
from ..datasets import BUILTIN, KINDS
from ..family.variants import get_variant
from ..images.pixel_scaling import Scaling
from ..keras_files.opening import RUN_SETTINGS
from . import model_options, pixel_options, training_data
from .exit_statuses import SUCCESS
from .number_types import natural, positive, several
from .paths import given_path

if TYPE_CHECKING:
    from ..training import CrossValidation, Recipe, Task

# What --resume takes from the run where the command line does not say it, and what it is where nothing does.
_DEFAULTS = {
    "model": "lite0", "weights": None, "image_size": None, "validation": None, "training_images": None,
    "balance": False, "clean": False, "seed": 0, "checkpoint_steps": None, "keep": 2, "max_pixels": None,
    "log": None, "low_memory": False, "teacher": None, "unlabelled": None,
    "in_channels": 3, "targets": "classes", "columns": None, "weight_column": None,
    "padding": None, "epsilon": None, "preprocessing": None, "classes": None, "folds": None,
}  # fmt: skip
# Why an option does not go with --folds.
_NOT_WITH_FOLDS = {
    "validation": "each fold validates the network that has trained on the others, so leave one of them out",
    "clean": "it judges the images of one training part; run `efficientnet clean` first, and pass a CSV file without "
    "the labels that are wrong",
    "teacher": "it may have trained on the images of each fold, so that all scores would be too good; train in folds "
    "first, and then a network with their folder as its --teacher",
    "unlabelled": "a teacher labels them, which may have trained on the images of each fold",
    "distributed": "the folds are trained in one process",
}
VALIDATION = "fraction to hold out, or a folder or CSV file like DATA (default: the data set's split, or 0.2)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``train`` and its function."""
    parser.description = (
        "Trains a network by a recipe, on a folder with a folder of images per class. Writes into the "
        "folder --out: model.keras, the best epoch's model, which takes raw pixels 0..255, holds its class names and "
        "opens with plain Keras; report.html, a page with all results; README.md, a model card; log.csv; curves.png; "
        "training.csv and validation.csv, which list the images of each part; and checkpoints, from which --resume "
        "continues to the same weights without any other option."
    )
    add = parser.add_argument
    add("data", metavar="DATA", nargs="?", help="folder with a folder per class, CSV file of path and label, TFRecord "
        "files, tfds:NAME, digits, or fashion-mnist; not needed with --resume")  # fmt: skip
    add("--targets", choices=KINDS, help="what to learn of each image: classes, one of several; labels, any number of "
        "them, from a CSV file of path and label (cat|dog), or of path and a column of 1 and 0 per label, or from "
        "folders, of which several may hold the same image; values, numbers in columns of a CSV file; ordinal, classes "
        "with an order, that of their numbers or of --classes; probabilities, a column per class (default: "
        "classes)")  # fmt: skip
    add("--columns", type=_names, metavar="NAMES", help="columns of values or probabilities, with commas between them "
        "(default: all but path and the weights)")  # fmt: skip
    add("--weight-column", metavar="NAME",
        help="column of the CSV file with the weight of each image (default: all count equally)")  # fmt: skip
    add("--recipe", help="recipe: finetune, v1, v2, or a recipe's .json file (default: finetune)")
    add("--set", type=_setting, action="append", default=[], metavar="FIELD=VALUE",
        help="field of the recipe to change, such as patience=3; may be repeated (default: none)")  # fmt: skip
    add("--epochs", type=int, metavar="N", help="epochs to train in all, those of the head and of a resumed run "
        "included (default: the recipe's, 16 for finetune)")  # fmt: skip
    add("--batch-size", type=int, metavar="N",
        help="images per step (default: the recipe's, fewer for small data sets)")  # fmt: skip
    add("--accumulate", type=int, metavar="N", help="parts that a batch is computed in, one after the other, for less "
        "memory (default: the recipe's, 1)")  # fmt: skip
    add("--low-memory", action="store_const", const=True,
        help="keep only the blocks' inputs for the gradients, and compute the blocks a second time; the results are "
        "the same; in one process, on TensorFlow or JAX (default: keep everything)")  # fmt: skip
    add("--precision", metavar="POLICY", help="float32, or mixed_bfloat16 or mixed_float16, which compute in 16 bits "
        "and keep the weights in 32; the saved model computes in 32 (default: the recipe's, float32)")  # fmt: skip
    add("--learning-rate", type=float, metavar="RATE",
        help="peak learning rate (default: the recipe's, less for a short training)")  # fmt: skip
    add("--model", help=f"variant, or a variant's .json file (default: {_DEFAULTS['model']})")
    add("--weights", help="published set, file, or none (default: imagenet for finetune, none for v1 and v2)")
    model_options.add_network_options(parser)
    add("--out", type=given_path, metavar="FOLDER", help="folder of the run (default: runs/ and the name of DATA)")
    add("--image-size", type=positive, metavar="PIXELS",
        help="side of the last stage's images (default: the variant's; less for small images)")  # fmt: skip
    add("--in-channels", type=positive, metavar="N",
        help="channels of the images: 3 for RGB, 1 for grey; for others the images have as many, in .npy or TIFF files "
        "(default: 3)")  # fmt: skip
    add("--validation", type=fraction_or_path, metavar="PART", help=VALIDATION)
    add("--folds", type=several, metavar="K",
        help="number of folds of a cross-validation: a network for each is trained on the others, in --out/fold-1 and "
        "so on; model.keras is their mean; folds.csv has the scores, out_of_fold.csv a prediction for each image; not "
        "with --validation, --clean, --teacher, --unlabelled or --distributed (default: one network)")  # fmt: skip
    add("--training-images", type=positive, metavar="N",
        help="training images to draw at random; with --folds, of all (default: all)")  # fmt: skip
    add("--balance", action="store_const", const=True,
        help="make all classes count equally, however many images they have, and choose the epoch by mean recall; for "
        "labels, the images with and without each count equally (default: each image counts equally)")  # fmt: skip
    add("--teacher", metavar="MODEL",
        help="trained model of the same classes or labels whose predictions for the augmented images are half of what "
        "is learned (--set teacher_share=0.5): a saved model, or the folder of a training (default: none)")  # fmt: skip
    add("--unlabelled", metavar="FOLDER",
        help="folder of images without labels, which are trained on with the probabilities that --teacher predicts "
        "(default: none)")  # fmt: skip
    add("--clean", action="store_const", const=True,
        help="leave out training images whose label is probably wrong, as `efficientnet clean` finds them; "
        "left_out.csv in --out lists them (default: train on all)")  # fmt: skip
    add("--seed", type=natural, metavar="N", help=f"random seed (default: {_DEFAULTS['seed']})")
    add("--checkpoint-steps", type=positive, metavar="N",
        help="steps between checkpoints within an epoch (default: checkpoints only after each epoch)")  # fmt: skip
    add("--keep", type=positive, metavar="N",
        help=f"checkpoints to keep (default: {_DEFAULTS['keep']})")  # fmt: skip
    add("--log", nargs="+", metavar="PACKAGE",
        help="packages that record the numbers of each epoch: tensorboard, mlflow, wandb; the last two by their own "
        "environment variables (default: tensorboard if it is installed)")  # fmt: skip
    add("--resume", action="store_true", help="continue the training in --out, with its data and options")
    add("--distributed", nargs="*", action="extend", metavar="HOST:PORT",
        help="addresses of all processes of a distributed training, the same for each; none where the launcher names "
        "them: TF_CONFIG, torchrun, Slurm (default: one process)")  # fmt: skip
    add("--rank", type=natural, metavar="N",
        help="index of this process among the addresses, from 0 (default: the launcher's)")  # fmt: skip
    add("--plan", action="store_true", help="print steps, learning rates, memory and time instead of training")
    pixel_options.add_options(parser)
    parser.set_defaults(run=_train)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _setting(text: str) -> tuple[str, str]:
    field, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not FIELD=VALUE")
    return field, value


def fraction_or_path(text: str) -> float | Path:
    """Read ``--validation``: a fraction, or a folder or file that is there."""
    if text and Path(text).exists():  # the path "" would be the folder that the command runs in
        return Path(text)
    try:
        fraction = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a fraction, and there is no such folder or file") from None
    if not 0 < fraction < 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return fraction


def _train(arguments: argparse.Namespace) -> int:
    out = _complete(arguments)
    check_writable(out, is_folder=True)
    with pixel_options.limited(arguments.max_pixels):  # a resumed run may have set it
        return _train_in(out, arguments)


def _train_in(out: Path, arguments: argparse.Namespace) -> int:
    from .. import datasets
    from ..datasets.foreign import HELD_OUT
    from ..errors import Interrupted
    from ..training import Task, describe_data, train, train_folds
    from ..training.objectives import check
    from ..training.plan import make_plan
    from ..training.trackers import check_trackers

    training_data.check(arguments)
    processes = None
    if arguments.distributed is not None:
        from ..training.distributed import connect

        processes = connect(arguments.distributed, arguments.rank)
    variant = get_variant(arguments.model)
    recipe = _recipe(arguments, out)
    fit, largest = arguments.image_size is None, arguments.image_size or variant.resolution
    given = model_options.network_facts(arguments)
    check(arguments.targets, recipe, arguments.balance)
    check_trackers(arguments.log or ())
    folds = arguments.folds
    # For folds a fraction, so that a test part is left aside.
    data = datasets.load(
        arguments.data, HELD_OUT if folds else arguments.validation, largest, fit=fit, whole=recipe.crop < 1,
        channels=arguments.in_channels, targets=arguments.targets, columns=arguments.columns,
        weight=arguments.weight_column,
        classes=given.class_names if arguments.targets == "ordinal" else None,
    )  # fmt: skip
    size = pixel_options.training_size(data, largest, fit)
    if given.class_names is not None:
        data = data.with_classes(given.class_names)
    if folds:
        data = data.undivided()
    data = data.subset(arguments.training_images, None, arguments.seed).resized(size)
    weights = arguments.weights or ("none" if recipe.name in ("v1", "v2") else "imagenet")
    weights = None if weights == "none" else weights
    if weights is not None:
        model_options.refuse_contradictions(arguments.model, weights, given)
    command = {option: getattr(arguments, option) for option in ("data", *_DEFAULTS)}
    prepared = training_data.prepare(data, size, recipe, out, arguments)
    data = prepared.data
    task = Task(
        variant, weights, data, recipe, size, arguments.seed, arguments.balance, command, given, prepared.tables,
        prepared.teacher, arguments.low_memory,
    )  # fmt: skip
    is_first = processes is None or processes.rank == 0
    if is_first:
        print(lines(describe_data(data, folds)), flush=True)
    if arguments.plan:
        print(make_plan(task, out, processes, folds))
        return SUCCESS
    options = {
        "resume": arguments.resume, "checkpoint_steps": arguments.checkpoint_steps, "keep": arguments.keep,
        "trackers": arguments.log,
    }  # fmt: skip
    try:
        if folds:
            return _report_folds(train_folds(task, folds, out, **options), out)
        best = train(task, out, processes=processes, **options)
    except Interrupted as interrupted:
        print(interrupted, file=sys.stderr)
        return 128 + interrupted.number
    if is_first:
        score = task.objective.score
        name, value = score.replace("_", " "), best[f"val_{score}"]
        print(f"{plain(out / 'model.keras')}: epoch {best['epoch']}, {name} {value:.4f} in validation")
        _report(task, out)
    return SUCCESS


def _report_folds(found: CrossValidation, out: Path) -> int:
    """Print the scores of a cross-validation, and write its pages."""
    print(f"{plain(out / 'model.keras')}: mean of {len(found.tasks)} networks; {found.text}")
    for number, task in enumerate(found.tasks, 1):
        _report(task, out / f"fold-{number}")
    _report(found, out)
    return SUCCESS


def _report(trained: Task | CrossValidation, out: Path) -> None:
    """Write the page of the training; an error is only reported, since the model is there."""
    from ..training import CrossValidation, report
    from ..training.report import REPORT

    if not report.can_report():
        notify(f"no {REPORT}: it needs Matplotlib and Jinja2 ({install('training')})")
        return
    try:
        if isinstance(trained, CrossValidation):
            report.write_folds_report(trained, out)
        else:
            report.write_report(trained, out)
    except (ValueError, OSError, ImportError, MemoryError) as error:
        notify(f"no {REPORT}: {error}")
    else:
        print(f"{plain(out / REPORT)}: curves, results, how to use the model")


def _complete(arguments: argparse.Namespace) -> Path:
    """Complete the command line from the run that it resumes, or by default; return its folder.

    Raises:
        ValueError: The data is not given, and no run records it; or an option lacks the one that it belongs to.
    """
    if arguments.rank is not None and arguments.distributed is None:
        raise ValueError("--rank is this process' place among several: pass --distributed with it.")
    if arguments.low_memory and arguments.distributed is not None:
        raise ValueError("--low-memory is for one process: leave it out, or --distributed.")
    if arguments.data is None and arguments.out is None:
        raise ValueError("There is nothing to train on: pass DATA, or --resume with the --out of a training.")
    out: Path = arguments.out or Path("runs", Path(arguments.data).stem)
    known = _stored(out).get("command", {}) if arguments.resume else {}
    if "fold" in known:
        raise ValueError(f"{out} is fold {known['fold']} of a training: go on with all of them, --out {out.parent}.")
    if arguments.data is None and "data" not in known:
        raise ValueError(
            f"{out} holds no training that says what it trains on: pass DATA"
            + ("." if arguments.resume else ", or --resume with the --out of a training.")
        )
    for option, default in {"data": None, **_DEFAULTS}.items():
        if getattr(arguments, option) is None:
            setattr(arguments, option, known.get(option, default))
    # A run may be resumed from another working folder. What has no suffix is the name of a variant or of weights.
    for option in ("data", "validation", "model", "weights", "classes", "teacher", "unlabelled"):
        value = getattr(arguments, option)
        is_path = isinstance(value, Path) or (isinstance(value, str) and value not in BUILTIN)
        if is_path and Path(value).exists() and (option not in ("model", "weights") or Path(value).suffix):
            setattr(arguments, option, str(Path(value).absolute()))
    if isinstance(arguments.preprocessing, list):  # as JSON has it
        arguments.preprocessing = Scaling(*map(tuple, arguments.preprocessing))
    for option, reason in _NOT_WITH_FOLDS.items() if arguments.folds else ():
        if getattr(arguments, option) not in (None, False):
            raise ValueError(f"--folds does not go with --{option}: {reason}.")
    for images in (arguments.data, arguments.validation, arguments.unlabelled):
        if isinstance(images, str | Path):
            check_apart(out, Path(images))
    return out


def _stored(out: Path) -> dict[str, Any]:
    """Return the settings that the run in a folder was started with; nothing if there is none."""
    path = out / RUN_SETTINGS
    return read_object(path) if path.is_file() else {}


def _recipe(arguments: argparse.Namespace, out: Path) -> Recipe:
    from ..training.recipes import FINETUNE, from_json, get_recipe, with_fields

    stored = _stored(out).get("recipe") if arguments.resume and arguments.recipe is None else None
    recipe = from_json(stored) if stored else get_recipe(arguments.recipe or "finetune", get_variant(arguments.model))
    given = [
        (field, getattr(arguments, field))
        for field in ("epochs", "batch_size", "accumulate", "precision", "learning_rate")
    ]
    changes = [(field, str(value)) for field, value in given if value is not None] + arguments.set
    if twice := [field for field, count in Counter(field for field, _ in changes).items() if count > 1]:
        raise ValueError(f"The recipe's {', '.join(twice)} is given more than once: give it once.")
    if arguments.learning_rate is not None:
        changes = [("full_rate_steps", "0"), *changes]
    is_from_file = stored or str(arguments.recipe).endswith(".json")
    if arguments.data == "digits" and not is_from_file:
        changes = [("flip", "false"), *changes]  # mirrored, they are other characters
    if arguments.targets == "values" and recipe == FINETUNE and not is_from_file:
        changes = [("magnitude", "[0, 0]"), *changes]  # a number may depend on brightness, angle or place
    return with_fields(recipe, dict(changes))
