"""Whole saved models of any age open with `load_model`.

The older files are made here: a small model as this Keras saves it, its configuration written anew as each older
Keras wrote it. tests/parity/test_qubvel.py opens one that the older package itself saved.
"""

import copy
import json
import logging
import zipfile

import h5py
import numpy as np
import pytest
from tiny_blocks import tiny_blocks

pytestmark = pytest.mark.usefixtures("eagerly")


# TensorFlow 1.14 and 2.9 as `keras.__version__` had it there; 2.15 was the last to be the default.
KERAS_2_2 = "2.2.4"
TF_1_14 = "2.2.4-tf"
TF_2_9 = "2.9.0"
TF_2_15 = "2.15.0"
VERSIONS = (KERAS_2_2, TF_1_14, TF_2_9, TF_2_15)


@pytest.fixture(scope="module")
def x():
    return np.random.default_rng(0).uniform(-2, 2, (2, 32, 32, 3)).astype("float32")


@pytest.fixture(scope="module")
def model(eff, keras):
    keras.utils.set_random_seed(0)
    return network(eff, classes=4)


def network(eff, **options):
    return eff.EfficientNet(0.25, 1.0, 32, **{"blocks_args": tiny_blocks("b0"), "weights": None, **options})


def answers(model, x):
    """Without the compiling that `predict` begins with."""
    outputs = model(x, training=False)
    outputs = outputs if isinstance(outputs, (list, tuple)) else [outputs]
    return [np.asarray(y.detach() if hasattr(y, "detach") else y) for y in outputs]


def check_same_answers(opened, model, x):
    for answer, expected in zip(answers(opened, x), answers(model, x), strict=True):
        np.testing.assert_allclose(answer, expected, atol=1e-6)


# --- writing as older Kerases wrote -----------------------------------------------------------------------------


def older_layer(layer, version):
    """A layer's saved configuration as another version of Keras 2 wrote it."""
    kind, config = layer["class_name"], copy.deepcopy(layer["config"])
    if "layers" in config:
        return {"class_name": kind, "config": older_model(config, version), "name": config["name"]}
    shape = config.pop("batch_shape", None)
    if kind == "InputLayer":
        config.setdefault("batch_input_shape", shape)
        config = {key: config[key] for key in ("batch_input_shape", "name")} | {"sparse": False}
        if version in (TF_2_9, TF_2_15):
            config["ragged"] = False
    config["dtype"] = "float32"
    if version == KERAS_2_2 and kind != "InputLayer":
        del config["dtype"]
    for key in ("groups", "synchronized", "renorm", "optional", "quantization_config"):
        config.pop(key, None)
    for key, value in config.items():
        if isinstance(value, dict) and key.endswith("_initializer"):
            config[key] = {"class_name": value["class_name"], "config": value["config"]}
            if version == TF_1_14:
                config[key]["config"]["dtype"] = "float32"
    if kind == "DepthwiseConv2D" and version in (TF_2_9, TF_2_15):
        config["groups"] = 1
    if kind == "SeparableConv2D" and version in (TF_2_9, TF_2_15):
        unused = {"kernel_initializer": {"class_name": "GlorotUniform", "config": {"seed": None}}}
        config |= {"groups": 1, "kernel_regularizer": None, "kernel_constraint": None} | unused
    if kind == "BatchNormalization":
        config["axis"] = 3 if version == KERAS_2_2 else [3]
        kind = "BatchNormalizationV1" if version == TF_1_14 else kind
    if config.get("activation") == "silu":
        config["activation"] = "swish"
    if kind == "Dropout" and config.get("noise_shape"):
        kind = "FixedDropout"
    return {"class_name": kind, "config": config, "name": config["name"]}


def older_model(config, version):
    """The configuration of a functional or sequential model, likewise."""
    layers = [older_layer(layer, version) for layer in config["layers"]]
    older = {"name": config["name"], "layers": layers}
    if "output_layers" in config:
        nested = {layer["name"] for layer in layers if "layers" in layer["config"]}
        for layer, newer in zip(layers, config["layers"], strict=True):
            layer["inbound_nodes"] = [older_node(node, nested) for node in newer["inbound_nodes"]]
        for key in ("input_layers", "output_layers"):
            older[key] = [config[key]] if isinstance(config[key][0], str) else config[key]
    return older


