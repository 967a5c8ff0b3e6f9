"""The naming tables: every array of every variant has one name of theirs, and goes there and back unchanged."""

import hashlib
import json

import numpy as np
import pytest

from efficientnet import checkpoints, get_variant, list_variants
from efficientnet.checkpoints import CheckpointError, safetensors
from efficientnet.checkpoints.arrays import Stored
from efficientnet.checkpoints.names.keras import APPLICATIONS, KECAM
from efficientnet.checkpoints.names.kerashub import KERASHUB
from efficientnet.checkpoints.names.tensorflow import AUTHORS
from efficientnet.checkpoints.names.torch import LUKEMELAS, MMPRETRAIN, TIMM, TORCHVISION
from efficientnet.checkpoints.reading import ORIGINS
from efficientnet.family import arrays as layout

BATCH_NORM = ("weight", "bias", "running_mean", "running_var")
TABLES = pytest.mark.parametrize("origin", ORIGINS, ids=[origin.name for origin in ORIGINS])


def stored(array):
    return Stored(array.shape, array.dtype, lambda: array)


def entry(origin, variant, ours):
    return next(e for e in origin.entries(layout.layers(get_variant(variant))) if e.ours == ours)


@TABLES
@pytest.mark.parametrize("name", list_variants())
def test_every_array_has_one_place(origin, name):
    layers = layout.layers(get_variant(name))
    entries = list(origin.entries(layers))
    assert {e.ours: e.shape for e in entries} == {
        f"{layer.name}/{role}": shape for layer in layers for role, shape in layer.shapes.items()
    }
    assert len({e.theirs for e in entries}) == len(entries)
    assert all(np.prod(e.shape) == np.prod(e.their_shape) == np.prod(e.view) for e in entries)
    is_fused = any(stage.fused for stage in get_variant(name).blocks)
    if origin not in (APPLICATIONS, KERASHUB[True]) or is_fused:
        assert origin is AUTHORS or any(origin.landmark.fullmatch(e.theirs) for e in entries)


@TABLES
@pytest.mark.parametrize("name", ["b0", "edgetpu-s", "condconv-b0-4e", "v2-b0"])
def test_there_and_back(origin, name):
    rng = np.random.default_rng(0)
    for e in origin.entries(layout.layers(get_variant(name))):
        array = rng.integers(0, 99, e.shape)
        theirs = np.asarray(e.to_theirs(stored(array)))
        assert theirs.shape == e.their_shape
        np.testing.assert_array_equal(np.asarray(e.to_ours(stored(theirs))), array)


