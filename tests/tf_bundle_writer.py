"""Writes TensorFlow's checkpoints, and any lie in them with the right checksums; and packs them into archives."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable
from pathlib import Path

import google_crc32c
import numpy as np

from efficientnet.checkpoints.base import StoredWeights

INDEX, DATA = "model.ckpt.index", "model.ckpt.data-00000-of-00001"


def varint(value: int) -> bytes:
    low, high = value & 0x7F, value >> 7
    return bytes([low | 0x80]) + varint(high) if high else bytes([low])


def message(*fields: tuple[int, int | bytes]) -> bytes:
    return b"".join(
        varint(number << 3) + varint(value)
        if isinstance(value, int)
        else varint(number << 3 | 2) + varint(len(value)) + value
        for number, value in fields
    )


def masked(data: bytes) -> int:
    checksum = google_crc32c.value(data)
    return ((checksum >> 15 | checksum << 17) + 0xA282EAD8) % 2**32


def entry(
    kind: int, shape: Iterable[int], offset: int, size: int, data: bytes, *more: tuple[int, int | bytes], shard: int = 0
) -> bytes:
    dimensions = message(*((2, message((1, length))) for length in shape))
    checksum = varint(6 << 3 | 5) + masked(data).to_bytes(4, "little")
    return message((1, kind), (2, dimensions), (3, shard), (4, offset), (5, size), *more) + checksum


def row(key: bytes, value: bytes, common: int = 0) -> bytes:
    return varint(common) + varint(len(key)) + varint(len(value)) + key + value


def table(*blocks: bytes, compression: int = 0, places: list[tuple[int, int]] | None = None) -> bytes:
    """A table of blocks that are given as their rows; ``places`` are what it says about where they lie."""

    def add(rows: bytes) -> tuple[int, int]:
        nonlocal data
        start = len(data)
        block = rows + bytes(4) + (1).to_bytes(4, "little") + bytes([compression])
        data += block + masked(block).to_bytes(4, "little")
        return start, len(block) - 1

    data = b""
    found = [add(rows) for rows in blocks]
    meta = add(b"")
    index = add(
        b"".join(row(b"~%06d" % at, varint(start) + varint(size)) for at, (start, size) in enumerate(places or found))
    )
    handles = b"".join(varint(number) for number in (*meta, *index))
    return data + handles.ljust(40, b"\0") + (0xDB4775248B80FB57).to_bytes(8, "little")


HEADER = row(b"", message((1, 1), (2, 0), (3, message((1, 1)))))


def save(folder: Path, name: str = "model.ckpt", **arrays: np.ndarray) -> Path:
    """Writes float32 arrays as a checkpoint and gives its prefix. ``__`` in a name stands for ``/``."""
    folder.mkdir(exist_ok=True, parents=True)
    rows, data = HEADER, b""
    for key, array in sorted(arrays.items()):
        numbers = array.tobytes()
        key = key.replace("__", "/")
        rows += row(key.encode(), entry(1, array.shape, len(data), len(numbers), numbers))
        data += numbers
    (folder / f"{name}.index").write_bytes(table(rows))
    (folder / f"{name}.data-00000-of-00001").write_bytes(data)
    return folder / name


def lie(folder: Path, *rows: bytes, data: bytes = bytes(16)) -> Path:
    (folder / INDEX).write_bytes(table(b"".join(rows)))
    (folder / DATA).write_bytes(data)
    return folder / "model.ckpt"


def ramp(*shape: int) -> np.ndarray:
    return np.arange(np.prod(shape, dtype=int), dtype="f4").reshape(shape)


def contents(checkpoint: StoredWeights) -> dict[str, bytes]:
    return {name: stored.read().tobytes() for name, stored in checkpoint.arrays.items()}


def pack(path: Path, members: Iterable[tuple[str | tarfile.TarInfo, bytes]], mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as archive:
        for name, content in members:
            member = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            if member.isreg():
                member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def parts(prefix: Path, folder: str = "net/") -> list[tuple[str, bytes]]:
    return [(folder + file.name, file.read_bytes()) for file in sorted(prefix.parent.iterdir())]
