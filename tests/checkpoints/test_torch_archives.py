"""The zip archives of `torch.save`: checksums, the many kinds of directories, and tricks with them."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from torch_files import ONE_TENSOR, SIX, archive, load, mapping, storage, tensor, text

from efficientnet.checkpoints import torch_pickle
from efficientnet.errors import CheckpointError

pytestmark = pytest.mark.usefixtures("empty_folder")


def test_damaged_numbers_are_found_when_they_are_read():
    content = mapping(
        ("a", tensor(storage("0", 6))), ("b", tensor(storage("1", 6))), ("c", tensor(storage("1", 6), (2,), (1,)))
    )
    data = archive(content, {"0": SIX, "1": SIX + 1})
    place = data.index((SIX + 1).tobytes()) + 23
    Path("weights.pth").write_bytes(data[:place] + b"\x7f" + data[place + 1 :])
    arrays = torch_pickle.read("weights.pth").arrays
    np.testing.assert_array_equal(arrays["a"].read(), SIX.reshape(2, 3))
    for name in ("b", "c", "b"):
        with pytest.raises(CheckpointError, match=r"weights\.pth.*are not those that were written"):
            arrays[name].read()


def test_the_checksum_is_compared_once(monkeypatch):
    weight = tensor(storage("0", 6))
    Path("weights.pth").write_bytes(archive(mapping(("a", weight), ("b", weight)), {"0": SIX}))
    arrays = torch_pickle.read("weights.pth").arrays
    sizes = []
    crc32 = zlib.crc32
    monkeypatch.setattr(zlib, "crc32", lambda data: sizes.append(len(data)) or crc32(data))
    for name in ("a", "b", "a"):
        arrays[name].read()
    assert sizes == [SIX.nbytes]


def test_archives_without_checksums():
    torch = pytest.importorskip("torch")
    if not hasattr(torch.serialization, "set_crc32_options"):
        pytest.skip("this PyTorch always computes them")
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({"w": torch.arange(6.0)}, "weights.pth")
    finally:
        torch.serialization.set_crc32_options(True)
    np.testing.assert_array_equal(torch_pickle.read("weights.pth").arrays["w"].read(), np.arange(6.0))


def test_archives_of_the_large_kind(monkeypatch):
    """Archives of more than 4 GB keep sizes and places in other fields."""
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 1)
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 1)
    data = archive(ONE_TENSOR, {"0": SIX})
    assert b"PK\6\6" in data
    np.testing.assert_array_equal(load(data)["w"], SIX.reshape(2, 3))


def test_archive_of_a_big_endian_machine():
    with pytest.raises(CheckpointError, match="little-endian"):
        load(archive(ONE_TENSOR, {"0": SIX}, byteorder=b"big"))


def test_archive_with_a_storage_of_another_size():
    with pytest.raises(CheckpointError, match="storage '0' is not there with the 6 elements"):
        load(archive(ONE_TENSOR, {"0": SIX[:5]}))


def test_archive_whose_pickle_goes_on():
    with pytest.raises(CheckpointError, match=r"its pickle ends after \d+ bytes and not"):
        load(archive(ONE_TENSOR + b".N", {"0": SIX}))


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    "name, compression, found",
    [
        ("m/data/1", zipfile.ZIP_DEFLATED, "compressed or encrypted"),
        ("n/data.pkl", zipfile.ZIP_STORED, "more than one"),
        ("m/data/0", zipfile.ZIP_STORED, "'m/data/0' twice"),
    ],
)
def test_archives_that_torch_does_not_write(name, compression, found):
    file = io.BytesIO(archive(ONE_TENSOR, {"0": SIX}))
    with zipfile.ZipFile(file, "a") as writer:
        writer.writestr(name, bytes(24), compression)
    with pytest.raises(CheckpointError, match=found):
        load(file.getvalue())


def test_archive_that_holds_another():
    """The other archive is its storage; its directory comes last where the file is cut after it."""
    inner = archive(ONE_TENSOR, {"0": SIX})
    outer = archive(
        mapping(("w", tensor(storage("0", len(inner), "Byte"), (1,), (1,)))), {"0": np.frombuffer(inner, "u1")}
    )
    assert load(outer)["w"] == ord("P")
    with pytest.raises(CheckpointError, match="put behind something else"):
        load(outer[: outer.index(inner) + len(inner)])


def test_archive_whose_members_share_their_bytes():
    """Many that do would let a small file have terabytes of checksums."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as writer:
        writer.writestr("m/data.pkl", b"\x80\x02" + mapping(("w", tensor(storage("0", 6)))) + b".")
        other = zipfile.ZipInfo("m/data/1")
        other.file_size = other.compress_size = 8
        other.CRC = 0
        header = other.FileHeader()
        writer.writestr("m/data/0", header + bytes(8))
        outer = writer.filelist[-1]
        other.header_offset = outer.header_offset + len(outer.FileHeader())
        writer.filelist.append(other)
    with pytest.raises(CheckpointError, match="'m/data/1' in it is not where it says"):
        load(file.getvalue())


def test_archive_whose_member_has_another_name_in_its_header():
    data = archive(ONE_TENSOR, {"0": SIX})
    with pytest.raises(CheckpointError, match="'m/data/0' in it is not where it says"):
        load(data.replace(b"m/data/0", b"m/data/1", 1))


def test_archive_with_a_huge_directory():
    data = archive(ONE_TENSOR, {"0": SIX})
    end, entry = data.rindex(b"PK\5\6"), data.index(b"PK\1\2")
    directory = data[entry:end] + data[data.rindex(b"PK\1\2") : end] * 100_000
    record = data[end : end + 12] + struct.pack("<II", len(directory), entry) + data[end + 20 :]
    with pytest.raises(CheckpointError, match=f"its directory claims {len(directory)} bytes"):
        load(data[:entry] + directory + record)


def test_damaged_pickle_in_an_archive():
    data = archive(ONE_TENSOR, {"0": SIX})
    with pytest.raises(CheckpointError, match="are not those that were written"):
        load(data.replace(text("w"), text("v"), 1))


def test_archive_whose_directory_points_elsewhere():
    data = archive(ONE_TENSOR, {"0": SIX})
    entry = data.rindex(b"PK\1\2")
    for offset in (1, len(data) - 4, 0xFFFFFFFE):
        moved = data[: entry + 42] + struct.pack("<I", offset) + data[entry + 46 :]
        with pytest.raises(CheckpointError, match="'m/data/0' in it is not where it says"):
            load(moved)