def older_node(node, nested):
    if isinstance(node, list):  # legacy Keras still writes it
        return node
    tensors = node["args"][0] if isinstance(node["args"][0], list) else node["args"]
    references = [tensor["config"]["keras_history"] for tensor in tensors]
    return [[name, call + (name in nested), output, {}] for name, call, output in references]


def older(config, version):
    kind = config["class_name"]
    if kind == "Functional" and version in (KERAS_2_2, TF_1_14):
        kind = "Model"
    return {"class_name": kind, "config": older_model(config["config"], version)}


def save_h5(model, path, version, edit=None, training=None):
    """Saves a model as an older Keras did."""
    model.save(path.with_suffix(".h5"))
    with h5py.File(path.with_suffix(".h5"), "r+") as file:
        config = older(json.loads(file.attrs["model_config"]), version)
        if edit is not None:
            edit(config)
        file.attrs["model_config"] = json.dumps(config).encode()
        for group in (file, file["model_weights"]):
            group.attrs["keras_version"] = version.encode()
        if training is not None:
            file.attrs["training_config"] = json.dumps(training).encode()
    return path.with_suffix(".h5")


def save_keras(model, path, version):
    """The same in the `.keras` format, which began with Keras 2.12."""
    new = path.with_suffix(".new.keras")
    model.save(new)
    with zipfile.ZipFile(new) as source, zipfile.ZipFile(path, "w") as target:
        config = older(json.loads(source.read("config.json")), version)
        module = "keras" if config["class_name"] == "Sequential" else "keras.src.engine.functional"
        config |= {"module": module, "registered_name": config["class_name"], "build_config": {}}
        target.writestr("config.json", json.dumps(config))
        target.writestr("metadata.json", json.dumps({"keras_version": version}))
        target.writestr("model.weights.h5", source.read("model.weights.h5"))
    return path


# --- opening ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    "version", [KERAS_2_2, *(pytest.param(version, marks=pytest.mark.once_per_keras) for version in VERSIONS[1:])]
)
def test_a_model_of_an_older_keras(eff, keras, model, x, tmp_path, version):
    path = save_h5(model, tmp_path / "model.h5", version)
    content = path.read_bytes()
    opened = eff.load_model(path)
    check_same_answers(opened, model, x)
    assert path.read_bytes() == content
    for layer in opened.layers:
        assert type(layer).__module__.split(".")[0] == keras.layers.Layer.__module__.split(".")[0]
    assert tuple(opened.get_layer("block2b_drop").noise_shape) == (None, 1, 1, 1)
    assert opened.get_layer("stem_bn").get_config()["momentum"] == 0.99


@pytest.mark.once_per_keras
@pytest.mark.parametrize("version", [TF_1_14, TF_2_9, TF_2_15])
def test_keras_3_alone_refuses_it(keras, is_legacy, model, tmp_path, version):
    path = save_h5(model, tmp_path / "model.h5", version)
    if is_legacy:
        keras.models.load_model(path)
        return
    with pytest.raises((TypeError, ValueError), match=r"Error when deserializing|Unknown layer"):
        keras.models.load_model(path)


@pytest.mark.slow
@pytest.mark.once_per_keras
@pytest.mark.parametrize("version", [KERAS_2_2, TF_2_15])
def test_a_new_head_goes_on_top(eff, keras, model, tmp_path, version):
    opened = eff.load_model(save_h5(model, tmp_path / "model.h5", version))
    head = keras.layers.Dense(3)(opened.output)  # a tensor, not a list of one
    assert keras.models.Model(opened.input, head).output_shape == (None, 3)


@pytest.mark.slow
@pytest.mark.once_per_keras
@pytest.mark.parametrize("version", VERSIONS)
def test_a_network_inside_a_model(eff, keras, x, tmp_path, version):
    layers = keras.layers
    inputs = layers.Input((32, 32, 3))
    body = network(eff, input_shape=(32, 32, 3), include_top=False)
    features = layers.SeparableConv2D(5, 3, padding="same")(body(inputs))
    model = keras.models.Model(inputs, layers.Dense(3)(layers.Flatten()(features)))
    check_same_answers(eff.load_model(save_h5(model, tmp_path / "model.h5", version)), model, x)


