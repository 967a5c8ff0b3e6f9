"""Times this package side by side with ``keras.applications``, and preprocessing with version 1.1.1's method.

    python scripts/benchmark.py --quick --backend tensorflow jax

Every row is a ratio to the peer in the same run: the two alternate, A B A B, so that what else the machine does
slows both. Imports and builds take a fresh process each; forward passes and training steps share one process for
each backend and are warmed up first. Both networks are EfficientNetB0 (or B7) with random weights on raw pixels:
``keras.applications`` always scales them inside, so ours is built with ``include_preprocessing=True``.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import json
import multiprocessing
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

PARTS = ("import", "build", "memory", "predict", "train", "preprocess")
PACKAGES = (
    "efficientnet", "numpy", "keras", "tensorflow", "tf_keras", "jax", "torch", "openvino", "scikit-image",
)  # fmt: skip
SIDES = ("ours", "peer")
TRAINING_BATCH = 16
CLASSES = 1000


class Backend(NamedTuple):
    """How to run on a backend: the packages it takes, what chooses it, its Keras, our module for that Keras."""

    packages: tuple[str, ...]
    environment: dict[str, str]
    keras: str
    shim: str


BACKENDS = {
    name: Backend(("keras", name), {"KERAS_BACKEND": name}, "keras", "efficientnet.keras")
    for name in ("tensorflow", "jax", "torch", "openvino")
}
BACKENDS["tf_keras"] = Backend(
    ("tensorflow", "tf_keras"), {"TF_USE_LEGACY_KERAS": "1"}, "tf_keras", "efficientnet.tfkeras"
)


class Case(NamedTuple):
    """Something to compare: each function makes one measurement, in seconds or (``unit="MB"``) in bytes."""

    what: str
    ours: Callable[[], float]
    peer: Callable[[], float]
    unit: str = "s"


class Row(NamedTuple):
    """All measurements of a case, in the order in which they were made."""

    what: str
    unit: str
    ours: list[float]
    peer: list[float]

    def ratios(self) -> list[float]:
        return [ours / peer for ours, peer in zip(self.ours, self.peer, strict=True)]


class Effort(NamedTuple):
    """A case is measured at least ``pairs`` times, and goes on until ``seconds`` are over."""

    pairs: int
    seconds: float


def compare(case: Case, effort: Effort) -> Row:
    """Measures A B A B …"""
    row = Row(case.what, case.unit, [], [])
    end = time.perf_counter() + effort.seconds
    while len(row.peer) < effort.pairs or time.perf_counter() < end:
        row.ours.append(case.ours())
        row.peer.append(case.peer())
    return row


def timed(function: Callable[..., Any], *arguments: Any) -> Callable[[], float]:
    """A measurement: the seconds that a call takes."""

    def measure() -> float:
        start = time.perf_counter()
        function(*arguments)
        return time.perf_counter() - start

    return measure


# What follows runs in processes of its own, so that nothing is imported, compiled or cached before.


def in_fresh_process(function: Callable[..., Any], *arguments: Any) -> Any:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def import_seconds(module: str, environment: dict[str, str], must_not_import: Sequence[str] = ()) -> float:
    """The seconds that a bare interpreter takes to import a module."""
    code = (
        "import sys, time; start = time.perf_counter(); "
        f"import {module}; print(time.perf_counter() - start, *sys.modules)"
    )
    command = [sys.executable, "-c", code]
    run = subprocess.run(command, env={**os.environ, **environment}, check=True, capture_output=True, text=True)
    seconds, *imported = run.stdout.split()
    if found := set(must_not_import) & set(imported):
        raise RuntimeError(f"import {module} has imported {', '.join(sorted(found))} too, and must not.")
    return float(seconds)


def start(backend: Backend) -> dict[str, Callable[..., Any]]:
    """Wakes a backend with one tiny layer; returns what builds "ours" and the "peer", given a model's name."""
    os.environ.update(backend.environment)
    keras = importlib.import_module(backend.keras)
    shim = importlib.import_module(backend.shim)
    keras.layers.Dense(1)(np.zeros((1, 1), np.float32))
    return {
        "ours": lambda name: getattr(shim, name)(weights=None, include_preprocessing=True),
        "peer": lambda name: getattr(keras.applications, name)(weights=None),
    }


