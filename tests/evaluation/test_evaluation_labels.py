"""Models with one sigmoid, with several, and with logits: what is measured, and of which labels."""

from __future__ import annotations

import csv
import json
import re

import numpy as np
import pytest
from color_models import color_model, save_with_names
from PIL import Image

from efficientnet.cli.main import main
from efficientnet.common.measures import r_squared, spearman
from efficientnet.datasets.labelled import What, find_targets
from efficientnet.datasets.splits import Entry, write_part
from efficientnet.datasets.targets import Labels
from efficientnet.evaluation import average_precision, find_tagged

keras = pytest.importorskip("keras")

CLASSES = (("0", "red"), ("1", "green"), ("2", "blue"))
LEVELS = {
    "a.png": (255, 0, 0),
    "b.png": (255, 255, 0),
    "c.png": (0, 0, 0),
    "d.png": (0, 200, 255),
    "e.png": (90, 0, 200),
}
TRUTH = {"a.png": ["red"], "b.png": ["red", "green"], "c.png": [], "d.png": ["green", "blue"], "e.png": ["red", "blue"]}


@pytest.fixture
def save(tmp_path):
    def save(model, names=None):
        path = str(tmp_path / "model.keras")
        if names is None:
            model.save(path)
            return path
        return save_with_names(model, tmp_path, names)

    return save


@pytest.fixture
def data(tmp_path):
    for name, levels in LEVELS.items():
        Image.new("RGB", (20, 20), levels).save(tmp_path / name)
    return tmp_path


@pytest.mark.parametrize("ties", [False, True])
def test_average_precision_is_scikit_learns(ties):
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    for _ in range(20):
        scores, truth = rng.random(30), rng.random(30) < 0.3
        scores = np.round(scores, 1) if ties else scores
        assert average_precision(scores, truth) == pytest.approx(metrics.average_precision_score(truth, scores))
    assert np.isnan(average_precision(scores, np.zeros(30, bool)))


LISTS = 'path,label\na.png,red\nb.png,red|green\nc.png,\nd.png,green; blue\ne.png,"red,blue"\n'
ROWS = "path,label\na.png,red\nb.png,red\nb.png,green\nc.png,\nd.png,green\nd.png,blue\ne.png,red\ne.png,blue\n"
COLUMNS = "path,Blue,red,green\na.png,0,1,0\nb.png,-1,1,1\nc.png,0,0,\nd.png,1,0,1\ne.png,1,True,0\n"


@pytest.mark.parametrize("table", [LISTS, ROWS, COLUMNS])
def test_tables_of_several_labels(table, tmp_path):
    (tmp_path / "set.csv").write_text(table)
    tagged = find_tagged(tmp_path / "set.csv", CLASSES)
    assert [path.name for path in tagged.paths] == list(TRUTH)
    for row, labels in zip(tagged.truth, TRUTH.values(), strict=True):
        assert [name for (_, name), applies in zip(CLASSES, row, strict=True) if applies] == labels
    assert tagged.known.all() and tagged.is_complete
    note = "2 values of labels are empty or -1: taken for 0" if table == COLUMNS else "1 images have no label"
    assert len(tagged.notes) == 1 and note in tagged.notes[0]


def test_a_name_with_a_comma_is_one_label(tmp_path):
    (tmp_path / "set.csv").write_text('path,label\na.png,"tench, Tinca"\n')
    tagged = find_tagged(tmp_path / "set.csv", [("n1", "tench, Tinca"), ("n2", "tench"), ("n3", "Tinca")])
    assert tagged.truth.tolist() == [[True, False, False]]


def test_names_with_separators_come_back_from_what_a_training_writes(tmp_path):
    names = ["red", "blue", "red|blue", "red_blue", "tench, Tinca", "tench", "a;b\\", "\\|", "c"]
    classes = [(str(index), name) for index, name in enumerate(names)]
    truth = np.random.default_rng(0).random((60, len(names))) < 0.3
    entries = [Entry(tmp_path / f"{row}.png", "hash") for row in range(len(truth))]
    targets = Labels(names, truth)
    write_part(tmp_path, "validation", entries, targets.columns, [targets.cells(row) for row in range(len(truth))])
    tagged = find_tagged(tmp_path / "validation.csv", classes)
    np.testing.assert_array_equal(tagged.truth, truth)
    again = find_targets(tmp_path / "validation.csv", What("labels")).targets
    np.testing.assert_array_equal(again.reordered(names).values, truth)


