"""A training's folder and its ends, good and bad; and the command, killed and resumed."""

import csv
import dataclasses
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("keras")

from small_task import small_task
from tiny_blocks import tiny_blocks

from efficientnet import get_variant, save_variant
from efficientnet.datasets.data import Files
from efficientnet.datasets.targets import Classes
from efficientnet.keras_files.metadata import read_class_names
from efficientnet.training import DivergedError, Interrupted, OneProcess, describe_data, train
from efficientnet.training.plan import make_plan
from efficientnet.training.run_folder import Checkpoint, RunFolder, State

pytestmark = pytest.mark.usefixtures("eagerly", "undrawn")


SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "train.py"
SETTINGS = {"recipe": {"epochs": 3, "flip": True}, "classes": ["a", "b"]}


@pytest.fixture
def run(tmp_path):
    run = RunFolder(tmp_path / "run", SETTINGS, resume=False)
    yield run
    run.close()


def checkpoint(stage, step, value=1.0):
    return Checkpoint(State(stage, step, history=[{"epoch": 1}]), {"model/a": np.full(1000, value)})


class TestFolder:
    def test_keeps_the_last_checkpoints_in_their_order(self, run):
        assert run.latest() is None
        for stage, step in ((0, 9), (0, 100), (1, 2)):
            run.save(checkpoint(stage, step, stage + step))
        assert [path.name for path in run.checkpoints()] == ["checkpoint-0-00000100.npz", "checkpoint-1-00000002.npz"]
        assert run.latest().state == State(1, 2, history=[{"epoch": 1}])
        np.testing.assert_array_equal(run.latest().arrays["model/a"], np.full(1000, 3.0))

    @pytest.mark.parametrize("damage", [lambda content: content[:-300], lambda content: b"", lambda content: b"x" * 99])
    def test_a_damaged_checkpoint_is_passed_over(self, run, capsys, damage):
        for step in (1, 2):
            run.save(checkpoint(0, step))
        last = run.checkpoints()[-1]
        last.write_bytes(damage(last.read_bytes()))
        assert run.latest().state.step == 1
        assert "checkpoint-0-00000002.npz is damaged" in capsys.readouterr().err

    def test_weights_that_are_not_finite_replace_nothing(self, run):
        run.save(checkpoint(0, 1))
        with pytest.raises(DivergedError, match="no longer finite after step 2 of stage 1: start again"):
            run.save(checkpoint(0, 2, np.inf))
        assert run.latest().state.step == 1

    def test_a_full_disk_loses_nothing(self, run):
        run.save(checkpoint(0, 1))
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))
        try:
            with pytest.raises(OSError, match=r"cannot be written: .* make room, and go on with --resume"):
                run.save(checkpoint(0, 2))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert run.latest().state.step == 1
        assert not list(run.folder.glob("*part-*"))

    def test_belongs_to_one_training(self, run, tmp_path):
        with pytest.raises(ValueError, match="Another process is training"):
            RunFolder(run.folder, SETTINGS, resume=True)
        run.save(checkpoint(0, 1))
        left_over = run.folder / ".efficientnet-part-ab_12345"
        left_over.mkdir()
        (left_over / "checkpoint-0-00000002.npz").write_text("left by a killed process")
        run.close()
        with pytest.raises(ValueError, match="go on with it by --resume"):
            RunFolder(run.folder, SETTINGS, resume=False)
        other = SETTINGS | {"recipe": {"epochs": 3, "flip": False}}
        with pytest.raises(ValueError, match=r"recipe\.flip was True and is False"):
            RunFolder(run.folder, other, resume=True)
        RunFolder(run.folder, SETTINGS | {"command": {"keep": 3}}, resume=True).close()
        assert not list(run.folder.glob("*part-*"))
        assert json.loads((run.folder / "recipe.json").read_text()) == SETTINGS["recipe"]

    def test_goes_on_longer(self, run):
        """More epochs and another patience are taken; fewer epochs, and any where stages share them out, are not."""
        run.save(checkpoint(0, 1))
        run.close()
        longer = SETTINGS | {"recipe": {"epochs": 5, "flip": True}}
        with pytest.raises(ValueError, match=r"recipe\.epochs was 3 and is 5"):
            RunFolder(run.folder, longer, resume=False)
        RunFolder(run.folder, longer, resume=True).close()
        assert json.loads((run.folder / "recipe.json").read_text())["epochs"] == 5
        with pytest.raises(ValueError, match=r"recipe\.epochs was 5 and is 3"):
            RunFolder(run.folder, SETTINGS, resume=True)
        for stages in ({"stages": 4}, {"stages": 4, "epochs": 9}):
            settings = longer | {"recipe": longer["recipe"] | stages}
            with pytest.raises(ValueError, match="other settings"):
                RunFolder(run.folder, settings, resume=True)

    def test_tensorboard_gets_the_numbers(self, run):
        accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
        row = {"epoch": 3, "stage": "all", "val_loss": 0.5, "val_accuracy": 0.5}
        run.log([row])
        run.log([row, row | {"epoch": 4}])
        assert len(list((run.folder / "tensorboard").iterdir())) == 1
        found = accumulator.EventAccumulator(str(run.folder / "tensorboard"))
        found.Reload()
        assert [(event.step, event.value) for event in found.Scalars("val_accuracy")] == [(3, 0.5), (4, 0.5)]


