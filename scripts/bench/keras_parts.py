"""Parts "import", "build", "memory", "predict", "train" and "preprocess": this package beside keras.applications."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from .backends import BACKENDS, SIDES, Backend, start
from .measuring import Case, Effort, Row, bare_seconds, compare, in_fresh_process, peak_memory, timed

PARTS = ("import", "build", "memory", "predict", "train", "preprocess")

TRAINING_BATCH = 16
# To an epoch of `fit`, whose beginning and end take time, too.
TRAINING_STEPS = 8
CLASSES = 1000
# keras.applications has no Lite0.
TRAINED = {
    "B0": {"ours": "EfficientNetB0", "peer": "EfficientNetB0"},
    "Lite0 (peer: B0)": {"ours": "EfficientNetLite0", "peer": "EfficientNetB0"},
}


def rows(backends: Sequence[str], parts: Sequence[str], quick: bool, effort: Effort) -> Iterator[Row]:
    """Measure what was asked for of these parts, row by row."""
    if "import" in parts:
        yield compare(import_case(BACKENDS[backends[0]]), effort)
    if "preprocess" in parts:
        for case in preprocessing_cases():
            case.ours(), case.peer()  # imports
            yield compare(case, effort._replace(seconds=min(effort.seconds, 5)))
    for name in backends:
        backend = BACKENDS[name]
        for case in fresh_cases(name, backend, quick, parts):
            # Memory hardly varies from process to process.
            yield compare(case, Effort(pairs=2, seconds=0) if case.unit == "MB" else effort)
        # Keras on OpenVINO predicts, but does not train.
        shared = [part for part in ("predict", "train") if part in parts and (name, part) != ("openvino", "train")]
        if shared:
            yield from in_fresh_process(forward_and_training, backend, f"{name}:", shared, effort)


def fresh_cases(name: str, backend: Backend, quick: bool, parts: Sequence[str]) -> Iterator[Case]:
    """Return the cases of a backend that take a fresh process for each measurement."""
    if "import" in parts:
        yield Case(
            f"{name}: import {backend.shim}",
            functools.partial(import_seconds, backend.shim, backend.environment),
            functools.partial(import_seconds, backend.keras, backend.environment),
        )
    if "build" in parts:
        for model in ("EfficientNetB0",) if quick else ("EfficientNetB0", "EfficientNetB7"):
            ours, peer = (functools.partial(in_fresh_process, build_seconds, backend, side, model) for side in SIDES)
            yield Case(f"{name}: build {model.removeprefix('EfficientNet')}", ours, peer)
    if "memory" in parts:
        ours, peer = (functools.partial(in_fresh_process, memory_of_an_answer, backend, side) for side in SIDES)
        yield Case(f"{name}: peak memory, build and ask B0", ours, peer, unit="MB")
    if "train" in parts and name != "openvino":
        for what, names in TRAINED.items():
            ours, peer = (
                functools.partial(in_fresh_process, memory_of_training, backend, side, names) for side in SIDES
            )
            yield Case(f"{name}: peak memory, training {what}", ours, peer, unit="MB")


def import_case(backend: Backend) -> Case:
    """Looking up a variant must cost no framework."""
    frameworks = ["keras", "tensorflow", "tf_keras", "jax", "torch", "openvino"]
    return Case(
        f"import efficientnet (peer: {backend.keras})",
        functools.partial(import_seconds, "efficientnet", {}, frameworks),
        functools.partial(import_seconds, backend.keras, backend.environment),
    )


def import_seconds(module: str, environment: dict[str, str], must_not_import: Sequence[str] = ()) -> float:
    """Return the seconds that a bare interpreter takes to import a module."""
    seconds, imported = bare_seconds(f"import {module}", environment)
    if found := imported & set(must_not_import):
        raise RuntimeError(f"import {module} has imported {', '.join(sorted(found))} too, and must not.")
    return seconds


def build_seconds(backend: Backend, side: str, name: str) -> float:
    """Return the seconds that the first build in a process takes, once Keras is imported and its backend awake."""
    build = start(backend)[side]
    return timed(build, name)()


def memory_of_an_answer(backend: Backend, side: str) -> float:
    """Return the most bytes that a process held while it built B0 and predicted one image."""
    model = start(backend)[side]("EfficientNetB0")
    model.predict_on_batch(random_images(model, 1))
    return peak_memory()


def random_images(model: Any, batch: int) -> np.ndarray:
    """Raw pixels 0..255, (batch, height, width, 3) float32, of the size that the model takes."""
    return np.random.default_rng(0).uniform(0, 255, (batch, *model.input_shape[1:])).astype(np.float32)


def forward_and_training(backend: Backend, prefix: str, parts: Sequence[str], effort: Effort) -> list[Row]:
    """Return the rows of parts "predict" and "train": warm networks of both sides in one process."""
    build = start(backend)
    cases = []
    if "predict" in parts:
        ours, peer = (build[side]("EfficientNetB0") for side in SIDES)
        for batch in (1, 32):
            images = random_images(ours, batch)
            timings = (timed(model.predict_on_batch, images) for model in (ours, peer))
            cases.append(Case(f"{prefix} predict B0, batch {batch}", *timings))
    if "train" in parts:
        for what, names in TRAINED.items():
            steps = [training_step(build, side, names, TRAINING_STEPS) for side in SIDES]
            cases.append(Case(f"{prefix} training step {what}, batch {TRAINING_BATCH}", *steps))
    rows = []
    for case in cases:
        compare(case, Effort(pairs=3, seconds=0))  # compiles: TensorFlow up to twice, for new batch sizes
        rows.append(compare(case, effort))
    return rows


def training_step(
    build: Mapping[str, Callable[..., Any]], side: str, names: Mapping[str, str], steps: int = 1
) -> Callable[[], float]:
    """Return the seconds of a step: ours as this package's loop does it, the peer's in an epoch by ``fit``."""
    from efficientnet.training import OneProcess
    from efficientnet.training.batches import Batch

    model = build[side](names[side])
    model.compile("rmsprop", "categorical_crossentropy", metrics=["accuracy"])
    images = random_images(model, TRAINING_BATCH)
    targets = np.eye(CLASSES, dtype=np.float32)[np.arange(TRAINING_BATCH)]
    if side == "ours":
        return timed(OneProcess().step, model, Batch(images, targets, np.ones(TRAINING_BATCH, np.float32)))
    fit = functools.partial(model.fit, batch_size=TRAINING_BATCH, shuffle=False, verbose=0)
    epoch = timed(fit, *(np.concatenate([array] * steps) for array in (images, targets)))
    return lambda: epoch() / steps


def memory_of_training(backend: Backend, side: str, names: Mapping[str, str]) -> float:
    """Return the most bytes that a process held while it built a network and trained it for some steps."""
    step = training_step(start(backend), side, names)
    for _ in range(3):
        step()
    return peak_memory()


def preprocessing_cases() -> list[Case]:
    """Return the cases of preprocessing. Ours keeps the matrices of sizes; images of ever new sizes show their cost."""
    from efficientnet.preprocessing import center_crop_and_resize

    photograph = np.random.default_rng(0).integers(0, 256, (600, 800, 3), np.uint8)
    heights = {side: iter(range(599, 300, -1)) for side in SIDES}

    def of_a_new_size(side: str, preprocess: Callable[..., Any]) -> float:
        return timed(preprocess, photograph[: next(heights[side])], 224)()

    return [
        Case(
            "crop and resize 800×600 to 224 (peer: 1.1.1)",
            timed(center_crop_and_resize, photograph, 224),
            timed(older_center_crop_and_resize, photograph, 224),
        ),
        Case(
            "the same, each image of a new size",
            functools.partial(of_a_new_size, "ours", center_crop_and_resize),
            functools.partial(of_a_new_size, "peer", older_center_crop_and_resize),
        ),
    ]


def older_center_crop_and_resize(image: np.ndarray, image_size: int, crop_padding: int = 32) -> Any:
    """Do what version 1.1.1 did: cut out the central square, let scikit-image resize it (bicubic, anti-aliased)."""
    resize: Any = importlib.import_module("skimage.transform").resize
    height, width = image.shape[:2]
    side = int(image_size / (image_size + crop_padding) * min(height, width))
    top, left = (height - side + 1) // 2, (width - side + 1) // 2
    return resize(image[top : top + side, left : left + side], (image_size, image_size), order=3, preserve_range=True)
