"""Exported files as models to compile: what they record of themselves, and what the caller says of them."""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from ..checkpoints import facts
from ..common import arguments
from ..common.hashes import digest_of
from ..common.text import plain
from ..errors import CheckpointError
from ..exported_files.activations import UNKNOWN
from ..exported_files.formats import FORMATS, files_of
from ..exported_files.metadata import find_metadata
from ..exported_files.model import ExportedModel, Ports, Tensor, places_of
from ..exported_files.opening import explained, open_exported
from ..exported_files.openvino_file import ports_of, read_graph, with_outputs
from ..exported_files.tflite_metadata import Notes, read_notes
from ..images.pixel_scaling import EVALUATION_CROP, Scaling, formula, numbers_for
from ..images.resizing import MAP_INTERPOLATION_TO_ORDER
from ..model_io.describing import check_view, named_classes
from ..model_io.outputs import Remark, assumed_names, name_classes
from ..model_io.spec import DEFAULT_INTERPOLATION, InputSpec

_FLOATS, _BYTES = ("float16", "float32", "float64"), ("uint8", "int8")


@dataclass(frozen=True)
class ExportedFile:
    """Exported file, and what the caller says of it.

    Attributes:
        path: Path of the file or folder.
        format: Name of its format.
        preprocessing, crop, interpolation, class_names: As in ``compile``; None for what the file records.
    """

    path: Path
    format: str
    preprocessing: str | Scaling | None = None
    crop: float | None = None
    interpolation: str | None = None
    class_names: Any = None

    @functools.cached_property
    def metadata(self) -> dict[str, Any] | None:
        """What ``efficientnet export`` recorded in the file; None for files of others."""
        return find_metadata(self.path, self.format)

    @property
    def precision(self) -> str:
        """Precision that it computes in, as ``compile`` calls it."""
        return "int8" if (self.metadata or {}).get("precision") == "int8" else "f32"

    def content(self) -> str:
        """Return a key for the files and what is said of them."""
        digests = [digest_of(file) for file in files_of(self.path, self.format)]
        return f"{digests} {self.preprocessing} {self.crop} {self.interpolation} {self.class_names}"

    def open(self, threads: int | None = None) -> tuple[ExportedModel, InputSpec]:
        """Open the file in its runtime.

        Args:
            threads: Processor threads; by default the runtime's choice.

        Returns:
            The model and its spec.

        Raises:
            ImportError: The runtime is not installed; the message names the extra.
            OSError: The file, or another one that it needs, cannot be read.
            ValueError: The file is damaged, or no model of images.
        """
        model = open_exported(self.path, self.format, threads)
        spec = self.describe(model.ports)
        return model.ordered(self._output_names(model.ports)), spec

    def graph(self) -> Any:
        """Read an OpenVINO file as a graph, which is then to be compiled.

        Raises:
            OSError, ValueError: As in :meth:`open`.
        """
        files_of(self.path, self.format)
        with explained(self.path, self.format):
            graph = read_graph(self.path)
        ports = ports_of(graph)
        self.describe(ports)  # raises if its metadata does not fit
        return with_outputs(graph, self._output_names(ports))

    def _output_names(self, ports: Ports) -> list[str]:
        """Return the names of the outputs in the model's order, which a runtime may not keep."""
        names: list[str] = (self.metadata or {}).get("output_tensors", _names(ports))
        return names

    def describe(self, ports: Ports) -> InputSpec:
        """Return the spec of the file.

        Args:
            ports: Its inputs and outputs.

        Raises:
            ValueError: It takes no images or gives no numbers, what it says of itself does not fit it, or what the
                caller says does not.
        """
        name = plain(self.path)
        given = _single_input(name, ports)
        for output in ports.outputs:
            if output.dtype not in (*_FLOATS, *_BYTES):
                raise ValueError(f"{name} gives {output}: expected numbers of the types {', '.join(_FLOATS)}.")
        recorded = None if self.metadata is None else _recorded(name, self.metadata, ports)
        spec = _derived(self.path.name, given, ports) if recorded is None else recorded
        check_view(self.crop, self.interpolation)
        spec = spec._replace(crop=self.crop or spec.crop, interpolation=self.interpolation or spec.interpolation)
        spec, problems = self._noted(spec)
        spec = self._named(self._scaled(spec, given))
        return spec._replace(remarks=(*spec.remarks, *problems))

    def notes(self, spec: InputSpec) -> Notes:
        """Return what fits this spec of the TFLite Metadata in a ``.tflite`` file that another program wrote.

        Raises:
            OSError: The file cannot be read.
        """
        if self.format != "litert" or self.metadata is not None:
            return Notes(None, None, {})
        scaling, labels, problems = read_notes(self.path, spec.channels)
        if scaling is not None and spec.scaling not in (None, scaling):
            scaling, problems["scaling"] = None, "the input takes raw pixels"
        if labels is not None and name_classes(spec.activation, spec.outputs, labels) is None:
            problems["labels"] = f"{len(labels)} names, where it has {spec.outputs} outputs"
            labels = None
        return Notes(scaling, labels, problems)

    def _noted(self, spec: InputSpec) -> tuple[InputSpec, tuple[Remark, ...]]:
        """Return the spec with its notes, and remarks on those that cannot be used and that the caller lacks."""
        notes, given = self.notes(spec), {"scaling": self.preprocessing, "labels": self.class_names}
        if notes.scaling is not None:
            spec = spec._replace(scaling=notes.scaling)
        if notes.labels is not None:
            classes = named_classes(spec.name, spec.activation, spec.outputs, notes.labels)
            spec = spec.settled("classes")._replace(classes=classes)
        return spec, tuple(
            Remark(f"has TFLite Metadata, whose {what} cannot be used: {problem}.")
            for what, problem in notes.problems.items() if given[what] is None
        )  # fmt: skip

    def _scaled(self, spec: InputSpec, given: Tensor) -> InputSpec:
        """Return the spec with the scaling of pixels that the caller gives."""
        if self.preprocessing is None:
            return spec
        scaling = numbers_for(self.preprocessing, spec.channels)
        is_raw = given.dtype in _BYTES and given.quantization is None
        if is_raw and scaling != numbers_for("none", spec.channels):
            raise ValueError(
                f"{spec.name} takes {given.dtype}, raw pixels, and scales them itself: leave preprocessing out "
                "(--preprocessing)."
            )
        remarks = spec.settled("scaling").remarks
        if spec.scaling is not None and spec.scaling != scaling:
            text = (
                f"gets pixels scaled as given, {formula(scaling)}, and not as it says itself, {formula(spec.scaling)}."
            )
            remarks = (*remarks, Remark(text))
        spec = spec._replace(scaling=scaling, remarks=remarks)
        return spec._replace(takes_pixels=spec.is_scaled)

    def _named(self, spec: InputSpec) -> InputSpec:
        """Return the spec with the names of classes that the caller gives."""
        if self.class_names is None:
            return spec
        classes = named_classes(spec.name, spec.activation, spec.outputs, self.class_names)
        return spec.settled("classes")._replace(classes=classes)

    def refuse(self) -> NoReturn:
        """Raise the error of what needs the layers of a Keras model.

        Raises:
            ValueError: Always.
        """
        raise ValueError(
            f"{plain(self.path)} is exported for {FORMATS[self.format].runtime}, and has no layers of Keras any more: "
            "give the model that it was exported from, a .keras or .h5 file or a variant. Exported files can be "
            "predicted with, evaluated, inspected, and explained by occlusion."
        )


