"""Two networks are called EdgeTPU: the one that the authors trained, and the one that they and timm build today."""

import dataclasses

import numpy as np
import pytest

from efficientnet import checkpoints, get_variant
from efficientnet.checkpoints import Facts, safetensors
from efficientnet.checkpoints.timm_config import of_hyper_parameters, of_run
from efficientnet.common.hashes import digest_of
from efficientnet.export import convert
from efficientnet.family.costs import cost
from efficientnet.keras_graph import onnx
from efficientnet.keras_graph.fold import fold_batch_norm
from efficientnet.keras_graph.profile import profile
from efficientnet.weights import finding, published
from efficientnet.weights.published import facts_of_model, weights_info

keras = pytest.importorskip("keras")

SIZE = 32
BLOCKS = get_variant("edgetpu-s").blocks
# A fused block without a stride, one with, and a depthwise one with.
VARIANT = dataclasses.replace(
    get_variant("edgetpu-s"), name="small", width=0.25, resolution=SIZE, classes=5,
    blocks=tuple(dataclasses.replace(stage, num_repeat=1) for stage in (*BLOCKS[:3], BLOCKS[3])),
)  # fmt: skip


@pytest.fixture(scope="module")
def eff():
    from efficientnet import keras

    return keras


def build(eff, padding):
    rng = np.random.default_rng(0)
    model = eff.create(VARIANT, weights=None, classes=5, input_shape=(SIZE, SIZE, 3), padding=padding)
    for layer in model.layers:
        is_norm = type(layer).__name__ == "BatchNormalization"
        values = (
            rng.uniform(0.5, 1.5, w.shape) if is_norm else rng.normal(0, np.prod(w.shape[:-1]) ** -0.5, w.shape)
            for w in layer.weights
        )
        layer.set_weights([value.astype("float32") for value in values])
    return model


def test_a_stride_in_the_projection_predicts_the_same(eff):
    """As the authors' code of 2019 has it: the 3x3 at every position, and every second one of these projected."""
    model = build(eff, "edgetpu")
    layer = model.get_layer
    assert (layer("stem_conv").padding, layer("block4a_dwconv").padding) == ("same", "same")
    pixels = np.random.default_rng(0).normal(size=(2, SIZE, SIZE, 3)).astype("float32")
    before = keras.Model(model.input, layer("block1a_project_bn").output)(pixels)
    kernel = layer("block2a_expand_conv").get_weights()[0]
    expected = keras.ops.convert_to_numpy(keras.ops.conv(before, kernel, 1, "same")[:, ::2, ::2])
    found = keras.ops.convert_to_numpy(keras.Model(model.input, layer("block2a_expand_conv").output)(pixels))
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.slow
def test_it_is_folded_compiled_and_counted_like_any_network(eff):
    ort = pytest.importorskip("onnxruntime")
    model = build(eff, "edgetpu")
    x = np.random.default_rng(0).normal(size=(2, SIZE, SIZE, 3)).astype("float32")
    expected = keras.ops.convert_to_numpy(model(x))
    np.testing.assert_allclose(keras.ops.convert_to_numpy(fold_batch_norm(model)(x)), expected, atol=1e-6)
    session = ort.InferenceSession(onnx.convert(model).SerializeToString(), providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(None, {session.get_inputs()[0].name: x})[0], expected, atol=1e-6)
    assert profile(model).macs == profile(build(eff, "same")).macs == cost(VARIANT, SIZE).macs


@pytest.mark.parametrize(
    ("name", "classes", "padding"),
    [
        ("tf_efficientnet_es.in1k", 1000, "edgetpu"),
        ("tf_efficientnet_es.in1k", 5, "same"),  # trained further, and there in timm's network
        ("tf_efficientnet_es", 1000, "same"),
        ("tf_efficientnet_es.mine", 1000, "same"),
        ("efficientnet_es.ra_in1k", 1000, "symmetric"),
    ],
)
def test_only_the_authors_weights_have_their_padding(name, classes, padding):
    assert facts_of_model(name, classes).padding == padding


@pytest.mark.parametrize("name", ["tf_efficientnet_es.in1k", "hf-hub:timm/tf_efficientnet_es.in1k"])
def test_a_training_that_began_with_the_authors_weights_pads_as_timm(name):
    assert of_run({"model": name}).padding == of_hyper_parameters({"arch": name}).padding == "same"


def test_options_of_a_run_come_before_its_name():
    assert of_run({"model": "efficientnet_es.ra_in1k", "model_kwargs": {"pad_type": "same"}}).padding == "same"
    assert of_run({"model": "efficientnet_es.ra_in1k"}).padding == "symmetric"
    assert of_run({"model": "resnet50"}).padding is None


@pytest.mark.slow
def test_a_published_file_is_known_by_its_hash(eff, tmp_path, monkeypatch):
    build(eff, "edgetpu").save(tmp_path / "net.keras")
    convert.convert_weights(tmp_path / "net.keras", tmp_path / "net.safetensors", variant=VARIANT)
    arrays = checkpoints.open_checkpoint(tmp_path / "net.safetensors").arrays
    for name, noted in (("published", {"format": "pt"}), ("other", {"format": "pt", "by": "me"})):
        safetensors.write(tmp_path / f"{name}.safetensors", arrays, noted)
    digest = digest_of(tmp_path / "published.safetensors")
    row = dataclasses.replace(weights_info("edgetpu-s", "timm/imagenet"), hash=f"sha256:{digest[:8]}")
    monkeypatch.setattr(published, "list_weights", lambda variant: (row,))
    known, unknown = (
        finding.of_reading(checkpoints.read_checkpoint(tmp_path / f"{name}.safetensors", VARIANT))
        for name in ("published", "other")
    )
    assert (known.padding, known.epsilon, known.preprocessing, known.crop) == ("edgetpu", 1e-3, "tf", 0.875)
    assert unknown == Facts()


def test_what_is_not_known_is_taken_to_be_of_today_with_a_warning():
    variant = get_variant("edgetpu-s")
    trained = finding.trained_with(Facts(), variant, Facts())
    assert trained.padding == "same"
    hint = "the authors' published weights 'edgetpu' and 0.001"
    assert hint in finding.unknown_message(trained, variant)
    assert hint not in finding.unknown_message(trained, get_variant("b0"))


@pytest.mark.slow
def test_that_timm_will_predict_otherwise_is_warned_of(eff, tmp_path, caplog):
    for padding, target in (("edgetpu", "a.safetensors"), ("same", "b.safetensors"), ("edgetpu", "c.weights.h5")):
        build(eff, padding).save(tmp_path / "net.keras")
        caplog.clear()
        convert.convert_weights(tmp_path / "net.keras", tmp_path / target, variant=VARIANT)
        assert caplog.text.count("timm's EdgeTPU networks pad otherwise") == (target == "a.safetensors")
