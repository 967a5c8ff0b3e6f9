"""What a ``.keras`` file says besides the model."""

import json
import zipfile

import numpy as np
import pytest

from efficientnet.checkpoints.facts import Facts
from efficientnet.checkpoints.zip_members import check_sizes, read_member
from efficientnet.cli.main import main
from efficientnet.keras_files import metadata
from efficientnet.keras_files.metadata import (
    read_class_names,
    read_crop,
    read_recipe,
    write_facts,
)

keras = pytest.importorskip("keras")

from efficientnet.keras import EfficientNetTest  # noqa: E402


def test_notes_travel_in_the_file(tmp_path):
    model = keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(2)])
    path = tmp_path / "model.keras"
    model.save(path)
    assert read_class_names(path) is None
    assert read_recipe(path) is None
    assert read_crop(path) is None
    write_facts(path, Facts(crop=0.9))
    assert read_crop(path) == 0.9
    write_facts(path, Facts(class_names=("Löwe", "tiger")), {"epochs": 3, "dropout": [0.1, 0.3]})
    assert read_class_names(path) == ["Löwe", "tiger"]
    assert read_recipe(path) == {"epochs": 3, "dropout": [0.1, 0.3]}
    assert metadata.read_targets(path) is metadata.read_thresholds(path) is None
    write_facts(path, Facts(targets="labels", thresholds=(0.25, 0.5)))
    assert (metadata.read_targets(path), metadata.read_thresholds(path)) == ("labels", (0.25, 0.5))
    x = np.ones((1, 2), "float32")
    np.testing.assert_array_equal(keras.models.load_model(path).predict(x, verbose=0), model.predict(x, verbose=0))


@pytest.mark.slow
def test_inspect_shows_what_the_outputs_are(tmp_path, capsys):
    path = str(tmp_path / "model.keras")
    EfficientNetTest(weights=None, classes=2, classifier_activation="sigmoid").save(path)
    write_facts(path, Facts(class_names=("cat", "dog"), targets="labels", thresholds=(0.25, 0.5)))
    assert main(["inspect", path]) == 0
    assert "targets   labels, from these probabilities on: 0.25, 0.5\n" in capsys.readouterr().out
    assert main(["inspect", path, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["targets"], found["thresholds"]) == ("labels", [0.25, 0.5])


def test_notes_are_written_once_and_into_such_files_only(tmp_path):
    model = keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(2)])
    path = tmp_path / "model.keras"
    model.save(path)
    write_facts(path, Facts(class_names=("a", "b")))
    with pytest.raises(ValueError, match=r"already holds class_names\.json"):
        write_facts(path, Facts(class_names=("a", "b"), crop=0.9))
    assert read_crop(path) is None
    (tmp_path / "text.keras").write_text("no archive")
    with pytest.raises(ValueError, match=r"not a \.keras file"):
        write_facts(tmp_path / "text.keras", Facts(crop=0.9))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.keras", "text.keras"]


@pytest.mark.parametrize(
    ("member", "content", "message"),
    [
        ("class_names.json", b" " * 2**25, "more than 16 MB"),
        ("class_names.json", b"[" + b"1," * 10**6 + b"1]", "a list of at most 1,000,000 names"),
        ("class_names.json", b"[" + b"1," * 5 * 10**6 + b"1]", "more than 4,000,000 values"),
        ("recipe.json", b'{"epochs": 3, "inner": {"a": 1, "a": 2}}', "it has 'a' twice"),
        ("class_names.json", b'{"a": 1}', "expected a list of .* names"),
        ("class_names.json", b"[" * 10**6, "is not JSON"),
        ("crop.json", b"NaN", "expected a number greater than 0"),
        ("preprocessing.json", b"[[1, 2], [3]]", "three scales"),
        ("preprocessing.json", b'"caffeine"', "expected one of"),
        ("recipe.json", b"[]", "expected an object"),
        ("targets.json", b"[1]", "expected a kind of targets"),
        ("thresholds.json", b"[0.5, 2]", "expected a list of probabilities"),
    ],
)
def test_notes_of_others_are_bounded_and_checked(member, content, message, tmp_path):
    path = tmp_path / "net.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(member, content)
    read = {
        "class_names.json": metadata.read_class_names,
        "crop.json": metadata.read_crop,
        "preprocessing.json": metadata.read_preprocessing,
        "recipe.json": metadata.read_recipe,
        "targets.json": metadata.read_targets,
        "thresholds.json": metadata.read_thresholds,
    }
    with pytest.raises(ValueError, match=message):
        read[member](path)


@pytest.mark.slow
def test_a_bomb_is_not_unpacked(tmp_path):
    path = tmp_path / "net.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", "{}")
        archive.writestr("metadata.json", '{"keras_version": "3.0.0"}')
        archive.writestr("model.weights.h5", bytes(2**27))
    with pytest.raises(ValueError, match="would unpack to"):
        check_sizes(path)


def test_an_archive_whose_directory_points_before_its_start(tmp_path):
    path = tmp_path / "damaged.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "content")
    content = bytearray(path.read_bytes())
    content[-6:-2] = (int.from_bytes(content[-6:-2], "little") + 9).to_bytes(4, "little")  # where the directory is
    path.write_bytes(content)
    with pytest.raises(ValueError, match="in it cannot be read: its directory points before its start"):
        read_member(path, "a.txt")
