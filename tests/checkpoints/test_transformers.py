"""Folders that transformers saves: names, config.json and preprocessor_config.json."""

import json

import numpy as np
import pytest

from efficientnet import get_variant
from efficientnet.checkpoints import CheckpointError, open_checkpoint, read_checkpoint, safetensors
from efficientnet.checkpoints.names.torch import TRANSFORMERS
from efficientnet.family import arrays as layout

# As in google/efficientnet-b0's files: the second division by the root makes it that by the standard deviation.
PROCESSOR = {
    "image_mean": [0.485, 0.456, 0.406], "image_std": [0.47853944, 0.4732864, 0.47434163], "include_top": True,
    "rescale_factor": 0.00392156862745098, "resample": 0, "size": {"height": 224, "width": 224},
}  # fmt: skip
LABELS = {"0": "cat", "1": "dog"}


def save(folder, config, processor=None, classes=2, prefix="efficientnet."):
    """A folder with B0's arrays, all zero."""
    entries = TRANSFORMERS.entries(layout.layers(get_variant("b0"), classes))
    arrays = {
        ("" if entry.theirs.startswith("classifier.") else prefix) + entry.theirs: np.zeros(entry.their_shape, "f4")
        for entry in entries
    }
    safetensors.write(folder / "model.safetensors", arrays, {"format": "pt"})
    (folder / "config.json").write_text(json.dumps({"model_type": "efficientnet", **config}))
    if processor is not None:
        (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return folder


def test_what_a_folder_says(tmp_path):
    facts = open_checkpoint(save(tmp_path, {"id2label": LABELS, "batch_norm_eps": 0.001}, PROCESSOR)).facts
    assert (facts.padding, facts.epsilon, facts.preprocessing) == ("same", 0.001, "torch")
    assert (facts.crop, facts.interpolation, facts.class_names) == (1.0, None, ("cat", "dog"))
    reading = read_checkpoint(tmp_path)
    assert (reading.origin, reading.variant.name, reading.classes) == (TRANSFORMERS, "efficientnet-b0", 2)


@pytest.mark.parametrize(
    ("changes", "mode", "crop"),
    [
        ({"include_top": False, "image_std": [0.229, 0.224, 0.225]}, "torch", 1.0),
        ({"image_mean": [0, 0, 0], "image_std": [1, 1, 1]}, None, 1.0),  # pixels / 255
        ({"do_normalize": False, "include_top": False, "rescale_offset": True, "rescale_factor": 1 / 127.5}, "tf", 1.0),
        (
            {"do_center_crop": True, "size": {"height": 256}, "crop_size": {"height": 224}, "resample": 3},
            "torch",
            0.875,
        ),
    ],
)
def test_image_processors(tmp_path, changes, mode, crop):
    facts = open_checkpoint(save(tmp_path, {}, {**PROCESSOR, **changes})).facts
    assert facts.crop == crop
    if mode is None:
        np.testing.assert_allclose(facts.preprocessing.scale, 1 / 255)
        np.testing.assert_allclose(facts.preprocessing.offset, 0)
    else:
        assert facts.preprocessing == mode


def test_a_body_without_a_classifier_and_names_that_are_none(tmp_path):
    entries = [entry for entry in TRANSFORMERS.entries(layout.layers(get_variant("b0"))) if "probs" not in entry.ours]
    safetensors.write(tmp_path / "x.safetensors", {e.theirs: np.zeros(e.their_shape, "f4") for e in entries})
    assert read_checkpoint(tmp_path / "x.safetensors").classes is None
    folder = tmp_path / "folder"
    folder.mkdir()
    assert open_checkpoint(save(folder, {"id2label": {"0": "LABEL_0", "1": "LABEL_1"}})).facts.class_names is None


# The published list of B2: the blocks whose inputs of 65, 33 and 17 pixels are odd.
B2 = {"image_size": 260, "depth_coefficient": 1.2}


def test_padding_is_that_of_tensorflow_at_the_networks_size(tmp_path):
    assert open_checkpoint(save(tmp_path, {**B2, "depthwise_padding": [5, 8, 16]})).facts.padding == "same"
    with pytest.raises(CheckpointError, match=r"depthwise_padding \[\] pads otherwise than TensorFlow"):
        open_checkpoint(save(tmp_path, {**B2, "depthwise_padding": []}))


@pytest.mark.parametrize(
    ("config", "processor", "message"),
    [
        ({"hidden_act": 3}, None, "short text"),
        ({"image_size": "big"}, None, "image_size is 'big'"),
        ({"image_size": 64, "strides": [1]}, None, "does not say what model.safetensors beside it holds"),
        ({"batch_norm_eps": 3}, None, "fraction"),
        ({"image_size": 64, "depth_coefficient": 1e308}, None, "does not say what model.safetensors beside it holds"),
        ({}, {"image_std": [0, 1, 1]}, "scale no pixels"),
        ({}, {"image_mean": "x"}, "scale no pixels"),
        ({}, {"rescale_factor": None}, "scale no pixels"),
    ],
)
def test_configurations_that_cannot_be_right(tmp_path, config, processor, message):
    with pytest.raises(CheckpointError, match=message):
        open_checkpoint(save(tmp_path, config, processor))
