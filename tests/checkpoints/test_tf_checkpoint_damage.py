"""Refusing TensorFlow's checkpoints that are damaged or meant to do harm, and archives of that kind."""

from __future__ import annotations

import gzip
import os
import random
import shutil
import tarfile
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tf_bundle_writer import (
    DATA,
    HEADER,
    INDEX,
    contents,
    entry,
    lie,
    message,
    pack,
    parts,
    ramp,
    row,
    save,
    table,
    varint,
)

from efficientnet.checkpoints import tf_checkpoint
from efficientnet.errors import CheckpointError


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return save(tmp_path / "saved", a__kernel=ramp(3, 5), b=ramp(7), c=ramp())


# Archives.


def test_archive_writes_nothing_under_its_own_names(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    private = tmp_path / "private"
    private.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(private))
    monkeypatch.chdir(private)
    archive = pack(
        tmp_path / "x.tar.gz",
        [*parts(saved, "../../"), ("/checkpoint", b"-"), ("../a.meta", bytes(999)), ("../../._model.ckpt.index", b"-")],
    )
    before = sorted(tmp_path.rglob("*"))
    checkpoint = tf_checkpoint.read(archive)
    archive.unlink()
    assert contents(checkpoint) == contents(tf_checkpoint.read(saved))
    if os.name == "posix":
        assert sorted([*tmp_path.rglob("*"), archive]) == before


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE])
def test_links_and_devices_are_refused(saved: Path, tmp_path: Path, kind: bytes) -> None:
    index, data = parts(saved)[::-1]
    member = tarfile.TarInfo(data[0])
    member.type = kind
    member.linkname = str(saved.parent / DATA)
    with pytest.raises(CheckpointError, match=r"data-00000-of-00001' in it is a link or another special file"):
        tf_checkpoint.read(pack(tmp_path / "x.tgz", [index, (member, b"")]))


def test_archive_with_other_than_one_checkpoint(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"several checkpoints \(a/model\.ckpt, b/model\.ckpt\)"):
        tf_checkpoint.read(pack(tmp_path / "two.tgz", parts(saved, "a/") + parts(saved, "b/")))
    with pytest.raises(CheckpointError, match="is in it twice"):
        tf_checkpoint.read(pack(tmp_path / "twice.tgz", parts(saved) * 2))
    with pytest.raises(CheckpointError, match=r"no NAME\.index"):
        tf_checkpoint.read(pack(tmp_path / "none.tgz", [("README", b"")]))
    with pytest.raises(CheckpointError, match=r"data-00000-of-00001 is missing"):
        tf_checkpoint.read(pack(tmp_path / "index.tgz", parts(saved)[1:]))


@pytest.mark.parametrize("folder", ["\x1b[2J/", "x" * 2000 + "/"])
def test_name_that_would_spoil_messages_is_refused(saved: Path, tmp_path: Path, folder: str) -> None:
    with pytest.raises(CheckpointError, match="not a name of a file") as caught:
        tf_checkpoint.read(pack(tmp_path / "x.tgz", parts(saved, folder)))
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1000


@pytest.mark.slow
@pytest.mark.parametrize("name", [f"net/{DATA}", "net/model.ckpt.meta"])
def test_gzip_bomb_ends_soon(tmp_path: Path, name: str) -> None:
    archive = tmp_path / "bomb.tgz"
    member = tarfile.TarInfo(name)
    member.size = 1 << 33
    with gzip.open(archive, "wb", compresslevel=1) as file:
        file.write(member.tobuf())
        for _ in range(1 << 8):
            file.write(bytes(1 << 20))
    start = time.process_time()
    with pytest.raises(CheckpointError, match="inflates to many times"):
        tf_checkpoint.read(archive)
    assert time.process_time() - start < 5


@pytest.mark.parametrize("mode", ["w:", "w:gz"])
@pytest.mark.parametrize("skipped", [True, False])
def test_claimed_size_of_a_member_is_not_believed(tmp_path: Path, mode: str, skipped: bool) -> None:
    member = tarfile.TarInfo("model.ckpt.meta" if skipped else DATA)
    member.size = 1 << 60
    header = member.tobuf(tarfile.GNU_FORMAT)
    archive = tmp_path / "x"
    archive.write_bytes(header if mode == "w:" else gzip.compress(header))
    with pytest.raises(CheckpointError, match="cut short"):
        tf_checkpoint.read(archive)