@pytest.mark.parametrize(
    ("origin", "variant", "ours", "theirs", "shape"),
    [
        (TIMM, "b0", "stem_conv/kernel", "conv_stem.weight", (32, 3, 3, 3)),
        (KECAM, "v2-b0", "block1a_project_conv/kernel", "stack_0_block0_fu_conv/kernel", (3, 3, 32, 16)),
        (KECAM, "v2-b0", "block2a_expand_bn/beta", "stack_1_block0_sortcut_bn/beta", (64,)),
        (KECAM, "b0", "block2b_dwconv/kernel", "stack_1_block1_MB_dw_/kernel", (3, 3, 144, 1)),
        (KECAM, "b0", "block2b_se_expand/bias", "stack_1_block1_se_2_conv/bias", (144,)),
        (KECAM, "b0", "top_bn/gamma", "post_bn/gamma", (1280,)),
        (TIMM, "b0", "block1a_project_conv/kernel", "blocks.0.0.conv_pw.weight", (16, 32, 1, 1)),
        (TIMM, "b0", "block1a_project_bn/gamma", "blocks.0.0.bn2.weight", (16,)),
        (TIMM, "b0", "block3b_dwconv/kernel", "blocks.2.1.conv_dw.weight", (240, 1, 5, 5)),
        (TIMM, "b0", "block3b_se_expand/bias", "blocks.2.1.se.conv_expand.bias", (240,)),
        (TIMM, "v2-s", "block1b_project_conv/kernel", "blocks.0.1.conv.weight", (24, 24, 3, 3)),
        (TIMM, "v2-s", "block2a_expand_conv/kernel", "blocks.1.0.conv_exp.weight", (96, 24, 3, 3)),
        (TIMM, "condconv-b0-4e", "block5a_dw_experts/kernel", "blocks.4.0.conv_dw.weight", (4, 12000)),
        (TIMM, "condconv-b0-4e", "block5a_routing/kernel", "blocks.4.0.routing_fn.weight", (4, 80)),
        (LUKEMELAS, "b1", "block7b_project_bn/moving_variance", "_blocks.22._bn2.running_var", (320,)),
        (LUKEMELAS, "b0", "probs/kernel", "_fc.weight", (1000, 1280)),
        (TORCHVISION, "b0", "block1a_project_conv/kernel", "features.1.0.block.2.0.weight", (16, 32, 1, 1)),
        (TORCHVISION, "b0", "block2a_se_reduce/kernel", "features.2.0.block.2.fc1.weight", (4, 96, 1, 1)),
        (TORCHVISION, "v2-s", "block1a_project_bn/beta", "features.1.0.block.0.1.bias", (24,)),
        (TORCHVISION, "v2-s", "top_conv/kernel", "features.7.0.weight", (1280, 256, 1, 1)),
        (MMPRETRAIN, "b0", "block5a_project_bn/beta", "layers.4.3.linear_conv.bn.bias", (112,)),
        (MMPRETRAIN, "v2-s", "block5a_se_reduce/bias", "layers.5.0.se.conv1.conv.bias", (32,)),
        (MMPRETRAIN, "v2-s", "block1a_project_conv/kernel", "layers.1.0.conv.weight", (24, 24, 3, 3)),
        (MMPRETRAIN, "edgetpu-s", "block2a_project_conv/kernel", "layers.2.0.conv2.conv.weight", (32, 192, 1, 1)),
        (AUTHORS, "b0", "block1a_bn/beta", "blocks_0/batch_normalization/beta", (32,)),
        (AUTHORS, "b0", "block2a_project_conv/kernel", "blocks_1/conv2d_1/kernel", (1, 1, 96, 24)),
        (AUTHORS, "b0", "block2a_dwconv/kernel", "blocks_1/depthwise_conv2d/depthwise_kernel", (3, 3, 96, 1)),
        (APPLICATIONS, "v2-s", "block4a_dwconv/kernel", "block4a_dwconv2/kernel", (3, 3, 256, 1)),
        (APPLICATIONS, "b0", "probs/bias", "predictions/bias", (1000,)),
    ],
)
def test_known_names(origin, variant, ours, theirs, shape):
    found = entry(origin, variant, ours)
    assert (found.theirs, found.their_shape) == (theirs, shape)


# Of the names and shapes in the backbones of MMPretrain 1.2.0. Its EdgeTPU-L is another network than the authors'.
MMPRETRAINS = {
    "b0": "bd84f9c6c9f7", "b1": "cc87c8a9754f", "b2": "996b403473e7", "b3": "8d3a5f718a86", "b4": "36c812c0a4ae",
    "b5": "77bb5a686cba", "b6": "d5f0a4cde5c2", "b7": "2d7f947fd56b", "b8": "441b6b677e6d",
    "edgetpu-s": "18ef749a91db", "edgetpu-m": "b5c84d44b744", "l2": "214c65360a7a", "v2-b0": "800e1994e577",
    "v2-b1": "5ebbbaca3ea8", "v2-b2": "218828235924", "v2-b3": "06e9bad62285", "v2-s": "b0c02ad229fd",
    "v2-m": "77e954adc76c", "v2-l": "a1c502d52628", "v2-xl": "f019d9691267",
}  # fmt: skip


@pytest.mark.parametrize("name", MMPRETRAINS)
def test_names_of_mmpretrain(name):
    entries = MMPRETRAIN.entries(layout.layers(get_variant(name)))
    shapes = {e.theirs: list(e.their_shape) for e in entries if not e.ours.startswith("probs/")}
    assert hashlib.sha256(json.dumps(sorted(shapes.items())).encode()).hexdigest()[:12] == MMPRETRAINS[name]


