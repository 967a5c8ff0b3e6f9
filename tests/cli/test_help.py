"""The help of every command: each argument is described, with its default, in plain words."""

import argparse
import re

import pytest

from efficientnet.cli.main import _parser

# Words for which the field has a standard one: report, detect, image, prediction, custom, unchanged.
AVOIDED = r"\b(tell|tells|told|pictures?|answers?|likewise|as it is|of (one's|its|your|their) own)\b"


def parsers_within(parser):
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for child in action.choices.values():
                yield from parsers_within(child)


PARSERS = {parser.prog: parser for parser in parsers_within(_parser())}


@pytest.mark.parametrize("command", PARSERS)
def test_each_argument_is_described_in_plain_words(command):
    for action in PARSERS[command]._actions:
        name = ", ".join(action.option_strings) or action.metavar
        if isinstance(action, argparse._SubParsersAction):
            assert all(choice.help for choice in action._choices_actions), name
            texts = [choice.help for choice in action._choices_actions]
        else:
            texts = [action.help or ""]
        for text in texts:
            assert len(text) > 5, f"{name} has no help"
            assert not re.match(r"of |\(|such as ", text), f"{name}: {text!r} lacks its subject"
            assert not re.search(AVOIDED, text, re.IGNORECASE), f"{name}: {text!r}"
    assert not re.search(AVOIDED, PARSERS[command].description or "", re.IGNORECASE)


@pytest.mark.parametrize("command", PARSERS)
def test_each_command_is_described(command):
    assert PARSERS[command].description


@pytest.mark.parametrize("command", PARSERS)
def test_each_value_has_a_default_or_is_required(command):
    for action in PARSERS[command]._actions:
        if action.option_strings and action.nargs != 0 and not action.required:
            assert "(default: " in action.help, f"{action.option_strings[0]}: {action.help!r} names no default"


@pytest.mark.parametrize("command", PARSERS)
def test_each_default_is_named(command):
    for action in PARSERS[command]._actions:
        if action.default in (None, False, argparse.SUPPRESS) or not action.option_strings:
            continue
        named = re.search(r"\(default: ([^)]+)\)", action.help)
        assert named, f"{action.option_strings[0]}: {action.help!r} names no default"
        if not isinstance(action.default, list):
            default = str(action.default).removesuffix(".0")
            assert named[1] == default, action.option_strings[0]


def test_the_defaults_of_a_short_training():
    recipe = pytest.importorskip("efficientnet.design").ShortTraining()
    from efficientnet.cli.design_options import TRAINING

    for field, _, _, text in TRAINING:
        assert text.endswith(f"(default: {getattr(recipe, field)})")


def test_the_defaults_of_the_recipe_for_fine_tuning():
    recipe = pytest.importorskip("efficientnet.training").FINETUNE
    helps = {action.dest: action.help for action in PARSERS["efficientnet train"]._actions}
    assert helps["epochs"].endswith(f"(default: the recipe's, {recipe.epochs} for finetune)")
    for field in ("accumulate", "precision"):
        assert helps[field].endswith(f"(default: the recipe's, {getattr(recipe, field)})")