def test_a_text_is_one_label_only_if_its_parts_are_none(tmp_path):
    classes = [("0", "red"), ("1", "blue"), ("2", "red blue"), ("3", "cat|dog")]
    (tmp_path / "set.csv").write_text("path,label\na.png,red|blue\nb.png,cat|dog\n")
    assert find_tagged(tmp_path / "set.csv", classes).truth.tolist() == [[1, 1, 0, 0], [0, 0, 0, 1]]


def test_folders_are_labels(data):
    for name in ("red", "green"):
        (data / "folders" / name).mkdir(parents=True)
        (data / "folders" / name / "x.png").write_bytes(name.encode())
    assert find_tagged(data / "folders", CLASSES).truth.tolist() == [[False, True, False], [True, False, False]]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("file,label\na.png,red\n", "columns file, label: expected path and label, or path and a column for each"),
        ("path,red\na.png,maybe\n", "line 2: red is 'maybe', expected 1 where the label applies, or 0"),
        ("path,label\na.png,pink\n", "None of the labels"),
    ],
)
def test_tables_that_are_none(table, message, tmp_path):
    (tmp_path / "set.csv").write_text(table)
    with pytest.raises(ValueError, match=message):
        find_tagged(tmp_path / "set.csv", CLASSES)


@pytest.mark.slow
def test_a_model_with_several_sigmoids(save, data, tmp_path, capsys):
    # Finds blue from 50%, and red in whatever has any.
    path = save(color_model(keras, 10 * np.eye(3), -2.0, "sigmoid"), [name for _, name in CLASSES])
    (data / "set.csv").write_text(LISTS)
    assert main(["evaluate", path, str(data / "set.csv"), "--json", "--out", str(tmp_path / "out")]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["images"], found["threshold"], found["kind"]) == (5, 0.5, "labels")
    assert found["mean_average_precision"] == found["macro_f1"] == found["exact"]["value"] == 1.0
    assert [row["label"] for row in found["per_label"]] == ["red", "green", "blue"]
    with (tmp_path / "out" / "predictions.csv").open() as file:
        rows = {row["path"].rsplit("/", 1)[-1]: row for row in csv.DictReader(file)}
    assert rows["b.png"]["labels"] == rows["b.png"]["predicted"] == "red|green"
    assert float(rows["a.png"]["red"]) == pytest.approx(1 / (1 + np.exp(-8)), abs=1e-5)

    assert main(["evaluate", path, str(data / "set.csv"), "--json", "--threshold", "0.9"]) == 0
    found = json.loads(capsys.readouterr().out)
    red = found["per_label"][0]  # e.png has too little of it
    assert (red["images"], red["predicted"], red["precision"], red["average_precision"]) == (3, 2, 1.0, 1.0)
    assert red["recall"] == pytest.approx(2 / 3)
    assert found["exact"]["value"] == pytest.approx(4 / 5)


def test_what_is_not_measured_is_reported(save, data, capsys):
    path = save(color_model(keras, 10 * np.eye(3), -2.0, "sigmoid"), [name for _, name in CLASSES])
    (data / "broken.png").write_bytes(b"no image")
    (data / "set.csv").write_text("path,red,pink\na.png,1,0\nc.png,0,1\nbroken.png,1,0\n")
    assert main(["evaluate", path, str(data / "set.csv")]) == 1
    out, err = capsys.readouterr()
    assert "2 images" in out and "| green" not in out
    assert "no column of green, blue: these labels are not measured" in err
    assert "pink" in err and "broken.png" in err


