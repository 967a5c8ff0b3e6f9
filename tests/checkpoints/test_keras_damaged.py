"""Keras' own files, damaged or made to do harm: refused, with a reason, at once."""

from __future__ import annotations

import json
import random
import struct
import time
import tracemalloc
import warnings
import zipfile

import numpy as np
import pytest
from sample_files import BY_NAME, KERAS, config, keras_archive

h5py = pytest.importorskip("h5py")

from efficientnet.checkpoints import keras_archive as archive_reader  # noqa: E402
from efficientnet.checkpoints import keras_h5  # noqa: E402
from efficientnet.errors import CheckpointError  # noqa: E402


def consume(path):
    """Reads all there is; whether that went without an error."""
    try:
        for stored in (archive_reader if path.suffix == ".keras" else keras_h5).read(path).arrays.values():
            array = stored.read()
            assert (array.shape, array.dtype) == (stored.shape, stored.dtype)
    except CheckpointError as error:
        assert str(path) in str(error)
        return False
    return True


class TestDamage:
    @pytest.mark.parametrize("name", KERAS)
    def test_cut_short(self, tmp_path, name):
        KERAS[name](tmp_path / name)
        content = (tmp_path / name).read_bytes()
        for place in range(50):
            (tmp_path / name).write_bytes(content[: place * (len(content) - 1) // 50])
            assert not consume(tmp_path / name)
        (tmp_path / name).write_bytes(content)
        assert consume(tmp_path / name)

    @pytest.mark.slow
    @pytest.mark.parametrize("name", KERAS)
    def test_flipped_bits(self, tmp_path, name):
        KERAS[name](tmp_path / name)
        content = (tmp_path / name).read_bytes()
        rng = random.Random(0)
        refused = 0
        for _ in range(400):
            damaged = bytearray(content)
            for _ in range(rng.choice((1, 1, 8))):
                damaged[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
            (tmp_path / name).write_bytes(damaged)
            started = time.process_time()
            refused += not consume(tmp_path / name)
            assert time.process_time() - started < 2
        assert 8 < refused < 400 if name != "net.keras" else refused > 360

    def test_empty_and_something_else(self, tmp_path):
        for content in (b"", b"\x89HDF\r\n\x1a\n", b"<html>", keras_h5.SIGNATURE + bytes(200)):
            (tmp_path / "net.h5").write_bytes(content)
            with pytest.raises(CheckpointError, match="damaged or incomplete HDF5"):
                keras_h5.read(tmp_path / "net.h5")
        with pytest.raises(FileNotFoundError):
            keras_h5.read(tmp_path / "missing.h5")
        with pytest.raises(IsADirectoryError):
            keras_h5.read(tmp_path)


def refused(path, match):
    started = time.process_time()
    tracemalloc.start()
    with pytest.raises(CheckpointError, match=match) as error:
        for stored in keras_h5.read(path).arrays.values():
            stored.read()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert str(path) in str(error.value)
    assert time.process_time() - started < 20  # tracing takes its time, too
    assert peak < 400 * 2**20


class TestHostile:
    @pytest.fixture
    def path(self, tmp_path):
        return tmp_path / "net.weights.h5"

    @pytest.mark.parametrize(
        ("link", "message"),
        [(h5py.ExternalLink("secret.h5", "/x"), "links of another kind"), (h5py.SoftLink("/x"), "a soft link")],
    )
    @pytest.mark.parametrize("place", ["layers/dense/vars/0", "layers/dense", "layers"])
    def test_links(self, path, place, link, message):
        with h5py.File(path, "w") as file:
            file["x"] = np.zeros(3)
            file[place] = link
        with h5py.File(path.with_name("secret.h5"), "w") as file:
            file["x"] = np.ones(3)
        refused(path, message)

    def test_numbers_in_another_file(self, path):
        path.with_name("secret").write_bytes(b"password")
        with h5py.File(path, "w") as file:
            file.create_dataset("layers/dense/vars/0", (2,), "f4", external=[(str(path.with_name("secret")), 0, 8)])
        refused(path, "numbers in another file")

    def test_virtual_dataset(self, path):
        with h5py.File(path, "w") as file:
            layout = h5py.VirtualLayout((3,), "f4")
            layout[:] = h5py.VirtualSource("secret.h5", "x", (3,))
            file.create_group("layers/dense/vars").create_virtual_dataset("0", layout)
        refused(path, "data layout of version 4")

    @pytest.mark.parametrize(
        "dtype", [h5py.ref_dtype, h5py.regionref_dtype, h5py.string_dtype(), h5py.vlen_dtype("f4"), "S5", "c8", "V9"]
    )
    def test_other_things_than_numbers(self, path, dtype):
        with h5py.File(path, "w") as file:
            file.create_dataset("layers/dense/vars/0", (2,), dtype)
        refused(path, "elements of class|other things than numbers")

    @pytest.mark.parametrize(
        ("shape", "options"),
        [
            ((2**30, 2**30), {}),
            ((2**30, 2**30), {"chunks": (2**10, 2**10)}),
            ((2**20,), {}),  # never written either, though small
        ],
    )
    def test_claims(self, path, shape, options):
        with h5py.File(path, "w") as file:
            file.create_dataset("layers/dense/vars/0", shape, "f4", **options)
        refused(path, "claim more numbers than there can be|never written|not 1")

    def test_compressed_bomb(self, path):
        with h5py.File(path, "w") as file:
            file.create_dataset("layers/dense/vars/0", data=np.zeros(2**26, "u1"), compression=9, chunks=(2**22,))
        assert path.stat().st_size < 2**18
        refused(path, "claim more numbers than there can be")

    def test_one_array_under_many_names(self, path):
        with h5py.File(path, "w") as file:
            file["layers/dense/vars/0"] = np.zeros(2**14)
            for index in range(1, 100):
                file[f"layers/dense/vars/{index}"] = file["layers/dense/vars/0"]
        refused(path, "claim more numbers than there can be")

    def test_groups_in_themselves(self, path):
        with h5py.File(path, "w") as file:
            group = file.create_group("layers/dense")
            group["again"] = group
        refused(path, "nested in themselves")
        with h5py.File(path, "w") as file:
            file.create_group("layers/" + "/".join("x" * 100))
        refused(path, "nested in themselves")

    def test_names_that_lead_nowhere(self, path):
        with h5py.File(path, "w") as file:
            file.attrs["layer_names"] = ["dense", "../../etc/passwd"]
            file.create_group("dense").attrs["weight_names"] = ["dense/kernel:0"]
        refused(path, "holds no 'dense/kernel:0', though it says so")
        with h5py.File(path, "a") as file:
            file["dense/dense/kernel:0"] = np.zeros(3)
        refused(path, r"holds no '\.\./\.\./etc/passwd'")

    def test_two_layers_of_one_name(self, path):
        with h5py.File(path, "w") as file:
            file.attrs["layer_names"] = ["dense", "dense"]
            file.create_group("dense").attrs["weight_names"] = ["dense/kernel:0"]
            file["dense/dense/kernel:0"] = np.zeros(3)
        refused(path, "twice")

    def test_names_that_are_not_ascii(self, path):
        with h5py.File(path, "w") as file:
            file["layers/größe/vars/0"] = np.zeros(3)
        refused(path, r"names that are not ASCII.* save it again with Keras' model.save_weights, as \.weights\.h5")

    def test_layouts_that_keras_does_not_write(self, path):
        with h5py.File(path, "w", libver="latest") as file:
            file["layers/dense/vars/0"] = np.zeros(3)
        refused(path, r"has a superblock of version \d, which is not read here")
        with h5py.File(path, "w", userblock_size=512) as file:
            file["layers/dense/vars/0"] = np.zeros(3)
        path.write_bytes(path.read_bytes()[512:])
        refused(path, "user block")

    @pytest.mark.slow
    def test_a_tree_that_is_the_same_everywhere(self, path, monkeypatch):
        """15 levels of 1,000 children, all of them one node: 10 ** 45 names."""
        monkeypatch.setattr("efficientnet.checkpoints.hdf5._MOST_STRUCTURE", 2**20)  # so that tracing takes less time
        header, tree, levels, children = 96, 200, 15, 1000
        node = 24 + 16 * children + 8
        content = bytearray(tree + levels * node + 1000)
        content[:8] = keras_h5.SIGNATURE
        content[8:24] = bytes([0, 0, 0, 0, 0, 8, 8, 0, 4, 0, 16, 0, 0, 0, 0, 0])
        content[24:72] = struct.pack("<6Q", 0, 2**64 - 1, len(content), 2**64 - 1, 0, header)
        heap = tree + levels * node
        content[header : header + 40] = struct.pack("<BxHIIxxxxHHBxxxQQ", 1, 1, 1, 24, 0x11, 16, 0, tree, heap)
        content[heap : heap + 32] = struct.pack("<4sIQQQ", b"HEAP", 0, 64, 2**64 - 1, heap + 32)
        for depth in range(levels):
            start = tree + depth * node
            below = start + node if depth < levels - 1 else start
            entries = struct.pack("<QQ", 0, below) * children
            content[start : start + 24] = struct.pack("<4sBBHQQ", b"TREE", 0, levels - 1 - depth, children, 0, 0)
            content[start + 24 : start + 24 + len(entries)] = entries
        # At the bottom a symbol table that is empty, and so gives no reason to stop.
        content[heap + 500 : heap + 508] = b"SNOD\1\0\0\0"
        last = tree + (levels - 1) * node
        content[last + 24 : last + 24 + 16 * children] = struct.pack("<QQ", 0, heap + 500) * children
        path.write_bytes(content)
        refused(path, "its structure alone claims more than")


def repack(path, change=lambda name, content: content, **options):
    """Writes the members of an archive again."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", **options) as archive:
        for name, content in members.items():
            if (changed := change(name, content)) is not None:
                archive.writestr(name, changed)


class TestArchive:
    @pytest.fixture
    def path(self, tmp_path):
        keras_archive(tmp_path / "net.keras")
        return tmp_path / "net.keras"

    def refuse(self, path, match):
        started = time.process_time()
        with pytest.raises(CheckpointError, match=match):
            archive_reader.read(path)
        assert time.process_time() - started < 2

    def test_other_archives(self, path, tmp_path):
        torch = pytest.importorskip("torch")
        torch.save({}, tmp_path / "net.pth")
        assert not archive_reader.recognizes(tmp_path / "net.pth")
        path.write_bytes(path.read_bytes()[:-30])
        assert not archive_reader.recognizes(path)
        self.refuse(path, "damaged or incomplete .keras file")

    def test_compressed(self, path):
        repack(path, compression=zipfile.ZIP_DEFLATED)
        self.refuse(path, "compressed or encrypted")

    @pytest.mark.slow
    def test_bomb(self, path):
        def change(name, content):
            return bytes(2**27) if name == "model.weights.h5" else content

        repack(path, change, compression=zipfile.ZIP_DEFLATED)
        self.refuse(path, "compressed or encrypted")

    def test_encrypted(self, path):
        content = path.read_bytes()
        place = content.index(b"PK\1\2") + 8
        path.write_bytes(content[:place] + b"\1\0" + content[place + 2 :])
        self.refuse(path, "compressed or encrypted")

    def test_a_member_twice(self, path):
        with warnings.catch_warnings(), zipfile.ZipFile(path, "a") as archive:
            warnings.simplefilter("ignore")
            archive.writestr("config.json", b"{}")
        self.refuse(path, "holds 'config.json' twice")

    @pytest.mark.slow
    def test_a_huge_directory(self, path):
        with zipfile.ZipFile(path, "a") as archive:
            info = archive.infolist()[0]
            archive.filelist += [info] * 200_000
            archive._didModify = True
        assert path.stat().st_size > 2**23
        assert not archive_reader.recognizes(path)
        self.refuse(path, r"its directory claims \d+ bytes")

    def test_one_member_in_another(self, path):
        with zipfile.ZipFile(path) as archive:
            weights = archive.getinfo("model.weights.h5").header_offset
            config = archive.getinfo("config.json").header_offset
        content = path.read_bytes()
        place = content.rindex(struct.pack("<I", weights), content.index(b"PK\1\2"))
        path.write_bytes(content[:place] + struct.pack("<I", config) + content[place + 4 :])
        self.refuse(path, "is not where it says")

    @pytest.mark.parametrize("name", ["config.json", "model.weights.h5"])
    def test_a_member_less(self, path, name):
        repack(path, lambda member, content: None if member == name else content)
        self.refuse(path, f"an archive without {name}")

    @pytest.mark.parametrize(
        "text", ["", "{", "[]", "null", "{}", '{"config": 3}', '{"config": {"layers": [3]}}', "[" * 10_000]
    )
    def test_configurations_of_nothing(self, path, text):
        repack(path, lambda name, content: text if name == "config.json" else content)
        self.refuse(path, r"damaged or incomplete \.keras file")

    def test_changed_numbers_are_noticed_when_read(self, path):
        content = path.read_bytes()
        numbers = BY_NAME["stem_conv/kernel"].tobytes()
        assert content.count(numbers) == 1
        path.write_bytes(content.replace(numbers, numbers[:100] + b"!" + numbers[101:]))
        arrays = archive_reader.read(path).arrays
        with pytest.raises(CheckpointError, match=r"net\.keras .*are not those that were written"):
            arrays["probs/bias"].read()

    def test_layers_that_are_not_known(self, path):
        changed = config()
        changed["config"]["layers"][0]["class_name"] = "MyConv"
        repack(path, lambda name, content: json.dumps(changed) if name == "config.json" else content)
        assert "conv2d/0" in archive_reader.read(path).arrays
