"""The policy of AutoAugment is timm's "v0"."""

import importlib

import pytest

from efficientnet.training.autoaugment import POLICY

pytestmark = pytest.mark.once


def test_the_policy(timm):
    names = {"PosterizeTpu": "posterize", "TranslateYRel": "translate_y", "AutoContrast": "auto_contrast"}
    names |= {"ShearX": "shear_x", "ShearY": "shear_y", "SolarizeAdd": "solarize_add"}
    theirs = importlib.import_module("timm.data.auto_augment").auto_augment_policy_v0({})
    found = [[(names.get(op.name, op.name.lower()), op.prob, op.magnitude) for op in pair] for pair in theirs]
    assert found == [list(pair) for pair in POLICY]
