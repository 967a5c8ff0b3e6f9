"""``predict --examples``: classes from a folder of a few images per class, without a training."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ..common.text import about, notify, plain
from ..model_io.outputs import Prediction, best_first
from . import model_options

if TYPE_CHECKING:
    from ..inference import Predictor

# Options about a model's own classes, or about a way to compute them, and what they are where they are not given.
_NOT_WITH_EXAMPLES = {
    "softmax": False, "threshold": None, "classes": None, "padding": None, "epsilon": None, "preprocessing": None,
    "calibrate": None, "precision": "f32",
}  # fmt: skip


def open_predictor(arguments: argparse.Namespace) -> tuple[Predictor, Callable[[Any], Prediction]]:
    """Return the predictor of vectors, and the function from the vector of an image to its prediction.

    Raises:
        ValueError, OSError: There are no examples of two classes, no such model, or an option that does not apply.
    """
    from ..datasets.folders import find_class_folders
    from ..similarity import ExampleClassifier
    from ..similarity.networks import describe, network_for

    for option, default in _NOT_WITH_EXAMPLES.items():
        if getattr(arguments, option) != default:
            raise ValueError(f"--{option} is about a model's own classes or numbers: leave it out with --examples.")
    if not arguments.examples.is_dir():
        raise FileNotFoundError(
            f"There is no folder {plain(arguments.examples)}: expected one with a folder of images per class."
        )
    found = find_class_folders(arguments.examples)
    for note in found.notes:
        notify(plain(note))
    paths = [path for images in found.images.values() for path in images]
    network = network_for(paths, arguments.model, arguments.weights)
    predictor = network.compile(**model_options.engine_options(arguments))
    names = list(found.images)
    labels = [index for index, name in enumerate(names) for _ in found.images[name]]
    vectors, kept = [], []
    for path, label, (vector, error) in zip(paths, labels, describe(predictor, paths), strict=True):
        if vector is None:
            notify(about(path, error))
        else:
            vectors.append(vector)
            kept.append(label)
    classifier = ExampleClassifier.fit(np.stack(vectors) if vectors else np.zeros((0, 1)), kept, names)
    accuracy = "" if classifier.accuracy is None else f"; leave-one-out accuracy {classifier.accuracy:.0%}"
    notify(f"{len(kept)} examples of {len(names)} classes{accuracy}")
    classes = [(name, name) for name in names]

    def predict(vector: Any) -> Prediction:
        probabilities = classifier.probabilities(predictor.spec.vector(vector)[np.newaxis])[0]
        return Prediction("probabilities", best_first(probabilities, classes))

    return predictor, predict
