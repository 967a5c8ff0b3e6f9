"""Everything that can predict with an EfficientNet: from raw pixels in NumPy to probabilities in NumPy.

A contender is opened with the race's settings, in a separate process, and gives for each batch size a measurement
of the seconds that it takes per image. What it raises instead is the reason why it is skipped.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .backends import BACKENDS, start
from .measuring import in_fresh_process, timed
from .photographs import photographs

if TYPE_CHECKING:
    from efficientnet.inference import Predictor

# Side of the matrices of the product: at this size, and beyond, NumPy is at its fastest.
LARGE = 2048
# Images to find the ranges of 8-bit numbers with.
CALIBRATION = 32


class Settings(NamedTuple):
    """What a race is about.

    Attributes:
        variant: ``"efficientnet-b0"``.
        resolution: side of the square images, pixels.
        macs: multiply-adds for one image.
        backend: of Keras, a name of ``BACKENDS``.
        threads: that everyone may use.
        seconds: that a turn lasts.
        folder: for what contenders write.
        photographs: folder of JPEGs; empty where none are asked for.
    """

    variant: str
    resolution: int
    macs: int
    backend: str
    threads: int
    seconds: float
    folder: str
    photographs: str = ""

    @property
    def constructor(self) -> str:
        """``"EfficientNetB0"``"""
        return "EfficientNet" + self.variant.removeprefix("efficientnet").title().replace("-", "")


Measure = Callable[[], float]
ForBatch = Callable[[int], Measure]
Open = Callable[[Settings], ForBatch]


class SkippedError(Exception):
    """Why a contender does not take part."""


def per_image(settings: Settings, predict: Callable[[np.ndarray], Any]) -> ForBatch:
    """Return the seconds per image of a function that takes (batch, height, width, 3) raw pixels, uint8."""

    def for_batch(batch: int) -> Measure:
        size = settings.resolution
        images = np.random.default_rng(0).integers(0, 256, (batch, size, size, 3), np.uint8)
        measure = timed(predict, images)
        return lambda: measure() / batch

    return for_batch


def this_package(engine: str, precision: str, settings: Settings) -> ForBatch:
    return per_image(settings, compiled_from_cache(engine, precision, settings).predict)


def compiled_from_cache(engine: str, precision: str, settings: Settings) -> Predictor:
    """Compile a saved model into the cache by a separate process, so that this one only predicts."""
    from efficientnet.inference import compile

    path = Path(settings.folder) / "model.keras"
    if not path.exists():
        in_fresh_process(save_model, settings, path)
    open_predictor = functools.partial(
        compile,
        path,
        engine=engine,
        precision=precision,
        threads=settings.threads,
        calibration=list(photographs(CALIBRATION)) if precision == "int8" else (),
        agreement=0.0 if precision == "int8" else None,  # random weights have no classes to keep
    )
    in_fresh_process(fill_cache, open_predictor, settings)
    return open_predictor()


def save_model(settings: Settings, path: Path) -> None:
    start(BACKENDS[settings.backend])["create"](settings.variant).save(path)


def fill_cache(open_predictor: Callable[[], Any], settings: Settings) -> None:
    size = settings.resolution
    with open_predictor() as predictor:
        for batch in (1, 32):
            predictor.predict(np.zeros((batch, size, size, 3), np.uint8))


def keras_applications(method: str, settings: Settings) -> ForBatch:
    model = keras_network(settings)

    def compiled() -> Callable[[np.ndarray], Any]:
        if settings.backend not in ("tensorflow", "tf_keras"):
            raise SkippedError(f"Keras runs on {settings.backend}")
        import tensorflow as tf

        function = tf.function(lambda images: model(images, training=False))
        return lambda images: function(tf.constant(images)).numpy()

    def called(images: np.ndarray) -> np.ndarray:
        outputs = model(images, training=False)
        return np.asarray(outputs.detach() if settings.backend == "torch" else outputs)

    methods: dict[str, Callable[[], Callable[[np.ndarray], Any]]] = {
        "predict": lambda: functools.partial(model.predict, verbose=0),
        "predict_on_batch": lambda: model.predict_on_batch,
        "model()": lambda: called,
        "tf.function": compiled,
    }
    return per_image(settings, methods[method]())


def keras_network(settings: Settings) -> Any:
    """Return the network of ``keras.applications``, which scales raw pixels itself."""
    build = start(BACKENDS[settings.backend])["peer"]
    try:
        return build(settings.constructor)
    except AttributeError as error:
        raise SkippedError(f"keras.applications has no {settings.constructor}") from error


def litert(settings: Settings) -> ForBatch:
    from ai_edge_litert.interpreter import Interpreter

    path = Path(settings.folder) / "applications.tflite"
    if not path.exists():
        in_fresh_process(export_to_litert, settings, path)

    def for_batch(batch: int) -> Measure:
        interpreter = Interpreter(str(path), num_threads=settings.threads)
        (source,), (target,) = interpreter.get_input_details(), interpreter.get_output_details()
        interpreter.resize_tensor_input(source["index"], (batch, *source["shape"][1:]))
        interpreter.allocate_tensors()

        def predict(images: np.ndarray) -> Any:
            interpreter.set_tensor(source["index"], images.astype(np.float32))
            interpreter.invoke()
            return interpreter.get_tensor(target["index"])

        return per_image(settings, predict)(batch)

    return for_batch


def export_to_litert(settings: Settings, path: Path) -> None:
    model = keras_network(settings._replace(backend="tensorflow"))
    import tensorflow as tf

    path.write_bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())


def older_package(settings: Settings) -> ForBatch:
    """Version 1.1.1, which the worker is given instead of this package."""
    import efficientnet

    if efficientnet.__version__ != "1.1.1":
        raise SkippedError(f"--old leads to version {efficientnet.__version__}")
    older: Any = importlib.import_module("efficientnet.tfkeras")
    model = getattr(older, settings.constructor)(weights=None)
    return per_image(settings, lambda images: model.predict_on_batch(older.preprocess_input(images)))


def timm_eager(settings: Settings) -> ForBatch:
    return per_image(settings, asked_eagerly(timm_network(settings)))


def timm_compiled(settings: Settings) -> ForBatch:
    import torch

    return per_image(settings, asked_eagerly(torch.compile(timm_network(settings))))


def lukemelas(settings: Settings) -> ForBatch:
    from efficientnet_pytorch import EfficientNet

    network = EfficientNet.from_name(settings.variant, image_size=settings.resolution)
    return per_image(settings, asked_eagerly(from_pixels(network)))


def import_timm() -> Any:
    """Return the package timm, which imports torchvision."""
    import torch

    try:
        return importlib.import_module("timm")
    except RuntimeError:  # a torchvision that was not built with this PyTorch, and lacks these
        for operation in ("nms", "qnms"):
            torch.library.define(f"torchvision::{operation}", "(Tensor dets, Tensor scores, float threshold) -> Tensor")
        return importlib.import_module("timm")


def timm_network(settings: Settings) -> Any:
    timm = import_timm()
    name = settings.variant.replace("-", "_")
    if not timm.is_model(name):
        raise SkippedError(f"timm has no {name}")
    return from_pixels(timm.create_model(name))


def from_pixels(network: Any) -> Any:
    """Return a PyTorch network with what it needs around it: raw pixels (batch, height, width, 3) to probabilities."""
    import torch

    class FromPixels(torch.nn.Module):
        mean: torch.Tensor
        scale: torch.Tensor

        def __init__(self) -> None:
            super().__init__()
            self.network = network
            self.register_buffer("mean", 255 * torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1))
            self.register_buffer("scale", 1 / (255 * torch.tensor([0.229, 0.224, 0.225])).view(3, 1, 1))

        def forward(self, images: torch.Tensor) -> Any:
            scaled = (images.permute(0, 3, 1, 2).float() - self.mean) * self.scale
            return self.network(scaled).softmax(1)

    return FromPixels().eval()


def asked_eagerly(network: Any) -> Callable[[np.ndarray], Any]:
    import torch

    def predict(images: np.ndarray) -> Any:
        with torch.inference_mode():
            return network(torch.from_numpy(images)).numpy()

    return predict


def timm_export(settings: Settings, batch: int) -> Path:
    """Return timm's network in ONNX, of a static shape, written by a separate process."""
    path = Path(settings.folder) / f"timm_{batch}.onnx"
    if not path.exists():
        importlib.import_module("onnxscript")  # to miss it here
        in_fresh_process(export_timm, settings, batch, path)
    return path


