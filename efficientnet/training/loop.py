"""The loop: one step after the other, so that a training can stop after any of them and go on there."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import math
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from ..checkpoints.facts import UNKNOWN, Facts
from ..common import arguments
from ..common.text import counted, get_logger
from ..datasets.data import Data
from ..errors import DivergedError, Interrupted
from ..family.variants import Variant
from ..network.backends import import_keras
from . import stages
from .batches import Batches, all_images
from .curves import sparkline
from .objectives import Objective, objective
from .processes import OneProcess, Processes
from .recipes import Recipe, Stage, to_json
from .run_folder import Checkpoint, RunFolder, State, diverged
from .stages import Networks
from .steps import predict, take_step, validate
from .trackers import check_trackers

if TYPE_CHECKING:
    from .teacher import Teacher


@dataclass(frozen=True)
class Task:
    """Training to run: network, data and recipe.

    Attributes:
        variant: Variant of the network.
        weights: Weights to start from, as in ``efficientnet.keras.create``.
        data: Labelled images; whole if the recipe crops, or else squares.
        recipe: Hyperparameters; the batch size is at most the number of images to train on.
        image_size: Side of the last stage's images, pixels.
        seed: Random seed.
        balance: Whether all classes count equally, however many images they have.
        command: Options of the command line, for the run's folder; nothing depends on them.
        given: Padding, epsilon and preprocessing, if the weights do not record them.
        tables: Functions that write what ``data`` was made by into the run's folder, by the names of the files; of
            those that the folder does not have yet.
        teacher: Trained model whose predictions are learned, too.
        low_memory: Whether each block keeps only its input for the gradients, and is computed again; in one process.

    Example:
        >>> from efficientnet import get_variant
        >>> from efficientnet.datasets import load
        >>> task = Task(get_variant("lite0"), "imagenet", load("flowers", size=96), FINETUNE, image_size=96)
        >>> task.data.classes
        ['daisy', 'rose', 'tulip']
    """

    variant: Variant
    weights: str | None
    data: Data
    recipe: Recipe
    image_size: int
    seed: int = 0
    balance: bool = False
    command: Mapping[str, Any] = field(default_factory=dict)
    given: Facts = UNKNOWN
    tables: Mapping[str, Callable[[Path], None]] = field(default_factory=dict)
    teacher: Teacher | None = None
    low_memory: bool = False

    def __post_init__(self) -> None:
        if self.recipe.batch_size:
            size = self.recipe.in_equal_parts(min(self.recipe.batch_size, max(1, len(self.data.training))))
            object.__setattr__(self, "recipe", dataclasses.replace(self.recipe, batch_size=size))

    @property
    def objective(self) -> Objective:
        """What the network is trained to do."""
        return objective(self.data, self.recipe, self.balance)

    def stages(self) -> list[Stage]:
        return self.recipe.plan_stages(self.variant, self.image_size)

    def batches(self, stage: Stage, processes: Processes) -> Batches:
        size = self.recipe.batch(len(self.data.training), stage.trained)
        processes.share(size // self.recipe.parts(stage.trained))  # each part is shared out, too
        share = processes.share(size)
        return Batches(self.data, self.recipe, stage, self.seed, share, self.balance, teacher=self.teacher)

    def build(self, stage: Stage, steps: int) -> Networks:
        """Build a stage's networks, as they start where there is no stage before it."""
        import_keras().utils.set_random_seed(self.seed)
        images = len(self.data.training)
        return stages.build(
            self.variant, self.weights, self.objective, stage, steps, images, self.given, self.data.channels,
            self.low_memory,
        )  # fmt: skip

    def settings(self) -> dict[str, Any]:
        """Return all that the course of the training depends on, and the command."""
        keras = import_keras()
        return {
            "recipe": to_json(self.recipe), "variant": self.variant.name, "weights": self.weights, "seed": self.seed,
            "image_size": self.image_size, "balance": self.balance, "classes": self.data.classes,
            "targets": self.data.targets.kind,
            "channels": self.data.channels, "teacher": self.teacher.fingerprint if self.teacher else None,
            "images": self.data.fingerprint(), "backend": keras.backend.backend(), "command": dict(self.command),
            "given": json.loads(dataclasses.replace(self.given, class_names=None).to_json()),
        }  # fmt: skip