def test_sparse_member_is_refused(tmp_path: Path) -> None:
    """It would be zeros without end, from an archive of a few bytes."""
    header = bytearray(tarfile.TarInfo(DATA).tobuf(tarfile.GNU_FORMAT))
    header[156:157] = tarfile.GNUTYPE_SPARSE
    header[386:410] = b"%011o\0%011o\0" % (0, 0)
    header[483:495] = b"%011o\0" % (1 << 32)
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    (tmp_path / "x.tar").write_bytes(bytes(header) + bytes(10240))
    with pytest.raises(CheckpointError, match="special file"):
        tf_checkpoint.read(tmp_path / "x.tar")


@pytest.mark.parametrize("mode", ["w:", "w:gz"])
def test_damaged_archive(saved: Path, tmp_path: Path, mode: str) -> None:
    members = [("net/graph.meta", random.Random(1).randbytes(3000)), *parts(saved, "é" * 120 + "/")]
    whole = pack(tmp_path / "whole", members, mode).read_bytes()
    expected = contents(tf_checkpoint.read(tmp_path / "whole"))
    rng = random.Random(0)
    damaged = tmp_path / "damaged"
    refused = 0
    for attempt in range(400):
        data = bytearray(whole)
        if attempt % 2:
            del data[rng.randrange(len(data)) :]
        else:
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        damaged.write_bytes(data)
        try:
            assert contents(tf_checkpoint.read(damaged)) == expected
        except CheckpointError:
            refused += 1
    assert refused > 100


# Damage and lies.


@pytest.fixture
def copied(golden: Callable[[str], Path], tmp_path: Path) -> Path:
    """A copy of a checkpoint that TensorFlow wrote, to be damaged."""
    for name in (INDEX, DATA):
        shutil.copyfile(golden("tensorflow") / name, tmp_path / name)
    return tmp_path / "model.ckpt"


def test_cut_index(copied: Path, tmp_path: Path) -> None:
    whole = (tmp_path / INDEX).read_bytes()
    for size in np.linspace(0, len(whole) - 1, 50, dtype=int):
        (tmp_path / INDEX).write_bytes(whole[:size])
        assert tf_checkpoint.recognizes(tmp_path / INDEX)
        with pytest.raises(CheckpointError, match="cut short"):
            tf_checkpoint.read(copied)


def test_cut_data(copied: Path, tmp_path: Path) -> None:
    size = (tmp_path / DATA).stat().st_size
    for cut in np.linspace(size - 1, 0, 50, dtype=int):
        os.truncate(tmp_path / DATA, cut)
        with pytest.raises(CheckpointError, match=f"{DATA} is cut short"):
            tf_checkpoint.read(copied)


@pytest.mark.slow
def test_flipped_bits_in_the_index(copied: Path, tmp_path: Path) -> None:
    expected = contents(tf_checkpoint.read(copied))
    whole = (tmp_path / INDEX).read_bytes()
    rng = random.Random(0)
    spared = []
    for attempt in range(500):
        # Few of them would hit the footer, which no checksum protects.
        at = rng.randrange(len(whole)) if attempt % 2 else len(whole) - 1 - rng.randrange(100)
        data = bytearray(whole)
        data[at] ^= 1 << rng.randrange(8)
        (tmp_path / INDEX).write_bytes(data)
        try:
            assert contents(tf_checkpoint.read(copied)) == expected
            spared.append(at)
        except CheckpointError:
            pass
    # What may change are the padding of the footer and the block about the table, which are not read.
    assert all(at > len(whole) - 100 for at in spared)


def test_flipped_bits_in_the_data(tmp_path: Path) -> None:
    path = save(tmp_path, a=ramp(100), b=ramp(10, 10), c=ramp())
    data = bytearray((tmp_path / DATA).read_bytes())
    rng = random.Random(0)
    for _ in range(500):
        at, bit = rng.randrange(len(data)), 1 << rng.randrange(8)
        data[at] ^= bit
        (tmp_path / DATA).write_bytes(data)
        checkpoint = tf_checkpoint.read(path)
        with pytest.raises(CheckpointError, match="checksum"):
            contents(checkpoint)
        data[at] ^= bit


ZEROS = bytes(16)
HUGE = 1 << 60
OVERFLOWING = 1 << 32  # its square is 0 in 64 bits