def export_timm(settings: Settings, batch: int, path: Path) -> None:
    import torch

    images = torch.zeros((batch, settings.resolution, settings.resolution, 3), dtype=torch.uint8)
    torch.onnx.export(timm_network(settings), (images,), path, dynamo=True, external_data=False, verbose=False)


def onnxruntime(settings: Settings) -> ForBatch:
    runtime = importlib.import_module("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = settings.threads

    def for_batch(batch: int) -> Measure:
        path = timm_export(settings, batch)
        session = runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        (source,) = session.get_inputs()
        return per_image(settings, lambda images: session.run(None, {source.name: images})[0])(batch)

    return for_batch


def openvino(settings: Settings) -> ForBatch:
    def for_batch(batch: int) -> Measure:
        compiled = compiled_by_openvino(settings, batch, "LATENCY")
        return per_image(settings, lambda images: compiled(images)[0])(batch)

    return for_batch


def openvino_throughput(settings: Settings) -> ForBatch:
    """Many batches in flight."""
    from openvino import AsyncInferQueue

    def for_batch(batch: int) -> Measure:
        queue = AsyncInferQueue(compiled_by_openvino(settings, batch, "THROUGHPUT"))
        batches = max(4, 32 // batch)

        def predict(images: np.ndarray) -> None:
            for _ in range(batches):
                queue.start_async(images)
            queue.wait_all()

        measure = per_image(settings, predict)(batch)
        return lambda: measure() / batches

    return for_batch


def compiled_by_openvino(settings: Settings, batch: int, hint: str) -> Any:
    import openvino

    options = {
        "PERFORMANCE_HINT": hint,
        "INFERENCE_NUM_THREADS": settings.threads,
        "INFERENCE_PRECISION_HINT": "f32",  # not bfloat16, which it takes by itself
    }
    return openvino.Core().compile_model(timm_export(settings, batch), "CPU", options)


def matrix_product(settings: Settings) -> ForBatch:
    """As many multiply-adds as the network has, in one large float32 product of NumPy's."""
    left, right = np.random.default_rng(0).random((2, LARGE, LARGE), np.float32)
    measure = timed(np.matmul, left, right)
    return lambda batch: lambda: measure() * settings.macs / LARGE**3


OURS = "this package, "
REFERENCE = "keras.applications, predict"
OLDER = "efficientnet 1.1.1, predict_on_batch"
CONTENDERS: dict[str, Open] = {
    f"{OURS}auto": functools.partial(this_package, "auto", "f32"),
    f"{OURS}openvino": functools.partial(this_package, "openvino", "f32"),
    f"{OURS}openvino bf16": functools.partial(this_package, "openvino", "bf16"),
    f"{OURS}openvino int8": functools.partial(this_package, "openvino", "int8"),
    f"{OURS}onnxruntime": functools.partial(this_package, "onnxruntime", "f32"),
    f"{OURS}litert": functools.partial(this_package, "litert", "f32"),
    f"{OURS}keras": functools.partial(this_package, "keras", "f32"),
    REFERENCE: functools.partial(keras_applications, "predict"),
    "keras.applications, predict_on_batch": functools.partial(keras_applications, "predict_on_batch"),
    "keras.applications, model()": functools.partial(keras_applications, "model()"),
    "keras.applications, tf.function": functools.partial(keras_applications, "tf.function"),
    "keras.applications, LiteRT": litert,
    "timm, eager": timm_eager,
    "timm, torch.compile": timm_compiled,
    "timm, ONNX Runtime": onnxruntime,
    "timm, OpenVINO static": openvino,
    "timm, OpenVINO throughput": openvino_throughput,
    "lukemelas, eager": lukemelas,
    OLDER: older_package,
    "large matrix product": matrix_product,
}
