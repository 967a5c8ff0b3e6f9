"""embed, similar and predict --examples, of a network whose vectors are mean colors."""

import csv
import io
import json
import shutil

import keras
import numpy as np
import pytest
from color_models import CORNERS, color_model, save_with_names
from PIL import Image

from efficientnet.cli.main import main
from efficientnet.datasets import folders

CLASSES = {"red": (200, 20, 20), "green": (20, 200, 20)}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_with_names(color_model(keras, *CORNERS), tmp_path_factory.mktemp("model"), ("x", "y"))


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for name, color in CLASSES.items():
        (folder / name).mkdir()
        for index in range(4):
            noisy = np.clip(np.array(color) + rng.integers(-15, 16, 3), 0, 255)
            Image.new("RGB", (70, 70), tuple(map(int, noisy))).save(folder / name / f"{index}.png")
    return folder


@pytest.fixture(scope="module")
def embeddings(photos, model, tmp_path_factory):
    out = tmp_path_factory.mktemp("embeddings") / "photos"
    assert main(["embed", str(photos), "--out", str(out), "--model", model]) == 0
    return out


def test_similar_images(photos, embeddings, capsys, tmp_path):
    query, page = photos / "red" / "2.png", tmp_path / "page.html"
    broken = tmp_path / "broken.png"
    broken.write_text("no image")
    arguments = ["similar", str(query), str(broken), "--in", str(embeddings), "--top", "3", "--page", str(page)]
    assert main([*arguments, "--json"]) == 1
    found = capsys.readouterr()
    (row,) = map(json.loads, found.out.splitlines())
    assert row["similar"][0] == {"path": str(query), "similarity": pytest.approx(1, abs=1e-6)}
    assert all("/red/" in each["path"] for each in row["similar"])
    assert "broken.png" in found.err
    assert page.read_text().count("data:image/jpeg") == 4
    assert main([*arguments, "--csv"]) == 1
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [(row["rank"], "/red/" in row["similar"]) for row in rows] == [("1", True), ("2", True), ("3", True)]


def test_near_duplicates(photos, model, tmp_path, capsys):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, path in enumerate(sorted(photos.glob("*/*.png"))):
        (folder / f"{number}.png").write_bytes(path.read_bytes())
    Image.open(folder / "3.png").save(folder / "copy.bmp")
    assert main(["embed", str(folder), "--out", str(tmp_path / "out"), "--model", model]) == 0
    capsys.readouterr()
    page = tmp_path / "page.html"
    arguments = ["similar", "--in", str(tmp_path / "out"), "--duplicates", "--similarity", "0.9999"]
    assert main([*arguments, "--json", "--page", str(page)]) == 0
    (row,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert {row["image"], row["similar"][0]["path"]} == {str(folder / "3.png"), str(folder / "copy.bmp")}
    assert page.read_text().count("data:image/jpeg") == 2
    (folder / "copy.bmp").unlink()
    assert main(["embed", str(folder), "--out", str(tmp_path / "new"), "--model", model]) == 0
    assert main(["similar", "--in", str(tmp_path / "new"), "--duplicates", "--similarity", "0.9999"]) == 0
    assert "no near-duplicates among 8 images" in capsys.readouterr().out


def test_images_that_are_gone_or_have_changed_are_named(photos, model, tmp_path, capsys):
    folder, out = tmp_path / "photos", tmp_path / "out"
    shutil.copytree(photos / "red", folder)
    for name in ("gone", "changed"):
        Image.open(folder / "3.png").save(folder / f"{name}.bmp")
    assert main(["embed", str(folder), "--out", str(out), "--model", model]) == 0
    searches = (["similar", "--in", str(out), *given] for given in (
        ["--duplicates", "--similarity", "0.9999", "--csv"], [str(photos / "red" / "3.png"), "--csv"],
        [str(photos / "red" / "3.png"), "--top", "1", "--csv"],
    ))  # fmt: skip
    duplicates, all_of_them, nearest = searches
    capsys.readouterr()
    assert main(duplicates) == main(all_of_them) == 0
    assert "embedded" not in capsys.readouterr().err
    (folder / "gone.bmp").unlink()
    Image.new("RGB", (80, 80), (0, 0, 255)).save(folder / "changed.bmp")
    for command in (duplicates, all_of_them):
        assert main(command) == 0
        assert f"gone, or changed since they were embedded: 2 of these images, such as {folder / 'changed.bmp'}" in (
            capsys.readouterr().err
        )
    assert main(nearest) == 0  # 3.png itself, or a copy of it
    assert "2 of these" not in capsys.readouterr().err


def test_classes_from_examples(photos, model, tmp_path, capsys):
    Image.new("RGB", (90, 70), (190, 30, 10)).save(tmp_path / "new.png")
    arguments = ["predict", str(tmp_path / "new.png"), "--model", model, "--examples", str(photos)]
    assert main([*arguments, "--json"]) == 0
    found = capsys.readouterr()
    row = json.loads(found.out)
    assert row["kind"] == "probabilities"
    assert [each["class"] for each in row["predictions"]] == ["red", "green"]
    assert "8 examples of 2 classes; leave-one-out accuracy 100%" in found.err


def test_a_folder_is_searched_once(photos, model, tmp_path, monkeypatch):
    searched = []
    entries = folders._entries
    monkeypatch.setattr(
        folders, "_entries", lambda folder, *options: searched.append(folder) or entries(folder, *options)
    )
    assert main(["embed", str(photos), "--out", str(tmp_path / "out"), "--model", model]) == 0
    assert searched.count(photos) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["similar", "--in", "EMB"], "Nothing to find"),
        (["similar", "a.png", "--duplicates", "--in", "EMB"], "two things at once"),
        (["similar", "a.png", "--in", "EMB", "--similarity", "0.5"], "is for --duplicates"),
        (["similar", "--duplicates", "--in", "EMB", "--top", "3"], "is for images"),
        (["similar", "a.png", "--in", "nowhere"], "no embeddings in nowhere"),
        (["similar", "a.png", "--in", "EMB", "--page", "PHOTO"], "a page is HTML; give a name that ends in .html"),
        (["similar", "a.png", "--in", "EMB", "--page", "EMB"], "a page is HTML; give a name that ends in .html"),
        (["embed", "nowhere", "--out", "OUT"], "no folder nowhere"),
        (["embed", "PHOTOS", "--out", "OUT", "--model", "MODEL", "--image-size", "32"], "is a whole model"),
        (["embed", "PHOTOS", "--out", "EMB", "--model", "MODEL", "--format", "parquet"], "in the format npy"),
        (["predict", "a.png", "--examples", "nowhere"], "no folder nowhere"),
        (["predict", "a.png", "--examples", "PHOTOS", "--softmax"], "--softmax is about"),
        (["predict", "a.png", "--examples", "PHOTOS/red"], "holds images itself"),
    ],
)
def test_wrong_calls(arguments, message, photos, embeddings, model, tmp_path, capsys):
    places = {
        "EMB": embeddings,
        "PHOTOS": photos,
        "MODEL": model,
        "OUT": tmp_path / "out",
        "PHOTOS/red": photos / "red",
        "PHOTO": next((photos / "red").iterdir()),
    }
    before = places["PHOTO"].read_bytes()
    assert main([str(places.get(each, each)) for each in arguments]) == 2
    assert message in capsys.readouterr().err
    assert places["PHOTO"].read_bytes() == before
