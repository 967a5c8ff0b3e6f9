"""Read and write safetensors files, and read those that are cut into several with an index beside them.

Such a file is the length of its header (8 bytes, little-endian), a header in JSON that gives every tensor's type,
shape and first and last byte, and the bytes, which the tensors fill without a gap. An index is JSON and says which
of the files beside it holds which tensor.
"""

from __future__ import annotations

import json
import math
import mmap
import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from ..common.files import replacing
from ..common.json_files import unique_keys
from ..errors import CheckpointError
from . import facts
from .arrays import Stored, widen_bfloat16
from .base import StoredWeights
from .beside import beside
from .pickled_tensors import is_shape

_DTYPES: dict[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),  # NumPy has no bfloat16: widened when it is read
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
}
_WRITTEN = {dtype: name for name, dtype in _DTYPES.items() if name != "BF16"}
_METADATA = "__metadata__"
_MAX_HEADER = 100_000_000  # the format's own limit
_MAX_COMMAS = 1_000_000  # EfficientNet-L2 has some 20,000; without a limit, 100 MB of JSON become gigabytes


def recognizes(start: bytes) -> bool:
    """Return whether a file is in this format, or an index of such files, also where the rest of it is damaged.

    Args:
        start: The first 512 bytes of the file, or all of a shorter one.
    """
    return _is_index(start) or (start[8:9] == b"{" and 2 <= int.from_bytes(start[:8], "little") <= _MAX_HEADER)


def _is_index(start: bytes) -> bool:
    # Hugging Face's libraries write the total size first, then the map.
    return start.lstrip().startswith(b"{") and (b'"weight_map"' in start or b'"total_size"' in start)


def read(path: str | os.PathLike[str]) -> StoredWeights:
    """Read the tensors of a safetensors file, or of all the files that an index lists.

    Args:
        path: The file, or the index; the files of an index lie beside it.

    Returns:
        Format "safetensors" or "safetensors, in shards", and the arrays in the order of the header or index. They are
        read-only views of the memory-mapped file, except that bfloat16 becomes float32.

    Raises:
        CheckpointError: The file is damaged, or of another kind, or has tensors of a type that is not read; or a file
            that the index lists is missing, lies elsewhere, or holds other tensors than the index says.
        OSError: The file cannot be opened.
    """
    path = Path(path)
    with path.open("rb") as file:
        start = file.read(512)
    try:
        if _is_index(start):
            return StoredWeights("safetensors, in shards", _read_shards(path))
        arrays, metadata = _read_file(path)
        said = facts.from_json(metadata[facts.KEY]) if facts.KEY in metadata else facts.Facts()
        return StoredWeights("safetensors", arrays, facts=said)
    except ValueError as error:
        raise CheckpointError(
            f"Cannot read weights from {str(path)!r}: {error}. What can be read is a whole safetensors file, or the "
            "index (model.safetensors.index.json) of several that lie beside it: download or save it again."
        ) from None


def _read_file(path: Path) -> tuple[dict[str, Stored], dict[str, str]]:
    """Return the arrays, and the metadata."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        length = int.from_bytes(file.read(8), "little")
        first = 8 + length
        if size < 10:
            raise ValueError(f"it has {size} bytes, too few for any safetensors file")
        if length > min(_MAX_HEADER, size - 8):
            raise ValueError(f"it claims a header of {length} bytes, but has {size - 8} after that, or is no such file")
        header = _parse(file.read(length))
        buffer = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    metadata = header.pop(_METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError(f"{_METADATA} in its header is not a map of texts")
    places = {name: _place(name, entry) for name, entry in header.items()}
    end = 0
    for name, (_, _, begin, stop) in sorted(places.items(), key=lambda item: item[1][2:]):
        if begin != end:
            raise ValueError(f"{name[:80]!r} begins at byte {begin}, where byte {end} is due")
        end = stop
    if first + end != size:
        raise ValueError(f"its tensors take {end} bytes, but {size - first} follow its header")
    arrays = {name: _stored(buffer, dtype, shape, first + begin) for name, (dtype, shape, begin, _) in places.items()}
    return arrays, metadata


def _parse(text: bytes) -> dict[str, Any]:
    """Parse an object of JSON, and refuse names that come twice."""
    if text.count(b",") > _MAX_COMMAS:
        raise ValueError(f"its JSON has more than {_MAX_COMMAS} entries")
    try:
        parsed = json.loads(text.decode(), object_pairs_hook=unique_keys)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"its JSON is damaged ({error})") from None
    if not isinstance(parsed, dict):
        raise ValueError("its JSON is not an object")
    return parsed


def _place(name: str, entry: object) -> tuple[str, tuple[int, ...], int, int]:
    """Return type, shape, first byte and end of a tensor, all checked; bytes count from the header's end."""
    match entry:
        case {"dtype": str() as dtype, "shape": list() as shape, "data_offsets": [int() as begin, int() as stop]} if (
            bool not in (type(begin), type(stop))
        ):
            pass
        case _:
            raise ValueError(f"its header does not give dtype, shape and data_offsets of {name[:80]!r}")
    if dtype not in _DTYPES:
        raise ValueError(f"{name[:80]!r} is of type {dtype[:80]!r}; read are {', '.join(_DTYPES)}")
    if not is_shape(shape):
        raise ValueError(f"the shape of {name[:80]!r} makes no sense")
    size = math.prod(shape) * _DTYPES[dtype].itemsize
    if begin < 0 or stop - begin != size:
        raise ValueError(f"{name[:80]!r}, of type {dtype} and shape {shape}, takes {size} bytes, not its data_offsets")
    return dtype, tuple(shape), begin, stop


