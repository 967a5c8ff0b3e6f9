"""Dilated feature maps equal those of timm's ``features_only=True, output_stride=…``."""

import dataclasses

import numpy as np
import pytest

from efficientnet import get_variant

TF = {"pad_type": "same", "bn_eps": 1e-3}
PYTORCH = {"padding": "symmetric", "batch_norm_epsilon": 1e-5}


def check(eff, torch, network, variant, options, size, output_stride, folder):
    """Compare all feature maps for the same weights, with statistics as after a training."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 1.5, generator=generator)
            elif tensor.ndim > 1:
                tensor.normal_(0, tensor[0].numel() ** -0.5, generator=generator)
            elif tensor.ndim:
                tensor.add_(0.1)
        x = np.random.default_rng(0).normal(0, 1, (1, size, size, 3)).astype("float32")
        expected = network.eval()(torch.from_numpy(x).permute(0, 3, 1, 2).contiguous())
    torch.save(network.state_dict(), folder / "model.pth")
    model = eff.create(
        variant, weights=folder / "model.pth", features_only=True, output_stride=output_stride, **options
    )
    assert network.feature_info.reduction() == [feature.stride for feature in eff.feature_info(variant, output_stride)]
    assert network.feature_info.channels() == [feature.channels for feature in eff.feature_info(variant)]
    for found, reference in zip(model.predict_on_batch(x), expected, strict=True):
        reference = reference.permute(0, 2, 3, 1).numpy()
        np.testing.assert_allclose(np.asarray(found), reference, atol=1e-5 * np.abs(reference).max())


@pytest.mark.slow
@pytest.mark.once
@pytest.mark.parametrize(
    ("generate", "variant", "theirs", "ours"),
    [
        ("_gen_efficientnet", "b0", TF, {}),
        ("_gen_efficientnet", "b0", {}, PYTORCH),
        ("_gen_efficientnet_lite", "lite0", TF, {}),
        ("_gen_efficientnetv2_base", "v2-b0", TF, {}),
    ],
)
@pytest.mark.parametrize("output_stride", [8, 16])
@pytest.mark.usefixtures("eagerly")
def test_narrow(eff, torch, timm, backend, tmp_path, generate, variant, theirs, ours, output_stride):
    if backend == "openvino":
        pytest.skip("Keras on OpenVINO computes in bfloat16 where the processor can")
    network = getattr(timm.models.efficientnet, generate)(
        "efficientnet_b0", 0.25, 0.4, features_only=True, output_stride=output_stride, **theirs
    )
    narrow = dataclasses.replace(get_variant(variant), name="narrow", width=0.25, depth=0.4)
    check(eff, torch, network, narrow, {"preprocessing": "torch", **ours}, 65, output_stride, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "variant", "options", "output_stride"),
    [("efficientnet_b0", "b0", PYTORCH, 8), ("tf_efficientnetv2_s", "v2-s", {}, 16)],
)
def test_whole(eff, torch, timm, backend, is_legacy, tmp_path, name, variant, options, output_stride):
    if is_legacy or backend != "torch":
        pytest.skip("part of the run on PyTorch, which needs no time to compile; the graph is the same everywhere")
    network = timm.models.create_model(name, features_only=True, output_stride=output_stride)
    check(eff, torch, network, get_variant(variant), options, 128, output_stride, tmp_path)
