"""Repositories on hubs, served on loopback: weights come with what describes them."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from downloads import names_in
from flaky_server import Fault, FlakyServer

from efficientnet import checkpoints, get_variant
from efficientnet.checkpoints import safetensors, timm_config
from efficientnet.checkpoints.names.torch import TIMM, TRANSFORMERS
from efficientnet.errors import DownloadError
from efficientnet.family import arrays as layout
from efficientnet.weights.loading import locate

pytestmark = pytest.mark.usefixtures("home")
PRESETS = Path(__file__).resolve().parents[1] / "data" / "golden" / "kerashub-b0" / "preset"


def weights(origin, tmp_path: Path) -> bytes:
    entries = origin.entries(layout.layers(get_variant("b0"), 2))
    path = tmp_path / "w.safetensors"
    safetensors.write(path, {entry.theirs: np.zeros(entry.their_shape, "f2") for entry in entries}, {"format": "pt"})
    return path.read_bytes()


def served(prefix: str, files: dict[str, bytes | dict]) -> dict[str, bytes]:
    return {
        prefix + name: content if isinstance(content, bytes) else json.dumps(content).encode()
        for name, content in files.items()
    }


def test_transformers(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Epsilon, class names, scaling and crop are those of the two files of configuration."""
    files = {
        "config.json": {"model_type": "efficientnet", "id2label": {"0": "cat", "1": "dog"}, "batch_norm_eps": 0.002},
        "preprocessor_config.json": {"include_top": False, "image_mean": [0.5] * 3, "image_std": [0.5] * 3},
        "model.safetensors": weights(TRANSFORMERS, tmp_path),
    }
    with FlakyServer(served("/google/efficientnet-b0/resolve/main/", files)) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        folder = locate("hf://google/efficientnet-b0")
        asked = [request.path.rpartition("/")[2] for request in server.requests]
        assert asked == ["config.json", "preprocessor_config.json", "model.safetensors"]
        assert locate("hf://google/efficientnet-b0/model.safetensors") == folder == home / "google--efficientnet-b0"
        assert len(server.requests) == 3  # the folder is complete
    facts = checkpoints.read_checkpoint(folder).checkpoint.facts
    assert (facts.epsilon, facts.class_names, facts.preprocessing) == (0.002, ("cat", "dog"), "tf")


