"""What ``efficientnet train`` makes of its arguments."""

import argparse
import importlib.util
import json
from pathlib import Path

import pytest

from efficientnet.cli import train
from efficientnet.cli.main import main
from efficientnet.preprocessing import Scaling
from efficientnet.training import FINETUNE, V2
from efficientnet.training.recipes import to_json

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "train.py"


def parse(*argv):
    parser = argparse.ArgumentParser()
    train.add_arguments(parser)
    return parser.parse_args(argv)


def recipe_of(*argv, out=Path("runs/none")):
    arguments = parse(*argv, "--out", str(out))
    train._complete(arguments)
    return train._recipe(arguments, out)


def test_a_recipe_and_its_changes(tmp_path):
    settings = "--set", "stages=2", "--set", "average=0"
    recipe = recipe_of("--batch-size", "64", *settings, "x", "--recipe", "v2", "--model", "v2-s")
    assert (recipe.name, recipe.batch_size, recipe.stages, recipe.average) == ("v2", 64, 2, 0)
    assert recipe.magnitude == V2.magnitude
    (tmp_path / "mine.json").write_text(json.dumps({"epochs": 4, "flip": False}))
    recipe = recipe_of("x", "--recipe", str(tmp_path / "mine.json"), "--epochs", "5")
    assert (recipe.epochs, recipe.flip) == (5, False)
    with pytest.raises(ValueError, match="epochs is given more than once"):
        recipe_of("x", "--epochs", "5", "--set", "epochs=6")


def test_resuming_needs_no_option_again(tmp_path):
    """All is in run.json; what is given changes it."""
    recipe = to_json(V2) | {"flip": False}
    command = {"data": "/data/flowers", "model": "v2-s", "seed": 3, "validation": 0.1, "balance": True,
               "epsilon": 1e-5, "preprocessing": [[1.0, 1.0, 1.0], [0.0, 0.0, 0.0]], "max_pixels": 10**9}  # fmt: skip
    (tmp_path / "run.json").write_text(json.dumps({"recipe": recipe, "command": command}))
    arguments = parse("--resume", "--out", str(tmp_path), "--epochs", "400", "--keep", "5")
    assert train._complete(arguments) == tmp_path
    found = {name: getattr(arguments, name) for name in command}
    assert found == command | {"preprocessing": Scaling((1.0, 1.0, 1.0), (0.0, 0.0, 0.0))}
    assert (arguments.keep, arguments.checkpoint_steps) == (5, None)
    assert to_json(train._recipe(arguments, tmp_path)) == recipe | {"epochs": 400}
    (tmp_path / "fold-2").mkdir()
    (tmp_path / "fold-2" / "run.json").write_text(json.dumps({"command": {"data": "/data", "fold": "2 of 3"}}))
    for argv, message in (
        ([], "nothing to train on"),
        (["--out", str(tmp_path / "fold-2"), "--resume"], f"is fold 2 of 3 of a training.*--out {tmp_path}"),
        (["--out", str(tmp_path)], "pass DATA, or --resume"),
        (["--out", str(tmp_path / "new"), "--resume"], "holds no training that says what it trains on"),
    ):
        with pytest.raises(ValueError, match=message):
            train._complete(parse(*argv))


@pytest.mark.parametrize(
    ("argv", "reason"),
    [(["--validation", "0.2"], "each fold validates"), (["--clean"], "`efficientnet clean` first"),
     (["--teacher", "x"], "all scores would be too good"), (["--unlabelled", "x"], "a teacher labels them"),
     (["--distributed"], "in one process")],
)  # fmt: skip
def test_folds_go_with_no_option_that_contradicts_them(argv, reason):
    with pytest.raises(ValueError, match=f"--folds does not go with {argv[0]}: .*{reason}"):
        train._complete(parse("x", "--folds", "3", *argv))


def test_digits_are_not_mirrored():
    assert recipe_of("photos").flip
    assert not recipe_of("digits").flip
    assert recipe_of("digits", "--set", "flip=true").flip


