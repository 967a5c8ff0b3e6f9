"""The formats of exported models, and the runtime that each is for."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from ..checkpoints import describe_format
from ..common.files import check_is_file
from ..common.packages import missing
from ..common.text import plain
from ..errors import CheckpointError
from .onnx_file import external_files

_SAVED_MODEL = "saved_model.pb"


class Format(NamedTuple):
    """Format of exported models.

    Attributes:
        suffix: Suffix of its files; empty for a folder.
        start: Pattern of the first bytes of its files.
        engine: Name of the engine that runs them.
        runtime: Name of the runtime.
        module: Python module of the runtime.
        package: Name of the runtime in the package index.
        extra: Extra of this package that installs the runtime.
    """

    suffix: str
    start: bytes
    engine: str
    runtime: str
    module: str
    package: str
    extra: str


_NET = rb"\s*(<\?xml[^>]*>\s*)?<net\b"
FORMATS = {
    "onnx": Format(".onnx", rb"\x08", "onnxruntime", "ONNX Runtime", "onnxruntime", "onnxruntime", "onnx"),
    "openvino": Format(".xml", _NET, "openvino", "OpenVINO", "openvino", "openvino", "openvino"),
    "litert": Format(".tflite", rb"(?s:.{4})TFL3", "litert", "LiteRT", "ai_edge_litert", "ai-edge-litert", "litert"),
    "saved_model": Format("", rb"(?!)", "tensorflow", "TensorFlow", "tensorflow", "tensorflow", "tensorflow"),
}


def whole(path: Path) -> Path:
    """Return the path of an exported model that a path is a part of: a SavedModel's folder, the .xml of a .bin."""
    if path.name == _SAVED_MODEL:
        return path.parent
    graph = path.with_suffix(".xml") if path.suffix == ".bin" else path
    return graph if graph.is_file() else path


def format_of(path: str | os.PathLike[str]) -> str | None:
    """Return the format of an exported model, by its suffix or the file in its folder; None for other paths."""
    path = whole(Path(path))
    if os.path.isfile(path / _SAVED_MODEL):
        return "saved_model"
    suffix = path.suffix.lower()
    return next((name for name, format in FORMATS.items() if suffix and suffix == format.suffix), None)


def check_format(path: Path, format: str) -> None:
    """Check that a file or folder is there and, by its first bytes, of a format.

    Raises:
        FileNotFoundError: There is nothing at the path.
        OSError: The file cannot be read.
        CheckpointError: The content is of another format.
    """
    if not path.exists():
        raise FileNotFoundError(f"No exported model at {plain(path)}.")
    if format == "saved_model":
        return
    check_is_file(path)
    with path.open("rb") as file:
        start = file.read(512)
    found = next((name for name, known in FORMATS.items() if re.match(known.start, start)), None)
    if found == format:
        return
    wanted = FORMATS[format]
    if found is None:
        raise CheckpointError(f"{plain(path)} is not a model for {wanted.runtime}: it {describe_format(path, start)}.")
    raise CheckpointError(
        f"{plain(path)} is a model for {FORMATS[found].runtime}, not for {wanted.runtime}: give it a name that ends in "
        f"{FORMATS[found].suffix}, not {wanted.suffix}."
    )


def files_of(path: Path, format: str) -> list[Path]:
    """Return the files that an exported model consists of.

    Raises:
        FileNotFoundError: There is no such model, or a file of its weights is missing.
        OSError: A file cannot be read.
        CheckpointError: The content is of another format.
    """
    check_format(path, format)
    if format == "saved_model":
        return sorted(file for file in path.rglob("*") if file.is_file())
    others = [path.with_suffix(".bin")] if format == "openvino" else []
    if format == "onnx":
        with naming(path):
            others = external_files(path)
    for file in others:
        if not file.exists():
            raise FileNotFoundError(
                f"{plain(file)} is missing, which holds weights of {plain(path)}: put it there, under this name."
            )
        check_is_file(file)
    return [path, *others]


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Turn a ``ValueError`` about "it", a file, into ``CheckpointError``, which names the file."""
    try:
        yield
    except ValueError as error:
        reason = plain(error).removeprefix(f"{plain(path)}: ").rstrip(".")
        raise CheckpointError(f"{plain(path)}: {reason}. Export or download it again.") from None


def require_runtime(format: str, what: str) -> str:
    """Return name and version of the runtime that a format is for.

    Args:
        format: Name of the format.
        what: Subject of the message: what needs the runtime.

    Raises:
        ImportError: The runtime is not installed; the message names the extra.
    """
    from importlib.metadata import version  # the import takes longer than all else here

    known = FORMATS[format]
    if find_spec(known.module) is None:
        raise missing(f"{what} needs {known.runtime}", known.extra)
    return f"{known.package} {version(known.package)}"
