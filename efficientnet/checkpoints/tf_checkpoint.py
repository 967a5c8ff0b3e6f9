"""Read TensorFlow checkpoints, without TensorFlow: the right weights out of the right files."""

from __future__ import annotations

import mmap
import os
import re
import shutil
import tempfile
from collections.abc import Iterable
from os import PathLike
from pathlib import Path
from typing import IO

from ..common.text import some
from ..errors import CheckpointError
from . import keras_objects, tar, tf_bundle
from .arrays import Stored
from .base import StoredWeights

# "._NAME.index" is what macOS leaves beside a file in archives and on foreign disks.
_PART = re.compile(r"(?P<name>(?:.*/)?(?!\._)[^/]+)\.(?:index|data-\d{5,}-of-\d{5,})", re.DOTALL)
# The text file "checkpoint", in which TensorFlow notes which of a folder's checkpoints is the latest.
_STATE = re.compile(rb'model_checkpoint_path: *"([^"\\]+)"')

_AVERAGE = "/ExponentialMovingAverage"
_OBJECT = "/.ATTRIBUTES/VARIABLE_VALUE"
_LEFT_OVER_OF_TRAINING = re.compile(
    r"(^|/)(global_step|save_counter|beta[12]_power)(_\d+)?$"
    r"|/(RMSProp|Momentum|Adam|Adagrad|Adadelta|Ftrl|LARS)\w*$"
    r"|/\.OPTIMIZER_SLOT/|(^|/)(optimizer|keras_api/metrics)/"
)


def recognizes(path: Path) -> bool:
    """Return whether ``read`` is the reader of a path: a file, a folder, or the common part of files' names."""
    if not path.is_file():
        folder = _checkpoint_folder(path)
        return Path(f"{path}.index").is_file() or (folder.is_dir() and bool(_names(os.listdir(folder))))
    with path.open("rb") as file:
        if _STATE.match(file.read(512)):
            return True
        file.seek(max(path.stat().st_size - len(tf_bundle.MAGIC), 0))
        if file.read() == tf_bundle.MAGIC:
            return True
    # Numbers begin and end like anything; so does an index that is cut short, for which read has the best message.
    part = _PART.fullmatch(path.name)
    return (part is not None and len(_files(path.parent, part["name"])) > 1) or tar.recognizes(path)


def read(path: str | PathLike[str]) -> StoredWeights:
    """Read the weights in a checkpoint: moving averages where it has them, and nothing that only training needs.

    Names are the file's own, without the ends that say "average" and "value of an object's attribute"; Keras' numbered
    layers are named as in Keras 3's files of weights. A variable without an average is given unchanged. Texts are left
    out.

    Args:
        path: Path of one of the files ``NAME.index`` and ``NAME.data-00000-of-00001``, or ``NAME`` with its folder, or
            a folder that holds one checkpoint or a file ``checkpoint`` naming the latest, or that file, or the folder
            of a SavedModel, or a tar archive, plain or gzipped, that holds one checkpoint.

    Raises:
        CheckpointError: A file is missing, damaged, hostile or of a kind that is not read here, or there are several
            checkpoints to choose from. A wrong checksum of an array's numbers is found when these are read.
        OSError: A file cannot be opened.
    """
    path = Path(path)
    try:
        name, files = _from_archive(path) if path.is_file() and tar.recognizes(path) else _from_folder(path)
        arrays, averaged = _weights(tf_bundle.read_bundle(name, files))
        if not arrays:
            raise ValueError("it holds no weights")
    except ValueError as error:
        raise CheckpointError(
            f"Cannot read a TensorFlow checkpoint from {path}: {error}. A checkpoint is NAME.index and its "
            "NAME.data-00000-of-00001 in one folder or tar archive; download or save it again, with all its files."
        ) from None
    return StoredWeights("TensorFlow checkpoint", arrays, averaged)


def _weights(stored: dict[str, Stored]) -> tuple[dict[str, Stored], bool]:
    """Select the arrays to use, and return whether averages are among them."""
    raw: dict[str, Stored] = {}
    averages: dict[str, Stored] = {}
    for key, array in stored.items():
        name = key.removesuffix(_OBJECT)
        kind = averages if name.endswith(_AVERAGE) else raw
        name = name.removesuffix(_AVERAGE)
        if not _LEFT_OVER_OF_TRAINING.search(name):
            kind[name] = array
    return keras_objects.number(raw | averages), bool(averages)


def _from_archive(path: Path) -> tuple[str, dict[str, tf_bundle.Buffer]]:
    files = tar.extract(path, _PART, _unpacked)
    return _only(_names(files)), files


def _unpacked(content: IO[bytes]) -> tf_bundle.Buffer:
    """Copy a stream into a nameless temporary file, which is gone once nobody uses it."""
    with tempfile.TemporaryFile() as file:
        shutil.copyfileobj(content, file, 1 << 20)
        file.flush()
        return _mapped(file)


def _from_folder(path: Path) -> tuple[str, dict[str, tf_bundle.Buffer]]:
    folder, name = _locate(path)
    files: dict[str, tf_bundle.Buffer] = {}
    for path in _files(folder, name):
        with path.open("rb") as file:
            files[path.name] = _mapped(file)
    return name, files


def _locate(path: Path) -> tuple[Path, str]:
    """Return the folder of a checkpoint's files, and the common part of their names."""
    if Path(f"{path}.index").is_file():
        return path.parent, path.name
    if path.is_dir():
        path = _checkpoint_folder(path)
        names = _names(os.listdir(path))
        state = path / "checkpoint"
        latest = _latest(state) if state.is_file() else None
        return path, latest if latest in names else _only(names)
    if latest := _latest(path):
        return path.parent, latest
    if part := _PART.fullmatch(path.name):
        return path.parent, part["name"]
    raise ValueError("its name is not that of a checkpoint's file")


def _latest(state: Path) -> str | None:
    """Return the checkpoint that a file ``checkpoint`` names, without its folder, which may be on another machine."""
    with state.open("rb") as file:
        match = _STATE.match(file.read(4096))
    return os.path.basename(match[1].decode()) if match else None


def _checkpoint_folder(path: Path) -> Path:
    """Return the folder that holds the checkpoint of a folder, which may be a SavedModel."""
    variables = path / "variables"
    return variables if (variables / "variables.index").is_file() else path


def _files(folder: Path, name: str) -> list[Path]:
    """Return the files of one checkpoint."""
    return [folder / file for file in os.listdir(folder) if (part := _PART.fullmatch(file)) and part["name"] == name]


def _names(files: Iterable[str]) -> list[str]:
    """Return the names of the checkpoints among files."""
    return sorted(part["name"] for file in files if file.endswith(".index") and (part := _PART.fullmatch(file)))


def _only(names: list[str]) -> str:
    if len(names) == 1:
        return names[0]
    if not names:
        raise ValueError("there is no NAME.index in it")
    raise ValueError(f"it holds several checkpoints ({some(names)}): give one of them")


def _mapped(file: IO[bytes]) -> tf_bundle.Buffer:
    """Return a file's content, read from the disk as it is used."""
    size = os.fstat(file.fileno()).st_size
    return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size else b""
