"""What a ``.keras`` file says besides the model."""

import numpy as np
import pytest

from efficientnet.notes import read_class_names, read_crop, read_recipe, write_class_names, write_crop, write_recipe

keras = pytest.importorskip("keras")


def test_notes_travel_in_the_file(tmp_path):
    model = keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(2)])
    path = tmp_path / "model.keras"
    model.save(path)
    assert read_class_names(path) is None
    assert read_recipe(path) is None
    assert read_crop(path) is None
    write_crop(path, 0.9)
    assert read_crop(path) == 0.9
    write_class_names(path, ["Löwe", "tiger"])
    write_recipe(path, {"epochs": 3, "dropout": [0.1, 0.3]})
    assert read_class_names(path) == ["Löwe", "tiger"]
    assert read_recipe(path) == {"epochs": 3, "dropout": [0.1, 0.3]}
    x = np.ones((1, 2), "float32")
    np.testing.assert_array_equal(keras.models.load_model(path).predict(x, verbose=0), model.predict(x, verbose=0))


def test_notes_are_written_once_and_into_such_files_only(tmp_path):
    model = keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(2)])
    path = tmp_path / "model.keras"
    model.save(path)
    write_class_names(path, ["a", "b"])
    with pytest.raises(ValueError, match="already holds class names"):
        write_class_names(path, ["a", "b"])
    (tmp_path / "text.keras").write_text("no archive")
    with pytest.raises(ValueError, match=r"no \.keras file"):
        write_recipe(tmp_path / "text.keras", {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.keras", "text.keras"]
