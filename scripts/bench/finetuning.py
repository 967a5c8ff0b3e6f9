"""Part "fine-tuning": the first epoch of Lite0, against keras.io's guide to fine-tuning an EfficientNet."""

from __future__ import annotations

import time
from collections.abc import Iterator

from .measuring import Row, in_fresh_process

TASK = "fashion-2000"  # a task of scripts/study/tasks.py
EPOCHS = 1  # this package trains its head alone, and is ahead of the guide already; the guide has 29


def rows(quick: bool) -> Iterator[Row]:
    """Return the seconds of both trainings, in turns, with their mean accuracies on the 10,000 test images."""
    seconds: dict[str, list[float]] = {"ours": [], "peer": []}
    accuracies: dict[str, list[float]] = {"ours": [], "peer": []}
    for seed in range(2 if quick else 3):  # the quartiles need two
        for who in seconds:
            took, accuracy = in_fresh_process(train, who, seed)
            seconds[who].append(took)
            accuracies[who].append(accuracy)
    ours, peer = (sum(each) / len(each) for each in accuracies.values())
    what = f"fine-tune Lite0, {TASK}: {ours:.1%}, guide {peer:.1%}"
    yield Row(what, "s", seconds["ours"], seconds["peer"])


def train(who: str, seed: int) -> tuple[float, float]:
    """Train on TensorFlow; return the seconds and the accuracy on the test images."""
    import os

    os.environ["KERAS_BACKEND"] = "tensorflow"
    import keras  # noqa: F401  (imports are not part of the time)
    from study.methods import keras_guide, this_package
    from study.tasks import TASKS

    task = TASKS[TASK](seed)
    started = time.perf_counter()
    predict = this_package(task, seed, epochs=EPOCHS) if who == "ours" else keras_guide(task, seed)
    took = time.perf_counter() - started
    return took, task.score(predict(task.test.pixels))
