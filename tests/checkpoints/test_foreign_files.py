"""Files of other kinds are named as what they are, with what to do."""

from __future__ import annotations

import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tf_bundle_writer

from efficientnet.checkpoints import CheckpointError, open_checkpoint, read_checkpoint

PICKLE = pickle.dumps({"conv.weight": np.zeros(3), "StructuredToParameterName@@": {}}, protocol=4)


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (b"\x08\x0a\x12\x07pytorch:", "is an ONNX model: .*give the file that it was exported from"),
        (b"\x08\x0d\x3a\x0c\x0a\x01", "is an ONNX model"),
        (b"\x1c\x00\x00\x00TFL3", r"is a model for LiteRT \(TFLite\): .*that it was exported from"),
        (b'<?xml version="1.0"?>\n<net name="x" version="11">', "is a model for OpenVINO"),
        (b"<!DOCTYPE html>", "is a web page"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF", "is an image: give the file of the weights"),
        (b"RIFF\x10\n\x00\x00WEBPVP8 ", "is an image"),
        (PICKLE, r"is a pickle of Python, as of PaddlePaddle's \.pdparams, .*safetensors\.numpy\.save_file"),
        (b"", "is empty: download or save it again"),
    ],
)
def test_by_the_first_bytes(tmp_path: Path, start: bytes, message: str) -> None:
    (tmp_path / "x").write_bytes(start and start + bytes(100))
    with pytest.raises(CheckpointError, match=f"{message}.*Read are Keras'"):
        open_checkpoint(tmp_path / "x")


def test_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.pth")
    with pytest.raises(OSError, match=r"x\.pth is a pipe, which might never end"):
        open_checkpoint(tmp_path / "x.pth")


@pytest.mark.parametrize(
    ("members", "message"),
    [
        (["x/code/__torch__.py", "x/constants.pkl"], "TorchScript: .*state_dict.*torch.jit.load"),
        (["x/archive_format", "x/models/model.json"], "torch.export: .*state_dict"),
        (["a.npy", "b.npy"], "NumPy's arrays: save them with safetensors"),
        (["x/other"], "zip archive, damaged or of another kind than expected: download"),
    ],
)
def test_archives_by_their_members(tmp_path: Path, members: list[str], message: str) -> None:
    with zipfile.ZipFile(tmp_path / "x", "w") as archive:
        for name in members:
            archive.writestr(name, b"")
    with pytest.raises(CheckpointError, match=message):
        open_checkpoint(tmp_path / "x")


@pytest.mark.slow
def test_a_program_of_torchscript_itself(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 3), torch.zeros(1, 2)), tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match="is a program of TorchScript"):
        open_checkpoint(tmp_path / "x.pt")
    torch.save(torch.nn.Linear(2, 3), tmp_path / "whole.pt")
    with pytest.raises(CheckpointError, match=r"no pickled module: open that where its classes are"):
        open_checkpoint(tmp_path / "whole.pt")


def test_a_savedmodel(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").write_bytes(b"\x08\x01")
    with pytest.raises(CheckpointError, match=r"is a SavedModel of TensorFlow: .*model\.save_weights"):
        open_checkpoint(tmp_path)


def test_the_weights_in_a_savedmodel(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").write_bytes(b"\x08\x01")
    tf_bundle_writer.save(tmp_path / "variables", "variables", stem_conv__kernel=np.ones(3, np.float32))
    np.testing.assert_array_equal(np.asarray(open_checkpoint(tmp_path).arrays["stem_conv/kernel"]), np.ones(3))


def test_a_savedmodel_of_other_names(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").write_bytes(b"\x08\x01")
    tf_bundle_writer.save(tmp_path / "variables", "variables", weights__0=np.zeros(3, np.float32))
    with pytest.raises(CheckpointError, match=r"names \(weights/0.*is a SavedModel of TensorFlow: .*save_weights"):
        read_checkpoint(tmp_path)