def build_seconds(backend: Backend, side: str, name: str) -> float:
    """The seconds that the first build in a process takes, once Keras is imported and its backend awake."""
    build = start(backend)[side]
    return timed(build, name)()


def peak_memory(backend: Backend, side: str) -> float:
    """The most bytes that a process held while it built B0 and answered one image."""
    model = start(backend)[side]("EfficientNetB0")
    model.predict_on_batch(random_images(model, 1))
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kilobytes * (1 if sys.platform == "darwin" else 1024)


def random_images(model: Any, batch: int) -> np.ndarray:
    """Raw pixels 0..255, (batch, height, width, 3) float32, of the size that the model takes."""
    return np.random.default_rng(0).uniform(0, 255, (batch, *model.input_shape[1:])).astype(np.float32)


def forward_and_training(backend: Backend, prefix: str, parts: Sequence[str], effort: Effort) -> list[Row]:
    """The rows of parts "predict" and "train": two warm B0 in one process."""
    build = start(backend)
    ours, peer = build["ours"]("EfficientNetB0"), build["peer"]("EfficientNetB0")
    cases = []
    for batch in (1, 32) if "predict" in parts else ():
        images = random_images(ours, batch)
        asked_peer = timed(peer.predict_on_batch, images)
        cases.append(Case(f"{prefix} predict B0, batch {batch}", timed(ours.predict_on_batch, images), asked_peer))
        if find_spec("openvino"):
            from efficientnet.inference import compile

            fast = compile(ours, "openvino")
            cases.append(Case(f"{prefix} OpenVINO engine B0, batch {batch}", timed(fast.predict, images), asked_peer))
    if "train" in parts:
        for model in (ours, peer):
            model.compile("sgd", "sparse_categorical_crossentropy")
        images, labels = random_images(ours, TRAINING_BATCH), np.arange(TRAINING_BATCH) % CLASSES
        cases.append(
            Case(
                f"{prefix} training step B0, batch {TRAINING_BATCH}",
                timed(ours.train_on_batch, images, labels),
                timed(peer.train_on_batch, images, labels),
            )
        )
    rows = []
    for case in cases:
        compare(case, Effort(pairs=3, seconds=0))  # compiles: TensorFlow up to twice, for new batch sizes
        rows.append(compare(case, effort))
    return rows


# What is compared.


def fresh_cases(name: str, backend: Backend, quick: bool, parts: Sequence[str]) -> Iterator[Case]:
    """The cases of a backend that take a fresh process for each measurement."""
    if "import" in parts:
        yield Case(
            f"{name}: import {backend.shim}",
            functools.partial(import_seconds, backend.shim, backend.environment),
            functools.partial(import_seconds, backend.keras, backend.environment),
        )
    if "build" in parts:
        for model in ("EfficientNetB0",) if quick else ("EfficientNetB0", "EfficientNetB7"):
            sides = [functools.partial(in_fresh_process, build_seconds, backend, side, model) for side in SIDES]
            yield Case(f"{name}: build {model.removeprefix('EfficientNet')}", *sides)
    if "memory" in parts:
        sides = [functools.partial(in_fresh_process, peak_memory, backend, side) for side in SIDES]
        yield Case(f"{name}: peak memory, build and ask B0", *sides, unit="MB")


def import_case(backend: Backend) -> Case:
    """Looking up a variant must cost no framework."""
    frameworks = ["keras", "tensorflow", "tf_keras", "jax", "torch", "openvino"]
    return Case(
        f"import efficientnet (peer: {backend.keras})",
        functools.partial(import_seconds, "efficientnet", {}, frameworks),
        functools.partial(import_seconds, backend.keras, backend.environment),
    )


def preprocessing_cases() -> list[Case]:
    """Ours keeps the small matrices of the sizes that it has met; pictures of ever new sizes show their cost."""
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
            "the same, each picture of a new size",
            functools.partial(of_a_new_size, "ours", center_crop_and_resize),
            functools.partial(of_a_new_size, "peer", older_center_crop_and_resize),
        ),
    ]


