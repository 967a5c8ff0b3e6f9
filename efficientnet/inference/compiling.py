"""From a model to a predictor: the choice of the engine."""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Callable, Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from ..common import arguments
from ..common.packages import missing
from ..common.text import get_logger, plain
from ..exported_files.formats import FORMATS, require_runtime
from ..exported_files.opening import reason_of
from ..images.pixel_scaling import Scaling
from . import engines
from .engines import CompileRequest, Engine, Run
from .exported import ExportedFile
from .fidelity import MOST_IMAGES, least_agreement
from .openvino_engine import openvino
from .predictor import Predictor
from .sources import ModelSource

logger = get_logger()

_MAKERS: dict[str, Callable[[CompileRequest], Engine]] = {
    "openvino": openvino,
    "onnxruntime": engines.onnxruntime,
    "litert": engines.litert,
    "keras": engines.keras,
}
# What an engine imports, and the extra that installs it.
_NEEDS = {"keras": "keras", **{format.engine: format.module for format in FORMATS.values()}}
_EXTRAS = {"keras": "tensorflow", **{format.engine: format.extra for format in FORMATS.values()}}
# Each exported file has the engine of its format, and no choice.
_OF_FILES = {**_MAKERS, "tensorflow": engines.tensorflow}

ENGINES = ("auto", "fastest", *_MAKERS)
# The faster first, as measured on processors with AVX2 and AVX-512. LiteRT's conversion would take TensorFlow.
_AUTO = ("openvino", "onnxruntime", "keras")
PRECISIONS = ("f32", "bf16", "int8")

# What engines and converters raise of a layer that they do not know, or where a package is missing.
_CANNOT = (ValueError, ImportError, TypeError, RuntimeError)

_MICRO_BATCHES = (1, 2, 4, 8)
_TRIED_TOGETHER, _REPEATS = 16, 3


