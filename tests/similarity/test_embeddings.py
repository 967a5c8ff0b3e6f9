"""Embeddings of folders. The network is a classifier of the mean color: its vectors are known, the color in 0..1."""

import json
import os

import filelock
import keras
import numpy as np
import pytest
from color_models import CORNERS, color_model, save_with_names
from PIL import Image

from efficientnet.similarity import Embeddings, embed, network_of
from efficientnet.similarity import embeddings as module

COLORS = {"red.png": (255, 0, 0), "green.png": (0, 255, 0), "in/blue.png": (0, 0, 255), "grey.png": (51, 51, 51)}


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    return network_of(save_with_names(color_model(keras, *CORNERS), folder, ("red", "green")))


@pytest.fixture
def photos(tmp_path):
    for name, color in COLORS.items():
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 16), color).save(path)
    return tmp_path / "photos"


@pytest.mark.parametrize("format", ["npy", "parquet"])
def test_vectors_are_read_in_the_order_of_the_paths(photos, network, tmp_path, format):
    out = tmp_path / "out"
    assert embed(photos, out, network, format) == (4, 0, [])
    found = Embeddings.read(out)
    assert found.paths == sorted(COLORS)
    np.testing.assert_allclose(found.vectors, [np.array(COLORS[path]) / 255 for path in found.paths], atol=1e-6)
    assert found.root == str(photos)


@pytest.mark.parametrize("format", ["npy", "parquet"])
def test_only_what_is_new_or_has_changed_is_embedded(photos, network, tmp_path, format, capsys):
    out = tmp_path / "out"
    embed(photos, out, network, format)
    Image.new("RGB", (30, 30), (0, 51, 0)).save(photos / "green.png")
    Image.new("RGB", (30, 30), (255, 255, 255)).save(photos / "white.png")
    (photos / "broken.png").write_text("no image")
    (photos / "red.png").unlink()
    assert embed(photos, out, network, format) == (2, 2, ["broken.png"])
    err = capsys.readouterr().err
    assert "broken.png" in err
    assert "1 of the images" in err
    found = Embeddings.read(out)
    assert found.paths == sorted({*COLORS, "white.png"})
    np.testing.assert_allclose(found.vectors[found.paths.index("green.png")], [0, 0.2, 0], atol=1e-6)
    assert embed(photos, out, network, format).new == 0


@pytest.mark.parametrize("format", ["npy", "parquet"])
def test_a_killed_run_is_continued_to_the_same_vectors(photos, network, tmp_path, format, monkeypatch):
    monkeypatch.setattr(module, "IMAGES_PER_PART", 1)
    embed(photos, tmp_path / "whole", network, format)
    embed(photos, tmp_path / "killed", network, format)
    last = sorted((tmp_path / "killed").glob("part-*"))[
        -1
    ]  # .npy comes after .csv, so this is before the end of a part
    for path in (tmp_path / "killed").glob("part-00002*"):
        path.unlink()
    last.with_suffix(".csv").unlink(missing_ok=True)
    done = embed(photos, tmp_path / "killed", network, format)
    assert done.new == (1 if format == "parquet" else 2)
    one, other = (Embeddings.read(tmp_path / name) for name in ("whole", "killed"))
    assert one.paths == other.paths
    np.testing.assert_array_equal(one.vectors, other.vectors)


def test_names_that_are_not_utf_8(photos, network, tmp_path):
    name = os.fsdecode(b"caf\xe9,\n.png")
    (photos / "red.png").rename(photos / name)
    root = photos.rename(tmp_path / os.fsdecode(b"for\xeat"))
    embed(root, tmp_path / "out", network)
    found = Embeddings.read(tmp_path / "out")
    assert name in found.paths
    assert found.root == str(root)