@pytest.mark.slow
def test_timm(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Most repositories have no preprocessor_config.json, and older ones no model.safetensors."""
    trained = {"mean": [0.5] * 3, "std": [0.5] * 3, "crop_pct": 0.9}
    config = {"architecture": "efficientnet_b0", "label_names": ["cat", "dog"], "pretrained_cfg": trained}
    files = {"config.json": config, "pytorch_model.bin": weights(TIMM, tmp_path)}
    with FlakyServer(served("/timm/mine/resolve/main/", files)) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        folder = locate("hf://timm/mine")
    assert names_in(folder) == {"config.json", "pytorch_model.bin"}
    facts = checkpoints.read_checkpoint(folder).checkpoint.facts
    assert (facts.class_names, facts.preprocessing, facts.crop) == (("cat", "dog"), "tf", 0.9)


@pytest.mark.parametrize(
    ("handle", "prefix", "endpoint"),
    [
        ("hf://keras/my_preset", "/keras/my_preset/resolve/main/", "HF_ENDPOINT"),
        (
            "kaggle://keras/efficientnet/keras/my_preset/2",
            "/api/v1/models/keras/efficientnet/keras/my_preset/2/download/",
            "KAGGLE_API_ENDPOINT",
        ),
    ],
)
def test_kerashub(monkeypatch: pytest.MonkeyPatch, handle: str, prefix: str, endpoint: str) -> None:
    """A preset: the classifier from its own file, the scaling from the image converter."""
    files = {path.name: path.read_bytes() for path in PRESETS.iterdir()}
    converter = {"class_name": "EfficientNetImageConverter", "config": {"scale": 1 / 127.5, "offset": -1.0}}
    with FlakyServer(served(prefix, files | {"image_converter.json": converter})) as server:
        monkeypatch.setenv(endpoint, server.url)
        folder = locate(handle)
        assert server.requests[-1].path == f"{prefix}model.weights.h5"
    checkpoint = checkpoints.open_checkpoint(folder)
    assert "dense/0" in checkpoint.arrays and "conv2d/0" in checkpoint.arrays
    facts = checkpoint.facts
    assert (facts.padding, facts.epsilon, facts.preprocessing, facts.crop) == ("symmetric", 1e-5, "tf", 1.0)
    assert facts.interpolation == "bilinear"


def test_what_is_not_there(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with FlakyServer({"/a/b/resolve/main/config.json": b"{}"}) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        with pytest.raises(DownloadError, match=r"(?s)safetensors from .* answered 404.*a--b/model.safetensors"):
            locate("hf://a/b")
    with FlakyServer({}, then=Fault(status=403)) as server:  # not the same as that there is no such file
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        with pytest.raises(DownloadError, match=r"config.json from .* answered 403"):
            locate("hf://a/c")
    with pytest.raises(ValueError, match=r"kaggle://owner/model/framework/variation/version.*, such as kaggle://keras"):
        locate("kaggle://keras/efficientnet/keras/efficientnet_b0_ra_imagenet")


def test_a_hash_is_that_of_the_weights(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with FlakyServer({"/a/b/resolve/main/model.safetensors": weights(TIMM, tmp_path)}) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        with pytest.raises(DownloadError, match="should be 0000"):
            locate(f"hf://a/b#sha256={'0' * 64}")
        locate("hf://a/b")
        with pytest.raises(DownloadError, match="should be 0000"):
            locate(f"hf://a/b#sha256={'0' * 64}")


def test_the_file_that_was_asked_for_is_the_one_that_is_read(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {"config.json": {}, "model.safetensors": b"preferred", "pytorch_model.bin": b"asked for"}
    asked = f"hf://a/b/pytorch_model.bin#sha256={hashlib.sha256(b'asked for').hexdigest()}"
    with FlakyServer(served("/a/b/resolve/main/", files)) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        assert locate("hf://a/b") == home / "a--b"
        for address in ("hf://a/b/pytorch_model.bin", asked, asked):
            assert locate(address).read_bytes() == b"asked for"
        assert locate("hf://a/b/model.safetensors") == home / "a--b"
    assert len(server.requests) == 5  # two for a file that is not there


def test_files_of_one_name_and_other_hashes_stay_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    contents = {"/first/w.h5": b"first", "/second/w.h5": b"second"}
    with FlakyServer(contents) as server:
        for _ in range(2):
            for path, content in contents.items():
                found = locate(f"{server.url}{path}#sha256={hashlib.sha256(content).hexdigest()}")
                assert found.read_bytes() == content
                assert found.name.endswith("-w.h5")
    assert len(server.requests) == 2


def test_the_hubs_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has a folder of its own, and its error for what is not there."""
    import types

    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"x")

    class EntryNotFoundError(Exception):
        pass

    def hf_hub_download(repository: str, name: str, **options: object) -> str:
        if not (tmp_path / name).exists():
            raise EntryNotFoundError(name)
        return str(tmp_path / name)

    module = types.ModuleType("huggingface_hub")
    vars(module)["hf_hub_download"] = hf_hub_download
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)
    assert locate("hf://a/b") == tmp_path


def test_means_and_deviations_in_a_folder_of_timm_are_for_each_channel_or_for_all(tmp_path):
    def facts(mean, std):
        trained = {"mean": mean, "std": std}
        return timm_config.of_config({"architecture": "efficientnet_b0", "pretrained_cfg": trained}, tmp_path)

    assert len(facts([0.5, 0.4, 0.3, 0.2], [0.25]).preprocessing.scale) == 4
    with pytest.raises(ValueError, match="its mean has 4 numbers, and its std 3"):
        facts([0.5] * 4, [0.5] * 3)
    with pytest.raises(ValueError, match="not numbers for each channel"):
        facts([], [0.5])