def older_center_crop_and_resize(image: np.ndarray, image_size: int, crop_padding: int = 32) -> np.ndarray:
    """What version 1.1.1 did: cut out the central square, let scikit-image resize it (bicubic, anti-aliased)."""
    from skimage.transform import resize

    height, width = image.shape[:2]
    side = int(image_size / (image_size + crop_padding) * min(height, width))
    top, left = (height - side + 1) // 2, (width - side + 1) // 2
    return resize(image[top : top + side, left : left + side], (image_size, image_size), order=3, preserve_range=True)


# What is printed.


def measured(backends: Sequence[str], parts: Sequence[str], quick: bool) -> Iterator[Row]:
    """Measures everything that was asked for, row by row."""
    effort = Effort(pairs=3, seconds=1 if quick else 20)
    if "import" in parts:
        yield compare(import_case(BACKENDS[backends[0]]), effort)
    if "preprocess" in parts:
        for case in preprocessing_cases():
            case.ours(), case.peer()  # imports
            yield compare(case, effort._replace(seconds=min(effort.seconds, 5)))
    for name in backends:
        backend = BACKENDS[name]
        for case in fresh_cases(name, backend, quick, parts):
            yield compare(case, effort)
        # Keras on OpenVINO answers, but does not train.
        shared = [part for part in ("predict", "train") if part in parts and (name, part) != ("openvino", "train")]
        if shared:
            yield from in_fresh_process(forward_and_training, backend, f"{name}:", shared, effort)


def machine() -> str:
    """Processor, cores and versions, in one line."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    versions = [f"Python {platform.python_version()}"]
    for package in PACKAGES:
        try:
            versions.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            continue
    return f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores; {', '.join(versions)}"


def spread(values: Sequence[float], show: Callable[[float], str]) -> str:
    """The median, and the quartiles around it."""
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return f"{show(middle)} ({show(low)}–{show(high)})"


def table_line(row: Row) -> str:
    """A row of the Markdown table; the ratio is that of each pair of neighbours, its median over all pairs."""
    if row.unit == "MB":
        unit, scale = "MB", 1e-6
    else:
        unit, scale = ("s", 1.0) if statistics.median(row.peer) >= 1 else ("ms", 1e3)

    def show(value: float) -> str:
        return f"{value * scale:.3g}" if value * scale < 100 else f"{value * scale:.0f}"

    ours, peer = (f"{spread(values, show)} {unit}" for values in (row.ours, row.peer))
    return f"| {row.what:<48} | {ours:<28} | {peer:<28} | {spread(row.ratios(), '{:.2f}'.format):<18} |"


def main(argv: Sequence[str] | None = None) -> None:
    installed = [name for name, backend in BACKENDS.items() if all(map(find_spec, backend.packages))]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", nargs="+", choices=BACKENDS, default=installed, help="default: those installed")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="parts to measure (default: all)")
    parser.add_argument("--quick", action="store_true", help="fewer repeats, and no B7")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every single measurement there too")
    arguments = parser.parse_args(argv)
    missing = [name for name in arguments.backend if name not in installed]
    if missing or not (arguments.backend or arguments.only == ["preprocess"]):
        what = ", ".join(missing) or "any backend"
        parser.error(f"not installed: {what}; pip install 'efficientnet[test]' brings them all.")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

    print(f"{machine()}\n\nMedian (quartiles); a ratio below 1 is in our favour.\n")
    print(f"| {'what':<48} | {'ours':<28} | {'keras.applications':<28} | {'ratio':<18} |")
    print(f"|{'-' * 50}|{'-' * 30}|{'-' * 30}|{'-' * 20}|", flush=True)
    rows = []
    for row in measured(arguments.backend, arguments.only, arguments.quick):
        print(table_line(row), flush=True)
        rows.append(row)
    if arguments.json:
        report = {"machine": machine(), "rows": [row._asdict() for row in rows]}
        arguments.json.write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
