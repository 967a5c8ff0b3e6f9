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
from ..inference.describing import describe_input, taking_pixels
from ..inference.quantization import FEW, held_out
from ..inference.sources import ModelSource
from ..keras_graph import onnx
from ..keras_graph.fold import fold_batch_norm
from ..keras_graph.tensorflow import Options
from ..keras_graph.walk import backend_of
from .comparison import MOST_COMPARED, compare, compared_samples, network_inputs
from .deployments import DEPLOYMENTS, Exported
from .formats import WRITERS
from .options import check

# Of ``ExportReport.difference``. In 8 bits a classifier may change its mind on some images, but not on most.
_TOLERANCES = {"f32": 1e-4, "f16": 1e-2, "int8": 0.5}
# Keras on OpenVINO computes in bfloat16 itself, where the processor can.
_TOLERANCE_ON_OPENVINO = 0.1
_LEAST_AGREEMENT = 0.5
# Of a weight.
_BYTES = {"f32": 4, "f16": 2, "int8": 1}
# Images to find the ranges of 8-bit numbers with.
_MOST_CALIBRATED = 300


class ExportReport(NamedTuple):
    """Exported file, and its comparison with Keras on the same images.

    Attributes:
        path: Path of the file or folder.
        format, precision: Format and precision of the file.
        size: Size of all written files, bytes.
        runtime: Name and version of the runtime that was compared.
        difference: Largest difference of an output, relative to the largest output if that is above 1.
        agreement: Share of the images with the same best class, 0..1; None without classes.
        images: Number of images that were compared.
        input: Input of the file, in words.
        held_out: Whether the int8 file was calibrated on other images than these; None in other precisions.

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
    held_out: bool | None = None

    def __str__(self) -> str:
        agreement = "" if self.agreement is None else f"; the best class is the same for {self.agreement:.0%} of them"
        which = {
            None: "",
            True: " that it was not calibrated on",
            False: f" that it was calibrated on (give {FEW} or more, and some are held out for this)",
        }[self.held_out]
        return (
            f"{plain(self.path)}: {self.format}, {self.precision}, {self.size / 1e6:.1f} MB\n"
            f"input {self.input}\n"
            f"in {self.runtime}, predictions for {self.images} images{which} differ from Keras' by up to "
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
) -> ExportReport:
    """Export a model to another runtime, all or nothing.

    Before the file is put in its place, its predictions in that runtime are compared with those of Keras: for up to
    20 calibration images, or 4 synthetic ones. For ``"int8"`` these are a fifth of the images, at least 4, drawn at
    random, which are held out from the calibration; with fewer than 12, all are calibrated on and compared. The file
    records the result, the class names and the preprocessing, for ``read_metadata``. It takes the model's input, or
    with ``raw_pixels`` the pixels themselves; the report says which.

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
        calibration: Images for ``"int8"``, of the kind that the model will see; the first 300 set the ranges of the
            8-bit numbers: paths, or arrays (height, width, 3) of 0..255.
        batch: Images that the file takes at a time; ``"dynamic"`` for any number.
        raw_pixels: Whether the file takes pixels 0..255 and scales them itself. Cropping and resizing stay outside.
        input_type: Type of the input: ``"float32"``, or for raw pixels ``"uint8"``.
        runtime: For ``"web"``, the folder of the npm package onnxruntime-web, which is copied, so that the page works
            offline; by default the page loads it from the internet, and checks its hashes.

    Raises:
        ValueError: An argument is not one of these, the model takes no images or has a layer that the format lacks,
            or the predictions differ by more than the precision explains.
        ImportError: A package is missing; the message names the extra.
        OSError: The file cannot be written.

    Example:
        >>> from efficientnet.keras import EfficientNet
        >>> export(EfficientNet(0.25, 0.25, 32, weights=None), "small.onnx", "onnx", raw_pixels=True).path.name
        'small.onnx'
    """
    path = Path(arguments.path("path", path, "the path of the file to write"))
    arguments.flag("raw_pixels", raw_pixels)
    arguments.iterable("calibration", calibration, "an iterable of images, such as a list of paths")
    runtime_folder = None if runtime is None else Path(arguments.path("runtime", runtime, "a folder"))
    check(path, format, precision, batch, raw_pixels, input_type, runtime_folder)
    deployment = DEPLOYMENTS.get(format)
    file_format = deployment.format if deployment else format
    compared = require_runtime(file_format, f"The check of an export as {format}")
    loaded, spec = (model if isinstance(model, ModelSource) else ModelSource.of_model(model, keep=False)).load()
    if not spec.channels_last and format in ("litert", "saved_model"):
        raise ValueError(
            f"{spec.name} is channels_first, which TensorFlow does not compute on a processor: export it as onnx or "
            "openvino."
        )
    if deployment:
        deployment.check(path.absolute().name, spec)
    taken, scaling = spec, None
    if raw_pixels or (deployment and deployment.raw_pixels):
        if spec.scaling is None:
            raise ValueError(
                f"{spec.name} does not say how its pixels are scaled, which raw_pixels=True needs: pass a ModelSource "
                "with preprocessing=, the mode of preprocess_input that it was trained with (--preprocessing)."
            )
        taken, scaling = taking_pixels(spec), spec.scaling if spec.is_scaled else None
    most = _MOST_CALIBRATED if precision == "int8" else MOST_COMPARED
    samples = network_inputs(taken, itertools.islice(calibration, most))
    if precision == "int8" and samples is None:
        raise ValueError(
            "precision='int8' finds the ranges of its 8-bit numbers by calibration: pass calibration=, a few hundred "
            "images of the kind that the model will see (--calibrate FOLDER)."
        )
    shown, unseen = samples, None
    if precision == "int8" and samples is not None:
        calibrating, others = held_out(list(samples))
        unseen = len(calibrating) < len(samples)
        samples, shown = np.stack(calibrating), np.stack(others)
    options = Options(precision, None if batch == "dynamic" else int(batch), samples, scaling, input_type)
    with _staged(path, loaded.count_params() * _BYTES[precision]) as part:
        folded = fold_batch_norm(loaded)
        file = part / deployment.model.format(name=path.absolute().name) if deployment else part
        file.parent.mkdir(parents=True, exist_ok=True)
        WRITERS[file_format](folded, file, options)
        (given,), names = onnx.tensor_names(folded)
        run_batch = open_exported(file, file_format).ordered(names).run
        asked = compared_samples(taken, shown, options.batch)
        if input_type == "uint8":
            asked = np.rint(asked).astype(np.uint8)
        difference, agreement = compare(loaded, spec, run_batch, asked, options.batch, scaling)
        count = len(asked) if shown is None else min(len(asked), len(shown))  # which whole batches repeat
        about = describe_input(taken, given, input_type, options.batch)
        report = ExportReport(path, format, precision, 0, compared, difference, agreement, count, about.text, unseen)
        _refuse_if_wrong(report, loaded)
        recorded = ("runtime", "difference", "agreement", "images", "held_out")
        verification = {key: getattr(report, key) for key in recorded}
        metadata = {
            **taken._asdict(), "kind": spec.kind, "input": about.facts, "output_tensors": names, "precision": precision,
            "producer": f"efficientnet {__version__}", "verification": verification,
        }  # fmt: skip
        write_metadata(file, file_format, metadata)
        if deployment:
            exported = Exported(part, path.absolute().name, spec, given, tuple(names), input_type, options.batch)
            deployment.complete(exported, runtime_folder)
        return report._replace(size=sum(file.stat().st_size for file in part.parent.rglob("*") if file.is_file()))


def _refuse_if_wrong(report: ExportReport, model: Any) -> None:
    tolerance = _TOLERANCES[report.precision]
    if backend_of(model) == "openvino":
        tolerance = max(tolerance, _TOLERANCE_ON_OPENVINO)
    if report.precision == "int8" and report.agreement is not None:
        is_right = bool(np.isfinite(report.difference)) and report.agreement >= _LEAST_AGREEMENT
    else:
        is_right = report.difference <= tolerance  # which NaN is not
    if not is_right:
        raise ValueError(
            f"Not written, since the predictions differ from Keras' more than {report.precision} explains: {report}. "
            "Choose another precision or format."
        )


@contextlib.contextmanager
def _staged(path: Path, size: int) -> Iterator[Path]:
    """A path in a separate folder to write to; all that is there then takes its place beside ``path``, or nothing.

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
