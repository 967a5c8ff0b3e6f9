"""What weights were trained with travels in the file: a network that was saved is the network that is built again."""

import dataclasses
import json

import numpy as np
import pytest

from efficientnet import checkpoints, get_variant
from efficientnet.checkpoints import CheckpointError, Facts, safetensors
from efficientnet.checkpoints.facts import from_json
from efficientnet.export import convert
from efficientnet.preprocessing import Scaling
from efficientnet.weights.loading import find
from efficientnet.weights.published import facts_of_model

keras = pytest.importorskip("keras")

SIZE = 32
OWN = Scaling((0.01, 0.02, 0.03), (-1.0, 0.0, 1.0))


def small(name, *blocks):
    """A variant of one block for each of these stages."""
    blocks = tuple(dataclasses.replace(stage, num_repeat=1) for stage in blocks)
    return dataclasses.replace(
        get_variant(name), name=f"small-{name}", width=0.25, depth=1.0, resolution=SIZE, blocks=blocks, classes=5
    )


def families():
    v1, edgetpu, v2 = (get_variant(name).blocks for name in ("b0", "edgetpu-s", "v2-b0"))
    mixed = dataclasses.replace(v1[1], experts=2)
    fused_then_not = (*v2[:2], dataclasses.replace(v2[3], input_filters=32))
    return {
        "v1": small("b0", *v1[:2]),
        "lite": small("lite0", *get_variant("lite0").blocks[:2]),
        "edgetpu": small("edgetpu-s", *edgetpu[:2], dataclasses.replace(edgetpu[3], input_filters=32)),
        "condconv": small("condconv-b0-4e", v1[0], mixed),
        "v2": small("v2-b0", *fused_then_not),
    }


FAMILIES = families()
SETTINGS = [
    ("symmetric", 1e-5, "torch"),
    ("same", 1e-5, "tf"),
    ("edgetpu", 1e-3, "v2"),
    ("same", 1e-3, "lite"),
    ("symmetric", 1e-4, OWN),
]
CASES = list(zip(FAMILIES, SETTINGS, strict=True))  # each family once, and each setting
UNKNOWN = "does not say how its network was trained"


@pytest.fixture(scope="module")
def eff():
    from efficientnet import keras

    return keras


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(0).integers(0, 256, (2, SIZE, SIZE, 3)).astype("float32")


def seed(model):
    """Fills a model with weights that make its outputs depend on all that it is built with."""
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if type(layer).__name__ == "BatchNormalization":
            values = [rng.uniform(0.5, 1.5, weight.shape) for weight in layer.weights]
        else:  # such that no activation saturates
            values = [rng.normal(0, np.prod(weight.shape[:-1]) ** -0.5, weight.shape) for weight in layer.weights]
        layer.set_weights([value.astype("float32") for value in values])
    return model


def build(eff, variant, setting=(None, None, None), **options):
    padding, epsilon, preprocessing = setting
    options = {"input_shape": (SIZE, SIZE, 3), "classes": 5, "weights": None, **options}
    return eff.create(variant, padding=padding, batch_norm_epsilon=epsilon, preprocessing=preprocessing, **options)


def predict(model, x):
    return keras.ops.convert_to_numpy(model(x, training=False))