def compile(
    model: Any,
    engine: str = "auto",
    batch_size: int | None = None,
    precision: str = "f32",
    threads: int | None = None,
    *,
    preprocessing: str | Scaling | None = None,
    crop: float | None = None,
    interpolation: str | None = None,
    class_names: Sequence[str] | Sequence[tuple[str, str]] | None = None,
    calibration: Iterable[Any] = (),
    agreement: float | None = None,
    cache: bool = True,
) -> Predictor:
    """Compile a model for fast predictions.

    Args:
        model: Keras model that takes images, of either Keras and on any backend; path of a saved one (``.keras``,
            ``.h5``), of a folder that ``efficientnet train`` wrote, or of an exported one (``.onnx``, ``.xml``,
            ``.tflite``, the folder of a SavedModel), whoever exported it; or a ``ModelSource``.
        engine: Runtime. ``"openvino"`` converts the model's layers to an OpenVINO graph, ``"onnxruntime"`` and
            ``"litert"`` export it, ``"keras"`` calls the model itself (Keras' OpenVINO backend computes in bfloat16 on
            processors that have it). ``"auto"`` takes the first of openvino, onnxruntime and keras that is installed
            and supports every layer; ``"fastest"`` measures all four, which takes some seconds, and takes the fastest.
            An exported file runs in the runtime that it is for. ``Predictor.engine`` names the result.
        batch_size: Images that are computed together if there are many; an exported file may take a fixed number. By
            default the engine's choice, which on OpenVINO is 2 up to 256 pixels and 1 above; ``engine="fastest"`` tries
            1, 2, 4 and 8.
        precision: ``"f32"`` is float32 on every processor. ``"bf16"``, for processors that have it, and ``"int8"`` need
            OpenVINO; ``Predictor.deviation`` reports what they change.
        threads: Processor threads; by default the engine's choice. TensorFlow has them for the whole process.
        preprocessing: Scaling of pixels that the model expects, a mode of ``preprocess_input`` or its numbers; by
            default what ``model_preprocessing`` returns. The predictor takes raw pixels 0..255 and scales them itself;
            ``"none"`` leaves arrays unchanged.
        crop: Part of an image's shorter side that is kept, 0..1; for images, not for arrays. By default what the
            model or its file records, or else 0.875.
        interpolation: Interpolation of the resizing after that: ``"nearest"``, ``"bilinear"``, ``"biquadratic"`` or
            ``"bicubic"``. By default what the model records, or else ``"bicubic"``.
        class_names: Labels, or ids and labels, in the order of the outputs; ImageNet's for 1,000 outputs.
        calibration: Images for ``precision="int8"``, some hundred of the kind that the model will see; the first
            300 count.
        agreement: For ``precision="int8"``, least share of views of held-out calibration images that keep their
            prediction, or without classes of the outputs' variance, 0..1; 0.99 by default. Sensitive layers stay in
            float until it is reached, as in ``export``;
            ``Predictor.fidelity`` reports which, and what was reached.
        cache: Whether compiled engines are kept on disk, in the folder ``engines`` beside the downloaded weights, and
            taken from there. Up to 2 GiB are kept.

    Returns:
        A :class:`Predictor`, safe to call from many threads.

    Raises:
        ValueError: The engine or precision is unknown, the model takes no images, or the engine cannot run a layer;
            the message names it. Or int8 does not reach ``agreement``.
        ImportError: The engine is not installed; the message names the extra.
        FileNotFoundError: There is no model at the path.

    Example:
        >>> from efficientnet.keras import EfficientNet
        >>> with compile(EfficientNet(0.25, 0.25, 32, weights=None, classes=5), cache=False) as predictor:
        ...     print(predictor(["misc/panda.jpg"]).shape)
        (1, 5)
    """
    arguments.choice("engine", engine, ENGINES)
    arguments.choice("precision", precision, PRECISIONS)
    batch_size = None if batch_size is None else arguments.whole("batch_size", batch_size)
    threads = None if threads is None else arguments.whole("threads", threads)
    least = least_agreement(agreement, precision)
    arguments.iterable("calibration", calibration, "an iterable of images, such as a list of paths")
    if isinstance(model, ModelSource):
        source = model
    elif isinstance(model, (str, Path)):
        source = ModelSource.of_file(model, preprocessing, crop, interpolation, class_names, keep=cache)
    else:
        source = ModelSource.of_model(model, preprocessing, crop, interpolation, class_names, keep=cache)
    images = tuple(itertools.islice(calibration, MOST_IMAGES))
    request = CompileRequest(source, precision, threads, batch_size, images, least)
    if source.exported is not None:
        predictor = _of_file(source.exported, engine, request)
        source.remind(predictor.spec)
        return predictor
    if images and precision != "int8":
        raise ValueError(
            f"calibration= is for precision='int8', not for {precision!r}: leave it out (--calibrate), or take int8."
        )
    if precision != "f32":
        if engine not in ("auto", "fastest", "openvino"):
            raise ValueError(f"precision={precision!r} is OpenVINO's alone: engine='openvino', and not {engine!r}.")
        engine = "openvino"
    if engine == "auto":
        predictor = _first(request)
    elif engine == "fastest":
        predictor = _fastest(request)
    else:
        predictor = Predictor(_make(engine, request), precision)
    source.remind(predictor.spec)
    return predictor


def _of_file(file: ExportedFile, engine: str, request: CompileRequest) -> Predictor:
    """Return the predictor of an exported file, which leaves no choice of engine and precision."""
    known, name = FORMATS[file.format], plain(file.path)
    if engine not in ("auto", known.engine):
        raise ValueError(
            f"engine={engine!r}: {name} is exported for {known.runtime}, and runs there. Leave engine out (--engine)."
        )
    if request.precision != "f32" or request.calibration:
        given = f"precision={request.precision!r}" if request.precision != "f32" else "calibration="
        raise ValueError(
            f"{given}: {name} is exported, and has its precision. Leave precision and calibration out (--precision, "
            "--calibrate), or export the model anew with them."
        )
    require_runtime(file.format, name)
    made = _OF_FILES[known.engine](request)
    if request.micro_batch not in (None, made.micro_batch):
        raise ValueError(
            f"batch_size={request.micro_batch}: {name} takes exactly {made.micro_batch} images at a time. Leave "
            "batch_size out (--batch-size)."
        )
    lone, bulk, count = made.lone, made.bulk, made.spec.outputs
    made = made._replace(
        lone=_reporting(_flat(lone, count), name, known.runtime),
        bulk=lambda: _reporting(_flat(bulk(), count), name, known.runtime),
    )
    return Predictor(made, file.precision)