def train(
    task: Task,
    out: Path,
    *,
    resume: bool = False,
    checkpoint_steps: int | None = None,
    keep: int = 2,
    processes: Processes | None = None,
    trackers: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Train a network.

    On one backend, a training that was interrupted, however and wherever, and is resumed ends with the same weights as
    one that was not.

    Args:
        task: Network, data and recipe.
        out: Folder of the run. It gets ``model.keras``, the best epoch's model with its class names, preprocessing and
            recipe; ``log.csv``, ``curves.png``; ``recipe.json``; and checkpoints.
        resume: Whether to continue the training in ``out``, which has to be of the same task.
        checkpoint_steps: Steps from one checkpoint to the next; there is one after each epoch anyway.
        keep: Number of checkpoints to keep.
        processes: Processes that share the work; this one alone by default.
        trackers: Packages that record each epoch: "tensorboard", which writes into ``out``, "mlflow", "wandb". By
            default TensorBoard, if it is installed.

    Returns:
        The best epoch's row of the log.

    Raises:
        Interrupted: SIGTERM or SIGINT came; a checkpoint was written.
        DivergedError: Loss or weights are no longer finite.
        ValueError: The data cannot be learned from, or ``out`` holds another training.
        OSError: A file cannot be read or written; earlier checkpoints are kept.

    Example:
        >>> from dataclasses import replace
        >>> from pathlib import Path
        >>> from efficientnet import get_variant
        >>> from efficientnet.datasets import load
        >>> variant = replace(get_variant("lite0"), name="small", width=0.25, depth=0.25)
        >>> recipe = replace(FINETUNE, epochs=1, head_epochs=0, epoch_steps=0)
        >>> best = train(Task(variant, None, load("flowers", size=32), recipe, image_size=32), Path("run"))
        all: 1 epoch of 1 step of 8 images
        epoch 1  stage all ...
        >>> Path("run/model.keras").exists()
        True
    """
    keras = import_keras()
    if keras.backend.backend() == "openvino":
        raise ValueError("Keras on OpenVINO predicts but cannot train: set KERAS_BACKEND to tensorflow, jax or torch.")
    check_trackers(trackers or ())
    if checkpoint_steps is not None:
        arguments.whole("checkpoint_steps", checkpoint_steps)
    task.data.check()
    processes = processes or OneProcess()
    if task.low_memory and (keras.backend.backend() == "torch" or not isinstance(processes, OneProcess)):
        raise ValueError(
            "low_memory=True (--low-memory) is for one process, on TensorFlow or JAX: leave it out, or train in parts "
            "(accumulate)."
        )
    run = RunFolder(out, task.settings(), resume, keep, processes.rank == 0, trackers)
    try:
        run.write_parts(task.data)
        for name, write in task.tables.items():
            run.write_table(name, write)
        with _stop_requests() as stop, processes.scope():
            return _Training(task, run, checkpoint_steps, processes, stop).run()
    finally:
        run.close()


class _Stop:
    number: int | None = None  # number of the signal that asked to stop, if one has come


@contextlib.contextmanager
def _stop_requests() -> Iterator[_Stop]:
    """Note SIGTERM and SIGINT. A second SIGINT interrupts at once."""
    stop = _Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def note(number: int, frame: Any) -> None:
        if stop.number is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.number = number

    before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep the log from naming the weights that a network begins with, where they are replaced or named already."""
    logger = get_logger()
    logger.addFilter(_drop)
    try:
        yield
    finally:
        logger.removeFilter(_drop)


def _drop(record: logging.LogRecord) -> bool:
    return record.levelno > logging.WARNING


class _Training:
    def __init__(
        self, task: Task, run: RunFolder, checkpoint_steps: int | None, processes: Processes, stop: _Stop
    ) -> None:
        self.task, self.run_folder, self.processes, self.stop = task, run, processes, stop
        self.objective = task.objective
        self.checkpoint_steps = checkpoint_steps
        self.checkpoint = run.latest()
        self.state = self.checkpoint.state if self.checkpoint else State()
        if self.checkpoint:
            self.say(f"{run.folder}: going on after step {self.state.step} of stage {self.state.stage + 1}")

    def say(self, text: str) -> None:
        if self.processes.rank == 0:
            tqdm.write(text)
            sys.stdout.flush()

    def run(self) -> dict[str, Any]:
        stages = self.task.stages()
        for index in range(self.state.stage, len(stages)):
            if index > self.state.stage:
                self.state.stage, self.state.step = index, 0
            self.train_stage(stages[index], stages[index - 1] if index else None)
        return self.objective.best(self.state.history)

    def train_stage(self, stage: Stage, before: Stage | None) -> None:
        batches = self.task.batches(stage, self.processes)
        if self.is_over(batches):
            return
        with quiet() if self.checkpoint else contextlib.nullcontext():
            nets = self.task.build(stage, batches.steps)
        epochs, steps = counted(stage.epochs, "epoch"), counted(batches.steps, "step")
        self.say(f"{stage.name}: {epochs} of {steps} of {counted(batches.size, 'image')}")
        if self.checkpoint:
            # Progressive stages go on with the optimizer, too.
            is_same = self.state.step > 0 or (before is not None and before.trained == stage.trained)
            stages.restore(nets, self.checkpoint.arrays, with_optimizer=is_same)
            self.checkpoint = None  # frees the arrays
        self.processes.prepare(nets.trained)
        if nets.body is not None:
            batches = self.with_features(batches, nets)
        self.step_through(batches, nets)
        self.checkpoint = Checkpoint(self.state, stages.collect(nets))

    def step_through(self, batches: Batches, nets: Networks) -> None:
        """Do the remaining steps of a stage, and validate after each epoch."""
        state, last = self.state, batches.stage.epochs * batches.steps
        with contextlib.closing(batches.from_step(state.step, last)) as stream, tqdm(
            total=last, initial=state.step, unit="step", leave=False, desc=batches.stage.name,
            disable=None if self.processes.rank == 0 else True,
        ) as bar:  # fmt: skip
            while not self.is_over(batches):
                if self.epochs_to_validate(batches):
                    with self.saving_where_unreadable(nets):
                        self.end_epoch(batches, nets)
                    bar.set_postfix_str(self.progress())
                    continue
                started = time.monotonic()
                with self.saving_where_unreadable(nets):
                    batch = next(stream)
                logs = take_step(nets.trained, batches, state.step, batch, self.processes)
                if not math.isfinite(logs["loss"]):
                    raise DivergedError(diverged("The loss is", state))
                state.step += 1
                state.loss += logs["loss"]
                state.metric += logs[self.objective.metric]
                state.seconds += time.monotonic() - started
                bar.update()
                stops = self.processes.any(self.stop.number is not None)
                if stops or (self.checkpoint_steps and state.step % self.checkpoint_steps == 0):
                    self.save(nets)
                if stops:
                    raise Interrupted(
                        f"Stopped after step {state.step} of stage {state.stage + 1}; the same command with --resume "
                        "goes on there.", self.stop.number or signal.SIGTERM,
                    )  # fmt: skip

    @contextlib.contextmanager
    def saving_where_unreadable(self, nets: Networks) -> Iterator[None]:
        """Save what has been trained if a file, or all of them, are gone."""
        try:
            yield
        except OSError as error:
            self.save(nets)
            raise OSError(f"{error}. A checkpoint was written: once that is mended, go on with --resume.") from None

    def progress(self) -> str:
        """Return the best score so far, and all epochs' scores as a row of bars."""
        history, score = self.state.history, f"val_{self.objective.score}"
        best = self.objective.best(history)[score]  # the lowest for errors, the highest for other scores
        return f"best {best:.4g} {sparkline([row[score] for row in history])}"

    def rows(self, batches: Batches) -> list[dict[str, Any]]:
        """Return the rows of the stage in the log."""
        return [row for row in self.state.history if row["stage"] == batches.stage.name]

    def epochs_to_validate(self, batches: Batches) -> int:
        """Return the number of epochs of the stage whose steps are done and which are not in the log: 0 or 1."""
        return self.state.step // batches.steps - len(self.rows(batches))

    def is_over(self, batches: Batches) -> bool:
        """Return whether a stage has had all its epochs, or its patience has come to an end."""
        rows = self.rows(batches)
        best = max(range(len(rows)), key=lambda index: self.objective.quality(rows[index]), default=0)
        patience = self.task.recipe.patience
        return len(rows) >= batches.stage.epochs or (patience is not None and len(rows) > best + patience)

    def end_epoch(self, batches: Batches, nets: Networks) -> None:
        """Validate and write all files, the checkpoint last: with it the epoch counts, without it is repeated."""
        started, state = time.monotonic(), self.state
        with stages.averaged(nets):
            found = validate(nets.trained, batches, self.processes)
            rate = nets.trained.optimizer.learning_rate
            row = {
                "epoch": len(state.history) + 1, "stage": batches.stage.name, "image_size": batches.stage.image_size,
                "learning_rate": float(stages.to_numpy(rate)), "loss": state.loss / batches.steps,
                self.objective.metric: state.metric / batches.steps,
                **{f"val_{name}": value for name, value in self.objective.measure(*found).items()},
            }  # fmt: skip
            if self.objective.best([*state.history, row]) is row:
                self.save_model(nets.full, self.objective.thresholds(*found))
        row["seconds"] = state.seconds + time.monotonic() - started
        state.history.append({key: float(f"{value:.6g}") if isinstance(value, float) else value
                              for key, value in row.items()})  # fmt: skip
        state.loss = state.metric = state.seconds = 0.0
        if self.processes.rank == 0:
            self.run_folder.log(state.history)
        self.save(nets)
        self.say("  ".join(f"{key} {value}" for key, value in state.history[-1].items()))

    def save_model(self, network: Any, thresholds: tuple[float, ...] | None) -> None:
        """Write the model. All processes make it: on TensorFlow they have to create variables together."""
        model = stages.in_float32(network)
        with self.objective.in_units(model):
            if self.processes.rank == 0:
                self.run_folder.save_model(model, self.task.data, thresholds, to_json(self.task.recipe))

    def save(self, nets: Networks) -> None:
        checkpoint = Checkpoint(self.state, stages.collect(nets))
        if self.processes.rank == 0:
            self.run_folder.save(checkpoint)

    def with_features(self, batches: Batches, nets: Networks) -> Batches:
        """Return the same batches, of the frozen body's features of each image."""
        size = batches.stage.image_size
        images = all_images(self.task.data, size, batches.size)
        features = [predict(nets.body, pixels, batches.size, self.processes) for pixels in images]
        return batches.with_features(np.concatenate(features).astype(np.float32, copy=False))


def describe_data(data: Data, folds: int | None = None) -> str:
    """Return a text on how many images there are, of what, and how unevenly; ``folds`` are those that share them.

    Example:
        >>> from efficientnet.datasets import load
        >>> describe_data(load("flowers", size=96))
        '11 images to train on, 1 to validate with, 3 classes'
    """
    count = len(data.training)
    shown = f"{count} images in {folds} folds"
    if folds is None:
        shown = f"{count} images to train on, {len(data.validation)} to validate with"
    return f"{shown}, {data.targets.describe(data.training)}"