@pytest.mark.slow
@pytest.mark.parametrize(("family", "setting"), CASES)
def test_built_saved_and_opened(eff, pixels, tmp_path, caplog, family, setting):
    """In every container that can be written: by Keras, and by ``convert`` from what Keras wrote."""
    variant = FAMILIES[family]
    model = seed(build(eff, variant, setting, include_preprocessing=True))
    expected = predict(model, pixels)
    files = {name: tmp_path / name for name in ("saved.keras", "saved.h5", "saved.weights.h5")}
    for name, path in files.items():
        (model.save_weights if ".weights" in name else model.save)(path)
    for suffix in ("keras", "h5", "weights.h5", "safetensors", "pth"):
        files[f"converted.{suffix}"] = tmp_path / f"converted.{suffix}"
        convert.convert_weights(files["saved.keras"], files[f"converted.{suffix}"], variant=variant)
    assert UNKNOWN not in caplog.text

    for name, path in files.items():
        caplog.clear()
        again = build(eff, variant, weights=path, include_preprocessing=True)
        if name == "saved.weights.h5":  # the one that Keras alone writes, and that cannot say it all
            assert caplog.text.count(UNKNOWN) == 1
            assert "batch_norm_epsilon=" in caplog.text and "padding=" not in caplog.text
            again = build(eff, variant, (None, *setting[1:]), weights=path, include_preprocessing=True)
        else:
            assert UNKNOWN not in caplog.text, name
            assert find(path, variant).trained.preprocessing == setting[2], name
        np.testing.assert_allclose(predict(again, pixels), expected, atol=1e-6, err_msg=name)
        if name.endswith(("d.keras", "d.h5")):
            opened = eff.load_model(path)
            x = eff.preprocess_input(pixels, mode=eff.model_preprocessing(opened))
            np.testing.assert_allclose(predict(opened, x), expected, atol=1e-5, err_msg=name)


@pytest.mark.slow
def test_the_outputs_depend_on_each_setting(eff, pixels):
    """Without this the test above could not fail."""
    setting = SETTINGS[0]
    model = seed(build(eff, FAMILIES["v1"], setting, include_preprocessing=True))
    for place, other in enumerate(("same", 0.02, "none")):
        changed = (*setting[:place], other, *setting[place + 1 :])
        wrong = build(eff, FAMILIES["v1"], changed, include_preprocessing=True)
        wrong.set_weights(model.get_weights())
        assert np.abs(predict(wrong, pixels) - predict(model, pixels)).max() > 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"include_top": False}, {"include_top": False, "pooling": "avg"}])
@pytest.mark.parametrize("name", ["body.keras", "body.h5"])
def test_without_a_top(eff, pixels, tmp_path, options, name):
    setting = ("symmetric", 1e-5, "tf")
    model = seed(build(eff, FAMILIES["v1"], setting, include_preprocessing=True, **options))
    model.save(tmp_path / name)
    again = build(eff, FAMILIES["v1"], weights=tmp_path / name, include_preprocessing=True, **options)
    np.testing.assert_allclose(predict(again, pixels), predict(model, pixels), atol=1e-6)


@pytest.mark.slow
def test_what_the_user_passes_wins(eff, tmp_path, caplog):
    seed(build(eff, FAMILIES["v1"], ("symmetric", 1e-5, None))).save(tmp_path / "net.keras")
    model = build(eff, FAMILIES["v1"], ("same", None, "tf"), weights=tmp_path / "net.keras")
    assert model.get_layer("stem_conv").padding == "same"
    assert model.get_layer("stem_bn").epsilon == pytest.approx(1e-5)
    assert "padding='same' where the weights were trained with 'symmetric'" in caplog.text


@pytest.mark.slow
def test_another_last_activation_is_reported(eff, tmp_path, caplog):
    seed(build(eff, FAMILIES["v1"], classifier_activation=None)).save(tmp_path / "net.keras")
    build(eff, FAMILIES["v1"], weights=tmp_path / "net.keras", classifier_activation=None)
    assert "ends in" not in caplog.text
    build(eff, FAMILIES["v1"], weights=tmp_path / "net.keras")
    assert "ends in 'linear', the new one in 'softmax'; classifier_activation=None keeps it" in caplog.text


@pytest.fixture(scope="module")
def body(eff):
    return seed(build(eff, FAMILIES["v1"]))