def test_parquet_leaves_out_names_that_are_not_utf_8(photos, network, tmp_path, capsys):
    name = os.fsdecode(b"caf\xe9.png")
    (photos / "red.png").rename(photos / name)
    assert embed(photos, tmp_path / "out", network, "parquet") == (3, 0, [name])
    assert "caf\\xe9.png: its name is not UTF-8" in capsys.readouterr().err


def test_embeddings_of_another_network_are_refused(photos, network, tmp_path):
    embed(photos, tmp_path / "out", network)
    other = network_of(save_with_names(color_model(keras, CORNERS[0], [1, 1]), tmp_path, ("a", "b")))
    with pytest.raises(ValueError, match="of another network"):
        embed(photos, tmp_path / "out", other)
    with pytest.raises(ValueError, match="in the format npy, not parquet"):
        embed(photos, tmp_path / "out", network, "parquet")


def test_the_same_model_in_another_place_is_the_same(photos, network, tmp_path):
    embed(photos, tmp_path / "out", network)
    (tmp_path / "copy.keras").write_bytes(network.source.file.read_bytes())
    assert embed(photos, tmp_path / "out", network_of(str(tmp_path / "copy.keras"))).known == 4


@pytest.mark.parametrize("damage", ["settings", "table", "vectors", "rows"])
def test_damaged_embeddings(photos, network, tmp_path, damage):
    out = tmp_path / "out"
    embed(photos, out, network)
    table = out / "part-00000.csv"
    if damage == "settings":
        (out / "embeddings.json").write_text(json.dumps({"root": 3}))
    elif damage == "table":
        table.write_text("path\nred.png\n")
    elif damage == "vectors":
        table.with_suffix(".npy").write_bytes(b"no array")
    else:
        table.write_text("".join(table.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(ValueError, match=r"is damaged|is not what `efficientnet embed` writes"):
        Embeddings.read(out)


def test_two_processes_do_not_write_into_one_folder(photos, network, tmp_path):
    (tmp_path / "out").mkdir()
    with filelock.FileLock(tmp_path / "out" / ".lock"), pytest.raises(OSError, match="Another process"):
        embed(photos, tmp_path / "out", network)


def test_an_image_whose_vector_is_not_finite_is_reported_and_the_others_are_embedded(tmp_path, capsys):
    model = keras.Sequential([
        keras.Input((8, 8, 3)), keras.layers.Rescaling(1 / 255), keras.layers.GlobalAveragePooling2D(),
        keras.layers.Rescaling(200), keras.layers.Activation("exponential"),
    ])  # fmt: skip
    model.save(tmp_path / "overflow.keras")
    (tmp_path / "photos").mkdir()
    for name, color in (("black.png", 0), ("white.png", 255)):
        Image.new("L", (8, 8), color).convert("RGB").save(tmp_path / "photos" / name)
    done = embed(tmp_path / "photos", tmp_path / "out", network_of(str(tmp_path / "overflow.keras")))
    assert done == (1, 0, ["white.png"])
    assert "white.png: " in capsys.readouterr().err


def test_what_a_killed_process_left_half_written_is_removed(photos, network, tmp_path):
    left_over = tmp_path / "out" / ".efficientnet-part-ab_12345"
    left_over.mkdir(parents=True)
    (left_over / "part-00000.npy").write_bytes(b"half")
    embed(photos, tmp_path / "out", network)
    assert not left_over.exists()


def test_nothing_to_embed(network, tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder"):
        embed(tmp_path / "none", tmp_path / "out", network)
    with pytest.raises(FileNotFoundError, match="no images"):
        embed(tmp_path, tmp_path / "out", network)
    with pytest.raises(FileNotFoundError, match="no embeddings"):
        Embeddings.read(tmp_path)


def test_a_model_that_describes_nothing(tmp_path):
    model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Reshape((8, 8, 3, 1))])
    model.save(tmp_path / "odd.keras")
    with pytest.raises(ValueError, match="no dense layer"):
        network_of(str(tmp_path / "odd.keras")).source.load()
    for wrong in (None, 5, b"odd.keras"):
        with pytest.raises(TypeError, match=r"model is .*: expected the name of a variant"):
            network_of(wrong)
    with pytest.raises(ValueError, match=r"size=32: .* is a whole model"):
        network_of(str(tmp_path / "odd.keras"), size=32)


def test_the_error_about_two_classifiers_says_what_is_there(tmp_path):
    image = keras.Input((8, 8, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255)(image))
    keras.Model(image, [keras.layers.Dense(2)(pooled), keras.layers.Dense(4)(pooled)]).save(tmp_path / "two.keras")
    with pytest.raises(ValueError, match=r"2 outputs, and its last dense layer takes \(None, 3\)"):
        network_of(str(tmp_path / "two.keras")).compile()


def test_a_model_that_does_not_record_how_pixels_are_scaled_is_refused_once(photos, tmp_path):
    keras.Sequential([keras.Input((8, 8, 3)), keras.layers.GlobalAveragePooling2D()]).save(tmp_path / "unscaled.keras")
    with pytest.raises(ValueError, match="does not record how its pixels are scaled"):
        embed(photos, tmp_path / "out", network_of(str(tmp_path / "unscaled.keras")))


def test_the_features_of_a_network_without_a_classifier(tmp_path):
    model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.MaxPooling2D()])
    model.save(tmp_path / "maps.keras")
    with network_of(str(tmp_path / "maps.keras")).compile() as predictor:
        np.testing.assert_allclose(predictor.predict(np.full((1, 8, 8, 3), 0.5, np.float32)), [[0.5] * 3])


