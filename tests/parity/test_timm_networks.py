"""Networks that only timm has, with random weights, predict the same when read from their files."""

import numpy as np
import pytest

from efficientnet.family.costs import cost
from efficientnet.weights.published import list_weights

pytestmark = pytest.mark.usefixtures("once_on_torch")

NETWORKS = (
    "test_efficientnet", "efficientnet_b1_pruned", "efficientnet_b2_pruned", "efficientnet_b3_pruned",
    "efficientnetv2_rw_t", "efficientnetv2_rw_s", "efficientnetv2_rw_m", "efficientnet_es_pruned",
    "efficientnet_el_pruned",
)  # fmt: skip

SIDE = 96  # pixels; a network's layers are the same at each size


def condition(torch, network):
    """Random weights, and batch norms with the statistics of the network's own activations.

    Residual branches are weak, so that rounding does not grow from block to block.
    """
    norms = [module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, tensor in network.named_parameters():
            if tensor.ndim > 1:
                tensor.normal_(0, tensor[0].numel() ** -0.5, generator=generator)
            else:
                low, high = (0.5, 1) if name.endswith("weight") else (-0.2, 0.2)
                tensor.uniform_(low, high, generator=generator)
        for module in network.modules():
            if getattr(module, "has_skip", False):
                [norm for norm in module.modules() if norm in norms][-1].weight.mul_(0.1)
        for norm in norms:
            norm.momentum = None  # the mean of all batches
            norm.reset_running_stats()
        network.train()(torch.randn(8, 3, SIDE, SIDE, generator=generator))
    return network.eval()


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if "test_" not in name else []) for name in NETWORKS]
)
def test_predicts_the_same(eff, torch, timm, tmp_path, name):
    row = next(row for row in list_weights() if row.model.startswith(f"{name}."))
    network = condition(torch, timm.create_model(name))
    torch.save({"arch": name, "state_dict": network.state_dict()}, tmp_path / "model.pth")
    options = {"padding": row.padding, "batch_norm_epsilon": row.epsilon, "input_shape": (SIDE, SIDE, 3)}
    model = eff.create(row.variant, weights=tmp_path / "model.pth", classifier_activation=None, **options)
    x = np.random.default_rng(0).normal(size=(1, *model.input_shape[1:])).astype("float32")
    with torch.no_grad():
        expected = network(torch.from_numpy(x.transpose(0, 3, 1, 2).copy())).numpy()
    assert np.std(expected) > 0.1 * np.abs(expected).max()
    np.testing.assert_allclose(model.predict_on_batch(x), expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    parameters = sum(tensor.numel() for tensor in network.parameters())
    assert sum(int(np.prod(weight.shape)) for weight in model.trainable_weights) == parameters
    assert cost(row.variant).parameters == parameters
