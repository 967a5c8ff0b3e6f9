"""The engine of OpenVINO: the graph that is written from the model's layers, compiled for the processor's cores.

Measured on two cores (Zen 5, AVX-512, 2026): one image is predicted fastest by both cores together, many by each core
working on separate images, two at a time up to 256 pixels and one by one above, where activations outgrow the cache.
"""

from __future__ import annotations

import functools
import hashlib
import os
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..common.files import read_bytes
from ..common.private_imports import import_privately
from ..common.text import get_logger
from ..exported_files.openvino_file import ports_of
from ..images.loading import is_address
from ..images.pixels import is_pillow, rgb_of_image
from ..keras_graph import openvino as openvino_graph
from ..model_io.spec import InputSpec
from . import cache
from .engines import CompileRequest, Engine, Run, padded
from .fidelity import Fidelity
from .openvino_kernels import compile_faster, has_slower_kernels

logger = get_logger()

# Memory for activations is needed once for each stream.
_MOST_STREAMS = 16
_PROBES = 8


def openvino(request: CompileRequest) -> Engine:
    """Compile for OpenVINO, or take what was compiled before from the cache.

    Raises:
        UnsupportedLayerError: A layer has no OpenVINO form.
        ValueError: The processor has no bfloat16, or int8 comes without calibration images.
    """
    return _Compiler(request).engine()


