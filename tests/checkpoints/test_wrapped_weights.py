"""Networks that are a part of what is in a file: wrappers, other heads, decoders around them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from efficientnet import checkpoints, get_variant
from efficientnet.checkpoints import CheckpointError, safetensors
from efficientnet.checkpoints.arrays import Stored
from efficientnet.checkpoints.names.keras import OURS
from efficientnet.checkpoints.names.torch import LUKEMELAS, MMPRETRAIN, TIMM, TORCHVISION, TRANSFORMERS
from efficientnet.cli.main import main
from efficientnet.family import arrays as layout

pytest.importorskip("keras")

HEADS = {TIMM: "classifier", LUKEMELAS: "_fc", TORCHVISION: "classifier"}
B0 = {
    origin: {
        entry.theirs: np.random.default_rng(index).uniform(0.5, 1, entry.their_shape).astype(np.float32)
        for index, entry in enumerate(origin.entries(layout.layers(get_variant("b0"), 4)))
    }
    for origin in HEADS
}
ORIGINS = pytest.mark.parametrize("origin", HEADS, ids=lambda origin: origin.name)


def array(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.float32)


def without_classifier(arrays: dict[str, np.ndarray], origin: Any) -> dict[str, np.ndarray]:
    return {name: values for name, values in arrays.items() if not name.startswith(f"{HEADS[origin]}.")}


def save(path: Any, arrays: dict[str, np.ndarray], before: str = "", **others: np.ndarray) -> Any:
    safetensors.write(path, {**{before + name: values for name, values in arrays.items()}, **others})
    return path


def expect_body(model: Any, origin: Any) -> None:
    for entry in origin.entries(layout.layers(get_variant("b0"))):
        layer, _, role = entry.ours.partition("/")
        if layer in ("stem_conv", "block3a_dwconv", "block7a_project_bn", "top_bn"):
            found = model.get_layer(layer)
            values = found.get_weights()[layout.ROLES[type(found).__name__].index(role)]
            stored = Stored(entry.their_shape, np.dtype("f4"), lambda name=entry.theirs: B0[origin][name])
            np.testing.assert_array_equal(values, np.asarray(entry.to_ours(stored)))


@pytest.mark.slow
@ORIGINS
@pytest.mark.parametrize(
    "before", ["net.", "backbone.", "encoder.", "model.", "module.", "model.encoder.net.", "self."]
)
def test_a_wrapper(origin, before, tmp_path):
    reading = checkpoints.read_checkpoint(save(tmp_path / "w.safetensors", B0[origin], before))
    assert (reading.variant.name, reading.origin, reading.classes) == ("efficientnet-b0", origin, 4)
    assert (reading.before, reading.differences, reading.aside) == (before, 0, {})


@pytest.mark.slow
@pytest.mark.parametrize("before", ["", "body."])
@pytest.mark.parametrize(
    ("origin", "parts"),
    [
        (TIMM, {"conv_stem": 0, "bn1": 1, "blocks": 2, "conv_head": 3, "bn2": 4, "classifier": 6}),
        (TIMM, {"conv_stem": 0, "bn1": 1, "blocks": 3, "conv_head": 4, "bn2": 5, "classifier": 8}),  # with activations
        (LUKEMELAS, {"_conv_stem": 0, "_bn0": 1, "_blocks": 2, "_conv_head": 3, "_bn1": 4, "_fc": 7}),
        (TORCHVISION, {"features": 0, "classifier": 2}),
        (TORCHVISION, {f"features.{number}": number for number in range(9)}),  # its features alone
    ],
)
def test_numbers_in_place_of_the_names_of_children(origin, parts, before, tmp_path):
    """As nn.Sequential(*network.children()) has them."""
    numbered = {}
    for name, values in B0[origin].items():
        part = next((part for part in parts if name.startswith(f"{part}.")), None)
        if part:
            numbered[f"{before}{parts[part]}{name.removeprefix(part)}"] = values
    reading = checkpoints.read_checkpoint(save(tmp_path / "w.safetensors", numbered))
    assert (reading.variant.name, reading.origin, reading.before) == ("efficientnet-b0", origin, before)
    assert (reading.differences, reading.aside) == (0, {})
    assert reading.classes == (4 if HEADS[origin] in parts else None)
    for entry in origin.entries(layout.layers(get_variant("b0"), 4)):
        if entry.ours in reading.arrays:
            stored = Stored(entry.their_shape, np.dtype("f4"), lambda name=entry.theirs: B0[origin][name])
            np.testing.assert_array_equal(np.asarray(reading.arrays[entry.ours]), np.asarray(entry.to_ours(stored)))
    # Part after part, they could be anything.
    flat = {f"{index}.weight": values for index, values in enumerate(numbered.values())}
    with pytest.raises(CheckpointError, match=r"They begin with numbers.* save the state_dict\(\) of the network"):
        checkpoints.read_checkpoint(save(tmp_path / "flat.safetensors", flat))


@pytest.mark.slow
@pytest.mark.parametrize("before", ["", "net.", "model.backbone.", "0.", "module._orig_mod."])
@pytest.mark.parametrize(("origin", "body"), [(TRANSFORMERS, "efficientnet."), (MMPRETRAIN, "backbone.")])
def test_a_wrapper_around_a_body_with_a_prefix_of_its_own(origin, body, before, tmp_path):
    """The classifier stands beside it."""
    arrays = {
        f"{'' if entry.ours.startswith('probs/') else body}{entry.theirs}": array(*entry.their_shape)
        for entry in origin.entries(layout.layers(get_variant("b0"), 4))
    }
    path = save(tmp_path / "w.safetensors", arrays, before, **{"loss.weight": array(4), "decoder.0.bias": array(3)})
    reading = checkpoints.read_checkpoint(path)
    assert (reading.variant.name, reading.origin, reading.classes) == ("efficientnet-b0", origin, 4)
    assert (reading.differences, set(reading.aside)) == (0, {"loss.weight", "decoder.0.bias"})


@pytest.mark.parametrize(
    ("origin", "before", "left_out", "others"),
    [
        (
            TIMM,
            "model.backbone.",
            ("conv_head.", "bn2.", "classifier."),
            ["model.fpn.p6.conv.weight", "anchors.boxes"],
        ),
        (TIMM, "encoder.model.", ("classifier.",), ["decoder.blocks.0.conv1.0.weight", "segmentation_head.0.weight"]),
        (LUKEMELAS, "encoder.", ("_fc.",), ["decoder.blocks.0.conv1.0.weight", "segmentation_head.0.weight"]),
    ],
    ids=["effdet", "segmentation_models.pytorch tu-", "segmentation_models.pytorch"],
)
def test_backbones_of_detectors_and_of_segmentation(tmp_path, origin, before, left_out, others):
    body = {name: values for name, values in B0[origin].items() if not name.startswith(left_out)}
    path = save(tmp_path / "w.safetensors", body, before, **{name: array(3) for name in others})
    reading = checkpoints.accept(checkpoints.read_checkpoint(path))
    assert (reading.variant.name, reading.origin, reading.before) == ("efficientnet-b0", origin, before)
    assert (reading.classes, set(reading.aside)) == (None, set(others))


@pytest.mark.parametrize("before", ["", "net."])
def test_the_state_dict_of_keras_on_pytorch(before, tmp_path):
    """It puts _torch_params. before the names, lists random states, and in a model of models all twice."""
    arrays = {
        f"{before}{twice}_torch_params.{entry.ours}": array(*entry.shape)
        for twice in ("", "_functional.")
        for entry in OURS.entries(layout.layers(get_variant("b0"), 4))
    }
    state = {f"{before}_torch_params.seed_generator_1/seed_generator_state": np.zeros(2, np.int64)}
    reading = checkpoints.read_checkpoint(save(tmp_path / "w.safetensors", arrays, **state))
    assert (reading.variant.name, reading.origin, reading.classes) == ("efficientnet-b0", OURS, 4)
    assert (reading.before, reading.differences) == (f"{before}_torch_params.", 0)


@pytest.mark.slow
def test_the_state_dict_of_lightning(eff, tmp_path, caplog):
    origin = TIMM
    others = {"criterion.weight": array(4), "val_acc.confmat": array(4, 4), "teacher.bn.num_batches_tracked": array()}
    path = save(tmp_path / "w.safetensors", B0[origin], "model.", **others)
    model = eff.EfficientNetB0(weights=path, classes=4, input_shape=(32, 32, 3), padding="same")
    assert f"{path} holds more than efficientnet-b0; left aside: criterion, val_acc." in caplog.text
    assert model.get_layer("probs").get_weights()[0].any()
    expect_body(model, origin)


@ORIGINS
@pytest.mark.parametrize(
    "others",
    [
        {"encoder.{head}.1.weight": array(9, 1280), "encoder.{head}.1.bias": array(9), "encoder.{head}.4.m": array(5)},
        {"encoder.{head}.weight": array(5, 2560), "encoder.{head}.bias": array(5)},  # of average and maximum
        {"encoder.{head}.weight": array(5, 1280)},
        {"decoder.blocks.0.conv1.weight": array(8, 40, 3, 3), "segmentation_head.0.bias": array(1)},
        {"fc.weight": array(5, 1280), "fc.bias": array(5)},
    ],
    ids=["sequential", "wide", "no bias", "u-net", "outside"],
)  # fmt: skip
def test_another_head(origin, others, tmp_path):
    body = without_classifier(B0[origin], origin)
    others = {name.format(head=HEADS[origin]): values for name, values in others.items()}
    path = save(tmp_path / "w.safetensors", body, "encoder.", **others)
    reading = checkpoints.read_checkpoint(path, get_variant("b0"))
    assert (set(reading.aside), reading.classes, reading.differences) == (set(others), None, 0)


@pytest.mark.slow
def test_the_body_below_another_head(eff, tmp_path, caplog):
    body = without_classifier(B0[LUKEMELAS], LUKEMELAS)
    path = save(tmp_path / "w.safetensors", body, "encoder.", **{"encoder._fc.1.weight": array(5, 1280)})
    expect_body(eff.EfficientNetB0(weights=path, include_top=False), LUKEMELAS)
    assert "left aside: encoder._fc.1." in caplog.text
    fresh = eff.EfficientNetB0(weights=path, classes=5, input_shape=(32, 32, 3))
    expect_body(fresh, LUKEMELAS)
    assert "have no classifier of this network, the model 5" in caplog.text
    assert not any(weight.any() for weight in fresh.get_layer("probs").get_weights())
    with pytest.raises(CheckpointError, match="holds no classifier"):
        eff.EfficientNetB0(weights=path)


@pytest.mark.slow
def test_the_commands(tmp_path, capsys, caplog):
    body = without_classifier(B0[LUKEMELAS], LUKEMELAS)
    path = str(save(tmp_path / "w.safetensors", body, "encoder.", **{"decoder.conv.weight": array(5)}))
    assert main(["inspect", path]) == 0
    assert "aside     decoder.conv.weight" in capsys.readouterr().out
    assert main(["convert", path, str(tmp_path / "body.safetensors")]) == 0
    assert caplog.text.count("left aside: decoder.conv.") == 1
    assert main(["predict", "image.png", "--model", "b0", "--weights", path]) == 2
    assert f"{path} holds no classifier of efficientnet-b0" in capsys.readouterr().err


@ORIGINS
def test_the_body_itself_stays_all_or_nothing(eff, origin, tmp_path):
    body = dict(without_classifier(B0[origin], origin))
    lost = list(body)[100]
    del body[lost]
    path = save(tmp_path / "w.safetensors", body, "net.", **{"decoder.weight": array(3)})
    with pytest.raises(CheckpointError, match=r"is missing from the file; decoder.weight \(3,\) is in the file only"):
        eff.EfficientNetB0(weights=path, include_top=False)


@pytest.mark.slow
def test_a_larger_network_is_none_with_a_decoder(tmp_path):
    """B1 has all of B0's layers, and more."""
    entries = TIMM.entries(layout.layers(get_variant("b1")))
    path = save(tmp_path / "w.safetensors", {entry.theirs: array(*entry.their_shape) for entry in entries}, "net.")
    reading = checkpoints.read_checkpoint(path, get_variant("b0"))
    assert "These are weights of efficientnet-b1" in checkpoints.explain(reading)
    assert checkpoints.read_checkpoint(path).variant.name == "efficientnet-b1"