@pytest.mark.slow
@pytest.mark.once_per_keras
@pytest.mark.parametrize("version", VERSIONS)
def test_a_network_first_in_a_sequence(eff, keras, x, tmp_path, version):
    body = network(eff, input_shape=(32, 32, 3), include_top=False)
    pooling, head = keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(3)
    model = keras.models.Sequential([keras.layers.Input((32, 32, 3)), body, pooling, head])
    check_same_answers(eff.load_model(save_h5(model, tmp_path / "model.h5", version)), model, x)


@pytest.mark.slow
@pytest.mark.once_per_keras
def test_two_calls_of_a_network_and_two_outputs(eff, keras, x, tmp_path):
    left, right = keras.layers.Input((32, 32, 3)), keras.layers.Input((32, 32, 3))
    body = network(eff, input_shape=(32, 32, 3), include_top=False, pooling="avg")
    one, other = body(left), body(right)
    outputs = [keras.layers.Concatenate()([other, one]), other]
    model = keras.models.Model([left, right], outputs)
    check_same_answers(eff.load_model(save_h5(model, tmp_path / "model.h5", TF_2_9)), model, [x, -x])


@pytest.mark.parametrize("name", ["Policy", pytest.param("PolicyV1", marks=pytest.mark.once_per_keras)])
def test_mixed_precision_stays(eff, model, tmp_path, name):
    policy = {"class_name": name, "config": {"name": "mixed_bfloat16"}}
    if name == "PolicyV1":
        policy["config"]["loss_scale"] = None

    def edit(config):
        for layer in config["config"]["layers"][1:-1]:
            layer["config"]["dtype"] = policy

    opened = eff.load_model(save_h5(model, tmp_path / "model.h5", TF_2_9, edit))
    assert opened.get_layer("stem_conv").compute_dtype == "bfloat16"
    assert opened.get_layer("stem_conv").dtype == "float32"
    assert opened.get_layer("probs").compute_dtype == "float32"


@pytest.mark.slow
def test_keras_2_in_the_keras_format(eff, keras, is_legacy, model, x, tmp_path):
    path = tmp_path / "model.keras"
    if is_legacy:
        model.save(path)
    else:
        save_keras(model, path, TF_2_15)
    check_same_answers(eff.load_model(path), model, x)


# --- compiled models --------------------------------------------------------------------------------------------