class TestEnds:
    def test_a_loss_that_is_not_finite(self, tmp_path):
        class Diverging(OneProcess):
            def step(self, network, batch):
                return {"loss": float("nan"), "accuracy": 0.0}

        with pytest.raises(DivergedError, match="The loss is no longer finite after step 0"):
            train(small_task(), tmp_path, processes=Diverging())
        assert not list(tmp_path.glob("*.npz"))

    @pytest.mark.slow
    def test_images_that_vanish(self, tmp_path):
        """What was trained until then is saved."""
        task = small_task(magnitude=(0, 0))
        paths = [tmp_path / f"{index}.png" for index in range(16)]
        for path, pixels in zip(paths, task.data.pixels, strict=True):
            Image.fromarray(pixels).save(path)
        task = dataclasses.replace(task, data=dataclasses.replace(task.data, pixels=Files(paths)))

        class Vanishing(OneProcess):
            def step(self, network, batch):
                for path in paths:
                    path.unlink(missing_ok=True)
                return super().step(network, batch)

        with pytest.raises(OSError, match="A checkpoint was written: once that is mended"):
            train(task, tmp_path / "run", processes=Vanishing())
        # Wherever it ended, in training or validation, it goes on when they are back.
        assert len(list((tmp_path / "run").glob("checkpoint-0-*.npz"))) == 1
        for path, pixels in zip(paths, small_task().data.pixels, strict=True):
            Image.fromarray(pixels).save(path)
        resumed = train(task, tmp_path / "run", resume=True)
        assert resumed | {"seconds": 0} == train(task, tmp_path / "whole") | {"seconds": 0}

    @pytest.mark.slow
    def test_a_signal_saves_and_stops(self, tmp_path):
        class Signalling(OneProcess):
            def step(self, network, batch):
                os.kill(os.getpid(), signal.SIGTERM)
                return super().step(network, batch)

        handler = signal.getsignal(signal.SIGTERM)
        with pytest.raises(Interrupted, match="Stopped after step 1 of stage 1") as caught:
            train(small_task(), tmp_path, processes=Signalling())
        assert caught.value.number == signal.SIGTERM
        assert signal.getsignal(signal.SIGTERM) is handler
        assert (tmp_path / "checkpoint-0-00000001.npz").exists()

    @pytest.mark.slow
    def test_patience_ends_a_stage(self, tmp_path):
        class Hopeless(OneProcess):
            def predict(self, network, pixels):
                return np.tile([[0.6, 0.4]], (len(pixels), 1))

        best = train(small_task(epochs=9, stages=1, patience=2), tmp_path, processes=Hopeless())
        assert best["epoch"] == 3  # equal to the first, which patience counts from
        with (tmp_path / "log.csv").open() as file:
            assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2", "3"]


@pytest.mark.parametrize("options", [{"keep": 0}, {"checkpoint_steps": 0}, {"checkpoint_steps": -1}])
def test_checkpoints_that_cannot_be(options, tmp_path):
    with pytest.raises(ValueError, match="expected an integer of at least 1"):
        train(small_task(), tmp_path / "run", **options)