class _Compiler:
    """A compiler of one model for different batches."""

    def __init__(self, request: CompileRequest) -> None:
        self.runtime = import_privately("openvino")
        self.request = request
        self.core = openvino_graph.core()
        self.processor = self.core.get_property("CPU", "FULL_DEVICE_NAME")
        self.capabilities = self.core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        if request.precision == "bf16" and "BF16" not in self.capabilities:
            raise ValueError(f"precision='bf16': this processor, {self.processor}, has no bfloat16. Take 'f32'.")
        self.version = self.runtime.get_version()
        self.exact = functools.cache(self._exact)
        self.graph = functools.cache(self._graph)
        self.eight_bits = functools.cache(self._eight_bits)

    def engine(self) -> Engine:
        lone, notes = self.compile(1, {"PERFORMANCE_HINT": "LATENCY"})
        spec = InputSpec.from_json(notes["spec"])
        threads = int(lone.get_property("INFERENCE_NUM_THREADS"))
        streams = min(threads, _MOST_STREAMS)
        fixed = notes["batch"]
        micro_batch = fixed or self.request.micro_batch or self._micro_batch(spec)
        scale = None if self.request.source.exported is None else spec.scale

        @functools.cache
        def bulk() -> Run:
            return _runner(self.compile(micro_batch, {"NUM_STREAMS": streams})[0], scale)

        if self.request.precision == "int8":
            bulk()  # both graphs come from one quantization, which takes long

        run = padded(_runner(lone, scale), fixed)
        found = notes["fidelity"]
        fidelity = None if found is None else Fidelity(**{**found, "floating": tuple(found["floating"])})
        return Engine("openvino", spec, run, bulk, micro_batch, streams, notes["deviation"], fixed or 1, fidelity)

    def compile(self, batch: int, options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Return the compiled model for this number of images, and its notes."""
        # Left to itself OpenVINO computes in bfloat16 wherever the processor can, several per cent off; it forgets
        # the options of a compiled model, too, so that imported ones need them again.
        options["INFERENCE_PRECISION_HINT"] = "bf16" if self.request.precision == "bf16" else "f32"
        # A thread that is pinned to a core waits while others use it: on a busy machine up to twice as long.
        options["ENABLE_CPU_PINNING"] = False
        if self.request.threads is not None:
            options["INFERENCE_NUM_THREADS"] = self.request.threads
        calibration = _content(self.request.calibration)
        key = calibration and self.request.source.key(
            "openvino", self.version, self.processor, self.capabilities, self.request.precision, options, batch,
            calibration, self.request.agreement,
        )  # fmt: skip
        entry = key and cache.read_entry(key)
        if entry:
            try:
                content = self.runtime.Tensor(np.frombuffer(entry.content, np.uint8), shared_memory=True)
                compiled = self.core.import_model(content, "CPU", options)
                compiled.content = content  # it keeps on reading its weights there
                return compiled, entry.notes
            except RuntimeError as error:
                logger.warning("A cached engine cannot be used, and is compiled anew: %s", error)
        spec, fixed = self.spec(), self.fixed_batch()
        shaped = self.graph() if fixed else _shaped(self.graph(), spec, batch)
        compiled = self.core.compile_model(shaped, "CPU", options)
        if self.request.precision == "f32" and has_slower_kernels(compiled):
            try:
                compiled = compile_faster(self.core, shaped, options)
            except (OSError, RuntimeError) as error:
                logger.warning(
                    "Predictions take longer than they could: a temporary file cannot be written (%s).", error
                )
        fidelity = self.eight_bits()[1] if self.request.precision == "int8" else None
        deviation = fidelity.difference if fidelity else self._deviation(compiled) if batch == 1 else None
        noted = None if fidelity is None else fidelity._asdict()
        notes = {"spec": spec._asdict(), "batch": fixed, "deviation": deviation, "fidelity": noted}
        if key:
            cache.write(key, cache.Entry(notes, compiled.export_model().getvalue()))
        return compiled, notes

    def spec(self) -> InputSpec:
        """Return the spec of the model, which is loaded for it."""
        file = self.request.source.exported
        return self.request.source.load()[1] if file is None else file.describe(ports_of(self.exact()))

    def fixed_batch(self) -> int | None:
        """Return the number of images that an exported file takes; None for any."""
        return None if self.request.source.exported is None else ports_of(self.exact()).inputs[0].shape[0]

    def _exact(self) -> Any:
        if self.request.source.exported is not None:
            return self.request.source.exported.graph()
        from ..keras_graph.detours import openvino_of  # a cached engine does not need it

        model, spec = self.request.source.load()
        return openvino_of(model, spec.scaling if spec.is_scaled else None)

    def _graph(self) -> Any:
        return self.eight_bits()[0] if self.request.precision == "int8" else self.exact()

    def _eight_bits(self) -> tuple[Any, Fidelity]:
        """Return the graph in 8 bits, and how well it keeps the predictions of float32."""
        from ..keras_graph.detours import openvino_of
        from ..keras_graph.fold import fold_batch_norm
        from . import eight_bits
        from .quantization import quantize

        model, spec = self.request.source.load()
        calibration = eight_bits.prepare(self.request.calibration, spec)
        folded = fold_batch_norm(model)  # quantization names its layers
        exact = openvino_of(folded, spec.scaling if spec.is_scaled else None)
        inputs = [image[np.newaxis].astype(np.float32) for image in calibration.images]
        graph = exact

        def quantized(floating: tuple[str, ...]) -> Run:
            nonlocal graph
            graph = quantize(exact, inputs, floating)
            return self._runner_of(graph)

        fidelity = eight_bits.search(
            calibration, spec, self._runner_of(exact), quantized, folded, self.request.agreement
        )
        return graph, fidelity

    def _runner_of(self, graph: Any) -> Run:
        """Return the function of a graph in float32, or in 8 bits, for any number of images."""
        run = _runner(self.core.compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"}))
        return lambda pixels: run(pixels.astype(np.float32))

    def _deviation(self, compiled: Any) -> float | None:
        """Return the largest difference of outputs from float32's, on random images."""
        if self.request.precision == "f32":
            return None
        from ..keras_graph.detours import relative_difference

        spec = self.spec()
        shaped = _shaped(self.exact(), spec, 1)
        exact = _runner(self.core.compile_model(shaped, "CPU", {"INFERENCE_PRECISION_HINT": "f32"}))
        run = _runner(compiled)
        pairs = [pair for probe in _random_images(spec) for pair in zip(run(probe), exact(probe), strict=True)]
        return max(relative_difference(found, expected) for found, expected in pairs)

    def _micro_batch(self, spec: InputSpec) -> int:
        return 1 if max(side or 0 for side in spec.sides) > 256 else 2


def _runner(compiled: Any, scale: Callable[[np.ndarray], np.ndarray] | None = None) -> Run:
    """Return the function of a compiled graph; ``scale`` scales the pixels for one that does not."""
    idle: deque[Any] = deque()  # requests are not shared between threads, and are dear to make
    ports = ports_of(compiled)
    given, outputs = ports.inputs[0], list(zip(compiled.outputs, ports.outputs, strict=True))

    def run(batch: np.ndarray) -> list[np.ndarray]:
        try:
            request = idle.pop()
        except IndexError:
            request = compiled.create_infer_request()
        try:
            scaled = batch if scale is None else scale(batch.astype(np.float32, copy=False))
            results = request.infer([given.encode(scaled)], share_inputs=True)
            return [np.array(output.decode(results[port])) for port, output in outputs]
        finally:
            idle.append(request)

    return run


def _shaped(graph: Any, spec: InputSpec, batch: int) -> Any:
    """Return a separate graph for a number of images: with known shapes, it is compiled into something faster."""
    shaped = graph.clone()
    shaped.reshape(spec.input_shape(batch))
    return shaped


def _content(images: Sequence[Any]) -> str | None:
    """Return a key for images by their content; None if only reading shows it: functions, addresses, open files."""
    digest = hashlib.sha256()
    for image in images:
        if callable(image) or is_address(image) or hasattr(image, "read"):
            return None
        if isinstance(image, (str, os.PathLike)):
            kind, content = "file", read_bytes(image)
        else:
            pixels = rgb_of_image(image) if is_pillow(image) else np.asarray(image)
            kind, content = f"{pixels.dtype} {pixels.shape}", pixels.tobytes()
        # The same bytes may be arrays of several shapes, and one image or two.
        digest.update(f"{kind} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def _random_images(spec: InputSpec) -> list[np.ndarray]:
    """Return coarse noise as the model takes it; if it does not record how, of mean 0 and standard deviation 1."""
    generator = np.random.default_rng(0)
    shape = spec.image_shape(1)
    if spec.scaling is None:
        return [generator.standard_normal(shape, np.float32) for _ in range(_PROBES)]
    return [generator.uniform(0, 255, shape).astype(np.float32) for _ in range(_PROBES)]
