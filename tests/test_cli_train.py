"""What ``efficientnet train`` makes of its arguments."""

import argparse
import importlib.util
import json
from pathlib import Path

import pytest

from efficientnet import cli_train
from efficientnet.training import V2

SCRIPT = Path(__file__).resolve().parents[1] / "scripts" / "train.py"


def parse(*argv):
    parser = argparse.ArgumentParser()
    cli_train.add_train_arguments(parser)
    return parser.parse_args(argv)


def test_a_recipe_and_its_changes(tmp_path):
    arguments = parse("x", "--recipe", "v2", "--model", "v2-s", "--batch-size", "64", "--set", "stages=2", "average=0")
    recipe = cli_train._recipe(arguments)
    assert (recipe.name, recipe.batch_size, recipe.stages, recipe.average) == ("v2", 64, 2, 0)
    assert recipe.magnitude == V2.magnitude
    (tmp_path / "mine.json").write_text(json.dumps({"epochs": 4, "flip": False}))
    recipe = cli_train._recipe(parse("x", "--recipe", str(tmp_path / "mine.json"), "--epochs", "5"))
    assert (recipe.epochs, recipe.flip) == (5, False)


def test_digits_are_not_mirrored():
    assert cli_train._recipe(parse("photos")).flip
    assert not cli_train._recipe(parse("digits")).flip
    assert cli_train._recipe(parse("digits", "--set", "flip=true")).flip


@pytest.mark.parametrize(
    ("argv", "message"),
    [(["--set", "epochs"], "no FIELD=VALUE"), (["--validation", "2"], "not between 0 and 1"),
     (["--validation", "nowhere"], "no such folder or file")],
)  # fmt: skip
def test_wrong_arguments(capsys, argv, message):
    with pytest.raises(SystemExit):
        parse("x", *argv)
    assert message in capsys.readouterr().err


def test_the_script_tells_what_is_wrong(tmp_path, capsys):
    pytest.importorskip("keras")
    spec = importlib.util.spec_from_file_location("train", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    for argv, message in (
        ([str(tmp_path / "missing")], "There is no folder"),
        (["x", "--set", "speed=2"], "has no speed: its fields are"),
        (["x", "--recipe", "v9"], "There is no recipe 'v9'"),
        (["x", "--model", "b99"], "b99"),
    ):
        assert script.main([*argv, "--out", str(tmp_path / "run")]) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
