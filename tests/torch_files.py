"""Makes the files of `torch.save`, byte by byte: also such as it would never write."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from efficientnet.checkpoints import torch_pickle

# Each of these functions gives the instructions that leave one value on the stack.

NONE, EMPTY_TUPLE, EMPTY_DICT, MARK, REDUCE, BUILD = b"N", b")", b"}", b"(", b"R", b"b"


def text(value: str) -> bytes:
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def integer(value: int) -> bytes:
    data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data


def sequence(*items: bytes) -> bytes:
    return MARK + b"".join(items) + b"t"


def mapping(*pairs: tuple[str, bytes]) -> bytes:
    return EMPTY_DICT + MARK + b"".join(text(key) + value for key, value in pairs) + b"u"


def named(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def call(module: str, name: str, *arguments: bytes) -> bytes:
    return named(module, name) + sequence(*arguments) + REDUCE


def storage(key: str, size: int, kind: str = "Float", view: bytes = NONE) -> bytes:
    kind = named("torch", f"{kind}Storage")
    return sequence(text("storage"), kind, text(key), text("cpu"), integer(size), view) + b"Q"


def tensor(
    source: bytes,
    shape: tuple[int, ...] = (2, 3),
    strides: tuple[int, ...] = (3, 1),
    offset: int = 0,
) -> bytes:
    view = [integer(offset)] + [sequence(*map(integer, numbers)) for numbers in (shape, strides)]
    hooks = call("collections", "OrderedDict")
    return call("torch._utils", "_rebuild_tensor_v2", source, *view, b"\x89", hooks)


SIX = np.arange(6, dtype="<f4") / 8
ONE_TENSOR = mapping(("w", tensor(storage("0", 6))))


def stream(
    content: bytes,
    storages: dict[str, np.ndarray],
    *,
    magic: bytes = integer(0x1950A86A20F9469CFC6C),
    version: bytes = integer(1001),
    machine: bytes = mapping(("little_endian", b"\x88")),
    keys: bytes | None = None,
) -> bytes:
    if keys is None:
        keys = b"](" + b"".join(map(text, storages)) + b"e"
    pickles = [b"\x80\x02" + part + b"." for part in (magic, version, machine, content, keys)]
    data = [struct.pack("<q", array.size) + array.tobytes() for array in storages.values()]
    return b"".join(pickles + data)


def archive(content: bytes, storages: dict[str, np.ndarray], **members: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as writer:
        writer.writestr("m/data.pkl", b"\x80\x02" + content + b".")
        writer.writestr("m/byteorder", members.get("byteorder", b"little"))
        for key, array in storages.items():
            writer.writestr(f"m/data/{key}", array.tobytes())
    return file.getvalue()


WRITERS: dict[str, Callable[..., bytes]] = {"stream": stream, "zip": archive}
LAYOUTS = list(WRITERS)


def load(data: bytes) -> dict[str, np.ndarray]:
    """What is read of a file of these bytes, `weights.pth` in the current folder."""
    Path("weights.pth").write_bytes(data)
    stored = torch_pickle.read("weights.pth").arrays
    arrays = {name: array.read() for name, array in stored.items()}
    for name, array in arrays.items():
        assert type(array) is np.ndarray
        assert (array.shape, array.dtype) == (stored[name].shape, stored[name].dtype)
    return arrays