def _single_input(name: str, ports: Ports) -> Tensor:
    if len(ports.inputs) != 1 or len(ports.inputs[0].shape) != 4:
        listed = "; ".join(map(str, ports.inputs)) or "nothing"
        raise ValueError(
            f"{name} takes {listed}: expected one input, images of shape (batch, height, width, channels) or (batch, "
            "channels, height, width)."
        )
    if ports.inputs[0].dtype not in (*_FLOATS, *_BYTES):
        raise ValueError(f"{name} takes {ports.inputs[0]}: expected pixels as {', '.join((*_FLOATS, *_BYTES))}.")
    return ports.inputs[0]


def _derived(name: str, given: Tensor, ports: Ports) -> InputSpec:
    """Return the spec of a file that records none."""
    second, last = given.shape[1], given.shape[3]
    if second == last:
        raise ValueError(
            f"{name} takes {given}, which does not show whether channels are its second axis or its last: export it "
            "with a fixed number of channels."
        )
    # Images have more rows and columns than channels.
    channels_last = second is None or (last is not None and last < second)
    height, width = given.shape[1:3] if channels_last else given.shape[2:]
    channels = (last if channels_last else second) or 0
    is_raw = given.dtype in _BYTES and given.quantization is None
    count = _count(ports)
    activation = ports.activation() if count else UNKNOWN
    classes = name_classes(activation, count, None) or ()
    return InputSpec(
        name, (height, width), channels, channels_last, numbers_for("none", channels) if is_raw else None,
        EVALUATION_CROP, DEFAULT_INTERPOLATION, classes, activation=activation, outputs=count,
        remarks=assumed_names(classes),
    )  # fmt: skip