class TestScalingInTheGraph:
    """Of the layers before the first convolution of a whole model."""

    @pytest.mark.parametrize(
        ("layers", "mode"),
        [
            (lambda layers: [layers.Rescaling(1 / 127.5, -1)], "tf"),
            (lambda _: [lambda x: x / 127.5 - 1], "tf"),
            (lambda _: [lambda x: 2.0 * ((x + -128) / 256)], "v2"),
            (lambda layers: [layers.RandomFlip(), layers.Resizing(SIZE, SIZE), layers.Rescaling(1 / 128, -1)], "v2"),
            (
                lambda layers: [
                    layers.Rescaling(1 / 255),
                    layers.Normalization(mean=[0.485, 0.456, 0.406], variance=[0.229**2, 0.224**2, 0.225**2]),
                ],
                "torch",
            ),
        ],
    )
    @pytest.mark.parametrize("nested", [False, True])
    def test_is_read(self, eff, body, tmp_path, layers, mode, nested):
        x = keras.Input((SIZE, SIZE, 3))
        in_front = layers(keras.layers)
        if nested and isinstance(in_front[0], keras.layers.Layer):
            model = keras.Sequential([x, *in_front, body])
        else:
            y = x
            for layer in in_front:
                y = layer(y)
            model = keras.Model(x, body(y))
        model.save(tmp_path / "net.keras")
        assert checkpoints.open_checkpoint(tmp_path / "net.keras").facts.preprocessing == mode

    def test_what_is_not_understood_is_unknown(self, body, tmp_path, caplog):
        x = keras.Input((SIZE, SIZE, 3))
        keras.Model(x, body(keras.layers.UnitNormalization()(x))).save(tmp_path / "net.keras")
        assert checkpoints.open_checkpoint(tmp_path / "net.keras").facts.preprocessing is None

    @pytest.mark.parametrize("normalizes", [False, True])
    def test_what_takes_levels_of_0_to_1_says_nothing_of_pixels(self, body, tmp_path, normalizes):
        x = keras.Input((SIZE, SIZE, 3))
        imagenets = keras.layers.Normalization(mean=[0.485, 0.456, 0.406], variance=[0.229**2, 0.224**2, 0.225**2])
        keras.Model(x, body(imagenets(x) if normalizes else (x - 0.5) / 0.5)).save(tmp_path / "net.keras")
        assert checkpoints.open_checkpoint(tmp_path / "net.keras").facts.preprocessing is None


@pytest.fixture(scope="module")
def plain(eff, tmp_path_factory):
    """A bare state dict under timm's names, and what is in it."""
    folder = tmp_path_factory.mktemp("timm")
    seed(build(eff, FAMILIES["v1"])).save(folder / "net.keras")
    convert.convert_weights(folder / "net.keras", folder / "net.safetensors", variant=FAMILIES["v1"])
    arrays = checkpoints.open_checkpoint(folder / "net.safetensors").arrays
    safetensors.write(folder / "bare.safetensors", arrays, {"format": "pt"})
    return folder / "bare.safetensors"