def test_layouts_of_pytorch():
    """Where a number lies in their layout, it is found in ours."""
    array = np.arange(np.prod((1152, 1, 3, 3))).reshape(1152, 1, 3, 3)
    ours = np.asarray(entry(TIMM, "b0", "block7a_dwconv/kernel").to_ours(stored(array)))
    assert ours[2, 1, 700, 0] == array[700, 0, 2, 1]
    array = np.arange(4 * 480 * 80).reshape(4, 480 * 80)
    ours = np.asarray(entry(TIMM, "condconv-b0-4e", "block5a_expand_experts/kernel").to_ours(stored(array)))
    assert ours.reshape(4, 80, 480)[3, 7, 400] == array.reshape(4, 480, 80)[3, 400, 7]


@pytest.fixture
def save(tmp_path):
    """Writes the arrays of a variant under an origin's names, each filled with its number."""

    def write(origin, variant, classes=10, **changes):
        entries = origin.entries(layout.layers(get_variant(variant), classes))
        arrays = {e.theirs: np.full(e.their_shape, number, np.float16) for number, e in enumerate(entries)}
        for name, array in changes.get("changes", {}).items():
            arrays.pop(name) if array is None else arrays.update({name: array})
        safetensors.write(tmp_path / "model.safetensors", arrays)
        return tmp_path / "model.safetensors"

    return write


@pytest.mark.slow
@pytest.mark.parametrize("origin", [TIMM, LUKEMELAS, TORCHVISION], ids=lambda origin: origin.name)
@pytest.mark.parametrize("name", ["b1", "lite2", "b5"])
def test_variant_and_origin_are_detected_from_the_file(save, origin, name):
    reading = checkpoints.read_checkpoint(save(origin, name))
    assert (reading.variant, reading.origin, reading.classes) == (get_variant(name), origin, 10)
    assert not checkpoints.explain(reading)
    expected = {f"{layer.name}/{role}" for layer in layout.layers(get_variant(name)) for role in layer.shapes}
    assert set(reading.arrays) == expected


@pytest.mark.slow
def test_counters_of_batch_norm_are_no_left_over(save):
    path = save(TIMM, "b0", changes={"bn1.num_batches_tracked": np.zeros((), np.int64)})
    assert not checkpoints.explain(checkpoints.read_checkpoint(path))


@pytest.mark.slow
def test_near_misses(save):
    reading = checkpoints.read_checkpoint(save(TIMM, "b1"), get_variant("b0"))
    message = checkpoints.explain(reading)
    assert "These are weights of efficientnet-b1 (23 blocks, where this has 16)." in message
    path = save(TIMM, "b0", changes={"conv_head.weight": None, "extra": np.zeros((3, 4), np.float32)})
    message = checkpoints.explain(checkpoints.read_checkpoint(path, get_variant("b0")))
    assert "top_conv/kernel (1, 1, 320, 1280) is missing from the file; extra (3, 4) is in the file only" in message
    path = save(TIMM, "b0", changes={"blocks.0.0.bn1.bias": np.zeros(31, np.float32)})
    message = checkpoints.explain(checkpoints.read_checkpoint(path))
    assert "block1a_bn/beta has shape (31,) in the file and (32,) in the network" in message
    assert "These are" not in message


@pytest.mark.slow
def test_a_network_may_end_before_its_classifier_or_its_head(save):
    without = {"classifier.weight": None, "classifier.bias": None}
    reading = checkpoints.read_checkpoint(save(TIMM, "b0", changes=without))
    assert (reading.differences, reading.classes) == (0, None)
    without |= {"conv_head.weight": None, **{f"bn2.{part}": None for part in BATCH_NORM}}
    assert not checkpoints.explain(checkpoints.read_checkpoint(save(TIMM, "b0", changes=without)))


def test_names_of_nobody(tmp_path):
    safetensors.write(tmp_path / "model.safetensors", {"layer1.weight": np.zeros(3, np.float32)})
    with pytest.raises(CheckpointError, match=r"its names \(layer1\.weight, …\) are not those of an EfficientNet"):
        checkpoints.read_checkpoint(tmp_path / "model.safetensors")