def test_a_single_sigmoid(save, data, capsys):
    path = save(color_model(keras, [[10.0], [0], [0]], -2.0, "sigmoid"), ["other", "red"])
    (data / "set.csv").write_text("path,label\na.png,red\nb.png,other\nc.png,other\nd.png,other\ne.png,red\n")
    assert main(["evaluate", path, str(data / "set.csv"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["top1"]["value"] == pytest.approx(4 / 5)
    # a and b have equal scores, one of them right; then e, which is.
    assert found["average_precision"] == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert [row["f1"] for row in found["per_class"]] == pytest.approx([4 / 5, 4 / 5])
    main(["evaluate", path, str(data / "set.csv")])
    assert "| average precision of red " in capsys.readouterr().out


def test_logits_are_evaluated_when_asked(save, data, capsys):
    path = save(color_model(keras, np.eye(3), 0.0, None), [name for _, name in CLASSES])
    (data / "set.csv").write_text("path,label\na.png,red\nd.png,blue\n")
    assert main(["evaluate", path, str(data / "set.csv")]) == 2
    assert (
        "ends in linear, with 3 numbers per image. If they are logits of classes, --softmax" in capsys.readouterr().err
    )
    assert main(["evaluate", path, str(data / "set.csv"), "--softmax", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["top1"]["value"] == 1
    assert found["confidence"] == pytest.approx(
        (np.e / (np.e + 2) + np.e / (np.e + 1 + np.exp(200 / 255))) / 2, abs=1e-5
    )
    assert main(["evaluate", path, str(data / "set.csv"), "--threshold", "0.4"]) == 2
    assert "A threshold is for models with several sigmoids" in capsys.readouterr().err


@pytest.mark.parametrize(("outputs", "activation"), [(3, "sigmoid"), (2, "softmax"), (1, "sigmoid")])
def test_an_image_without_a_finite_answer_is_reported(outputs, activation, save, data, capsys):
    inputs = keras.layers.Input((16, 16, 3))
    mean = keras.layers.GlobalAveragePooling2D()(inputs)
    # Not a number where there is no red.
    numbers = keras.layers.Dense(outputs, activation=activation)(mean) + 0 * keras.ops.log(mean[:, :1])
    path = save(keras.Model(inputs, keras.layers.Activation(activation)(numbers)))
    (data / "set.csv").write_text("path,label\na.png,0\nb.png,1\nd.png,0\n")
    assert main(["evaluate", path, str(data / "set.csv"), "--preprocessing", "none", "--json"]) == 1
    out, err = capsys.readouterr()
    assert json.loads(out)["images"] == 2
    assert re.search(r"d\.png: .* gives NaN or infinite numbers for this image", err)


@pytest.mark.slow
def test_a_single_number(save, data, capsys, tmp_path):
    """The mean of the levels, of one image half a step too high."""
    path = save(color_model(keras, [[1.0]] * 3, 0.0, None))
    sums = {name: sum(levels) / 255 for name, levels in LEVELS.items()} | {"a.png": 0.5}
    lines = [f"{name},{number}" for name, number in sums.items()]
    (data / "set.csv").write_text("\n".join(["path,light", *lines]) + "\n")
    assert main(["evaluate", path, str(data / "set.csv"), "--json", "--out", str(tmp_path / "out")]) == 0
    found = json.loads(capsys.readouterr().out)
    (light,) = found["per_value"]
    assert (found["kind"], found["images"], light["name"]) == ("values", 5, "light")
    assert light["mean_absolute_error"] == pytest.approx(0.1, abs=1e-5)
    assert light["root_mean_squared_error"] == pytest.approx((0.25 / 5) ** 0.5, abs=1e-5)
    truth = np.array(list(sums.values()))
    assert light["r_squared"] == pytest.approx(1 - 0.25 / ((truth - truth.mean()) ** 2).sum(), abs=1e-5)
    with (tmp_path / "out" / "predictions.csv").open() as file:
        first = next(csv.DictReader(file))
    assert float(first["light"]) == 0.5 and float(first["light (predicted)"]) == pytest.approx(1, abs=1e-5)
    (data / "set.csv").write_text("path,light,heavy\na.png,1,2\n")
    assert main(["evaluate", path, str(data / "set.csv")]) == 2
    assert "has the columns light, heavy beside path" in capsys.readouterr().err
    (data / "set.csv").write_text("path,label\na.png,cat\n")
    assert main(["evaluate", path, str(data / "set.csv")]) == 2
    assert "line 2: label is 'cat', expected a finite number" in capsys.readouterr().err


def test_correlation_of_ranks_is_scipys():
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 5, 40), rng.random(40)
    assert spearman(first, second) == pytest.approx(stats.spearmanr(first, second).statistic)
    assert np.isnan(spearman(first, np.ones(40)))
    assert np.isnan(r_squared(np.ones(3), np.ones(3)))
