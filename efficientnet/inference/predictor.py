"""The predictor: an engine, fed with micro-batches from arrays, images and streams of them."""

from __future__ import annotations

import functools
import itertools
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np

from ..common.text import get_logger
from ..images.pixels import as_array
from ..model_io.images import check_many, listed, overlap, read_image
from .engines import Engine, Run

logger = get_logger()

Outputs = np.ndarray | list[np.ndarray] | dict[str, np.ndarray]

# So many images of a stream are predicted before it pays to compile for micro-batches.
_FEW = 32


class Record(NamedTuple):
    """Result for one image of a stream.

    Attributes:
        source: Image as it was given.
        outputs: Outputs of the model without the batch axis: (classes,) or features, or a list or dictionary of
            feature maps; None if the image cannot be read.
        error: Reason why the image cannot be read; None if it can.

    Example:
        >>> from efficientnet.keras import EfficientNet
        >>> with compile(EfficientNet(0.25, 0.25, 32, weights=None, classes=5), cache=False) as predictor:
        ...     for record in predictor.stream(["misc/panda.jpg", "missing.jpg"]):
        ...         print(record.source, "cannot be read" if record.error else record.outputs.shape)
        misc/panda.jpg (5,)
        missing.jpg cannot be read
    """

    source: Any
    outputs: Outputs | None
    error: str | None = None


