"""Files that are not read: what they are, by their first bytes or members, and what to do."""

from __future__ import annotations

import re
from pathlib import Path

from . import zip_members

_STATE_DICT = "open it where it was written, and save torch.save(module.state_dict(), PATH)"
_SOURCE = "its numbers are those of the runtime, not of a training: give the file that it was exported from"

_IMAGE = re.compile(rb"\xff\xd8\xff|\x89PNG|GIF8|RIFF....WEBP|II\*\0|MM\0\*", re.DOTALL)
# Zip archives: a pattern of a member's name, what the archive is, and what to do.
_ARCHIVES = (
    (r"[^/]+/constants\.pkl", "is a program of TorchScript", f"{_STATE_DICT}, of torch.jit.load(PATH)"),
    (r"([^/]+/)?(archive_format|serialized_exported_program\.json)", "is a program of torch.export", _STATE_DICT),
    (r"[^/]+\.npy", "is an archive of NumPy's arrays", "save them with safetensors.numpy.save_file, by the same names"),
)


def describe(path: Path, start: bytes) -> str:
    """Describe an unreadable file and say what to do, as the rest of a sentence about it.

    Args:
        path: Path of the file.
        start: First bytes of the file.
    """
    if not start:
        return "is empty: download or save it again"
    if start.startswith(b"version https://git-lfs"):
        return "is a pointer of Git LFS, and not the file itself: fetch that by `git lfs pull`"
    if start.startswith(b"PK"):
        damaged = "is a zip archive, damaged or of another kind than expected: download or save it again"
        return describe_archive(path) or damaged
    if _IMAGE.match(start):
        return "is an image: give the file of the weights, and images to `efficientnet predict`"
    if re.match(rb"\s*(<\?xml[^>]*>\s*)?<net\b", start):
        return f"is a model for OpenVINO: {_SOURCE}"
    if start.lstrip()[:1] == b"<":
        return (
            "is a web page, no model or weights; the download was probably answered by a login or error page: download "
            "it again"
        )
    if start[4:8] == b"TFL3":
        return f"is a model for LiteRT (TFLite): {_SOURCE}"
    # A message of protocol buffers: its version, then its producer, its graph or its operators.
    if start[:1] == b"\x08" and start[2:3] in (b"\x12", b"\x1a", b"\x22", b"\x3a", b"\x42"):
        return f"is an ONNX model: {_SOURCE}"
    if start[:1] == b"\x80":
        return (
            "is a pickle of Python, as of PaddlePaddle's .pdparams, whose reading could run code: save its arrays with "
            "safetensors.numpy.save_file where it was written, under the names of timm, torchvision or another origin"
        )
    return f"begins with {start[:8]!r}, which is not a known format: download or save it again"


def describe_archive(path: Path) -> str | None:
    """Describe a zip archive that is known to hold no weights, as the rest of a sentence; None for another file."""
    try:
        names = [info.filename for info in zip_members.directory(path)]
    except ValueError:
        return None
    for pattern, kind, advice in _ARCHIVES:
        if any(re.fullmatch(pattern, name) for name in names):
            return f"{kind}: {advice}"
    return None


def describe_folder(path: Path) -> str | None:
    """Describe a folder that holds a program; None for another folder."""
    if (path / "saved_model.pb").is_file() or (path / "keras_metadata.pb").is_file():
        return (
            "is a SavedModel of TensorFlow: open it with the TensorFlow that wrote it, and save its weights with "
            "model.save_weights"
        )
    return None
