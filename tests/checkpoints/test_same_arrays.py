"""Networks that compute otherwise with the same arrays: what the files say of them is compared with the variant."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
from tiny_blocks import tiny_blocks

from efficientnet import get_variant
from efficientnet.checkpoints import accept, open_checkpoint, read_checkpoint, safetensors
from efficientnet.checkpoints.names.torch import TIMM, TRANSFORMERS
from efficientnet.cli.main import main
from efficientnet.errors import CheckpointError
from efficientnet.export import convert
from efficientnet.family import arrays as layout

TEST = get_variant("efficientnet-test")
SMALL = dataclasses.replace(get_variant("b0"), name="small", width=0.5, depth=0.25, resolution=64)
TINY = dataclasses.replace(SMALL, depth=1.0, blocks=tiny_blocks("b0"))


def folder_of(tmp_path, origin, variant, config):
    entries = origin.entries(layout.layers(variant, 3))
    safetensors.write(tmp_path / "model.safetensors", {e.theirs: np.ones(e.their_shape, "f4") for e in entries})
    (tmp_path / "config.json").write_text(json.dumps(config))
    return tmp_path


def of_timm(tmp_path, arguments, architecture="test_efficientnet"):
    config = {"architecture": architecture, "num_classes": 3, "model_args": arguments}
    return folder_of(tmp_path, TIMM, TEST, config)


def of_transformers(tmp_path, config, variant=SMALL):
    return folder_of(
        tmp_path, TRANSFORMERS, variant, {"model_type": "efficientnet", "depth_coefficient": SMALL.depth, **config}
    )


def check_refused(path, variant, message):
    with pytest.raises(CheckpointError, match=f"does not hold the weights of {variant.name}.*json file.*{message}"):
        accept(read_checkpoint(path, variant))


@pytest.mark.parametrize("arguments", [{}, {"act_layer": "silu", "global_pool": "fast", "drop_rate": 0.1}])
def test_a_network_of_timm_with_other_options_for_training(tmp_path, arguments):
    assert accept(read_checkpoint(of_timm(tmp_path, arguments), TEST)).classes == 3


def test_another_activation_in_timm(tmp_path):
    check_refused(of_timm(tmp_path, {"act_layer": "relu"}), TEST, "its activation is 'relu', and the network's 'swish'")


def test_inspect_lists_it(tmp_path, capsys):
    folder = str(of_timm(tmp_path, {"act_layer": "relu"}))
    assert main(["inspect", folder, "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["other settings"] == [
        "its activation is 'relu', and the network's 'swish'"
    ]
    assert main(["inspect", folder]) == 1
    assert "efficientnet-test, but 1 arrays or settings differ" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "architecture", "message"),
    [
        ({"aa_layer": "blurpc"}, "test_efficientnet", "aa_layer='blurpc'"),
        ({}, "efficientnet_blur_b0", "'efficientnet_blur_b0' blurs"),
    ],
)
def test_another_network_of_timm(tmp_path, arguments, architecture, message):
    with pytest.raises(CheckpointError, match=message):
        open_checkpoint(of_timm(tmp_path, arguments, architecture))


def test_a_training_of_another_network_of_timm(tmp_path):
    torch = pytest.importorskip("torch")
    arrays = {e.theirs: torch.ones(e.their_shape) for e in TIMM.entries(layout.layers(TEST, 3))}
    run = {"arch": "test_efficientnet", "state_dict": arrays, "args": {"model_kwargs": {"act_layer": "relu"}}}
    torch.save(run, tmp_path / "run.pth")
    check_refused(tmp_path / "run.pth", TEST, "its activation is 'relu'")
    torch.save({**run, "args": {"model_kwargs": {"aa_layer": "blurpc"}}}, tmp_path / "run.pth")
    with pytest.raises(CheckpointError, match="aa_layer='blurpc'"):
        open_checkpoint(tmp_path / "run.pth")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"hidden_act": "relu"}, "its activation is 'relu', and the network's 'swish'"),
        ({"strides": [1, 2, 1, 2, 1, 2, 1]}, r"strides \(1, 2, 1, 2, 1, 2, 1\), and the network's \(1, 2, 2, 2"),
    ],
)
def test_another_network_of_transformers(tmp_path, config, message):
    assert not read_checkpoint(of_transformers(tmp_path, {"hidden_act": "silu"}), SMALL).differences
    check_refused(of_transformers(tmp_path, config), SMALL, message)


def test_transformers_adds_no_input_of_the_first_block_of_a_stage(tmp_path):
    """Also where it has as many filters as the output, which a narrow network has behind the stem."""
    narrow = dataclasses.replace(SMALL, name="narrow", width=0.25)
    check_refused(of_transformers(tmp_path, {}, narrow), narrow, "block1a adds its input to its output in one")


@pytest.mark.parametrize("depth", [1e300, 1e9, -1e9, "2", None])
def test_depths_that_no_network_has(tmp_path, depth):
    with pytest.raises(
        CheckpointError, match=r"num_block_repeats and depth_coefficient are (not numbers|of more than)"
    ):
        read_checkpoint(of_transformers(tmp_path, {"depth_coefficient": depth}), SMALL)


@pytest.mark.parametrize(
    ("write", "config", "variant"),
    [(of_timm, {"global_pool": "max"}, TEST), (of_transformers, {"pooling_type": "max"}, SMALL)],
)
def test_a_classifier_of_other_features_is_left_aside(tmp_path, write, config, variant):
    """Those of pooling by the maximum: the body is the same."""
    reading = accept(read_checkpoint(write(tmp_path, config), variant))
    assert reading.classes is None
    assert any("classifier" in name for name in reading.aside)


def test_another_network_of_kerashub(golden, tmp_path):
    preset = tmp_path / "preset"
    shutil.copytree(golden("kerashub-b0") / "preset", preset)
    small = read_variant(preset)
    config = json.loads((preset / "config.json").read_text())
    (preset / "config.json").write_text(json.dumps(edited(config, activation="relu")))
    check_refused(preset, small, "its activation is 'relu'")
    (preset / "config.json").write_text(json.dumps(edited(config, stackwise_strides=[1, 2, 1, 2, 1, 2, 1])))
    check_refused(preset, small, "its stages have the strides")
    (preset / "config.json").write_text(json.dumps(config))
    task = json.loads((preset / "task.json").read_text())
    (preset / "task.json").write_text(json.dumps(edited(task, pooling="max")))
    assert accept(read_checkpoint(preset, small)).classes is None


def edited(layer, **options):
    return {**layer, "config": {**layer["config"], **options}}


def read_variant(preset):
    from make_golden import DEPTH, WIDTH

    small = dataclasses.replace(get_variant("b0"), name="small", width=WIDTH, depth=DEPTH)
    assert not read_checkpoint(preset, small).differences
    return small


OTHERS = {
    "activation": (dataclasses.replace(TINY, activation="relu"), "its activation is 'relu', and the network's 'swish'"),
    "strides": (
        dataclasses.replace(TINY, blocks=(TINY.blocks[0], dataclasses.replace(TINY.blocks[1], strides=1))),
        "its stages have the strides",
    ),
    "residuals": (
        dataclasses.replace(TINY, blocks=(TINY.blocks[0], dataclasses.replace(TINY.blocks[1], id_skip=False))),
        "block2b adds its input",
    ),
}


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("other", OTHERS)
def test_another_network_of_keras(tmp_path, other, suffix):
    keras = pytest.importorskip("efficientnet.keras")
    variant, message = OTHERS[other]
    model = keras.create(variant, weights=None, classes=3)
    model.save(tmp_path / f"model{suffix}")
    check_refused(tmp_path / f"model{suffix}", TINY, message)
    accept(read_checkpoint(tmp_path / f"model{suffix}", variant))
    convert.convert_weights(tmp_path / f"model{suffix}", tmp_path / "converted.safetensors", variant=variant)
    check_refused(tmp_path / "converted.safetensors", TINY, message)


def test_a_dilated_network_has_the_same_weights(tmp_path):
    keras = pytest.importorskip("efficientnet.keras")
    deep = dataclasses.replace(TINY, blocks=(*TINY.blocks, dataclasses.replace(TINY.blocks[1], input_filters=40)))
    keras.create(deep, weights=None, features_only=True, output_stride=8).save(tmp_path / "model.keras")
    assert open_checkpoint(tmp_path / "model.keras").facts.hidden_activation == "swish"
    assert not read_checkpoint(tmp_path / "model.keras", deep).contradictions


def test_layers_that_are_named_anew(tmp_path):
    """As a program does before it puts two networks into one model."""
    keras = pytest.importorskip("efficientnet.keras")
    config = keras.create(TINY, weights=None, classes=3).get_config()
    renamed = json.loads(json.dumps(config).replace("block2b_add", "block2b_add_1"))
    assert renamed != config
    keras._keras.Model.from_config(renamed).save(tmp_path / "model.keras")
    assert not read_checkpoint(tmp_path / "model.keras", TINY).contradictions
