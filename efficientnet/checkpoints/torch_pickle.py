"""Read the files that `torch.save` writes, without PyTorch and without unpickling them.

Such a file is a pickle that describes tensors, which `pickled_tensors` evaluates, and beside it the bytes
of their storages.

Two layouts, detected by content, differ only in the places of pickle and storages:

- since PyTorch 1.6 a zip archive, uncompressed: `NAME/data.pkl`, `NAME/data/KEY` per storage;
- before that one stream: pickles of a magic number, a version, facts about the machine, the object,
  and the list of storage keys; then for each key the number of elements (int64) and the bytes.
"""

from __future__ import annotations

import functools
import io
import os
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ..errors import CheckpointError
from . import timm_config
from .arrays import Stored, map_file, widen_bfloat16
from .base import StoredWeights
from .facts import LARGEST_JSON, MEMBER, Facts, class_names, from_json
from .pickled_tensors import BFLOAT16, MAX_BYTES, Opaque, Tensor, evaluate_pickle
from .zip_members import members

_MAGIC = 0x1950A86A20F9469CFC6C
_VERSION = 1001

# Where training scripts keep the weights among their other state, averages first: timm ("state_dict_ema"), torchvision
# ("model", "model_ema"), DeepSpeed ("module"), BasicSR ("params", "params_ema"), and common habit.
_AVERAGES = ("state_dict_ema", "ema_state_dict", "model_ema", "params_ema", "ema")
_WEIGHTS = ("state_dict", "model_state_dict", "model", "module", "net", "params")
# Wrappers put them before every name: DataParallel and AveragedModel, torch.compile, Lightning.
_PREFIXES = ("module.", "_orig_mod.", "model.")

_MAX_NAME = 1000  # characters; EfficientNet-L2's are of 40


def recognizes(start: bytes) -> bool:
    """Return whether a file was written by `torch.save`, also where the rest of it is damaged.

    Args:
        start: The first 512 bytes of the file, or all of a shorter one.
    """
    if start.startswith(b"PK"):
        return b"/data.pkl" in start  # the archive's first member
    return _MAGIC.to_bytes(10, "little") in start[:32]


def read(path: str | os.PathLike[str]) -> StoredWeights:
    """Read the tensors of a file that `torch.save` wrote, of either layout.

    The file may hold a dict of tensors, or a training checkpoint with such a dict under one of the usual keys. Moving
    averages of the weights are preferred to the weights; all else in a training checkpoint is left out. Prefixes that
    wrappers put before every name are taken off.

    Args:
        path: The file.

    Returns:
        Format "PyTorch, zip" or "PyTorch, legacy", and the arrays in the file's order. They are read-only views of
        the memory-mapped file, except that bfloat16 becomes float32. An archive's checksum of a storage is compared
        when the first of its arrays is read.

    Raises:
        CheckpointError: The file is damaged, or of another kind, or needs anything that a training checkpoint does
            not. Nothing of it was run.
        OSError: The file cannot be opened.
    """
    try:
        buffer = map_file(path)
        start = bytes(buffer[:512])
        if not recognizes(start):
            raise ValueError(f"it begins with {start[:16]!r}, as no PyTorch file does")
        is_zip = start.startswith(b"PK")
        content, runs, said = (_read_zip if is_zip else _read_stream)(path, buffer)
        tensors, averaged = _weights(content)
        said |= _facts(content)
    except ValueError as error:
        raise _refusal(path, error) from None
    arrays = {name: _stored(path, runs[tensor.storage.key], tensor) for name, tensor in tensors.items()}
    return StoredWeights("PyTorch, zip" if is_zip else "PyTorch, legacy", arrays, averaged, facts=said)


def _refusal(path: str | os.PathLike[str], error: ValueError) -> CheckpointError:
    return CheckpointError(
        f"Cannot read weights from {os.fspath(path)!r}: {error}. What can be read is a dict of tensors, as "
        "`torch.save(model.state_dict(), path)` writes it, and no pickled module: open that where its classes are, and "
        "save its state_dict(); or download the file again."
    )


class _Run(NamedTuple):
    """The bytes of a storage, and the function that compares their checksum."""

    content: memoryview
    check: Callable[[], None]


def _read_stream(path: str | os.PathLike[str], buffer: memoryview) -> tuple[object, dict[str, _Run], Facts]:
    """Evaluate the layout before PyTorch 1.6: the object, storages by key, and no notes, which it has no place for."""
    with open(path, "rb") as file:
        magic, version, machine = (evaluate_pickle(file)[0] for _ in range(3))
        if magic != _MAGIC or version != _VERSION:
            raise ValueError(f"its format is not version {_VERSION} of PyTorch's")
        if not isinstance(machine, dict) or machine.get("little_endian") is not True:
            raise ValueError("it was not written by a little-endian machine")
        content, storages = evaluate_pickle(file)
        keys, _ = evaluate_pickle(file)
        start = file.tell()
    listed = isinstance(keys, list) and all(isinstance(key, str) for key in keys)
    if not listed or sorted(keys) != sorted(storages):
        raise ValueError("the storages it lists are not those that its tensors use")
    runs = {}
    for key in keys:
        size = storages[key].size
        if buffer[start : start + 8] != size.to_bytes(8, "little"):
            raise ValueError(f"storage {key[:80]!r} is not there with the {size} elements it needs")
        start, stop = start + 8, start + 8 + size * storages[key].dtype.itemsize
        if stop > len(buffer):
            raise ValueError(f"it is cut short: {len(buffer)} bytes, of at least {stop}")
        runs[key] = _Run(buffer[start:stop], lambda: None)  # this layout has no checksums
        start = stop
    if start != len(buffer):
        raise ValueError(f"{len(buffer) - start} bytes follow after its last storage")
    return content, runs, Facts()


