"""What an exported file says about itself: classes, preprocessing, and how far its predictions are from Keras'.

It is one text of JSON: the property ``efficientnet`` of an ONNX file, the same of an OpenVINO file's ``rt_info``,
``efficientnet.json`` in the archive behind a .tflite file's content (where that format has its readers look for
further files) or in a SavedModel's ``assets.extra``.
"""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

from ..common import arguments
from ..images.pixel_scaling import Scaling, formula
from ..keras_graph.tensorflow import Options
from ..model_io.spec import InputSpec

_KEY, _FILE, _EXTRA = "efficientnet", "efficientnet.json", "assets.extra"


class Input(NamedTuple):
    """Input of an exported file: in words, and as values that JSON knows."""

    text: str
    facts: dict[str, Any]


def taking_pixels(spec: InputSpec) -> InputSpec:
    """Return the spec of a file that scales pixels itself."""
    channels = spec.channels
    return spec._replace(scaling=Scaling((1.0,) * channels, (0.0,) * channels))


def describe_input(spec: InputSpec, name: str, options: Options) -> Input:
    """Describe the input of this name of a file of this spec."""
    shape = [options.batch or "batch", *(side if side > 0 else "any" for side in spec.input_shape(1)[1:])]
    layout = "NHWC" if spec.channels_last else "NCHW"
    colors = {1: "grey", 3: "RGB"}.get(spec.channels, f"{spec.channels} channels")
    if spec.scaling is None:
        levels, meaning = None, "scaled as in the model's training, which it does not record"
    else:
        ends = [level * s + o for s, o in zip(*spec.scaling, strict=True) for level in (0, 255)]
        levels = [round(min(ends), 4), round(max(ends), 4)]
        meaning = f"scaled as {formula(spec.scaling)}: {levels[0]:g} to {levels[1]:g}"
        if not spec.is_scaled:
            meaning = "raw pixels 0..255"
    sides = ", ".join(map(str, shape))
    return Input(
        f"{name!r}: {options.input_type} ({sides}), {layout}, {colors}, {meaning}",
        {
            "name": name, "dtype": options.input_type, "shape": shape, "layout": layout, "colors": colors,
            "range": levels,
        },
    )  # fmt: skip


def write_metadata(path: Path, format: str, metadata: dict[str, Any]) -> None:
    """Add metadata, values that JSON knows, to a file that has none yet."""
    text = json.dumps(metadata, ensure_ascii=False)
    if format == "onnx":
        import onnx

        model = onnx.load(path)
        model.metadata_props.add(key=_KEY, value=text)
        path.write_bytes(model.SerializeToString())
    elif format == "openvino":
        tree = ElementTree.parse(path)
        root = tree.getroot()
        section = root.find("rt_info")
        ElementTree.SubElement(
            ElementTree.SubElement(root, "rt_info") if section is None else section, _KEY, value=text
        )
        tree.write(path, encoding="utf-8", xml_declaration=True)
    elif format == "litert":
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(_FILE, text)
    else:
        extra = path / _EXTRA
        extra.mkdir()
        (extra / _FILE).write_text(text, encoding="utf-8")


def read_metadata(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read what ``export`` recorded in a file.

    Args:
        path: Path of a file or folder that it wrote; for OpenVINO, the ``.xml``.

    Returns:
        The fields of ``efficientnet.inference.InputSpec``, ``classes`` and ``scaling`` (network input = pixels *
        scale + offset) among them; ``kind``, what the outputs are; ``input``: name, type, shape, layout and range of
        the input; ``precision``; and ``verification``: which runtime was compared with Keras, and the result.

    Raises:
        FileNotFoundError: There is nothing at the path.
        ValueError: This package did not write the file.

    Example:
        >>> from efficientnet.keras import EfficientNet
        >>> _ = export(EfficientNet(0.25, 0.25, 32, weights=None, classes=5), "small.onnx", "onnx")
        >>> found = read_metadata("small.onnx")
        >>> found["kind"], found["input"]["shape"]
        ('probabilities', ['batch', 32, 32, 3])
    """
    path = Path(arguments.path("path", path, "what `efficientnet export` has written"))
    if not path.exists():
        raise FileNotFoundError(f"No exported model at {path}.")
    text = _read_text(path)
    if text is None:
        raise ValueError(f"{path} does not say what it holds: expected what `efficientnet export` has written.")
    metadata: dict[str, Any] = json.loads(text)
    return metadata


def _read_text(path: Path) -> str | None:
    if path.is_dir():
        file = path / _EXTRA / _FILE
        return file.read_text(encoding="utf-8") if file.exists() else None
    if path.suffix == ".onnx":
        import onnx

        return next((prop.value for prop in onnx.load(path).metadata_props if prop.key == _KEY), None)
    if path.suffix == ".xml":
        found = ElementTree.parse(path).find(f"rt_info/{_KEY}")
        return None if found is None else found.get("value")
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return archive.read(_FILE).decode() if _FILE in archive.namelist() else None
    return None
