"""Refusing files of PyTorch that are damaged, cut short or of another kind."""

from __future__ import annotations

import pickle
import random
import tracemalloc

import pytest
from torch_files import (
    BUILD,
    EMPTY_DICT,
    MARK,
    NONE,
    ONE_TENSOR,
    SIX,
    call,
    integer,
    load,
    mapping,
    storage,
    stream,
    tensor,
    text,
)

from efficientnet.checkpoints import torch_pickle
from efficientnet.errors import CheckpointError

pytestmark = pytest.mark.usefixtures("empty_folder")


@pytest.mark.parametrize(
    "changes, found",
    [
        ({"magic": integer(0x1950A86A20F9469CFC6C) + NONE}, "in the middle"),
        ({"version": integer(1002)}, "version 1001"),
        ({"machine": mapping(("little_endian", b"\x89"))}, "little-endian"),
        ({"machine": NONE}, "little-endian"),
        ({"keys": NONE}, "the storages it lists"),
        ({"keys": b"]"}, "the storages it lists"),
        ({"keys": b"](" + text("0") + text("0") + b"e"}, "the storages it lists"),
        ({"keys": b"](" + text("0") + text("1") + b"e"}, "the storages it lists"),
        ({"keys": b"](" + integer(0) + b"e"}, "the storages it lists"),
    ],
)
def test_damaged_streams(changes, found):
    with pytest.raises(CheckpointError, match=found):
        load(stream(ONE_TENSOR, {"0": SIX}, **changes))


def test_stream_with_a_storage_of_another_size():
    with pytest.raises(CheckpointError, match="storage '0' is not there with the 6 elements"):
        load(stream(ONE_TENSOR, {"0": SIX[:5]}))


def test_stream_that_goes_on():
    with pytest.raises(CheckpointError, match="3 bytes follow"):
        load(stream(ONE_TENSOR, {"0": SIX}) + b"abc")


@pytest.mark.parametrize(
    "data, found",
    [
        (b"", "it is empty"),
        (b"<!DOCTYPE html><title>404</title>", "begins with b'<!DOCTYPE html>"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "begins with"),
        (pickle.dumps({"w": 1}), "begins with"),
        (bytes(100), "begins with"),
    ],
)
def test_files_of_another_kind(data, found):
    with pytest.raises(CheckpointError, match=found):
        load(data)


def test_paths_without_a_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        torch_pickle.read(tmp_path / "none.pth")
    with pytest.raises(OSError):
        torch_pickle.read(tmp_path)


def test_truncation_at_every_byte(write):
    whole = write(
        mapping(("w", tensor(storage("0", 6))), ("e", tensor(storage("1", 0), (0,), (1,)))),
        {"0": SIX, "1": SIX[:0]},
    )
    assert len(load(whole)) == 2
    for length in range(len(whole)):
        with pytest.raises(CheckpointError):
            load(whole[:length])


@pytest.mark.slow
def test_random_damage(write):
    """Whatever is changed, the file is read or refused; nothing else, and in little memory."""
    whole = write(
        call("collections", "OrderedDict")
        + MARK
        + text("w")
        + tensor(storage("0", 6))
        + text("half")
        + tensor(storage("1", 6, "BFloat16"), (3,), (2,))
        + b"u"
        + mapping(("_metadata", EMPTY_DICT))
        + BUILD,
        {"0": SIX, "1": SIX.astype("<f2")},
    )
    generator = random.Random(0)
    refused = 0
    tracemalloc.start()
    try:
        for _ in range(400):
            damaged = bytearray(whole)
            for _ in range(generator.choice([1, 1, 2, 5])):
                place = generator.randrange(len(damaged))
                if generator.random() < 0.8:
                    damaged[place] = generator.choice([generator.randrange(256), 0, 255])
                else:
                    del damaged[place : place + generator.randrange(1, 9)]
            try:
                for array in load(bytes(damaged)).values():
                    array.sum(dtype="f8")
            except CheckpointError:
                refused += 1
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert refused > 200
    assert peak < 2_000_000
