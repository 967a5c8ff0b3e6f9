"""What an exported file says about itself: classes, preprocessing, and how far its predictions are from Keras'.

It is one text of JSON: the property ``efficientnet`` of an ONNX file, the same of an OpenVINO file's ``rt_info``,
``efficientnet.json`` in the archive behind a .tflite file's content (where that format has its readers look for
further files) or in a SavedModel's ``assets.extra``.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..checkpoints.zip_members import read_member
from ..common import arguments
from ..common.files import read_bounded
from ..common.json_files import MOST_BYTES, parse
from ..common.text import plain
from ..errors import CheckpointError
from .formats import check_format, format_of, naming, whole
from .onnx_file import read_property

_KEY, _FILE, _EXTRA = "efficientnet", "efficientnet.json", "assets.extra"


def write_metadata(path: Path, format: str, metadata: dict[str, Any]) -> None:
    """Add metadata, values that JSON knows, to a file that has none yet."""
    text = json.dumps(metadata, ensure_ascii=False)
    if format == "onnx":
        import onnx

        model = onnx.load(path)
        model.metadata_props.add(key=_KEY, value=text)
        path.write_bytes(model.SerializeToString())
    elif format == "openvino":
        from xml.etree import ElementTree

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
        the input; ``output_tensors``, the names of the outputs in the model's order; ``precision``; and
        ``verification``: which runtime was compared with Keras, and the result.

    Raises:
        FileNotFoundError: There is nothing at the path.
        ValueError: This package did not write the file, or it is damaged.

    Example:
        >>> from efficientnet.keras import EfficientNet
        >>> _ = export(EfficientNet(0.25, 0.25, 32, weights=None, classes=5), "small.onnx", "onnx")
        >>> found = read_metadata("small.onnx")
        >>> found["kind"], found["input"]["shape"]
        ('probabilities', ['batch', 32, 32, 3])
    """
    path = whole(Path(arguments.path("path", path, "what `efficientnet export` has written")))
    if not path.exists():
        raise FileNotFoundError(f"No exported model at {plain(path)}.")
    format = format_of(path)
    metadata = None if format is None else find_metadata(path, format)
    if metadata is None:
        raise ValueError(f"{plain(path)} does not say what it holds: expected what `efficientnet export` has written.")
    return metadata


def find_metadata(path: Path, format: str) -> dict[str, Any] | None:
    """Return what ``export`` recorded in a file of a format; None for what others wrote.

    Raises:
        OSError: The file cannot be read.
        ValueError: The file is damaged, or of another format.
    """
    check_format(path, format)
    with naming(path):
        text = _READERS[format](path)
    if text is None:
        return None
    metadata = parse(text, f"{os.fspath(path)}: what it says of itself")
    if not isinstance(metadata, dict):
        raise CheckpointError(f"{plain(path)}: what it says of itself is not an object of JSON: export it again.")
    return metadata


def _of_onnx(path: Path) -> str | bytes | None:
    return read_property(path, _KEY)


def _of_openvino(path: Path) -> str | bytes | None:
    from xml.etree import ElementTree

    try:
        found = ElementTree.parse(path).find(f"rt_info/{_KEY}")
    except ElementTree.ParseError as error:
        raise ValueError(f"it is damaged: {error}") from None
    return None if found is None else found.get("value")


def _of_litert(path: Path) -> str | bytes | None:
    return read_member(path, _FILE)


def _of_saved_model(path: Path) -> str | bytes | None:
    file = path / _EXTRA / _FILE
    return read_bounded(file, MOST_BYTES, "such file") if file.exists() else None


_READERS: dict[str, Callable[[Path], str | bytes | None]] = {
    "onnx": _of_onnx,
    "openvino": _of_openvino,
    "litert": _of_litert,
    "saved_model": _of_saved_model,
}
