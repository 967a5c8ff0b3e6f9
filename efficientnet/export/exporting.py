"""Exports: written beside their place, compared with Keras in their own runtime, and only then put there."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .. import __version__
from ..common import arguments
from ..common.files import part_folder
from ..common.text import plain
from ..exported_files.formats import require_runtime
from ..exported_files.metadata import write_metadata
from ..exported_files.opening import open_exported
from ..inference import eight_bits
from ..inference.describing import describe_input, taking_pixels
from ..inference.engines import Run, padded
from ..inference.fidelity import Fidelity, least_agreement
from ..inference.sources import ModelSource
from ..keras_graph import onnx
from ..keras_graph.detours import keras_outputs
from ..keras_graph.fold import fold_batch_norm
from ..keras_graph.tensorflow import Options, channels_first_error
from ..keras_graph.walk import backend_of
from .comparison import MOST_COMPARED, compare, compared_samples, network_inputs
from .deployments import DEPLOYMENTS, Exported
from .formats import WRITERS
from .options import check

# Largest ``ExportReport.difference`` by precision. For 8 bits, ``eight_bits`` has the rule.
_TOLERANCES = {"f32": 1e-4, "f16": 1e-2}
# Keras on OpenVINO computes in bfloat16 itself, where the processor can.
_TOLERANCE_ON_OPENVINO = 0.1
# Bytes of a weight.
_BYTES = {"f32": 4, "f16": 2, "int8": 1}


class ExportReport(NamedTuple):
    """Exported file, and its comparison with Keras on the same images.

    Attributes:
        path: Path of the file or folder.
        format, precision: Format and precision of the file.
        size: Size of all written files, bytes.
        runtime: Name and version of the runtime that was compared.
        difference: Largest difference of an output, relative to the largest output if that is above 1.
        agreement: Share of the images with the same prediction, 0..1; None without classes.
        images: Number of images that were compared, crops of an image included.
        input: Input of the file, in words.
        fidelity: For int8, how the comparison was made, and which layers stay in float; None in other precisions.

    Example:
        >>> from efficientnet.keras import EfficientNet
        >>> report = export(EfficientNet(0.25, 0.25, 32, weights=None), "small.onnx", "onnx")
        >>> report.format, report.precision, report.difference < 1e-4
        ('onnx', 'f32', True)
    """

    path: Path
    format: str
    precision: str
    size: int
    runtime: str
    difference: float
    agreement: float | None
    images: int
    input: str
    fidelity: Fidelity | None = None

    def __str__(self) -> str:
        head = f"{plain(self.path)}: {self.format}, {self.precision}, {self.size / 1e6:.1f} MB\ninput {self.input}\n"
        if self.fidelity is not None:
            return f"{head}in {self.runtime}, against Keras: {plain(self.fidelity)}"
        agreement = "" if self.agreement is None else f"; the prediction is the same for {self.agreement:.0%} of them"
        return (
            f"{head}in {self.runtime}, predictions for {self.images} images differ from Keras' by up to "
            f"{self.difference:.2g}{agreement}"
        )


def export(
    model: Any,
    path: str | os.PathLike[str],
    format: str,
    precision: str = "f32",
    calibration: Iterable[Any] = (),
    batch: int | str = "dynamic",
    *,
    raw_pixels: bool = False,
    input_type: str = "float32",
    runtime: str | os.PathLike[str] | None = None,
    agreement: float | None = None,
) -> ExportReport:
    """Export a model to another runtime, all or nothing.

    Before the file is put in its place, its predictions in that runtime are compared with those of Keras: for up to
    20 calibration images, or 4 synthetic ones. The file records the result, the class names and the preprocessing, for
    ``read_metadata``. It takes the model's input, or with ``raw_pixels`` the pixels themselves; the report says which.

    For ``"int8"``, half of the calibration images is held out, and 1,000 views of these (fewer of images larger
    than 224 pixels) are compared: seeded crops, at random places, half of them mirrored. If fewer keep their
    prediction (the best class, or all labels) than ``agreement`` asks for, or their probability shifts by more, the
    most sensitive layers stay in float, up to half of all; if that does not help, nothing is written. Outputs that are
    no classes have to keep such a share of their variance.

    A model with a layer that has no form in ONNX goes through TensorFlow's SavedModel to OpenVINO, and to ONNX if
    tf2onnx is installed.

    Args:
        model: Keras model that takes images, of either Keras and on any backend, or an
            ``efficientnet.inference.ModelSource`` of one, which may know more of its images and classes.
        path: Path of the file; for OpenVINO the ``.xml``, beside which goes a ``.bin``; for the formats below that are
            folders, the folder. An existing one is replaced.
        format: ``"onnx"``, ``"openvino"``, ``"litert"`` or ``"saved_model"``, a folder. The latter two are written by
            TensorFlow, in a separate process if Keras runs on another backend. Or a folder around an ONNX model:
            ``"web"``, whose ``index.html`` predicts in the browser, or ``"triton"``, a model repository for Triton
            Inference Server; or ``"ovms"``, one for OpenVINO Model Server, around an OpenVINO model. In both, the model
            has the folder's name.
        precision: ``"f32"``; ``"f16"``, for weights of half the size; ``"int8"``, for weights and activations in
            8 bits. A SavedModel is always ``"f32"``.
        calibration: Images for ``"int8"``, of the kind that the model will see; the first 300 count, half of
            which set the ranges of the 8-bit numbers: paths, or arrays (height, width, 3) of 0..255.
        batch: Images that the file takes at a time; ``"dynamic"`` for any number.
        raw_pixels: Whether the file takes pixels 0..255 and scales them itself. Cropping and resizing stay outside.
        input_type: Type of the input: ``"float32"``, or for raw pixels ``"uint8"``.
        runtime: For ``"web"``, the folder of the npm package onnxruntime-web, which is copied, so that the page works
            offline; by default the page loads it from the internet, and checks its hashes.
        agreement: For ``"int8"``, least share of the views that keep their prediction, 0..1; 0.99 by default. The mean
            shift of the probability of this class may be twice the rest, which is 0.02 at 0.99.

    Raises:
        ValueError: An argument is not one of these, the model takes no images or has a layer that the format lacks,
            or the predictions differ by more than the precision or ``agreement`` allows.
        ImportError: A package is missing; the message names the extra.
        OSError: The file cannot be written.

    Example:
        >>> from efficientnet.keras import EfficientNet
        >>> export(EfficientNet(0.25, 0.25, 32, weights=None), "small.onnx", "onnx", raw_pixels=True).path.name
        'small.onnx'
    """
    path = Path(arguments.path("path", path, "the path of the file to write"))
    name = path.absolute().name
    arguments.flag("raw_pixels", raw_pixels)
    arguments.iterable("calibration", calibration, "an iterable of images, such as a list of paths")
    runtime_folder = None if runtime is None else Path(arguments.path("runtime", runtime, "a folder"))
    check(path, format, precision, batch, raw_pixels, input_type, runtime_folder)
    least = least_agreement(agreement, precision)
    deployment = DEPLOYMENTS.get(format)
    file_format = deployment.format if deployment else format
    compared = require_runtime(file_format, f"The check of an export as {format}")
    loaded, spec = (model if isinstance(model, ModelSource) else ModelSource.of_model(model, keep=False)).load()
    if format in ("litert", "saved_model") and (error := channels_first_error(loaded)):
        raise error
    if deployment:
        deployment.check(name, spec)
    taken, scaling = spec, None
    if raw_pixels or (deployment and deployment.raw_pixels):
        if spec.scaling is None:
            raise ValueError(
                f"{spec.name} does not say how its pixels are scaled, which raw_pixels=True needs: pass a ModelSource "
                "with preprocessing=, the mode of preprocess_input that it was trained with (--preprocessing)."
            )
        taken, scaling = taking_pixels(spec), spec.scaling if spec.is_scaled else None
    fixed = None if batch == "dynamic" else int(batch)
    calibrated = eight_bits.prepare(calibration, spec) if precision == "int8" else None
    if calibrated is not None:
        samples: np.ndarray | None = taken.scale(calibrated.images.astype(np.float32))
    else:
        samples = network_inputs(taken, itertools.islice(calibration, MOST_COMPARED))
    options = Options(precision, fixed, samples, scaling, input_type)
    with _staged(path, loaded.count_params() * _BYTES[precision]) as part:
        folded = fold_batch_norm(loaded)
        file = part / deployment.model.format(name=name) if deployment else part
        file.parent.mkdir(parents=True, exist_ok=True)
        (given,), names = onnx.tensor_names(folded)

        def written(floating: tuple[str, ...] = ()) -> Run:
            for earlier in file.parent.iterdir():  # files of the last attempt, which its runtime may still have open
                earlier.unlink()
            WRITERS[file_format](folded, file, options._replace(floating=floating))
            return open_exported(file, file_format).ordered(names).run

        def quantized(floating: tuple[str, ...]) -> Run:
            run = padded(written(floating), fixed)
            return lambda pixels: run(taken.scale(pixels.astype(np.float32)))

        def in_keras(pixels: np.ndarray) -> list[np.ndarray]:
            return keras_outputs(loaded, spec.scale(pixels.astype(np.float32)))

        about = describe_input(taken, given, input_type, fixed)
        report = ExportReport(path, format, precision, 0, compared, 0.0, None, 0, about.text)
        if calibrated is not None:
            fidelity = eight_bits.search(calibrated, spec, in_keras, quantized, folded, least, fixed)
            report = report._replace(
                difference=fidelity.difference, agreement=fidelity.agreement, images=fidelity.views, fidelity=fidelity
            )
        else:
            asked = compared_samples(taken, samples, fixed)
            if input_type == "uint8":
                asked = np.rint(asked).astype(np.uint8)
            difference, same = compare(loaded, spec, written(), asked, fixed, scaling)
            count = len(asked) if samples is None else min(len(asked), len(samples))  # whole batches repeat samples
            report = report._replace(difference=difference, agreement=same, images=count)
            _refuse_if_wrong(report, loaded)
        recorded = ("runtime", "difference", "agreement", "images")
        verification = {key: getattr(report, key) for key in recorded}
        if report.fidelity is not None:
            verification |= report.fidelity._asdict()
        metadata = {
            **taken._asdict(), "kind": spec.kind, "input": about.facts, "output_tensors": names, "precision": precision,
            "producer": f"efficientnet {__version__}", "verification": verification,
        }  # fmt: skip
        write_metadata(file, file_format, metadata)
        if deployment:
            exported = Exported(part, name, spec, given, tuple(names), input_type, options.batch)
            deployment.complete(exported, runtime_folder)
        return report._replace(size=sum(file.stat().st_size for file in part.parent.rglob("*") if file.is_file()))


def _refuse_if_wrong(report: ExportReport, model: Any) -> None:
    tolerance = _TOLERANCES[report.precision]
    if backend_of(model) == "openvino":
        tolerance = max(tolerance, _TOLERANCE_ON_OPENVINO)
    if not report.difference <= tolerance:  # also true for NaN
        raise ValueError(
            f"Not written, since the predictions differ from Keras' more than {report.precision} explains: {report}. "
            "Choose another precision or format."
        )


@contextlib.contextmanager
def _staged(path: Path, size: int) -> Iterator[Path]:
    """Yield a path in a separate folder to write to; then move all that is there beside ``path``, or nothing.

    What is at ``path`` goes first and comes last, so that no file stands beside one of another export. About ``size``
    bytes will be written.
    """
    try:
        with part_folder(path, size) as folder:
            yield folder / path.name
            others = [file for file in folder.iterdir() if file.name != path.name]
            if others or path.is_dir():
                with contextlib.suppress(FileNotFoundError):
                    path.rename(folder / "replaced")
            for part in (*others, folder / path.name):
                os.replace(part, path.with_name(part.name))
    except (OSError, ValueError, ImportError):
        raise
    except Exception as error:  # runtimes and converters raise their own exceptions
        raise ValueError(f"{path} was not written: {type(error).__name__}: {error}") from error