def test_two_networks(tmp_path):
    student = {f"student.{name}": values for name, values in B0[TIMM].items()}
    path = save(tmp_path / "w.safetensors", B0[TIMM], "teacher.", **student)
    with pytest.raises(CheckpointError, match=r"holds several networks.*begin with 'student\.', 'teacher\.'"):
        checkpoints.read_checkpoint(path, get_variant("b0"))


def test_one_network_beside_another_publishers_of_the_same_names(tmp_path):
    path = save(tmp_path / "w.safetensors", B0[TIMM], "b.", **{"a.conv_stem.weight": array(16, 3, 3, 3)})
    assert checkpoints.read_checkpoint(path, get_variant("b0")).before == "b."


SUFFIXES = pytest.mark.parametrize("suffix", [".keras", ".h5", ".weights.h5"])


def write(model: Any, path: Any) -> Any:
    model.save_weights(path) if path.name.endswith(".weights.h5") else model.save(path)
    return path


def randomised(model: Any) -> Any:
    rng = np.random.default_rng(0)
    model.set_weights([rng.uniform(0.1, 1, weight.shape).astype("float32") for weight in model.get_weights()])
    return model


def own_model(eff, keras, tiny, kind):
    body = tiny(weights=None, include_top=False, input_shape=(32, 32, 3), pooling="avg")
    layers = keras.layers
    if kind == "sequential":
        head = [layers.BatchNormalization(), layers.Dense(7, "relu"), layers.Dropout(0.5), layers.Dense(2)]
        return body, keras.Sequential([keras.Input((32, 32, 3)), body, *head])
    if kind == "functional":
        x = layers.Dense(2, name="second")(layers.Dense(7, name="first")(body.output))
        return body, keras.Model(body.input, x)
    x = inputs = keras.Input((32, 32, 3))
    maps = tiny(weights=None, include_top=False, input_shape=(32, 32, 3))
    x = layers.UpSampling2D(4)(maps(layers.RandomFlip()(x)))
    x = layers.BatchNormalization(name="decoder_bn")(layers.Conv2D(5, 3, name="decoder_conv")(x))
    return maps, keras.Model(inputs, layers.Conv2D(1, 1, activation="sigmoid")(x))


@pytest.mark.slow
@SUFFIXES
@pytest.mark.parametrize("kind", ["sequential", "functional", "u-net"])
def test_a_custom_model(eff, keras, tiny, tmp_path, caplog, kind, suffix):
    body, model = own_model(eff, keras, tiny, kind)
    randomised(model)
    path = write(model, tmp_path / f"mine{suffix}")
    for options in ({"include_top": False}, {"classes": 2}):
        caplog.clear()
        found = tiny(weights=path, input_shape=(32, 32, 3), **options)
        assert "holds more than tiny; left aside: " in caplog.text
        for layer in body.layers:
            if layer.weights:
                for value, other in zip(layer.get_weights(), found.get_layer(layer.name).get_weights(), strict=True):
                    np.testing.assert_array_equal(value, other)
    assert not any(weight.any() for weight in found.get_layer("probs").get_weights())
