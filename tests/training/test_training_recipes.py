"""Recipes and their stages, against the papers' numbers."""

import dataclasses
import json
from types import SimpleNamespace

import pytest

from efficientnet import get_variant
from efficientnet.training import FINETUNE, RECIPES, V1, V2, Recipe, get_recipe, save_recipe
from efficientnet.training.recipes import with_fields
from efficientnet.training.schedules import average_momentum, is_kernel, rate_factors


def test_v1_is_the_papers_paragraph():
    assert (V1.optimizer, V1.epochs, V1.weight_decay, V1.average) == ("rmsprop", 350, 1e-5, 0.9999)
    assert V1.rate("all", 1) == pytest.approx(0.256)  # at 4,096 images a step
    assert dataclasses.replace(V1, batch_size=256).rate("all", 1) == pytest.approx(0.016)
    (stage,) = V1.plan_stages(get_variant("b3"), 300)
    assert (stage.epochs, stage.image_size, stage.dropout, stage.trained) == (350, 300, 0.3, "all")


def test_v2_grows_in_four_stages():
    """Table 6 of arXiv 2104.00298; algorithm 1 goes from the first to the last in equal steps."""
    stages = get_recipe("v2", get_variant("v2-s")).plan_stages(get_variant("v2-s"), 300)
    assert [stage.image_size for stage in stages] == [128, 185, 243, 300]  # steps of 57 1/3
    assert [stage.magnitude for stage in stages] == pytest.approx([5, 8 + 1 / 3, 11 + 2 / 3, 15])
    assert [stage.dropout for stage in stages] == pytest.approx([0.1, 1 / 6, 7 / 30, 0.3])
    assert [stage.mixup for stage in stages] == [0, 0, 0, 0]
    assert [stage.epochs for stage in stages] == [87, 88, 87, 88]

    stages = get_recipe("v2", get_variant("v2-m")).plan_stages(get_variant("v2-m"), 380)
    assert [stage.image_size for stage in stages] == [128, 212, 296, 380]  # steps of 84
    assert [stage.magnitude for stage in stages] == pytest.approx([5, 10, 15, 20])
    assert [stage.mixup for stage in stages] == pytest.approx([0, 1 / 15, 2 / 15, 0.2])
    assert get_recipe("v2", get_variant("v2-xl")).mixup == (0, 0.5)
    assert get_recipe("v2", get_variant("b0")) is V2


def test_finetune_trains_the_head_first():
    stages = FINETUNE.plan_stages(get_variant("lite0"), 224)
    assert [(stage.name, stage.trained) for stage in stages] == [("head", "head"), ("all", "all")]
    assert sum(stage.epochs for stage in stages) == FINETUNE.epochs
    assert FINETUNE.rate("head", 1000) > FINETUNE.rate("blocks", 1000)
    assert dataclasses.replace(FINETUNE, unfreeze=3).plan_stages(get_variant("lite0"), 224)[1].trained == "blocks"
    (only,) = dataclasses.replace(FINETUNE, epochs=1).plan_stages(get_variant("b0"), 9)
    assert (only.trained, only.epochs) == ("head", 1)


def test_a_short_training_has_a_lower_rate():
    assert FINETUNE.rate("blocks", 5000) == FINETUNE.rate("blocks", 320) == FINETUNE.learning_rate
    assert FINETUNE.rate("blocks", 80) == pytest.approx(FINETUNE.learning_rate / 4)
    assert FINETUNE.rate("head", 80) == FINETUNE.head_learning_rate


def test_an_epoch_of_a_small_set_has_several_passes():
    _, stage = dataclasses.replace(FINETUNE, epoch_steps=9).plan_stages(get_variant("lite0"), 224)
    assert stage.least_steps == 9
    (stage,) = V1.plan_stages(get_variant("b0"), 224)
    assert stage.least_steps == 1


def test_few_images_come_in_smaller_batches():
    """An epoch of 72 has nine steps, not two; a batch size that is given is kept."""
    assert [FINETUNE.batch(images, "blocks") for images in (3, 72, 200, 5000)] == [3, 8, 20, 32]
    assert [FINETUNE.batch(images, "head") for images in (3, 72, 200)] == [3, 32, 32]
    given = dataclasses.replace(FINETUNE, batch_size=64)
    assert [given.batch(images, "blocks") for images in (3, 72, 5000)] == [3, 64, 64]


def test_earlier_blocks_learn_more_slowly():
    paths = ["stem_conv/kernel", "block1a_dwconv/kernel", "block1a_bn/gamma", "block2a_se_reduce/bias",
             "top_conv/kernel", "probs/bias"]  # fmt: skip
    variables = [SimpleNamespace(path=path, name=path.rpartition("/")[2]) for path in paths]
    assert rate_factors(variables, 0.5) == [0.125, 0.25, 0.25, 0.5, 1, 1]
    assert [is_kernel(variable) for variable in variables] == [True, True, False, False, True, False]


def test_average_of_a_short_training():
    assert average_momentum(V1, 10**6) == 0.9999
    assert average_momentum(V1, 80) == 0.9  # 81 / 90


def test_a_recipe_is_a_file(tmp_path):
    path = tmp_path / "mine.json"
    mine = dataclasses.replace(V2, name="mine", epochs=8)
    save_recipe(mine, path)
    assert get_recipe(path, get_variant("b0")) == mine
    path.write_text(json.dumps({"epoch": 3}))
    with pytest.raises(ValueError, match="has no epoch: its fields are name, epochs"):
        get_recipe(path, get_variant("b0"))
    for content, message in (
        ("[1]", "not an object"),
        ("{", "not JSON"),
        ('{"epochs": [1]}', r"epochs=\[1\]: expected an integer"),
    ):
        path.write_text(content)
        with pytest.raises(ValueError, match=message):
            get_recipe(path, get_variant("b0"))
    with pytest.raises(ValueError, match="no recipe 'v3': choose finetune, v1, v2"):
        get_recipe("v3", get_variant("b0"))
    assert list(RECIPES) == ["finetune", "v1", "v2"]


def test_fields_from_the_command_line():
    changed = with_fields(FINETUNE, {"mixup": "[0, 0.2]", "unfreeze": "null", "optimizer": "rmsprop", "flip": "false"})
    assert (changed.mixup, changed.unfreeze, changed.optimizer, changed.flip) == ((0, 0.2), None, "rmsprop", False)
    with pytest.raises(ValueError, match="epochs='many': expected an integer"):
        with_fields(FINETUNE, {"epochs": "many"})


@pytest.mark.parametrize(
    ("fields", "message"),
    [({"epochs": -1}, "expected at least 1"), ({"batch_size": 0}, "expected at least 1"),
     ({"optimizer": "sgd"}, "rmsprop or adamw"), ({"decay": "linear"}, "exponential or cosine"),
     ({"magnitude": (0, 31)}, r"0\.\.30"), ({"auto_augment": True, "magnitude": (0, 9)}, "takes the place of"),
     ({"mixup": (1,)}, "expected a pair"), ({"crop": 0}, "more than 0"),
     ({"erase": 25}, r"erase=25: expected a probability, 0\.\.1"),
     ({"label_smoothing": 1}, "less than 1"), ({"epochs": 0}, "epochs=0: expected at least 1"),
     ({"epochs": 2, "head_epochs": 3}, "as many epochs in all as for the head"),
     ({"reference_batch": 256}, "needs a batch_size"),
     ({"epochs": 2, "stages": 3}, "an epoch in each stage")],
)  # fmt: skip
def test_what_is_no_recipe(fields, message):
    with pytest.raises(ValueError, match=message):
        Recipe(**fields)
