"""Cross-validation: each fold of the images validates a network that trained on the others, and all are averaged."""

from __future__ import annotations

import contextlib
import dataclasses
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..common import arguments
from ..datasets.splits import assign_folds
from ..errors import Interrupted
from ..keras_files.opening import RUN_MODEL
from .batches import validation_batches
from .cross_validation import CrossValidation
from .loop import Task, train
from .processes import OneProcess
from .recipes import to_json
from .run_folder import RunFolder
from .steps import predict

_BATCH = 32  # images to predict at a time


def fold_tasks(task: Task, folds: int) -> list[Task]:
    """Split a task's images, those of both parts, into folds; return a task for each, which that fold validates.

    Args:
        task: Task; its seed decides the folds.
        folds: Number of folds, at least 2. Each has an equal share of the images of each class, or of those that have
            the same rarest label. Copies of an image are in the same fold.

    Raises:
        ValueError: A class or label has fewer different images than there are folds, a fold cannot be trained or
            validated with, or there is a teacher, which may have trained on any of the images.
        ImportError: The package scikit-learn is missing.

    Example:
        >>> from efficientnet import get_variant
        >>> from efficientnet.datasets import load
        >>> from efficientnet.training import FINETUNE
        >>> tasks = fold_tasks(Task(get_variant("lite0"), None, load("flowers", size=32), FINETUNE, 32), folds=4)
        >>> [len(each.data.validation) for each in tasks]
        [3, 3, 3, 3]
    """
    arguments.whole("folds", folds, 2)
    if task.teacher is not None:
        raise ValueError("A teacher may have trained on the images of each fold, so that all scores would be too good.")
    data = task.data.undivided()
    content = np.array(data.contents(data.training))
    different = data.training[np.unique(content, return_index=True)[1]]
    counts = zip(data.classes, data.targets.counts(different), strict=True)
    if few := [f"{name} {count}" for name, count in counts if count < folds]:
        raise ValueError(
            f"{data.name} has fewer different images than {folds} folds: {', '.join(few)}. Add images, choose fewer "
            f"folds, or take these {data.targets.what} out."
        )
    fold = assign_folds(data.targets.groups(data.training), content, folds, task.seed)
    tasks = []
    for number in range(folds):
        part = dataclasses.replace(
            data, training=data.training[fold != number], validation=data.training[fold == number]
        )
        part.check()
        command = {**task.command, "fold": f"{number + 1} of {folds}"}
        tasks.append(dataclasses.replace(task, data=part, command=command))
    return tasks