@pytest.mark.parametrize(
    ("rows", "match"),
    [
        ([HEADER, row(b"a", entry(1, [HUGE // 4], 0, HUGE, ZEROS))], "cut short"),
        ([HEADER, row(b"a", entry(1, [4], HUGE, 16, ZEROS))], "cut short"),
        ([HEADER, row(b"a", entry(1, [4], (1 << 64) - 16, 16, ZEROS))], "cut short"),
        ([HEADER, row(b"a", entry(1, [HUGE // 4], 0, 16, ZEROS))], "not what its shape"),
        ([HEADER, row(b"a", entry(1, [(1 << 64) - 1, 4], 0, 16, ZEROS))], "none that an array can have"),
        ([HEADER, row(b"a", entry(1, [OVERFLOWING, OVERFLOWING], 0, 0, b""))], "none that an array can have"),
        ([HEADER, row(b"a", entry(1, [0, HUGE, HUGE], 0, 0, b""))], "none that an array can have"),
        ([HEADER, row(b"a", entry(1, [1] * 33, 0, 4, ZEROS[:4]))], "none that an array can have"),
        ([HEADER, row(b"a", entry(1, [3], 0, 16, ZEROS))], "not what its shape"),
        ([HEADER, row(b"a", entry(1, [4], 0, 16, ZEROS, shard=1))], r"data-00001-of-00001 is missing"),
        ([HEADER, row(b"a", entry(7, [4], 0, 16, ZEROS))], "no weights"),
        ([HEADER], "no weights"),
        ([], "no weights"),
        ([row(b"a", entry(1, [4], 0, 16, ZEROS))], r"data-00000-of-00000 is missing"),
        ([row(b"", message((1, HUGE))), row(b"a", entry(1, [4], 0, 16, ZEROS))], "is missing"),
        ([row(b"", message((1, 1), (2, 1))), row(b"a", entry(1, [4], 0, 16, ZEROS))], "big-endian"),
        ([HEADER, row(b"\xff", entry(1, [4], 0, 16, ZEROS))], "utf-8"),
        ([HEADER, row(b"a", b"\x0b")], "unknown kind 3"),
        ([HEADER, row(b"a", b"\x0a" + varint(HUGE))], "runs past its end"),
        ([HEADER, row(b"a", b"\x08" + b"\xff" * 10)], "more than 64 bits"),
        ([HEADER, b"\0" + varint(HUGE) + b"\1"], "runs past its end"),
        ([HEADER, row(b"a", b"", common=1)], "shorter than it says"),
        (
            [HEADER, row(b"a" * 60_000, b""), *(row(b"b", b"", common=60_000 + at) for at in range(50_000))],
            "longer than",
        ),
    ],
)
def test_lies_with_right_checksums(tmp_path: Path, rows: list[bytes], match: str) -> None:
    path = lie(tmp_path, *rows)
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError, match=match):
            contents(tf_checkpoint.read(path))
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()


def test_places_of_blocks_are_not_believed(saved: Path) -> None:
    rows = HEADER + row(b"a", entry(1, [4], 0, 16, ZEROS))
    size = len(rows) + 8
    for places, match in (
        ([(0, HUGE)], "runs past its end"),
        ([(HUGE, size)], "runs past its end"),
        ([(1, size)], "checksum of a block"),
        ([(0, size)] * 2, "overlap"),
    ):
        (saved.parent / INDEX).write_bytes(table(rows, places=places))
        with pytest.raises(CheckpointError, match=match):
            tf_checkpoint.read(saved)


def test_compressed_index(saved: Path) -> None:
    (saved.parent / INDEX).write_bytes(table(HEADER, compression=1))
    with pytest.raises(CheckpointError, match="is compressed"):
        tf_checkpoint.read(saved)


def test_index_in_several_blocks(saved: Path) -> None:
    (saved.parent / DATA).write_bytes(bytes(32))
    rows = [row(name, entry(1, [4], 0, 16, ZEROS)) for name in (b"a", b"b")]
    (saved.parent / INDEX).write_bytes(table(HEADER + rows[0], rows[1]))
    assert tf_checkpoint.read(saved).arrays.keys() == {"a", "b"}


def test_mutated_index_with_right_checksums(saved: Path) -> None:
    """The parser itself, behind the checksums: whatever a block says, it is read or refused."""
    rows = HEADER + b"".join(row(b"%d" % at, entry(1, [4], 0, 16, ZEROS)) for at in range(3))
    (saved.parent / DATA).write_bytes(ZEROS)
    rng = random.Random(0)
    outcomes = set()
    for _ in range(400):
        data = bytearray(rows)
        for _ in range(rng.choice((1, 1, 5))):
            data[rng.randrange(len(data))] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
        (saved.parent / INDEX).write_bytes(table(bytes(data)))
        try:
            contents(tf_checkpoint.read(saved))
            outcomes.add("read")
        except CheckpointError:
            outcomes.add("refused")
    assert outcomes == {"read", "refused"}