def test_a_file_in_the_place_of_the_folder(tmp_path):
    (tmp_path / "run").touch()
    with pytest.raises(FileExistsError, match="run is a file: expected a folder"):
        train(small_task(), tmp_path / "run")


@pytest.mark.slow
def test_a_plan_trains_nothing(tmp_path):
    text = make_plan(small_task(), tmp_path)
    assert "all 1" in text
    assert "all 2" in text
    assert "in all, without validation" in text
    assert [path.name for path in tmp_path.iterdir()] == ["plan.png"]


def test_unbalanced_classes_are_reported():
    data = small_task().data
    assert describe_data(data) == "12 images to train on, 4 to validate with, 2 classes"
    uneven = dataclasses.replace(data, targets=Classes(["a", "b"], (np.arange(16) % 4 == 0).astype(int)))
    assert "unbalanced: 3 images of b, 9 of a; --balance" in describe_data(uneven)


@pytest.fixture
def images(tmp_path):
    """Two classes that differ in colour, a file that is not an image, one that is cut short, one of 1 x 1 pixels."""
    rng = np.random.default_rng(0)
    for channel, name in enumerate(("red", "green")):
        folder = tmp_path / "images" / name
        folder.mkdir(parents=True)
        for index in range(16):
            image = rng.integers(0, 60, (40, 40, 3), "uint8")
            image[..., channel] += 180
            Image.fromarray(image).save(folder / f"{index}.png")
    red = tmp_path / "images" / "red"
    (red / "notes.txt").write_text("no image")
    Image.fromarray(rng.integers(0, 60, (90, 90, 3), "uint8")).save(red / "cut.jpg")
    (red / "cut.jpg").write_bytes((red / "cut.jpg").read_bytes()[:900])
    Image.new("RGB", (1, 1), "red").save(red / "dot.png")
    return tmp_path / "images"


def wait_for(condition, process):
    deadline = time.monotonic() + 240
    while not condition() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)


@pytest.mark.slow
def test_terminated_killed_and_resumed(images, tmp_path):
    """From the command line, on the backend that starts fastest."""
    pytest.importorskip("torch")
    mine = tmp_path / "mine.json"
    save_variant(dataclasses.replace(get_variant("lite0"), name="mine", width=0.25, blocks=tiny_blocks("lite0")), mine)

    def command(out, *more):
        return [
            sys.executable, SCRIPT, images, "--model", mine, "--weights", "none", "--out", tmp_path / out,
            "--image-size", "32", "--batch-size", "4", "--epochs", "2", "--set", "head_steps=9", "--set",
            "epoch_steps=0", "--set", "unfreeze=1", "--checkpoint-steps", "1", *more,
        ]  # fmt: skip

    environment = {
        **os.environ, "KERAS_BACKEND": "torch", "OMP_NUM_THREADS": "1", "EFFICIENTNET_TEST_WITHOUT": "tensorflow"
    }  # fmt: skip
    out = tmp_path / "pieces"
    for number in (signal.SIGTERM, signal.SIGKILL):
        known = set(out.glob("checkpoint-*"))
        process = subprocess.Popen(command("pieces", "--resume"), env=environment, stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL)  # fmt: skip
        wait_for(lambda known=known: len(set(out.glob("checkpoint-*")) - known) > 1, process)
        process.send_signal(number)
        assert process.wait() in (128 + number, -number)
    resumed = subprocess.run(command("pieces", "--resume"), env=environment, capture_output=True, text=True, check=True)
    assert "going on after step" in resumed.stdout
    for name in ("notes.txt", "cut.jpg"):
        assert name in resumed.stderr
    subprocess.run(command("whole"), env=environment, capture_output=True, check=True)
    files = [sorted((tmp_path / name).glob("checkpoint-1-*"))[-1] for name in ("pieces", "whole")]
    assert files[0].name == files[1].name
    with np.load(files[0]) as pieces, np.load(files[1]) as whole:
        for name in set(whole.files) - {"state"}:
            np.testing.assert_array_equal(pieces[name], whole[name], err_msg=name)

    assert (out / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert read_class_names(out / "model.keras") == ["green", "red"]
    from efficientnet.cli.main import main

    assert main(["predict", str(images / "green"), "--model", str(out / "model.keras"), "--csv"]) == 0