class TestTimm:
    """timm's names of networks, in checkpoints of its training script and in folders for the hub."""

    @pytest.mark.parametrize(
        ("name", "padding", "epsilon", "preprocessing"),
        [
            ("efficientnet_b0", "symmetric", 1e-5, "torch"),
            ("tf_efficientnet_b0", "same", 1e-3, "torch"),
            ("tf_efficientnet_b0.ap_in1k", "same", 1e-3, "tf"),
            ("tf_efficientnetv2_s", "same", 1e-3, "tf"),
            ("efficientnetv2_m", "symmetric", 1e-5, "torch"),
            ("timm/tf_efficientnet_b0.ap_in1k", "same", 1e-3, "tf"),
            ("hf-hub:timm/tf_efficientnet_b0.ap_in1k", "same", 1e-3, "tf"),
            ("hf_hub:timm/efficientnet_b0.ra_in1k", "symmetric", 1e-5, "torch"),
            ("tu-tf_efficientnet_b0", "same", 1e-3, "torch"),
            ("efficientnet_b0.my-own.2", "symmetric", 1e-5, "torch"),
            ("hf-hub:me/efficientnet_b0", None, None, None),
            ("efficientnet_b0_of_mine", None, None, None),
            ("resnet50", None, None, None),
            ("tf_efficientnet_es", "same", 1e-3, "tf"),
        ],
    )
    def test_names(self, name, padding, epsilon, preprocessing):
        facts = facts_of_model(name)
        assert (facts.padding, facts.epsilon, facts.preprocessing) == (padding, epsilon, preprocessing)

    @pytest.mark.slow
    def test_a_bare_state_dict_warns_once(self, eff, plain, caplog):
        build(eff, FAMILIES["v1"], weights=plain)
        assert caplog.text.count(UNKNOWN) == 1
        assert "padding='same', batch_norm_epsilon=0.001, preprocessing='torch'" in caplog.text
        assert "--padding, --epsilon, --preprocessing" in caplog.text
        caplog.clear()
        build(eff, FAMILIES["v1"], ("symmetric", 1e-5, "torch"), weights=plain)
        assert UNKNOWN not in caplog.text

    @pytest.mark.parametrize("is_zip", [True, False])
    def test_a_training_checkpoint(self, eff, plain, tmp_path, caplog, is_zip):
        torch = pytest.importorskip("torch")
        from argparse import Namespace

        state = {
            name: torch.from_numpy(np.array(stored))
            for name, stored in checkpoints.open_checkpoint(plain).arrays.items()
        }
        options = Namespace(model="efficientnet_b0", bn_eps=None, mean=[0.5] * 3, std=[0.5] * 3, crop_pct=0.9)
        content = {"epoch": 3, "arch": "efficientnet_b0", "state_dict": state, "args": options}
        torch.save(content, tmp_path / "last.pth.tar", _use_new_zipfile_serialization=is_zip)
        model = build(eff, FAMILIES["v1"], weights=tmp_path / "last.pth.tar")
        assert (model.get_layer("stem_conv").padding, model.get_layer("stem_bn").epsilon) == ("valid", 1e-5)
        assert eff.model_preprocessing(model) == "tf"
        assert checkpoints.open_checkpoint(tmp_path / "last.pth.tar").facts.crop == 0.9
        assert UNKNOWN not in caplog.text

    def test_options_of_a_run(self, plain, tmp_path):
        """One mean for all channels, and a path among the options."""
        torch = pytest.importorskip("torch")
        from argparse import Namespace
        from pathlib import Path

        arrays = checkpoints.open_checkpoint(plain).arrays
        state = {name: torch.from_numpy(np.array(stored)) for name, stored in arrays.items()}
        options = Namespace(model="efficientnet_b0", mean=[0.5], std=[0.5], output=Path("runs"))
        torch.save({"state_dict": state, "args": options}, tmp_path / "last.pth.tar")
        trained = find(tmp_path / "last.pth.tar", FAMILIES["v1"]).trained
        assert (trained.padding, trained.preprocessing) == ("symmetric", "tf")

    @pytest.mark.parametrize(
        ("parameters", "padding"),
        [
            ({"lr": 0.1, "backbone": "hf-hub:timm/efficientnet_b0.ra_in1k"}, "symmetric"),
            ({"model_name": "tf_efficientnet_b0", "arch": "timm/tf_efficientnet_b0", "model": {"layers": 3}}, "same"),
            ({"arch": "efficientnet_b0", "backbone": "tf_efficientnet_b0"}, None),
            ({"model": "efficientnet"}, None),
            ({"title": "efficientnet_b0"}, None),
        ],
    )
    def test_hyper_parameters_of_lightning(self, plain, tmp_path, parameters, padding):
        torch = pytest.importorskip("torch")
        arrays = checkpoints.open_checkpoint(plain).arrays
        state = {f"model.{name}": torch.from_numpy(np.array(stored)) for name, stored in arrays.items()}
        torch.save({"state_dict": state, "hyper_parameters": parameters}, tmp_path / "last.ckpt")
        facts = find(tmp_path / "last.ckpt", FAMILIES["v1"]).trained.facts
        assert facts.padding == padding

    @pytest.mark.parametrize(
        ("said", "warned"),
        [
            ({"num_classes": 5, "label_names": list("abcde")}, None),
            ({"num_classes": 7}, "config.json: num_classes 7 is noted"),
            ({"num_classes": 5, "label_names": list("abc")}, "config.json: label_names 3 is noted"),
            ({"num_classes": 3, "label_names": {"0": "a", "1": "b", "2": "c"}}, "label_names 3, "),
        ],
    )
    def test_classes_of_a_folder_for_the_hub(self, eff, plain, tmp_path, caplog, said, warned):
        (tmp_path / "model.safetensors").write_bytes(plain.read_bytes())
        (tmp_path / "config.json").write_text(json.dumps({"architecture": "efficientnet_b0", **said}))
        build(eff, FAMILIES["v1"], weights=tmp_path)
        reading = checkpoints.read_checkpoint(tmp_path, FAMILIES["v1"])
        assert reading.classes == 5
        names = find(tmp_path, FAMILIES["v1"]).trained.facts.class_names
        if warned is None:
            assert names == tuple("abcde") and not reading.miscounted
            assert "taken is what the weights have" not in caplog.text
        else:
            assert names is None
            assert caplog.text.count("taken is what the weights have") == 1
            assert warned in caplog.text and "has a classifier of 5 classes, where" in caplog.text

    def test_names_within_a_file_that_are_not_as_many_as_its_classes(self, eff, plain, tmp_path, caplog):
        arrays = checkpoints.open_checkpoint(plain).arrays
        noted = {"format": "pt", "efficientnet": Facts(class_names=("a", "b")).to_json()}
        safetensors.write(tmp_path / "net.safetensors", arrays, noted)
        build(eff, FAMILIES["v1"], weights=tmp_path / "net.safetensors")
        assert "net.safetensors has a classifier of 5 classes, where names of classes 2 is noted" in caplog.text
        convert.convert_weights(tmp_path / "net.safetensors", tmp_path / "out.safetensors", variant=FAMILIES["v1"])
        assert checkpoints.open_checkpoint(tmp_path / "out.safetensors").facts.class_names is None

    @pytest.mark.parametrize("classes", ["ten", True, -1, 2.5])
    def test_a_number_of_classes_that_is_none(self, plain, tmp_path, classes):
        (tmp_path / "model.safetensors").write_bytes(plain.read_bytes())
        config = {"architecture": "efficientnet_b0", "num_classes": classes}
        (tmp_path / "config.json").write_text(json.dumps(config))
        with pytest.raises(CheckpointError, match=r"config\.json does not say .*where a number of classes"):
            checkpoints.open_checkpoint(tmp_path)

    def test_a_folder_for_the_hub(self, eff, plain, tmp_path, caplog):
        (tmp_path / "model.safetensors").write_bytes(plain.read_bytes())
        trained = {"tag": "mine", "mean": [0.5] * 3, "std": [0.5] * 3, "crop_pct": 0.95, "interpolation": "bilinear"}
        config = {
            "architecture": "efficientnet_b0",
            "num_classes": 5,
            "label_names": list("abcde"),
            "pretrained_cfg": trained,
        }
        (tmp_path / "config.json").write_text(json.dumps(config))
        for weights in (tmp_path, tmp_path / "model.safetensors"):
            model = build(eff, FAMILIES["v1"], weights=weights)
            assert (model.get_layer("stem_conv").padding, model.get_layer("stem_bn").epsilon) == ("valid", 1e-5)
            assert eff.model_preprocessing(model) == "tf"
            facts = checkpoints.open_checkpoint(weights).facts
            assert (facts.crop, facts.interpolation, facts.class_names) == (0.95, "bilinear", tuple("abcde"))
        assert UNKNOWN not in caplog.text
        (tmp_path / "config.json").write_text(json.dumps({**config, "pretrained_cfg": {"mean": "grey", "std": 1}}))
        with pytest.raises(CheckpointError, match=r"config\.json does not say what model\.safetensors beside it holds"):
            build(eff, FAMILIES["v1"], weights=tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "{",
        '{"padding": "circular"}',
        '{"epsilon": 0}',
        '{"epsilon": "1"}',
        '{"preprocessing": [[1], [NaN]]}',
        '{"class_names": [[1]]}',
        '{"crop": true}',
        "[" * 10_000,
    ],
)
def test_notes_that_cannot_be_right_are_refused(text):
    with pytest.raises(ValueError, match="it"):
        from_json(text)


def test_notes_are_read_as_they_were_written():
    facts = Facts("symmetric", 1e-5, OWN, 0.9, "bilinear", ("Löwe", "tiger"), "linear", size=72)
    assert from_json(facts.to_json()) == facts
    assert from_json('{"later": 1}') == Facts()