def _flat(run: Run, count: int) -> Run:
    """Return a function whose vectors are (batch, count), even if the engine returns maps of one place; none if 0."""
    return (lambda batch: [run(batch)[0].reshape(len(batch), count)]) if count else run


def _reporting(run: Run, name: str, runtime: str) -> Run:
    """Return the same function, where an error of a runtime becomes an error about the file."""

    def run_reporting(batch: np.ndarray) -> list[np.ndarray]:
        try:
            return run(batch)
        except MemoryError:
            raise
        except Exception as error:
            shape = ", ".join(map(str, batch.shape))
            raise ValueError(
                f"{name} cannot compute a batch of shape ({shape}) in {runtime}: {reason_of(error)}. If it takes "
                "single images, compile it with batch_size=1 (--batch-size 1); if another size, export it for this one."
            ) from error

    return run_reporting


def _is_installed(name: str) -> bool:
    return find_spec(_NEEDS[name]) is not None


def _make(name: str, request: CompileRequest) -> Engine:
    if not _is_installed(name):
        raise missing(f"engine={name!r} needs the package {_NEEDS[name]}", _EXTRAS[name])
    return _MAKERS[name](request)


def _first(request: CompileRequest) -> Predictor:
    """Return the first engine that is installed and knows every layer; Keras knows them all."""
    *others, last = _AUTO
    for name in filter(_is_installed, others):
        try:
            return Predictor(_make(name, request), request.precision)
        except _CANNOT as error:
            _report(name, request, error)
    return Predictor(_make(last, request), request.precision)


def _report(engine: str, request: CompileRequest, error: Exception) -> None:
    """Log why an engine cannot run a model; if the model cannot even be opened, raise the reason instead."""
    request.source.load()
    logger.warning("%s cannot run this model, and a slower engine may have to: %s", engine, error)


def _fastest(request: CompileRequest) -> Predictor:
    """Return the engine and micro-batch that take least for a single image and sixteen together."""
    timings: dict[str, float] = {}
    best: tuple[float, Engine] | None = None
    for name in filter(_is_installed, _MAKERS):
        try:
            made = _make(name, request)
        except _CANNOT as error:
            _report(name, request, error)
            continue
        sizes = _MICRO_BATCHES if name == "openvino" and request.micro_batch is None else (made.micro_batch,)
        for size in sizes:
            changed = dataclasses.replace(request, micro_batch=size)
            candidate = made if size == made.micro_batch else _make(name, changed)
            label = f"{name}, {size} at a time"
            timings[label] = _milliseconds(candidate)
            logger.info("%s: %.2f ms per image", label, timings[label])
            if best is None or timings[label] < best[0]:
                best = timings[label], candidate
    if best is None:
        raise missing("No engine is installed", _EXTRAS["openvino"])
    return Predictor(best[1], request.precision, timings)


def _milliseconds(engine: Engine) -> float:
    """Return the time for each of the images, at best."""
    shape = engine.spec.image_shape(1)
    one = np.zeros(shape, np.float32)
    many = np.zeros((_TRIED_TOGETHER, *shape[1:]), np.float32)
    seconds = []
    predictor = Predictor(engine, "f32")
    for _ in range(_REPEATS + 1):  # the first run prepares what the others reuse
        begin = time.perf_counter()
        predictor.predict(one)
        predictor.predict(many)
        seconds.append(time.perf_counter() - begin)
    return 1000 * min(seconds[1:]) / (1 + _TRIED_TOGETHER)
