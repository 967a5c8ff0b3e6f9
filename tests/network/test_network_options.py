"""What a command line says of a network where its weights do not: the same options in every command."""

import argparse
import json
import logging

import numpy as np
import pytest

from efficientnet.checkpoints import Facts
from efficientnet.checkpoints.marks import Mark
from efficientnet.cli import main, model_options
from efficientnet.datasets.class_files import read_class_file
from efficientnet.keras_graph import marks
from efficientnet.preprocessing import Scaling, scale_and_offset

NAMES = ("cat", "dog")


def parse(*argv):
    parser = argparse.ArgumentParser()
    model_options.add_network_options(parser)
    return model_options.network_facts(parser.parse_args([*map(str, argv)]))


@pytest.mark.parametrize(
    ("argv", "start"),
    [
        ("predict x.jpg", "predict"), ("evaluate m.keras d", "evaluate"), ("export b0 o --format onnx", "export"),
        ("train d", "train"), ("convert a b.keras", "convert"), ("inspect a", "inspect"),
    ],
)  # fmt: skip
def test_every_command_takes_them(argv, start, tmp_path):
    (tmp_path / "names.txt").write_text("cat\ndog\n")
    given = ["--padding", "symmetric", "--epsilon", "1e-5", "--preprocessing", "0.5/0.25"]
    arguments = main._parser().parse_args([*argv.split(), *given, "--classes", str(tmp_path / "names.txt")])
    facts = model_options.network_facts(arguments)
    assert (facts.padding, facts.epsilon, facts.class_names) == ("symmetric", 1e-5, NAMES), start
    np.testing.assert_allclose(facts.preprocessing, [[4 / 255] * 3, [-2] * 3])


def test_how_pixels_are_scaled():
    assert parse("--preprocessing", "lite") == Facts(preprocessing="lite")
    assert parse("--preprocessing", "0.485,0.456,0.406/0.229,0.224,0.225") == Facts(preprocessing="torch")
    assert parse("--preprocessing", "0.5/0.5") == Facts(preprocessing="tf")
    for wrong in ("caffe", "0.5", "0.5/0", "1,2/3", "a/b", "0.5/nan", "0.5/0.5/0.5"):
        with pytest.raises(SystemExit):
            parse("--preprocessing", wrong)
    for wrong in ("0", "-1", "nan", "x"):
        with pytest.raises(SystemExit):
            parse("--epsilon", wrong)


@pytest.mark.parametrize(
    "content",
    [
        "cat\ndog", "cat\r\ndog\r\n", "\ufeffcat\ndog\n\n", "cat\ndog\n  \r\n\t\n",
        '["cat", "dog"]', ' {"0": "cat", "1": "dog"}',
        '{"dog": 1, "cat": 0}', '{"1": ["n2", "dog"], "0": ["n1", "cat"]}',
    ],
)  # fmt: skip
def test_files_of_classes(tmp_path, content):
    path = tmp_path / "classes"
    path.write_bytes(content.encode())
    assert read_class_file(path) == NAMES


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"cat\n\ndog",
        b"[]",
        b"[1, 2]",
        b'{"cat": 1, "dog": 2}',
        b'{"a": 0, "b": 0}',
        b'{"a": 0, "a": 1}',
        b"[",
        b"\xff\xfe",
    ],
)
def test_what_is_no_file_of_classes(tmp_path, content):
    path = tmp_path / "classes"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="classes"):
        read_class_file(path)
    with pytest.raises(OSError, match="missing"):
        read_class_file(tmp_path / "missing")


@pytest.mark.parametrize("separator", ["\n", ","])
def test_more_classes_than_any_model_has_are_refused(tmp_path, separator):
    text = separator.join(['"a"'] * 1_000_001)
    (tmp_path / "classes").write_text(f"[{text}]" if separator == "," else text)
    with pytest.raises(ValueError, match=r"has 1,000,001 names of classes; read are at most 1,000,000"):
        read_class_file(tmp_path / "classes")


@pytest.fixture
def saved(tiny, tmp_path):
    """A small classifier of two classes that says how its pixels are scaled, and the file of its weights alone."""
    pytest.importorskip("onnxruntime")
    model = tiny(weights=None, classes=2, input_shape=(64, 64, 3))
    marks.put(model, Mark("lite"))
    model.save(tmp_path / "model.keras")
    return tmp_path / "model.keras"