ADAM = {"beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7, "amsgrad": False}
TRAINING = {"loss": "categorical_crossentropy", "metrics": ["accuracy"], "loss_weights": None}
COMPILED = {
    KERAS_2_2: {
        **TRAINING,
        "sample_weight_mode": None,
        "optimizer_config": {"class_name": "Adam", "config": {**ADAM, "lr": 0.01, "decay": 0.0}},
    },
    TF_2_9: {
        **TRAINING,
        "metrics": [
            [{"class_name": "MeanMetricWrapper", "config": {"name": "accuracy", "fn": "categorical_accuracy"}}]
        ],
        "weighted_metrics": None,
        "optimizer_config": {"class_name": "Adam", "config": {**ADAM, "learning_rate": 0.01, "decay": 0.0}},
    },
    TF_2_15: {
        **TRAINING,
        "optimizer_config": {
            "class_name": "Custom>Adam",
            "config": {**ADAM, "learning_rate": 0.01, "jit_compile": False, "is_legacy_optimizer": False},
        },
    },
}


def ours(caplog):
    return [record for record in caplog.records if record.name == "efficientnet"]


@pytest.mark.slow
@pytest.mark.once_per_keras
@pytest.mark.parametrize("version", COMPILED)
def test_a_compiled_model(eff, keras, backend, is_legacy, model, x, tmp_path, caplog, version):
    path = save_h5(model, tmp_path / "model.h5", version, training=COMPILED[version])
    with caplog.at_level(logging.WARNING, "efficientnet"):
        opened = eff.load_model(path)
    check_same_answers(opened, model, x)
    if is_legacy:
        assert float(opened.optimizer.learning_rate) == pytest.approx(0.01)
        assert not ours(caplog)
    else:
        assert f"compiled by Keras {version}" in caplog.text
        assert not opened.compiled
        opened.compile("sgd", "categorical_crossentropy")
    if backend != "openvino":
        assert np.isfinite(np.asarray(opened.train_on_batch(x, np.eye(4)[[0, 1]]))).all()


@pytest.mark.once_per_keras
def test_a_compiled_model_opened_without(eff, model, x, tmp_path, caplog):
    path = save_h5(model, tmp_path / "model.h5", TF_2_9, training=COMPILED[TF_2_9])
    opened = eff.load_model(path, compile=False)
    assert not ours(caplog)
    assert getattr(opened, "optimizer", None) is None


@pytest.mark.slow
def test_a_model_compiled_today_goes_on_training(eff, keras, trainable, x, tmp_path):
    model = network(eff, classes=4)
    model.compile(keras.optimizers.SGD(0.125, momentum=0.5), "categorical_crossentropy")
    model.train_on_batch(x, np.eye(4)[[0, 1]])
    model.save(tmp_path / "model.keras")
    opened = eff.load_model(tmp_path / "model.keras")
    assert float(opened.optimizer.learning_rate) == 0.125
    assert int(opened.optimizer.iterations) == 1
    assert np.isfinite(np.asarray(opened.train_on_batch(x, np.eye(4)[[0, 1]]))).all()


# --- what a caller may ask for ----------------------------------------------------------------------------------


@pytest.mark.once_per_keras
@pytest.mark.parametrize("version", [KERAS_2_2, TF_2_15])
def test_own_objects(eff, keras, model, tmp_path, version):
    class OwnDropout(keras.layers.Dropout):
        pass

    def edit(config):
        (layer,) = (layer for layer in config["config"]["layers"] if layer["name"] == "block2b_drop")
        layer["class_name"] = "OwnDropout"

    path = save_h5(model, tmp_path / "model.h5", version, edit)
    before, own = dict(keras.utils.get_custom_objects()), {"OwnDropout": OwnDropout}
    opened = eff.load_model(path, custom_objects=own)
    assert type(opened.get_layer("block2b_drop")) is OwnDropout
    assert own == {"OwnDropout": OwnDropout}
    assert dict(keras.utils.get_custom_objects()) == before  # nothing stays behind
    with pytest.raises(ValueError, match="OwnDropout"):
        eff.load_model(path)


@pytest.mark.slow
@pytest.mark.once_per_keras
@pytest.mark.parametrize("version", [KERAS_2_2, TF_2_15])
def test_own_objects_come_first(eff, keras, is_legacy, model, tmp_path, version):
    if is_legacy:
        pytest.skip("legacy Keras lets what is registered for the whole process come first")

    class OwnDropout(keras.layers.Dropout):
        pass

    def own_swish(x):
        return keras.activations.relu(x)

    path = save_h5(model, tmp_path / "model.h5", version)
    opened = eff.load_model(path, custom_objects={"FixedDropout": OwnDropout, "swish": own_swish})
    assert type(opened.get_layer("block2b_drop")) is OwnDropout
    assert opened.get_layer("stem_activation").activation is own_swish
    assert type(eff.load_model(path).get_layer("block2b_drop")) is keras.layers.Dropout


@pytest.mark.slow
@pytest.mark.once_per_keras
@pytest.mark.parametrize("kind", ["keras", "h5"])
def test_the_kind_is_detected_by_content(eff, model, x, tmp_path, kind):
    model.save(tmp_path / f"model.{kind}")
    for name in ("no_suffix", "model.bin", "model.h5" if kind == "keras" else "model.keras"):
        path = (tmp_path / f"model.{kind}").rename(tmp_path / name)
        check_same_answers(eff.load_model(str(path)), model, x)
        path.rename(tmp_path / f"model.{kind}")


def test_a_saved_model_folder(eff, is_legacy, x, tmp_path):
    if is_legacy:
        model = network(eff, blocks_args=tiny_blocks("b0")[:1], classes=4)  # each layer takes long to write
        model.save(tmp_path / "saved", save_format="tf")
        check_same_answers(eff.load_model(tmp_path / "saved"), model, x)
        return
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "saved_model.pb").write_bytes(b"")
    with pytest.raises(ValueError, match="TFSMLayer"):  # Keras 3 says what opens it
        eff.load_model(tmp_path / "saved")
