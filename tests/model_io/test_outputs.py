"""What a model's outputs are, and how the commands print each kind."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from efficientnet.cli.main import main
from efficientnet.inference import InputSpec
from efficientnet.model_io.describing import describe_model
from efficientnet.model_io.outputs import last_activations

keras = pytest.importorskip("keras")
layers = keras.layers


def network(*after_pooling):
    """Of 16 x 16 raw pixels; its features are their means, 0..1."""
    start = [layers.Input((16, 16, 3)), layers.Rescaling(1 / 255), layers.GlobalAveragePooling2D()]
    return keras.Sequential([*start, *after_pooling])


def fixed(activation, rows, bias=None):
    """A network that gives these numbers, by their activation, for white images."""
    model = network(layers.Dense(len(rows), activation=activation))
    kernel = np.zeros((3, len(rows)))
    kernel[0] = rows
    model.layers[-1].set_weights([kernel, np.zeros(len(rows)) if bias is None else np.array(bias)])
    return model


def activation_of(build):
    inputs = layers.Input((16, 16, 3))
    return last_activations(keras.Model(inputs, build(inputs)))


def test_the_last_activation_is_found():
    head = network(layers.Dense(3, activation="softmax"))
    pooled = layers.GlobalAveragePooling2D
    dense = layers.Dense
    assert activation_of(head) == ["softmax"]
    assert activation_of(lambda x: layers.Dropout(0.1)(keras.Sequential([layers.Input((16, 16, 3)), head])(x))) == [
        "softmax"
    ]
    assert activation_of(lambda x: layers.Activation("sigmoid")(dense(3)(pooled()(x)))) == ["sigmoid"]
    assert activation_of(lambda x: layers.Softmax()(dense(3)(pooled()(x)))) == ["softmax"]
    assert activation_of(lambda x: keras.ops.softmax(dense(3)(pooled()(x)))) == ["softmax"]
    assert activation_of(lambda x: keras.ops.sigmoid(dense(3)(pooled()(x)))) == ["sigmoid"]
    assert activation_of(lambda x: pooled()(layers.Conv2D(3, 1, activation="softmax")(x))) == ["softmax"]
    assert activation_of(lambda x: layers.Average()([head(x), head(x)])) == ["softmax"]
    assert activation_of(lambda x: layers.Average()([head(x), dense(3)(pooled()(x))])) == ["unknown"]
    assert activation_of(lambda x: layers.Rescaling(10)(dense(1, activation="sigmoid")(pooled()(x)))) == ["linear"]
    assert activation_of(lambda x: dense(3, activation=lambda y: 2 * y)(pooled()(x))) == ["unknown"]
    assert activation_of(lambda x: 2 * head(x)) == ["unknown"]
    assert activation_of(lambda x: layers.Activation("linear", dtype="float32")(head(x))) == ["softmax"]
    shares = [dense(1, activation="sigmoid") for _ in range(2)]
    assert activation_of(lambda x: layers.Concatenate()([share(pooled()(x)) for share in shares])) == ["sigmoid"]
    assert activation_of(lambda x: layers.Concatenate()([head(x), head(x)])) == ["unknown"]
    assert activation_of(lambda x: layers.GlobalMaxPooling2D()(layers.Conv2D(3, 3, activation="sigmoid")(x))) == [
        "sigmoid"
    ]
    assert activation_of(lambda x: layers.GlobalMaxPooling2D()(layers.Conv2D(3, 3, activation="softmax")(x))) == [
        "unknown"
    ]
    assert activation_of(lambda x: [head(x), dense(3)(pooled()(x))]) == ["softmax", "linear"]


@pytest.mark.parametrize(
    ("model", "kind", "classes"),
    [
        (network(layers.Dense(2, activation="softmax")), "probabilities", ["class_0", "class_1"]),
        (network(layers.Dense(1, activation="sigmoid")), "binary", ["class_0", "class_1"]),
        (network(layers.Dense(2, activation="sigmoid")), "labels", ["class_0", "class_1"]),
        (network(layers.Dense(1)), "numbers", ["output_0"]),
        (network(layers.Dense(2)), "numbers", ["class_0", "class_1"]),
        (network(layers.Dense(1000)), "logits", None),
        (network(layers.Dense(1, activation="softmax")), "numbers", ["output_0"]),
        (network(layers.Lambda(lambda x: x)), "unknown", ["class_0", "class_1", "class_2"]),
        (keras.Sequential([layers.Input((16, 16, 3)), layers.Conv2D(3, 3)]), "features", []),
    ],
)
def test_kinds(model, kind, classes):
    spec = describe_model(model, "none")
    assert spec.kind == kind
    assert classes is None or [label for _, label in spec.classes] == classes
    assert InputSpec.from_json(json.loads(json.dumps(spec._asdict()))) == spec


def test_names():
    binary, linear = network(layers.Dense(1, activation="sigmoid")), network(layers.Dense(3))
    assert describe_model(binary, "none", class_names=["no", "yes"]).classes == (("0", "no"), ("1", "yes"))
    assert describe_model(binary, "none", class_names=["cat"]).classes == (("0", "not cat"), ("1", "cat"))
    assert describe_model(linear, "none", class_names=[1, np.int64(7), ("n3", "x")]).classes == (
        ("0", "1"), ("1", "7"), ("n3", "x"),
    )  # fmt: skip
    assert describe_model(linear, "none", class_names=["a", "b", "c"]).kind == "logits"
    with pytest.raises(ValueError, match="1 outputs but 3 class names"):
        describe_model(binary, "none", class_names=["a", "b", "c"])


def test_top():
    spec = describe_model(fixed("sigmoid", [2.0]), "none")
    assert spec.top(np.array([0.75]), 9) == [("1", "class_1", 0.75), ("0", "class_0", 0.25)]
    assert [label for _, label, _ in describe_model(network(layers.Dense(3)), "none").top(np.array([3, 5, 4]), 9)] == [
        "class_1", "class_2", "class_0",
    ]  # fmt: skip
    with pytest.raises(ValueError, match="single number"):
        describe_model(network(layers.Dense(1)), "none").top(np.array([3.0]))
    with pytest.raises(ValueError, match=r"1 outputs of .* got an array of shape \(2,\)"):
        spec.top(np.array([0.2, 0.8]))
    with pytest.raises(ValueError, match=r"k=1\.5: expected an integer"):
        spec.top(np.array([0.2]), 1.5)


@pytest.fixture
def image(tmp_path):
    Image.new("RGB", (20, 20), "white").save(tmp_path / "white.png")
    return str(tmp_path / "white.png")


@pytest.fixture
def ask(tmp_path, image, capsys):
    def ask(model, *options, status=0):
        path = tmp_path / "model.keras"
        model.save(path)
        assert main(["predict", image, "--model", str(path), *options]) == status
        out, err = capsys.readouterr()
        return out.splitlines()[1:], err

    return ask


def test_regression_prints_numbers(ask):
    out, err = ask(fixed(None, [-2.322]))
    assert [line.split() for line in out] == [["-2.322", "output_0"]]
    assert err == ""
    assert "single number" in ask(fixed(None, [-2.322]), "--softmax", status=2)[1]


def test_logits_print_numbers_and_probabilities_when_asked(ask):
    out, err = ask(fixed(None, [1.0, 3.498, 2.0]))
    assert [line.split() for line in out] == [["1", "output_0"], ["3.498", "output_1"], ["2", "output_2"]]
    assert "last activation is linear" in err and "--softmax" in err
    out, err = ask(fixed(None, [1.0, 3.498, 2.0]), "--softmax", "--top", "1")
    assert [line.split() for line in out] == [["76.6%", "class_1"]]
    assert err == ""


def test_features_are_numbers_and_no_logits(ask):
    out, err = ask(network(layers.Dense(30, activation="relu")))
    assert len(out) == 21
    assert out[-1] == "  and 10 more, which --json or --top prints"
    assert err == ""


def test_binary_prints_both_classes(ask):
    out, _ = ask(fixed("sigmoid", [-4.82]))
    assert [line.split() for line in out] == [["99.2%", "class_0"], ["0.8%", "class_1"]]


@pytest.mark.slow
def test_labels_print_all_over_the_threshold(ask):
    model = fixed("sigmoid", [3.0, -3.0, 1.0, 2.0, 4.0, 5.0, 6.0])
    assert [line.split()[1] for line in ask(model)[0]] == [
        "class_6",
        "class_5",
        "class_4",
        "class_0",
        "class_3",
        "class_2",
    ]
    assert [line.split()[1] for line in ask(model, "--threshold", "0.95", "--top", "2")[0]] == ["class_6", "class_5"]
    assert ask(model, "--threshold", "1")[0] == ["  no label over the threshold"]
    assert "probabilities already, by a sigmoid" in ask(model, "--softmax", status=2)[1]


def test_options_that_mean_nothing_are_refused(ask):
    softmax = fixed("softmax", [1.0, 2.0])
    assert "A threshold is for models with several sigmoids" in ask(softmax, "--threshold", "0.4", status=2)[1]
    assert "probabilities already, by a softmax" in ask(softmax, "--softmax", status=2)[1]


def test_what_the_graph_does_not_say_the_numbers_do(ask):
    """A layer of unknown effect, once on probabilities that it leaves alone and once on others."""
    normalize, dense = layers.UnitNormalization(axis=1), layers.Dense(2, "softmax", kernel_initializer="zeros")
    out, err = ask(network(dense, normalize))
    assert [line.split() for line in out] == [["0.70711", "output_0"], ["0.70711", "output_1"]]
    assert "last activation is unknown" in err
    model = network(dense, normalize)
    dense.set_weights([np.zeros((3, 2)), np.array([50.0, -50.0])])  # probabilities of 1 and 0
    out, err = ask(model)
    assert [line.split() for line in out] == [["100.0%", "class_0"], ["0.0%", "class_1"]]
    assert err == ""


@pytest.mark.slow
def test_json_and_csv_say_the_kind(ask, tmp_path, image, capsys):
    for model, kind, key, value in (
        (fixed("softmax", [5.0, 0.0]), "probabilities", "probability", 0.993307),
        (fixed("sigmoid", [5.0]), "binary", "probability", 0.993307),
        (fixed("sigmoid", [5.0, -5.0]), "labels", "probability", 0.993307),
        (fixed(None, [5.0]), "numbers", "value", 5.0),
    ):
        path = tmp_path / "model.keras"
        model.save(path)
        main(["predict", image, "--model", str(path), "--json"])
        found = json.loads(capsys.readouterr().out)
        assert found["kind"] == kind
        assert found["predictions"][0][key] == pytest.approx(value, abs=1e-5)
        main(["predict", image, "--model", str(path), "--csv"])
        row = next(csv.DictReader(io.StringIO(capsys.readouterr().out)))
        assert row["kind"] == kind
        assert float(row[key]) == pytest.approx(value, abs=1e-5)
        assert row["value" if key == "probability" else "probability"] == ""


def test_models_without_a_vector_are_refused(ask):
    inputs = layers.Input((16, 16, 3))
    pooled = layers.GlobalAveragePooling2D()(inputs)
    several = keras.Model(inputs, [layers.Dense(2)(pooled), layers.Dense(3)(pooled)])
    for model in (several, keras.Sequential([layers.Input((16, 16, 3)), layers.Conv2D(3, 3)])):
        assert "several outputs, feature maps or the like" in ask(model, "--preprocessing", "none", status=2)[1]


def test_numbers_that_are_none_fail_by_themselves(ask):
    inputs = layers.Input((16, 16, 3))
    model = keras.Model(inputs, keras.ops.log(-1 - layers.GlobalAveragePooling2D()(inputs)))
    out, err = ask(model, "--preprocessing", "none", "--engine", "keras", status=1)
    assert out == []
    assert "gives NaN or infinite numbers for this image" in err


def test_several_kinds_of_failure(tmp_path, image, capsys):
    fixed("softmax", [5.0, 0.0]).save(tmp_path / "model.keras")
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "page.jpg").write_text("<!doctype html>")
    (tmp_path / "cut.png").write_bytes(Path(image).read_bytes()[:50])
    (tmp_path / "inner").mkdir()
    names = ["empty.png", "white.png", "page.jpg", "missing.png", "cut.png", "inner", "white.png"]
    given = [str(tmp_path / name) for name in names]
    assert main(["predict", *given, "--model", str(tmp_path / "model.keras"), "--json"]) == 1
    out, err = capsys.readouterr()
    assert [json.loads(line)["image"] for line in out.splitlines()] == [given[1], given[6]]
    reported = err.splitlines()
    for line, index in zip(reported, (0, 2, 3, 4, 5), strict=True):
        assert line.count(given[index]) == 1
