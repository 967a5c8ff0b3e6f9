"""The command ``efficientnet explain``: what it prints and writes, and with which exit status."""

import re

import numpy as np
import pytest
from color_models import color_model, save_with_names
from PIL import Image

from efficientnet.checkpoints.facts import Facts
from efficientnet.cli.main import main
from efficientnet.keras_files.metadata import write_facts

keras = pytest.importorskip("keras")
pytest.importorskip("jinja2")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Sees red and green."""
    network = color_model(keras, [[4, 0], [0, 4], [0, 0]], 0)
    return save_with_names(network, tmp_path_factory.mktemp("model"), ("red", "green & <b>"))


@pytest.fixture
def images(tmp_path):
    """Two images of the same name, half of them green, and one that is none."""
    pixels = np.zeros((20, 30, 3), np.uint8)
    pixels[:, 15:, 1] = 200
    for folder in ("a", "b"):
        (tmp_path / "images" / folder).mkdir(parents=True)
        Image.fromarray(pixels).save(tmp_path / "images" / folder / "leaf.png")
    (tmp_path / "images" / "a" / "zebra.png").write_text("no image")
    return tmp_path / "images"


def test_a_folder_with_a_bad_image(model, images, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["explain", str(images), "--recursive", "--model", model, "--out", str(out)]) == 1
    printed, err = capsys.readouterr()
    assert [line.split()[0] for line in err.splitlines() if "zebra.png" in line] == ["efficientnet:"]
    assert re.findall(r"^ +\d+\.\d%  green & <b>  (.*)$", printed, re.MULTILINE) == [
        str(out / "leaf.png"), str(out / "leaf_2.png")
    ]  # fmt: skip
    assert "not seen: 52% of the image, which the crop cuts off (7 px at the left" in printed
    assert {path.name for path in out.iterdir()} == {"leaf.png", "leaf_2.png", "report.html"}
    drawn = np.asarray(Image.open(out / "leaf.png")).astype(int)
    assert drawn.shape == (20, 30, 3)
    color = drawn[..., 0] - drawn[..., 2]
    assert color[10, 20] > 50 and color[10, 10] == 0
    page = (out / "report.html").read_text()
    assert "2 of 3 images explained." in page
    assert page.count("data:image/jpeg;base64,") == 4
    assert "Evidence for green &amp; &lt;b&gt;, which has " in page
    assert "The most evidence for green &amp; &lt;b&gt; is at " in page
    assert "zebra.png" in page.partition("Images without a map")[2]


def test_classes(model, images, tmp_path, capsys):
    leaf, out = str(images / "b"), str(tmp_path / "out")
    for options, names in (
        (["--method", "occlusion", "--class", "red"], ["leaf.png"]),
        (["--top", "5", "--method", "hirescam"], ["leaf-1.png", "leaf-2.png"]),
        (["--class", "RED"], ["leaf.png"]),
    ):
        assert main(["explain", leaf, "--model", model, "--out", out, *options]) == 0
        assert re.findall(r"leaf[-\d]*\.png$", capsys.readouterr().out, re.MULTILINE)[1:] == names
    assert "There is no evidence for red." in (tmp_path / "out" / "report.html").read_text()


def test_numbers_have_no_order(images, tmp_path, capsys):
    """All of them are explained, or the first ones: of different units, none is the largest."""
    network = color_model(keras, [[1, 0], [0, 100], [0, 0]], 0, activation=None)
    facts = Facts(class_names=("age", "weight"), targets="values")
    path, leaf, out = tmp_path / "model.keras", str(images / "b"), tmp_path / "out"
    network.save(path)
    write_facts(path, facts)
    for options, names in (([], ["age", "weight"]), (["--top", "1"], ["age"]), (["--class", "weight"], ["weight"])):
        assert main(["explain", leaf, "--model", str(path), "--out", str(out), *options]) == 0
        assert re.findall(r"  (age|weight)  ", capsys.readouterr().out) == names


def test_many_images_are_not_all_on_the_page(model, images, tmp_path, monkeypatch):
    monkeypatch.setattr("efficientnet.explain.page.MOST_IMAGES", 1)
    leaves = [str(images / folder / "leaf.png") for folder in ("a", "b")]
    assert main(["explain", *leaves, "--model", model, "--out", str(tmp_path / "out")]) == 0
    page = (tmp_path / "out" / "report.html").read_text()
    assert "2 images explained." in page and "The first 1 images are shown; the overlays of all are in" in page
    assert page.count("data:image/jpeg;base64,") == 2


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--class", "rde"], "--class=rde: The class rde is not one of the model's 2. Did you mean red?"),
        (["--method", "cam"], "method='cam': expected one of 'gradcam', 'hirescam', 'occlusion'"),
        (["--layer", "top"], "layer='top'"),
        (["--model", "lite9"], "Did you mean"),
        (["--class", "red", "--top", "2"], "not allowed with argument --class"),
    ],
)
def test_wrong_calls(model, images, tmp_path, capsys, options, problem):
    try:
        status = main(["explain", str(images), "--model", model, "--out", str(tmp_path / "out"), *options])
    except SystemExit as end:  # argparse's way
        status = end.code
    error = capsys.readouterr().err
    assert status == 2
    assert problem in error.splitlines()[-1]
    assert not (tmp_path / "out" / "report.html").exists()


def test_overlays_do_not_replace_the_images(model, images, tmp_path, monkeypatch, capsys):
    """An overlay has the name of its image."""
    monkeypatch.chdir(images / "b")
    before = (images / "b" / "leaf.png").read_bytes()
    for given, out in ((str(images / "b"), images / "b"), ("leaf.png", "."), (str(images), images / "a" / ".." / "b")):
        assert main(["explain", given, "--recursive", "--model", model, "--out", str(out)]) == 2
        assert "leaf.png, which an overlay could replace: choose another folder" in capsys.readouterr().err
    assert {path.name for path in (images / "b").iterdir()} == {"leaf.png"}
    assert (images / "b" / "leaf.png").read_bytes() == before
