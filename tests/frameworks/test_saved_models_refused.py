"""What `load_model` refuses, and what it says of it."""

import numpy as np
import pytest
from tiny_blocks import tiny_blocks

pytestmark = pytest.mark.once_per_keras


@pytest.fixture(scope="module")
def model(eff):
    return eff.EfficientNet(0.25, 1.0, 32, blocks_args=tiny_blocks("b0"), weights=None, classes=4)


def test_nothing_there(eff, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"No model at .*missing\.h5: expected a \.keras or \.h5 file"):
        eff.load_model(tmp_path / "missing.h5")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html><html>please log in</html>", "is a web page"),
        (b"\x93NUMPY\x01\x00", "begins with b'.x93NUMPY.*not a known format"),
        (b"PK\x03\x04 and then nothing", "is a zip archive, damaged"),
    ],
)
@pytest.mark.parametrize("name", ["model.h5", "model.keras"])
def test_no_model(eff, tmp_path, name, content, reason):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"{name} {reason}") as error:
        eff.load_model(tmp_path / name)
    assert "Opened are whole models, as .keras, .h5 or a SavedModel folder" in str(error.value)


def test_another_kind_of_zip_archive(eff, tmp_path):
    np.savez(tmp_path / "arrays.npz", a=np.ones(3))
    with pytest.raises(ValueError, match="is an archive of NumPy's arrays"):
        eff.load_model(tmp_path / "arrays.npz")


@pytest.mark.parametrize("kind", ["model.keras", "model.h5"])
def test_a_truncated_model(eff, model, tmp_path, kind):
    model.save(tmp_path / kind)
    content = (tmp_path / kind).read_bytes()
    for length in (600, len(content) // 2, len(content) - 1):
        (tmp_path / kind).write_bytes(content[:length])
        with pytest.raises(ValueError, match="damaged"):
            eff.load_model(tmp_path / kind)


def test_weights_alone(eff, model, tmp_path):
    model.save_weights(tmp_path / "model.weights.h5")
    with pytest.raises(ValueError, match=r"holds weights, not a whole model.*pass the file as weights="):
        eff.load_model(tmp_path / "model.weights.h5")
