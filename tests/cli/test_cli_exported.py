"""The commands on exported models."""

import csv
import io
import json
import re

import numpy as np
import pytest
from exported_models import small_keras, write_onnx, write_onnx_map
from PIL import Image

from efficientnet.cli.main import main
from efficientnet.cli.serve import _heat_maps
from efficientnet.export import export
from efficientnet.inference import ModelSource, compile

pytest.importorskip("keras")
pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("openvino")

LABELS = ["ant", "bee", "cat", "dog", "elk"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A saved model, its exports, and images of its classes."""
    folder = tmp_path_factory.mktemp("models")
    source = ModelSource.of_model(small_keras(), "tf", class_names=LABELS, keep=False)
    source.load()[0].save(folder / "small.keras")
    export(source, folder / "small.onnx", "onnx")
    export(source, folder / "small.xml", "openvino")
    (folder / "classes.txt").write_text("\n".join(LABELS))
    rng = np.random.default_rng(0)
    for label in LABELS:
        (folder / "images" / label).mkdir(parents=True)
        for number in range(2):
            pixels = rng.integers(0, 256, (40, 50, 3), np.uint8)
            Image.fromarray(pixels).save(folder / "images" / label / f"{number}.png")
    return folder


def output(capsys, *argv):
    assert main([str(part) for part in argv]) == 0
    return capsys.readouterr().out


def test_predict_and_evaluate_as_the_model_itself(folder, capsys):
    given = ("--preprocessing", "tf", "--classes", folder / "classes.txt", "--json")
    model = {
        command: output(capsys, *arguments, *given)
        for command, arguments in {
            "predict": ("predict", folder / "images", "--recursive", "--model", folder / "small.keras"),
            "evaluate": ("evaluate", folder / "small.keras", folder / "images"),
        }.items()
    }
    for name in ("small.onnx", "small.xml"):
        predicted = output(capsys, "predict", folder / "images", "--recursive", "--json", "--model", folder / name)
        for ours, theirs in zip(predicted.splitlines(), model["predict"].splitlines(), strict=True):
            ours, theirs = json.loads(ours), json.loads(theirs)
            assert ours["image"] == theirs["image"]
            assert [found["label"] for found in ours["predictions"]] == [
                found["label"] for found in theirs["predictions"]
            ]
            probabilities = [[found["probability"] for found in answer["predictions"]] for answer in (ours, theirs)]
            np.testing.assert_allclose(*probabilities, atol=1e-5)
        measured = json.loads(output(capsys, "evaluate", folder / name, folder / "images", "--json"))
        assert measured["per_class"] == json.loads(model["evaluate"])["per_class"]


def test_a_bad_image_does_not_end_the_batch(folder, capsys):
    images = [folder / "images" / "ant" / "0.png", folder / "classes.txt", folder / "images" / "bee" / "1.png"]
    assert main(["predict", *map(str, images), "--csv", "--top", "1", "--model", str(folder / "small.onnx")]) == 1
    out, err = capsys.readouterr()
    assert len(list(csv.DictReader(out.splitlines()))) == 2
    assert "classes.txt" in err


def test_models_of_others(folder, tmp_path, capsys):
    logits = write_onnx(tmp_path / "logits.onnx", ["n", 3, 32, 32], activation=None)
    image = folder / "images" / "ant" / "0.png"
    given = ("--preprocessing", "0.5/0.5", "--classes", folder / "classes.txt")
    assert main(["predict", str(image), "--model", str(logits)]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "logits.onnx does not say how its pixels are scaled: give --preprocessing" in err
    assert main(["predict", str(image), "--model", str(logits), *map(str, given)]) == 0
    out, err = capsys.readouterr()
    assert "cat" in out and "%" not in out
    assert "its last activation is linear" in err and "--softmax makes probabilities of them" in err
    assert "%  " in output(capsys, "predict", image, "--model", logits, *given, "--softmax")
    assert main(["evaluate", str(logits), str(folder / "images"), *map(str, given)]) == 2
    assert "--softmax" in capsys.readouterr().err
    measured = output(capsys, "evaluate", logits, folder / "images", *given, "--softmax", "--json")
    assert json.loads(measured)["images"] == 10


def test_a_classifier_that_ends_in_a_convolution(folder, tmp_path, capsys):
    path = write_onnx_map(tmp_path / "map.onnx")
    given = ("--preprocessing", "tf", "--classes", folder / "classes.txt")
    text = output(capsys, "inspect", path, *given)
    assert "output    'y': float32 (any, 5, 1, 1), softmax" in text and "classes   5: ant, bee" in text
    assert "%  " in output(capsys, "predict", folder / "images" / "ant" / "0.png", "--model", path, *given)
    assert json.loads(output(capsys, "evaluate", path, folder / "images", *given, "--json"))["images"] == 10


def test_explain_by_occlusion(folder, tmp_path, capsys):
    pytest.importorskip("jinja2")
    image, given = folder / "images" / "ant" / "0.png", ("--method", "occlusion", "--class", "cat")
    maps = []
    for name in ("small.onnx", "small.keras"):
        out = tmp_path / name
        output(capsys, "explain", image, "--model", folder / name, *given, "--preprocessing", "tf", "--out", out,
               "--classes", folder / "classes.txt")  # fmt: skip
        assert "occlusion sensitivity" in (out / "report.html").read_text()
        maps.append(np.asarray(Image.open(out / "0.png")).astype(int))
    np.testing.assert_allclose(*maps, atol=2)
    theirs = write_onnx(tmp_path / "theirs.onnx", ["n", 3, 32, 32])
    assert main(["explain", str(image), "--model", str(theirs), "--method", "occlusion", "--out", str(tmp_path)]) == 2
    assert "theirs.onnx does not say how its pixels are scaled: give --preprocessing" in capsys.readouterr().err


def test_the_server_draws_maps_of_exported_models(folder):
    source = ModelSource.of_file(folder / "small.onnx")
    with compile(source) as predictor:
        drawn = _heat_maps(source, predictor)((folder / "images" / "ant" / "0.png").read_bytes())
    assert Image.open(io.BytesIO(drawn)).format == "JPEG"


def test_inspect(folder, tmp_path, capsys):
    text = output(capsys, "inspect", folder / "small.onnx")
    for part in (
        "format    onnx, ", "runtime   onnxruntime ", "input     'image': float32 (batch, 32, 32, 3), NHWC, RGB",
        "output    'probs': float32 (any, 5), softmax", "classes   5: ant, bee, cat, dog, elk (recorded)",
        'scaling   "tf", (pixels - 127.5) / 127.5 (recorded)', "written   by efficientnet 2",
    ):  # fmt: skip
        assert part in text
    found = json.loads(output(capsys, "inspect", folder / "small.xml", "--json"))
    assert (found["format"], found["activation"], found["class names"]) == ("openvino", "softmax", LABELS)
    theirs = write_onnx(tmp_path / "theirs.onnx", [4, 3, 32, 32], activation="Sigmoid")
    text = output(capsys, "inspect", theirs)
    for part in (
        "'x0': float32 (4, 3, 32, 32), NCHW, RGB, scaled as in the model's training", "sigmoid",
        "classes   5, without names", "scaling   unknown: give --preprocessing", "by another program",
    ):  # fmt: skip
        assert part in text
    text = output(capsys, "inspect", theirs, "--preprocessing", "lite", "--classes", folder / "classes.txt")
    assert '"lite", (pixels - 127) / 128 (given)' in text and "ant, bee" in text


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (
            "predict a.png --model {0}/small.onnx --padding same",
            "--padding=same: .* whole model, whose graph has its own",
        ),
        ("predict a.png --model {0}/small.onnx --epsilon 0.001", "--epsilon=0.001: .* whole model"),
        ("predict a.png --model {0}/small.onnx --weights imagenet", "--weights=imagenet: .* with its own weights"),
        ("predict a.png --model {0}/small.onnx --engine keras", "engine='keras': .* exported for ONNX Runtime"),
        ("predict a.png --model {0}/small.xml --precision int8", "precision='int8': .* has its precision"),
        ("predict a.png --model {0}/missing.onnx", "No exported model at .*missing.onnx"),
        ("predict a.png --model {0}/classes.tflite", "No exported model at"),
        (
            "explain a.png --model {0}/small.onnx --out {0}/maps",
            r"method='gradcam': small .* no layers of Keras any more: .* \(--method occlusion\)",
        ),
        ("export {0}/small.onnx {0}/again.xml --format openvino", "has no layers of Keras any more"),
        ("evaluate {0}/small.onnx {0}/images --save-calibrated {0}/new.keras", "has no layers of Keras any more"),
        ("evaluate {0}/small.onnx {0}/images --part validation", "There is no .*validation.csv"),
        ("profile {0}/small.onnx", "is an ONNX model"),
        ("inspect {0}/small.onnx --variant b0", "--variant=b0: .* is a whole model"),
        ("inspect {0}/small.onnx --padding same", "--padding=same: "),
    ],
)
def test_wrong_calls(folder, capsys, command, message):
    assert main(command.format(folder).split()) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert re.search(message, err)