class Predictor:
    """Compiled model: takes pixels or images and returns NumPy arrays. Many threads may call it at once.

    Attributes:
        engine: Runtime: ``"openvino"``, ``"onnxruntime"``, ``"litert"`` or ``"keras"``; of a SavedModel folder
            ``"tensorflow"``.
        precision: Precision of the computation: ``"f32"``, ``"bf16"`` or ``"int8"``; of an exported file what it
            records, or else ``"f32"``.
        batch_size: Images that are computed together if there are many.
        spec: Preparation of images and names of classes.
        deviation: Largest difference of the outputs from float32's, relative to the larger of 1 and the largest
            output: for int8 on views of images held out from the calibration, for bf16 on random images; None in
            float32.
        fidelity: For int8, how well it keeps the predictions of float32, and which layers stay in float; None in other
            precisions.
        timings: Milliseconds per image for each engine that ``engine="fastest"`` has tried.

    Example:
        >>> from efficientnet.keras import EfficientNet
        >>> with compile(EfficientNet(0.25, 0.25, 32, weights=None), cache=False) as predictor:
        ...     print(predictor.precision, predictor.spec.sides, len(predictor.top(["misc/panda.jpg"], k=3)[0]))
        f32 (32, 32) 3
    """

    def __init__(self, engine: Engine, precision: str, timings: dict[str, float] | None = None) -> None:
        self.engine = engine.name
        self.precision = precision
        self.batch_size = engine.micro_batch
        self.spec = engine.spec
        self.deviation = engine.deviation
        self.fidelity = engine.fidelity
        self.timings = timings or {}
        self._engine: Engine | None = engine
        self._lock = threading.Lock()
        self._bulk: Run | None = None
        self._workers = ThreadPoolExecutor(engine.workers, "efficientnet-predict")
        self._process = os.getpid()
        self._is_reported = False  # whether the unknown scaling of pixels has been logged

    def predict(self, x: Any) -> Outputs:
        """Predict a batch of arrays, or images of any size.

        Args:
            x: Array of pixels in the model's shape, (batch, height, width, channels), 0..255, whole or floating
                numbers (in uint16, 0..65535), which are preprocessed as the model expects; for a model that does not
                record its preprocessing, floating numbers as it takes them. Or a list or another iterable of images of
                any size, which are cropped and resized as in evaluation: paths, URLs, contents of files as bytes,
                Pillow images, arrays (height, width), (height, width, 1), (height, width, 3) or (height, width, 4),
                or functions that return one of these. A model of other channels than 1 and 3 takes arrays and files of
                as many.

        Returns:
            Outputs of the model, float32: (batch, classes) probabilities, features, or a list or dictionary of feature
            maps.

        Raises:
            ValueError: There is no image, the shape is not the model's, or the numbers cannot be pixels.
            OSError: An image cannot be read.
        """
        engine = self._open()
        x = listed(x)
        if not hasattr(x, "__array__") or isinstance(x, (str, bytes)):  # as NumPy has them, too
            check_many(x)
            return self._predict_images(x)
        images = engine.spec.check(as_array(x))
        if engine.spec.scaling is None:
            self._report_unscaled()
        return self.predict_prepared(images)

    __call__ = predict

    def predict_prepared(self, images: np.ndarray) -> Outputs:
        """Predict images that ``spec.image`` has prepared: (batch, height, width, channels)."""
        pieces = self._pieces(images)
        return self._pack(
            [np.concatenate(parts) if len(parts) > 1 else parts[0] for parts in zip(*pieces, strict=True)]
        )

    def warm_up(self) -> None:
        """Compile for many images at a time now, and not when they first come.

        Example:
            >>> from efficientnet.keras import EfficientNet
            >>> with compile(EfficientNet(0.25, 0.25, 32, weights=None), cache=False) as predictor:
            ...     predictor.warm_up()
        """
        self._make_bulk()

    def top(self, x: Any, k: int = 5) -> list[list[tuple[str, str, float]]]:
        """Return the ``k`` best classes of each image: id, label and score, best first.

        The scores are the model's outputs: probabilities, or logits if it ends without a softmax
        (``spec.kind`` says which). With a single sigmoid output p, the two classes score p and 1 - p.

        Args:
            x: Batch or images, as in ``predict``.
            k: Number of classes, at least 1; all classes if there are fewer.

        Raises:
            ValueError: As in ``predict``, or the model is not a classifier.
        """
        self.spec.check_vector()
        return [self.spec.top(scores, k) for scores in self.predict(x)]

    def stream(self, sources: Iterable[Any]) -> Iterator[Record]:
        """Predict any number of images in their order; reading, cropping, resizing and predicting overlap.

        Args:
            sources: Images, as in ``predict``, each judged alone. They are requested as they are needed, and few are in
                memory at a time. Those of an array are cropped and resized, too, unless it has the model's shape.

        Yields:
            A record for each image. One that cannot be read has an ``error``, and the others go on.
        """
        sources = listed(sources)
        check_many(sources)
        for source, outputs in self._stream(sources):
            if isinstance(outputs, Exception):
                yield Record(source, None, str(outputs) or type(outputs).__name__)
            else:
                yield Record(source, self._pack(outputs))

    def close(self) -> None:
        """Free the compiled model; the predictor cannot be called afterwards."""
        with self._lock:
            self._engine, self._bulk = None, None
        self._workers.shutdown(cancel_futures=True)

    def __enter__(self) -> Predictor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open(self) -> Engine:
        engine = self._engine
        if os.getpid() != self._process:
            raise RuntimeError(
                f"This predictor belongs to process {self._process}, of which this one, {os.getpid()}, is a fork: the "
                "threads that compute are not in it. Compile the model in each process after the fork (gunicorn: "
                "without --preload, or in post_fork)."
            )
        if engine is None:
            raise ValueError("This predictor is closed; compile the model again.")
        return engine

    def _pieces(self, images: np.ndarray) -> list[list[np.ndarray]]:
        """Return the outputs of a batch in pieces: micro-batches that all threads work on at once, and single images.

        What does not fill a micro-batch is predicted one by one: so two shapes are compiled, whatever the batch.
        """
        engine = self._open()
        count = len(images)
        is_many = 2 * count > engine.micro_batch * engine.workers and count > 1
        together = count - count % engine.micro_batch if is_many else 0
        starts = range(0, together, engine.micro_batch)
        bulk = self._make_bulk() if starts else engine.lone
        futures = [self._workers.submit(bulk, images[start : start + engine.micro_batch]) for start in starts]
        pieces = [future.result() for future in futures]
        most = engine.most_alone
        return pieces + [engine.lone(images[start : start + most]) for start in range(together, count, most)]

    def _pack(self, outputs: list[np.ndarray]) -> Outputs:
        """Return outputs in the structure of the model's."""
        if self.spec.output_names:
            return dict(zip(self.spec.output_names, outputs, strict=True))
        return outputs[0] if len(outputs) == 1 else outputs

    def _report_unscaled(self) -> None:
        """Log once that numbers go to the model unchanged."""
        with self._lock:
            is_first, self._is_reported = not self._is_reported, True
        if is_first:
            logger.warning(
                "%s does not record how its pixels are scaled, so numbers go to it unchanged. If they are raw pixels, "
                'compile it with preprocessing=, how it was trained; if they are scaled, with preprocessing="none".',
                self.spec.name,
            )

    def _make_bulk(self) -> Run:
        with self._lock:
            if self._bulk is None:
                self._bulk = self._open().bulk()
            return self._bulk

    def _predict_images(self, sources: Iterable[Any]) -> Outputs:
        predictions = []
        for _, outputs in self._stream(sources):
            if isinstance(outputs, Exception):
                raise outputs
            predictions.append(outputs)
        if not predictions:
            raise ValueError("Expected at least one image; got none.")
        return self._pack([np.stack(parts) for parts in zip(*predictions, strict=True)])

    def _stream(self, sources: Iterable[Any]) -> Iterator[tuple[Any, list[np.ndarray] | Exception]]:
        engine = self._open()
        groups = itertools.count()
        load: Callable[[Any], np.ndarray] = functools.partial(read_image, spec=self.spec)
        if self.spec.fits(getattr(sources, "shape", ())):
            load = self._load_prepared
            if self.spec.scaling is None:
                self._report_unscaled()

        def start(images: list[np.ndarray]) -> Future[list[list[np.ndarray]]]:
            is_many = next(groups) * engine.micro_batch >= _FEW
            run = self._make_bulk() if is_many and len(images) == engine.micro_batch else None
            return self._workers.submit(_each, self._open(), run, images)

        return overlap(sources, load, start, engine.micro_batch, 2 * engine.workers)

    def _load_prepared(self, image: Any) -> np.ndarray:
        """Load an array of the model's shape as an image, which ``predict`` neither crops nor resizes."""
        (checked,) = self.spec.check(as_array(image)[np.newaxis])
        return np.asarray(checked)


def _each(engine: Engine, bulk: Run | None, images: list[np.ndarray]) -> list[list[np.ndarray]]:
    """Return the outputs of each image: of all at once, or of few after the other."""
    run, most = (engine.lone, engine.most_alone) if bulk is None else (bulk, len(images))
    pieces = [run(np.stack(images[start : start + most])) for start in range(0, len(images), most)]
    return [list(parts) for piece in pieces for parts in zip(*piece, strict=True)]