def _stored(buffer: mmap.mmap, dtype: str, shape: tuple[int, ...], first: int) -> Stored:
    def read() -> np.ndarray:
        raw = np.frombuffer(buffer, _DTYPES[dtype], math.prod(shape), first)
        return (widen_bfloat16(raw) if dtype == "BF16" else raw).reshape(shape)

    return Stored(shape, _DTYPES["F32" if dtype == "BF16" else dtype], read)


def _read_shards(path: Path) -> dict[str, Stored]:
    if path.stat().st_size > _MAX_HEADER:
        raise ValueError(f"it is larger than {_MAX_HEADER} bytes, as no index is")
    shards = _parse(path.read_bytes()).get("weight_map")
    if not isinstance(shards, dict) or not all(isinstance(shard, str) for shard in shards.values()):
        raise ValueError("it has no weight_map from the names of tensors to those of files")
    arrays = {}
    for shard in dict.fromkeys(shards.values()):
        try:
            in_shard, _ = _read_file(beside(path, shard))
        except ValueError as error:
            raise ValueError(f"of its file {shard[:80]!r}: {error}") from None
        for name, stored in in_shard.items():
            if shards.get(name) != shard:
                raise ValueError(f"{shard!r} holds {name[:80]!r}, which the index does not say of it")
            arrays[name] = stored
    for name, shard in shards.items():
        if name not in arrays:
            raise ValueError(f"{shard!r} does not hold {name[:80]!r}, as the index says")
    return {name: arrays[name] for name in shards}


def write(
    path: str | os.PathLike[str],
    arrays: Mapping[str, np.ndarray | Stored],
    metadata: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Write a safetensors file, whole or not at all, with no more than one array in memory.

    Args:
        path: The file, which is replaced where there is one.
        arrays: By name, in the order in which `read` will give them: floats of 16, 32 or 64 bits, signed integers
            of 8 to 64 bits, unsigned ones of 8, or booleans.
        metadata: Texts to keep beside them.

    Raises:
        ValueError: An array is of another type or has the one name that the format keeps for itself.
        OSError: The file cannot be written.
    """
    header: dict[str, Any] = {_METADATA: dict(metadata)} if metadata else {}
    for name, array in arrays.items():
        dtype = array.dtype.newbyteorder("<")
        if dtype not in _WRITTEN:
            raise ValueError(f"{name!r} is of type {array.dtype}; convert it to one of {', '.join(map(str, _WRITTEN))}")
        if name == _METADATA:
            raise ValueError(f"An array cannot be named {_METADATA!r}, as the metadata are: rename it")
        header[name] = {"dtype": _WRITTEN[dtype], "shape": array.shape}
    # The largest types first, so that every array is aligned.
    by_size = sorted(arrays, key=lambda name: -arrays[name].dtype.itemsize)
    end = 0
    for name in by_size:
        begin, end = end, end + arrays[name].nbytes
        header[name]["data_offsets"] = (begin, end)
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with replacing(Path(path)) as part, part.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in by_size:
            array = np.asarray(arrays[name])
            file.write(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).data)