def train_folds(
    task: Task,
    folds: int,
    out: Path,
    *,
    resume: bool = False,
    checkpoint_steps: int | None = None,
    keep: int = 2,
    trackers: Sequence[str] | None = None,
) -> CrossValidation:
    """Train a network for each fold of the images, and save their mean as one model.

    Each network is validated on its fold and trained on the others. The scores of these predictions out of fold count
    each image once.

    Args:
        task: Network, data and recipe. The images of both parts of the data are split, as :func:`fold_tasks` does.
        folds: Number of folds, at least 2.
        out: Folder of the run. It gets a folder for each training, ``fold-1`` and so on, as :func:`train` writes it;
            ``model.keras``, whose outputs are the mean of those of all networks; ``folds.csv``, with the score of each
            fold; ``out_of_fold.csv``, with the prediction for each image.
        resume: Whether to continue the training in ``out``; folds that are finished are not repeated.
        checkpoint_steps, keep, trackers: As in :func:`train`.

    Raises:
        Interrupted: SIGTERM or SIGINT came; what was trained is kept.
        ValueError: The images cannot be split, as in :func:`fold_tasks`; and all that :func:`train` raises.

    Example:
        >>> from dataclasses import replace
        >>> from pathlib import Path
        >>> from efficientnet import get_variant
        >>> from efficientnet.datasets import load
        >>> from efficientnet.training import FINETUNE
        >>> variant = replace(get_variant("lite0"), name="small", width=0.25, depth=0.25)
        >>> recipe = replace(FINETUNE, epochs=1, head_epochs=0, epoch_steps=0)
        >>> found = train_folds(Task(variant, None, load("flowers", size=32), recipe, 32), 2, Path("folds"))
        fold 1 of 2: 6 images to train on, 6 to validate with
        ...
        >>> found.outputs.shape, Path("folds/model.keras").exists()
        ((12, 3), True)
    """
    tasks = fold_tasks(task, folds)
    task = dataclasses.replace(task, data=task.data.undivided())
    run = RunFolder(out, {**task.settings(), "folds": folds}, resume, trackers=())
    best = []
    try:
        run.write_parts(task.data)
        for number, each in enumerate(tasks, 1):
            folder, name = out / f"fold-{number}", f"fold {number} of {folds}"
            counts = len(each.data.training), len(each.data.validation)
            print(f"{name}: {counts[0]} images to train on, {counts[1]} to validate with", flush=True)
            with _naming(name):
                best.append(train(
                    each, folder, resume=resume, checkpoint_steps=checkpoint_steps, keep=keep, trackers=trackers
                ))  # fmt: skip
        with _naming(f"{folds} folds"):
            models = [_load(out / f"fold-{number + 1}" / RUN_MODEL) for number in range(folds)]
            parts = [_predict(model, each) for model, each in zip(models, tasks, strict=True)]
            fold = [np.full(len(rows), number) for number, (rows, _) in enumerate(parts, 1)]
            rows, outputs = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
            order = np.argsort(rows)
            found = CrossValidation(task, tasks, best, rows[order], np.concatenate(fold)[order], outputs[order])
            run.save_model(average_models(models), task.data, found.thresholds, to_json(task.recipe))
            found.write(out)
    finally:
        run.close()
    return found


def average_models(models: Sequence[Any]) -> Any:
    """Return one Keras model whose outputs are the mean of those of several.

    Args:
        models: Functional models from (batch, size, size, channels) pixels to (batch, outputs). One that takes smaller
            images than another gets them resized.

    Example:
        >>> from efficientnet.keras import EfficientNet
        >>> models = [EfficientNet(0.25, 0.25, 32, weights=None, classes=5) for _ in range(2)]
        >>> average_models(models).output_shape
        (None, 5)
    """
    import keras

    size = max(model.input_shape[1] for model in models)
    inputs = keras.Input((size, size, models[0].input_shape[-1]), name=models[0].input.name)
    outputs = []
    for number, model in enumerate(models, 1):
        own = model.input_shape[1]
        pixels = inputs if own == size else keras.layers.Resizing(own, own, name=f"fold_{number}_size")(inputs)
        outputs.append(keras.Model(model.input, model.output, name=f"fold_{number}")(pixels))
    return keras.Model(inputs, keras.layers.Average(name="mean")(outputs), name=models[0].name)


@contextlib.contextmanager
def _naming(what: str) -> Iterator[None]:
    """Name what was stopped by a signal, and how to go on."""
    try:
        yield
    except Interrupted as error:
        raise Interrupted(f"{what}: {error}", error.number) from None
    except KeyboardInterrupt:
        message = f"{what}: stopped; the same command with --resume goes on with what was saved."
        raise Interrupted(message, signal.SIGINT) from None


def _load(path: Path) -> Any:
    from ..keras import load_model

    return load_model(path, compile=False)


def _predict(model: Any, task: Task) -> tuple[NDArray[np.integer[Any]], NDArray[np.float32]]:
    """Return the indices of a task's validation images, and a saved model's outputs for them."""
    rows, outputs = [], []
    for pixels, indices in validation_batches(task.data, model.input_shape[1], _BATCH):
        rows.append(indices)
        outputs.append(predict(model, pixels, _BATCH, OneProcess()))
    return np.concatenate(rows), np.concatenate(outputs)