def _read_zip(path: str | os.PathLike[str], buffer: memoryview) -> tuple[object, dict[str, _Run], Facts]:
    """Evaluate the layout since PyTorch 1.6: the object, storages by key, and the notes of this package."""
    found = members(path, buffer)
    folders = [name.removesuffix("data.pkl") for name in found if name.endswith("/data.pkl")]
    if len(folders) != 1:
        raise ValueError("it holds no data.pkl, or more than one")
    folder = folders[0]
    order = found.get(f"{folder}byteorder")
    if order and order.content.tobytes() != b"little":
        raise ValueError("it was not written by a little-endian machine")

    pickled = found[f"{folder}data.pkl"]
    file = io.BytesIO(pickled.content[: MAX_BYTES + 1])
    content, storages = evaluate_pickle(file)
    if file.tell() != len(pickled.content):
        raise ValueError(f"its pickle ends after {file.tell()} bytes and not, as it says, {len(pickled.content)}")
    pickled.check()
    runs = {}
    for key, storage in storages.items():
        member = found.get(f"{folder}data/{key}")
        if member is None or len(member.content) != storage.size * storage.dtype.itemsize:
            raise ValueError(f"storage {key[:80]!r} is not there with the {storage.size} elements it needs")
        runs[key] = _Run(member.content, functools.cache(member.check))
    if note := found.get(folder + MEMBER):
        note.check()
    return content, runs, from_json(bytes(note.content[: LARGEST_JSON + 1])) if note else Facts()


def _facts(content: object) -> Facts:
    """Return the notes of timm's training script, Lightning or MMEngine: network, options of the run, classes."""
    if not isinstance(content, dict):
        return Facts()
    options = content.get("args")
    known = options.options if isinstance(options, Opaque) else options if isinstance(options, dict) else {}
    said = timm_config.of_run({"model": content.get("arch"), **known})
    parameters, meta = content.get("hyper_parameters"), content.get("meta")
    if isinstance(parameters, dict):
        said |= timm_config.of_hyper_parameters(parameters)
    return said | Facts(class_names=_class_names(meta)) if isinstance(meta, dict) else said


def _class_names(meta: dict[object, object]) -> tuple[str, ...] | None:
    """Return the names of classes that MMEngine, or MMClassification before it, notes; None for none."""
    dataset = meta.get("dataset_meta")
    names = dataset.get("classes") if isinstance(dataset, dict) else meta.get("CLASSES")
    return class_names(list(names)) if isinstance(names, list | tuple) else None


def _weights(content: object) -> tuple[dict[str, Tensor], bool]:
    """Pick the state dict out of what a file holds; and whether it is one of moving averages."""
    found, averaged = _find(content, depth=2)
    if (
        isinstance(content, dict) and "message_hub" in content
    ):  # a file of MMEngine, which exchanges averages and weights
        found, averaged = content.get("state_dict"), "ema_state_dict" in content
    if not isinstance(found, dict):
        raise ValueError(f"it holds a {type(found).__name__}, not a dict")
    # PyTorch's AveragedModel counts under this name how many weights went into the averages.
    weights = {name: value for name, value in found.items() if name != "n_averaged"}
    if not weights:
        raise ValueError("the dict it holds is empty")
    for name, value in weights.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise ValueError(f"under {str(name)[:80]!r} it holds a {type(value).__name__}, not a tensor")
        if len(name) > _MAX_NAME:
            raise ValueError(f"it has a name of {len(name)} characters; read are at most {_MAX_NAME}")
    while prefix := next((prefix for prefix in _PREFIXES if all(name.startswith(prefix) for name in weights)), ""):
        weights = {name.removeprefix(prefix): value for name, value in weights.items()}
    return weights, averaged or len(weights) < len(found)


def _find(content: object, depth: int) -> tuple[object, bool]:
    """Return the first dict of tensors under the usual keys, at most `depth` levels deep, else `content` itself."""
    if depth and isinstance(content, dict):
        for key in (*_AVERAGES, *_WEIGHTS):
            found, averaged = _find(content.get(key), depth - 1)
            if isinstance(found, dict) and any(isinstance(value, Tensor) for value in found.values()):
                return found, averaged or key in _AVERAGES
    return content, False


def _stored(path: str | os.PathLike[str], run: _Run, tensor: Tensor) -> Stored:
    """Return a tensor in the file, given the run of its storage."""
    shape, dtype = tensor.shape, tensor.storage.dtype
    is_bfloat16 = dtype == BFLOAT16
    raw_dtype = np.dtype("<u2") if is_bfloat16 else dtype
    # PyTorch leaves any number as the stride of a dimension of length 1.
    strides = [
        stride * dtype.itemsize if length > 1 else 0 for length, stride in zip(shape, tensor.strides, strict=True)
    ]

    def read() -> np.ndarray:
        try:
            run.check()
        except ValueError as error:
            raise _refusal(path, error) from None
        if 0 in shape:
            raw = np.empty(shape, raw_dtype)
        else:
            raw = np.ndarray(shape, raw_dtype, run.content, tensor.offset * dtype.itemsize, strides)
        return widen_bfloat16(raw) if is_bfloat16 else raw

    return Stored(shape, np.dtype("<f4") if is_bfloat16 else dtype, read)
