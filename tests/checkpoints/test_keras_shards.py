"""Weights of Keras 3 that are cut into several files, with an index of these beside them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from sample_files import BY_NUMBER, keras_shards

from efficientnet.checkpoints import CheckpointError, open_checkpoint

h5py = pytest.importorskip("h5py")


def test_all_arrays_of_all_files(tmp_path: Path) -> None:
    keras_shards(tmp_path / "net.weights.json")
    found = open_checkpoint(tmp_path / "net.weights.json")
    assert found.format == "Keras 3 weights, HDF5, in shards"
    assert found.arrays.keys() == BY_NUMBER.keys()
    for name, stored in found.arrays.items():
        np.testing.assert_array_equal(np.asarray(stored), BY_NUMBER[name])


@pytest.mark.slow
def test_what_keras_writes(eff, keras, is_legacy, tiny, tmp_path: Path) -> None:
    if is_legacy or not hasattr(keras.src.saving.saving_lib, "ShardedH5IOStore"):
        pytest.skip("this Keras does not save in shards")
    model = tiny(weights=None, classes=3, input_shape=(32, 32, 3))
    model.save_weights(tmp_path / "net.weights.json", max_shard_size=7e-5)
    assert len(list(tmp_path.glob("*.h5"))) > 1
    again = tiny(weights=tmp_path / "net.weights.json", classes=3, input_shape=(32, 32, 3), padding="same")
    for weight, other in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, other)


@pytest.mark.parametrize(
    "name", ["../net_00000.weights.h5", "/etc/passwd", "..", "", "a\\b.weights.h5", "a\n.weights.h5"]
)
def test_names_of_files_elsewhere(tmp_path: Path, name: str) -> None:
    (tmp_path / "in").mkdir()
    keras_shards(tmp_path / "net.weights.json")
    index = {"weight_map": {"/layers/dense/vars": ["x.weights.h5", name]}}
    path = tmp_path / "in" / "net.weights.json"
    path.write_text(json.dumps(index))
    (tmp_path / "in" / "x.weights.h5").write_bytes((tmp_path / "net_00000.weights.h5").read_bytes())
    with pytest.raises(CheckpointError, match=r"of its file .*that is not a plain name"):
        open_checkpoint(path)


def test_a_link_to_a_file_elsewhere(tmp_path: Path) -> None:
    keras_shards(tmp_path / "net.weights.json")
    (tmp_path / "in").mkdir()
    for file in ("net.weights.json", "net_00001.weights.h5"):
        (tmp_path / "in" / file).write_bytes((tmp_path / file).read_bytes())
    (tmp_path / "in" / "net_00000.weights.h5").symlink_to(tmp_path / "net_00000.weights.h5")
    with pytest.raises(CheckpointError, match="it is a link to a file elsewhere"):
        open_checkpoint(tmp_path / "in" / "net.weights.json")


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ({"weight_map": {"a": "gone.weights.h5"}}, "there is no such file beside the index"),
        ({"weight_map": {"a": [3, "x.weights.h5"]}}, "no weight_map from groups to names of files"),
        ({"weight_map": [], "x": "x.weights.h5"}, "no weight_map from groups to names of files"),
        ({"weight_map": {"a": "net_00000.weights.h5", "b": "copy.weights.h5"}}, "is in another of its files, too"),
    ],
)
def test_an_index_that_cannot_be_right(tmp_path: Path, index: object, message: str) -> None:
    keras_shards(tmp_path / "net.weights.json")
    (tmp_path / "copy.weights.h5").write_bytes((tmp_path / "net_00000.weights.h5").read_bytes())
    (tmp_path / "net.weights.json").write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match=message):
        open_checkpoint(tmp_path / "net.weights.json")
