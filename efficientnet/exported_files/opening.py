"""One opener for each format of exported models."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from ..common.text import plain
from ..errors import CheckpointError
from .formats import files_of, require_runtime
from .litert_file import open_litert
from .model import ExportedModel
from .onnx_file import open_onnx
from .openvino_file import open_openvino
from .saved_model import open_saved_model, set_threads

_OPENERS: dict[str, Callable[[Path | bytes, int | None], ExportedModel]] = {
    "onnx": open_onnx,
    "openvino": open_openvino,
    "litert": open_litert,
    "saved_model": open_saved_model,
}


def open_exported(source: Path | bytes, format: str, threads: int | None = None) -> ExportedModel:
    """Open an exported model in its runtime.

    Args:
        source: Path of the file or folder, or the content of an ``.onnx`` or ``.tflite`` file.
        format: Name of the format.
        threads: Processor threads; by default the runtime's choice. TensorFlow has them for the whole process.

    Raises:
        ImportError: The runtime is not installed; the message names the extra.
        FileNotFoundError: There is no such file, or its weights are missing.
        ValueError: The file is damaged, of another format, or not for this runtime.
    """
    if isinstance(source, Path):
        files_of(source, format)
    if format == "saved_model" and threads is not None:
        require_runtime(format, plain(source))
        set_threads(threads)
    with explained(source, format):
        return _OPENERS[format](source, threads)


@contextlib.contextmanager
def explained(source: Path | bytes, format: str) -> Iterator[None]:
    """Turn whatever a runtime raises about a file into ``CheckpointError``; ``open_exported`` raises the same.

    Raises:
        ImportError: The runtime is not installed.
    """
    name = "the content" if isinstance(source, bytes) else plain(source)
    version = require_runtime(format, name)
    try:
        yield
    except (ImportError, MemoryError):
        raise
    except Exception as error:
        raise CheckpointError(
            f"{name} cannot be opened by {version}: {reason_of(error)}. It is damaged, incomplete, or newer than "
            "the runtime: export or download it again, or update the runtime."
        ) from error


def reason_of(error: Exception) -> str:
    """Return a line of what a runtime says, without the places in its source code."""
    lines = [line.strip() for line in str(error).splitlines() if not re.match(r"\s*(Exception from|Check '|$)", line)]
    return plain(lines[0][:300]).rstrip(".!") if lines else type(error).__name__