def test_images_with_numbers_keep_their_brightness_and_angle(tmp_path):
    """Unless a custom recipe, or an option, augments them."""
    assert recipe_of("set.csv").magnitude == (7, 7)
    assert recipe_of("set.csv", "--targets", "values").magnitude == (0, 0)
    assert recipe_of("set.csv", "--targets", "values", "--set", "magnitude=[3,3]").magnitude == (3, 3)
    (tmp_path / "mine.json").write_text(json.dumps({"magnitude": [4, 4], "flip": True}))
    mine = str(tmp_path / "mine.json")
    assert recipe_of("set.csv", "--targets", "values", "--recipe", mine).magnitude == (4, 4)
    assert recipe_of("digits", "--recipe", mine).flip
    with pytest.raises(ValueError, match="flip is given more than once"):
        recipe_of("photos", "--set", "flip=true", "--set", "flip=false")


@pytest.mark.parametrize(
    ("argv", "message"),
    [(["--set", "epochs"], "not FIELD=VALUE"), (["--folds", "1"], "1 is not at least 2"),
     (["--validation", "2"], "not between 0 and 1"),
     (["--validation", "nowhere"], "no such folder or file"), (["--validation", ""], "no such folder or file"),
     *((["--" + option, "0"], "0 is not at least 1") for option in (
         "image-size", "training-images", "checkpoint-steps", "keep")),
     *((["--" + option, "-1"], "-1 is negative") for option in ("seed", "rank"))],
)  # fmt: skip
def test_wrong_arguments(capsys, argv, message):
    with pytest.raises(SystemExit):
        parse("x", *argv)
    assert message in capsys.readouterr().err


def test_the_script_reports_what_is_wrong(tmp_path, capsys):
    pytest.importorskip("keras")
    spec = importlib.util.spec_from_file_location("train", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    for argv, message in (
        ([str(tmp_path / "missing")], "missing: expected a folder with a folder of images per class"),
        (["x", "--set", "speed=2"], "has no speed: its fields are"),
        (["x", "--recipe", "v9"], "There is no recipe 'v9'"),
        (["x", "--model", "b99"], "b99"),
        (["fashion-mnist", "--validation", str(SCRIPT.parent)], "validated with its own images"),
        (["x", "--out", "/proc/nowhere/run"], "/proc/nowhere/run cannot be written"),
        (["x", "--rank", "0"], "pass --distributed with it"),
        (["x", "--out", __file__], "is a file: expected a folder"),
    ):
        assert script.main(["--out", str(tmp_path / "run"), *argv]) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_given_learning_rate_is_the_highest_of_short_trainings_too():
    assert recipe_of("images").rate("all", 32) == pytest.approx(FINETUNE.learning_rate / 10)
    assert recipe_of("images", "--learning-rate", "0.003").rate("blocks", 32) == 3e-3


def test_a_page_that_cannot_be_written_does_not_fail_a_training(monkeypatch, tmp_path, capsys):
    def fail(task, out):
        raise ValueError("None of the classes is one of the model's")

    monkeypatch.setattr("efficientnet.training.report.write_report", fail)
    monkeypatch.setattr("efficientnet.training.report.can_report", lambda: True)
    train._report(None, tmp_path)
    assert "no report.html: None of the classes" in capsys.readouterr().err
    monkeypatch.setattr("efficientnet.training.report.can_report", lambda: False)
    train._report(None, tmp_path)
    assert "no report.html: it needs Matplotlib and Jinja2" in capsys.readouterr().err


def test_the_folder_of_a_run_is_no_class_of_the_next(tmp_path, monkeypatch, capsys):
    """A run has figures, which are images."""
    for name in ("data/dark", "data/light", "photos"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "data")
    for call in (["."], [str(tmp_path / "data"), "--out", "dark/run"],
                 ["digits", "--unlabelled", "../photos", "--out", "../photos/run"],
                 ["digits", "--validation", "..", "--out", "../run"]):  # fmt: skip
        assert main(["train", *call, "--plan"]) == 2
        assert "whose images it would be among" in capsys.readouterr().err
    assert {path.name for path in (tmp_path / "data").iterdir()} == {"dark", "light"}