def recipe_of(source):
    return source.load()[1]


@pytest.mark.slow
def test_a_whole_model(saved, caplog):
    for option in (Facts(padding="symmetric"), Facts(epsilon=1e-5)):
        with pytest.raises(ValueError, match=r"model.keras is a whole model, whose graph has its own"):
            model_options.find_source(str(saved), None, option)
    with caplog.at_level(logging.WARNING, "efficientnet"):
        spec = recipe_of(model_options.find_source(str(saved), None, Facts(class_names=NAMES)))
        assert caplog.messages == []
        assert spec.scaling == scale_and_offset("lite")
        assert [label for _, label in spec.classes] == list(NAMES)
        other = recipe_of(model_options.find_source(str(saved), None, Facts(preprocessing="tf")))
    assert other.scaling == scale_and_offset("tf")
    assert 'and not as it says itself, "lite"' in caplog.text
    with pytest.raises(ValueError, match="2 outputs but 3 class names"):
        recipe_of(model_options.find_source(str(saved), None, Facts(class_names=("a", "b", "c"))))


@pytest.mark.slow
def test_a_model_that_was_built_without_weights_is_asked_about(tiny, tmp_path, caplog):
    tiny(weights=None, classes=2, input_shape=(64, 64, 3)).save(tmp_path / "model.keras")
    with caplog.at_level(logging.WARNING, "efficientnet"):
        recipe_of(model_options.find_source(str(tmp_path / "model.keras"), None, Facts()))
        assert "(in a command: --preprocessing)" in caplog.text
        caplog.clear()
        recipe_of(model_options.find_source(str(tmp_path / "model.keras"), None, Facts(preprocessing="torch")))
        assert caplog.messages == []


def test_a_model_that_says_nothing(eff, tmp_path, capsys):
    keras = eff._keras
    inputs = keras.Input((8, 8, 3))
    outputs = keras.layers.Dense(2, activation="softmax")(keras.layers.GlobalAveragePooling2D()(inputs))
    keras.Model(inputs, outputs).save(tmp_path / "mine.keras")
    command = ["predict", "x.jpg", "--engine", "keras", "--model", str(tmp_path / "mine.keras")]
    assert main.main(command) == 2
    error = capsys.readouterr().err
    assert "mine.keras does not say how its pixels are scaled: give --preprocessing" in error
    assert "preprocessing=" not in error


def test_published_weights_are_not_contradicted():
    for given, option in (
        (Facts(padding="symmetric"), "--padding"),
        (Facts(epsilon=1e-5), "--epsilon"),
        (Facts(preprocessing=Scaling((1.0,) * 3, (0.5,) * 3)), "--preprocessing"),
    ):
        with pytest.raises(ValueError, match=f"published weights 'imagenet' of efficientnet-lite0.*Leave out {option}"):
            model_options.find_source("lite0", None, given)
    model_options.find_source("lite0", None, Facts(padding="same", preprocessing="lite"))


def test_they_change_what_the_cache_knows_an_engine_by(tmp_path):
    path = tmp_path / "weights.pth"
    path.write_bytes(b"anything")
    options = (
        Facts(), Facts(padding="symmetric"), Facts(epsilon=1e-5), Facts(preprocessing="tf"), Facts(class_names=NAMES),
    )  # fmt: skip
    keys = {model_options.find_source("lite0", str(path), given).key() for given in options}
    assert len(keys) == len(options)


@pytest.mark.slow
def test_inspect_says_what_is_known_given_and_assumed(tiny_weights, capsys):
    assert main.main(["inspect", str(tiny_weights), "--epsilon", "0.01"]) == 0
    printed = capsys.readouterr().out
    assert "padding   same (known)" in printed
    assert "epsilon   0.01 (given)" in printed
    assert "epsilon=0.01 where the weights were trained with 0.001" in printed
    assert main.main(["inspect", str(tiny_weights), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["padding"] == "same"


def test_inspect_counts_the_names(tiny_weights, tmp_path, capsys):
    (tmp_path / "names.txt").write_text("cat\ndog\n")
    assert main.main(["inspect", str(tiny_weights), "--classes", str(tmp_path / "names.txt")]) == 1
    assert "2 names of classes, and 3 classes in the file" in capsys.readouterr().out


@pytest.fixture(scope="module")
def tiny_weights(eff, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "b0.keras"
    eff.EfficientNetB0(weights=None, classes=3).save(path)
    return path
