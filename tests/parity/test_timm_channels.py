"""The first kernel for other numbers of channels is that of timm's ``in_chans``."""

import importlib

import numpy as np
import pytest
from peers import import_torchvision

from efficientnet.checkpoints.arrays import Stored
from efficientnet.checkpoints.channels import adapt


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 6, 13])
def test_the_same_kernel(channels):
    torch = pytest.importorskip("torch")
    import_torchvision(torch)
    pytest.importorskip("timm")
    manipulate = importlib.import_module("timm.models._manipulate")
    kernel = np.random.default_rng(0).normal(size=(3, 3, 3, 8)).astype("float32")
    theirs = manipulate.adapt_input_conv(channels, torch.from_numpy(kernel.transpose(3, 2, 0, 1).copy()))
    ours = adapt(Stored(kernel.shape, kernel.dtype, lambda: kernel), channels)
    assert ours.shape == (3, 3, channels, 8)
    np.testing.assert_allclose(ours.read(), theirs.numpy().transpose(2, 3, 1, 0), atol=1e-6)