def test_feature_maps_with_the_channels_first_are_averaged_by_channel(tmp_path):
    """Whatever order of channels is set for new layers."""
    maps = keras.layers.MaxPooling2D(data_format="channels_first")
    keras.Sequential([keras.Input((3, 8, 8)), maps]).save(tmp_path / "first.keras")
    pixels = np.arange(3 * 64, dtype=np.float32).reshape(1, 3, 8, 8) / 255
    with network_of(str(tmp_path / "first.keras")).compile() as predictor:
        largest = pixels.reshape(1, 3, 4, 2, 4, 2).max(axis=(3, 5))
        np.testing.assert_allclose(predictor.predict(pixels), largest.mean(axis=(2, 3)), rtol=1e-6)


def test_a_run_that_ended_before_its_first_part_blocks_no_other(photos, network, tmp_path):
    keras.Sequential([keras.Input((8, 8, 3)), keras.layers.GlobalAveragePooling2D()]).save(tmp_path / "unscaled.keras")
    with pytest.raises(ValueError, match="does not record how its pixels are scaled"):
        embed(photos, tmp_path / "out", network_of(str(tmp_path / "unscaled.keras")))
    assert embed(photos, tmp_path / "out", network).new == 4
    assert Embeddings.read(tmp_path / "out").settings == network.settings


def test_two_folders_of_images_do_not_share_embeddings(photos, network, tmp_path):
    """The paths are relative to one root: those of the first folder would lead nowhere."""
    embed(photos, tmp_path / "out", network)
    with pytest.raises(ValueError, match=r"has the embeddings of .*photos, which has images that .*in has not"):
        embed(photos / "in", tmp_path / "out", network)
    assert Embeddings.read(tmp_path / "out").root == str(photos)
    moved = photos.rename(tmp_path / "moved")
    (moved / "red.png").unlink()
    assert embed(moved, tmp_path / "out", network) == (0, 3, [])
    assert Embeddings.read(tmp_path / "out").root == str(moved)


def test_embeddings_do_not_lie_among_the_images(photos, network):
    """Arrays of NumPy are images, too: the next run would embed them."""
    with pytest.raises(ValueError, match="whose images it would be among"):
        embed(photos, photos / "embeddings", network)
    assert not (photos / "embeddings").exists()
