"""Full-size networks of other implementations, with random weights, answer the same when read from their files."""

import numpy as np
import pytest
from peers import import_torchvision

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("once_on_torch")]

SIDE = 96  # pixels; a network's layers are the same at each size


@pytest.fixture(scope="module")
def torchvision(torch):
    return import_torchvision(torch)


def randomise(torch, network, seed=0):
    """Weights and statistics as after a training, so that batch norm is not the identity, and answers differ."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 1.5, generator=generator)
            elif tensor.ndim == 1 and name.endswith("weight"):
                tensor.uniform_(0.5, 1.0, generator=generator)
            elif tensor.ndim == 1:
                tensor.uniform_(-0.2, 0.2, generator=generator)
            elif tensor.ndim > 1:
                spread = 4 if len(tensor) == 1000 else 1  # so that the classifier tells classes apart
                tensor.normal_(0, spread * tensor[0].numel() ** -0.5, generator=generator)
    return network.eval()


def logits(torch, network, x):
    with torch.no_grad():
        return network(torch.from_numpy(x.transpose(0, 3, 1, 2).copy())).numpy()


def answer(torch, network, x):
    return torch.softmax(torch.from_numpy(logits(torch, network, x)), 1).numpy()


def check(theirs, ours):
    np.testing.assert_allclose(ours, theirs, atol=2e-5)
    assert np.ptp(theirs) > 1e-3
    np.testing.assert_array_equal(np.argsort(-ours, 1)[:, :5], np.argsort(-theirs, 1)[:, :5])


def images(size, seed=0):
    return np.random.default_rng(seed).normal(0, 1, (1, size, size, 3)).astype(np.float32)


@pytest.mark.parametrize(
    ("name", "variant", "options"),
    [
        ("tf_efficientnet_b1", "b1", {}),
        ("tf_efficientnet_lite2", "lite2", {}),
        ("tf_efficientnet_em", "edgetpu-m", {}),
        ("tf_efficientnetv2_s", "v2-s", {}),
        ("efficientnet_b0", "b0", {"padding": "symmetric", "batch_norm_epsilon": 1e-5}),
        ("tf_efficientnet_cc_b0_8e", "condconv-b0-8e", {}),
    ],
)
def test_timm(eff, torch, timm, tmp_path, name, variant, options):
    network = randomise(torch, timm.create_model(name))
    torch.save(network.state_dict(), tmp_path / "model.pth")
    model = eff.create(variant, weights=tmp_path / "model.pth", input_shape=(SIDE, SIDE, 3), **options)
    x = images(SIDE)
    check(answer(torch, network, x), model.predict_on_batch(x))


@pytest.mark.parametrize("size", ["s", "m", "l"])
def test_geffnet_has_the_network_that_edgetpu_was_trained_in(eff, torch, timm, tmp_path, size):
    """And timm has another one of the same name: each is equal to rounding, and the two are not equal."""
    geffnet = pytest.importorskip("geffnet")
    theirs = randomise(torch, getattr(geffnet, f"tf_efficientnet_e{size}")())
    timms = timm.create_model(f"tf_efficientnet_e{size}").eval()
    timms.load_state_dict(theirs.state_dict())
    torch.save(theirs.state_dict(), tmp_path / "model.pth")
    found = []
    for padding, network in (("edgetpu", theirs), ("same", timms)):
        options = {"padding": padding, "classifier_activation": None}
        model = eff.create(f"edgetpu-{size}", weights=tmp_path / "model.pth", **options)
        x = images(model.input_shape[1])
        found.append(logits(torch, network, x))
        np.testing.assert_allclose(model.predict_on_batch(x), found[-1], rtol=0, atol=2e-6 * np.abs(found[-1]).max())
    assert np.abs(found[0] - found[1]).max() > 1e-4 * np.abs(found[0]).max()


def test_lukemelas(eff, torch, tmp_path):
    package = pytest.importorskip("efficientnet_pytorch")
    network = randomise(torch, package.EfficientNet.from_name("efficientnet-b1"))
    torch.save(network.state_dict(), tmp_path / "model.pth")
    x = images(240)  # its padding is that of B1's own size
    check(answer(torch, network, x), eff.EfficientNetB1(weights=tmp_path / "model.pth").predict_on_batch(x))


@pytest.mark.parametrize(("name", "variant"), [("efficientnet_b0", "b0"), ("efficientnet_v2_s", "v2-s")])
def test_torchvision(eff, torch, torchvision, tmp_path, name, variant):
    network = randomise(torch, getattr(torchvision.models, name)())
    torch.save(network.state_dict(), tmp_path / "model.pth")
    model = eff.create(variant, weights=tmp_path / "model.pth", input_shape=(SIDE, SIDE, 3))
    assert eff.model_preprocessing(model) == "torch"
    x = images(SIDE)
    check(answer(torch, network, x), model.predict_on_batch(x))


@pytest.mark.parametrize(
    ("name", "variant", "files"),
    [
        ("B2", "b2", ("model.weights.h5", "model.h5")),
        ("V2B1", "v2-b1", ("model.weights.h5", "model.keras")),
        ("V2S", "v2-s", ("model.h5",)),
    ],
)
def test_keras_applications(eff, keras, tmp_path, name, variant, files):
    network = getattr(keras.applications, f"EfficientNet{name}")(weights=None, input_shape=(SIDE, SIDE, 3))
    rng = np.random.default_rng(0)
    for layer in network.layers:
        if type(layer).__name__ == "BatchNormalization":
            bounds = ((0.5, 1.0), (-0.2, 0.2), (-0.2, 0.2), (0.5, 1.5))
            layer.set_weights([rng.uniform(*b, w.shape) for b, w in zip(bounds, layer.get_weights(), strict=True)])
        elif type(layer).__name__ == "Normalization" and layer.weights:
            # As the published files of V1 have it: the standard deviation in the variance's place.
            mean, std, count = map(np.array, ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225], 0))
            layer.set_weights([mean, std, count])
        elif layer.name == "predictions":
            layer.set_weights([rng.normal(0, 0.05, w.shape) for w in layer.get_weights()])
    x = rng.uniform(0, 255, (1, *network.input_shape[1:])).astype("float32")
    theirs = network
    if not name.startswith("V2"):
        # Their graph divides by the root once more, but only where it loads the published weights by itself.
        scale, normalize = (
            next(layer for layer in network.layers if type(layer).__name__ == kind)
            for kind in ("Rescaling", "Normalization")
        )
        rest = keras.Model(network.get_layer("stem_conv_pad").input, network.output)
        y = normalize(scale(x)) / np.sqrt([0.229, 0.224, 0.225], dtype="float32")
        theirs_answer = rest.predict_on_batch(y)
    else:
        theirs_answer = theirs.predict_on_batch(x)
    for file in files:
        network.save_weights(tmp_path / file) if ".weights" in file else network.save(tmp_path / file)
        model = eff.create(variant, weights=tmp_path / file, include_preprocessing=True, input_shape=(SIDE, SIDE, 3))
        check(theirs_answer, model.predict_on_batch(x))
