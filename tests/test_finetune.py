"""Fine-tuning: what it reads, what it refuses, and that an interrupted run goes on."""

import csv
import dataclasses
import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from efficientnet import get_variant, save_variant
from efficientnet.notes import read_class_names, write_class_names
from efficientnet.variants import V1_BLOCKS

pytest.importorskip("keras")

SCRIPT = Path(__file__).resolve().parents[1] / "scripts" / "finetune.py"


@pytest.fixture(scope="module")
def finetune():
    spec = importlib.util.spec_from_file_location("finetune", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def pictures(tmp_path):
    """Two classes that differ in colour, and one file that is no picture."""
    rng = np.random.default_rng(0)
    for channel, name in enumerate(("red", "green")):
        folder = tmp_path / "pictures" / name
        folder.mkdir(parents=True)
        for index in range(16):
            image = rng.integers(0, 60, (40, 40, 3), "uint8")
            image[..., channel] += 180
            Image.fromarray(image).save(folder / f"{index}.png")
    (tmp_path / "pictures" / "red" / "notes.txt").write_text("no picture")
    return tmp_path / "pictures"


def command(pictures, out, *more):
    """Fine-tunes a small variant that is kept in a file."""
    mine = out.parent / "mine.json"
    save_variant(dataclasses.replace(get_variant("lite0"), name="mine", width=0.5, blocks=V1_BLOCKS[:4]), mine)
    return [
        sys.executable, SCRIPT, pictures, "--model", mine, "--weights", "none", "--out", out, "--image-size", "32",
        "--batch-size", "8", "--epochs-head", "1", "--epochs-top", "2", "--unfreeze", "1", *more,
    ]  # fmt: skip


def test_no_folder(finetune, tmp_path, capsys):
    assert finetune.main([str(tmp_path / "missing"), "--out", str(tmp_path / "run")]) == 2
    assert "There is no folder" in capsys.readouterr().err


def test_class_names_travel_in_the_file(tmp_path):
    import keras

    model = keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(2)])
    path = tmp_path / "model.keras"
    model.save(path)
    assert read_class_names(path) is None
    write_class_names(path, ["Löwe", "tiger"])
    assert read_class_names(path) == ["Löwe", "tiger"]
    x = np.ones((1, 2), "float32")
    np.testing.assert_array_equal(keras.models.load_model(path).predict(x, verbose=0), model.predict(x, verbose=0))
    with pytest.raises(ValueError, match="already holds class names"):
        write_class_names(path, ["a", "b"])
    (tmp_path / "text.keras").write_text("no archive")
    with pytest.raises(ValueError, match=r"no \.keras file"):
        write_class_names(tmp_path / "text.keras", ["a"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.keras", "text.keras"]


@pytest.mark.slow
def test_killed_and_resumed(pictures, tmp_path):
    if os.environ.get("KERAS_BACKEND") == "openvino":
        pytest.skip("Keras on OpenVINO does not train")
    out = tmp_path / "run"
    process = subprocess.Popen(command(pictures, out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 240
    while not (out / "checkpoint.npz").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (out / "checkpoint.npz").exists()

    again = subprocess.run(command(pictures, out), capture_output=True, text=True)
    assert again.returncode == 2
    assert "--resume" in again.stderr

    resumed = subprocess.run(command(pictures, out, "--resume"), capture_output=True, text=True, check=True)
    assert "going on after epoch" in resumed.stdout
    assert "skipped" in resumed.stderr
    assert "notes.txt" in resumed.stderr
    with (out / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert [row["phase"] for row in rows] == ["head", "top", "top"]
    assert (out / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert read_class_names(out / "model.keras") == ["green", "red"]

    code = (
        "import sys, keras, numpy as np; model = keras.models.load_model(sys.argv[1]);"
        "assert not any(name.startswith('efficientnet') for name in sys.modules);"
        "assert model.output_shape == (None, 2)"
    )
    subprocess.run([sys.executable, "-c", code, out / "model.keras"], check=True)

    from efficientnet.cli import main

    assert main(["predict", str(pictures / "green"), "--model", str(out / "model.keras"), "--csv"]) == 0
