"""An error that says all that there is to know is shown alone, without those behind it."""

import socket
import traceback

import pytest

import efficientnet.evaluation as evaluation
from efficientnet import checkpoints, keras
from efficientnet.common import json_files
from efficientnet.family import variants
from efficientnet.images import imagenet, loading
from efficientnet.weights import download


def shown(call):
    """What Python prints where nobody catches what a call raises."""
    with pytest.raises(Exception) as raised:
        call()
    return "".join(traceback.format_exception(raised.value))


def test_weights_without_internet(tmp_path, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]  # free again, so that connections are refused
    monkeypatch.setenv("EFFICIENTNET_HOME", str(tmp_path))
    monkeypatch.setenv("EFFICIENTNET_WEIGHTS_URL", f"http://127.0.0.1:{port}")
    monkeypatch.setattr(download, "BACKOFF", 0)
    text = shown(keras.EfficientNetB0)
    assert text.count("Traceback") == 1
    assert "During handling" not in text and "direct cause" not in text
    assert len(text.splitlines()) <= 30
    assert "Download https://" in text.splitlines()[-1]


@pytest.mark.parametrize(
    "call",
    [
        lambda path: checkpoints.read_checkpoint(path.with_suffix(".h5")),
        lambda path: checkpoints.read_checkpoint(path.with_suffix(".safetensors")),
        lambda path: checkpoints.read_checkpoint(path.with_suffix(".pth")),
        lambda path: loading.load_image(path),
        lambda path: loading.load_image("http://127.0.0.1:1/a.png"),
        lambda path: imagenet.decode_predictions([["a", "b"]]),
        lambda path: json_files.parse("{", "it"),
        lambda path: variants.get_variant(path.with_suffix(".json")),
        lambda path: evaluation.find_samples(path.with_suffix(".csv")),
    ],
)
def test_errors_that_say_all(call, tmp_path):
    path = tmp_path / "broken"
    starts = {"": b"\x89PNG\r\n", ".h5": b"\x89HDF\r\n\x1a\n", ".pth": b"PK\x03\x04", ".csv": b"\xff\xfe\xff"}
    for suffix in ("", ".h5", ".safetensors", ".pth", ".json", ".csv"):
        path.with_suffix(suffix).write_bytes(starts.get(suffix, b"{") + bytes(200))
    text = shown(lambda: call(path))
    assert text.count("Traceback") == 1, text