def _recorded(name: str, metadata: dict[str, Any], ports: Ports) -> InputSpec:
    """Return the spec that a file records, which has to fit it."""
    try:
        spec = InputSpec.from_json({field: metadata[field] for field in InputSpec._fields})
        _check(spec, ports)
        places_of(metadata.get("output_tensors", _names(ports)), ports)
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{name} does not fit what it says of itself, or that is damaged ({plain(error)}): export it again."
        ) from None
    return spec._replace(
        remarks=tuple(Remark(f"was exported from a model that {text}", subject) for text, subject in spec.remarks)
    )


def _check(spec: InputSpec, ports: Ports) -> None:
    sides = tuple(None if side == -1 else side for side in spec.input_shape(1)[1:])
    if sides != ports.inputs[0].shape[1:]:
        raise ValueError(f"images of {sides}, where it takes {ports.inputs[0]}")
    is_map = not spec.outputs and len(ports.outputs[0].shape) == 4  # with a single place if the image is small
    if spec.outputs != _count(ports) and not is_map:
        raise ValueError(f"{spec.outputs} outputs, where it has {_count(ports)}")
    names = [label for pair in spec.classes for label in pair]
    texts = [spec.name, spec.activation, spec.targets, *names, *itertools.chain(*spec.remarks), *spec.output_names]
    for text in texts:
        facts.short_text(text)
    classes = name_classes(spec.activation, spec.outputs, spec.classes or None)
    if spec.outputs and classes != spec.classes:
        raise ValueError(f"{len(spec.classes)} class names for {spec.outputs} outputs")
    if spec.scaling is not None:
        facts.preprocessing([list(values) for values in spec.scaling])
        if len(spec.scaling.scale) != spec.channels:
            raise ValueError(f"a scaling of {len(spec.scaling.scale)} channels")
    facts.positive_fraction(spec.crop)
    facts.thresholds(list(spec.thresholds))
    spec.with_targets(spec.targets, spec.thresholds)
    arguments.choice("interpolation", spec.interpolation, MAP_INTERPOLATION_TO_ORDER)
    arguments.whole("default_size", spec.default_size)
    arguments.flag("takes_pixels", spec.takes_pixels)


def _names(ports: Ports) -> list[str]:
    return [output.name for output in ports.outputs]


def _count(ports: Ports) -> int:
    """Return the number of outputs per image; 0 without a vector of them.

    A classifier that ends in a convolution gives (batch, classes, 1, 1) or (batch, 1, 1, classes).
    """
    shape = ports.outputs[0].shape if len(ports.outputs) == 1 else ()
    if len(shape) == 4 and shape[1:3] == (1, 1):
        return shape[3] or 0
    is_vector = len(shape) == 2 or (len(shape) == 4 and shape[2:] == (1, 1))
    return (shape[1] or 0) if is_vector else 0
