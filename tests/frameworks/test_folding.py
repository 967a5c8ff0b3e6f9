"""A network without its batch norms answers as it did, whatever Keras is underneath."""

import numpy as np
import pytest

from efficientnet.keras_graph.fold import fold_batch_norm, in_float32

IDLE = {"BatchNormalization", "Dropout"}
GONE = IDLE | {"Reshape"}  # of networks whose gates alone reshape

pytestmark = pytest.mark.usefixtures("eagerly")


@pytest.fixture(autouse=True)
def seed(keras):
    keras.utils.set_random_seed(0)


def flatten(model):
    for layer in model.layers:
        if hasattr(layer, "layers"):
            yield from flatten(layer)
        else:
            yield layer


def with_statistics(model):
    """Gives each batch norm something to do."""
    rng = np.random.default_rng(0)
    for layer in flatten(model):
        if type(layer).__name__ == "BatchNormalization":
            layer.set_weights([value + rng.uniform(-0.2, 0.2, value.shape) for value in layer.get_weights()])
    return model


def kinds(model):
    """Those of all layers but the dropout of rate 0 that says how pixels are scaled."""
    return {type(layer).__name__ for layer in model.layers if layer.name != "stem_conv_mark"}


def check(model, x, backend, folded=None):
    """Folds a model and compares the answers; Keras' own OpenVINO backend may compute in bfloat16."""
    folded = fold_batch_norm(model) if folded is None else folded
    tolerance = 0.1 if backend == "openvino" else 1e-5
    answers, expected = folded.predict_on_batch(x), model.predict_on_batch(x)
    pairs = zip(answers, expected, strict=True) if isinstance(expected, list) else [(answers, expected)]
    for answer, reference in pairs:
        reference = np.asarray(reference)
        assert np.abs(np.asarray(answer) - reference).max() <= tolerance * max(1, np.abs(reference).max())
    return folded


def noise(*shape):
    return np.random.default_rng(1).normal(size=shape).astype("float32")


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"classes": 5, "classifier_activation": None}, marks=pytest.mark.once_per_keras),
        {"include_preprocessing": True, "padding": "symmetric", "classes": 5},
        {"features_only": True},
        pytest.param({"include_top": False}, marks=pytest.mark.once_per_keras),
    ],
)
def test_every_kind_of_output(tiny, backend, options):
    model = with_statistics(tiny(weights=None, **options))
    weights = model.get_weights()
    folded = check(model, noise(2, 64, 64, 3), backend)
    assert not kinds(folded) & GONE
    names = ["stem_conv_mark", *(layer.name for layer in model.layers if type(layer).__name__ not in GONE)]
    assert sorted(layer.name for layer in folded.layers) == sorted(names)
    assert folded.name == model.name
    np.testing.assert_equal(model.get_weights(), weights)  # it stays as it is


@pytest.mark.slow
@pytest.mark.once_per_keras
def test_mixed_kernels(tiny_condconv, backend):
    """Behind CondConv's mixing there is nothing to fold into."""
    model = with_statistics(tiny_condconv(weights=None, include_top=False))
    folded = check(model, noise(2, 32, 32, 3), backend)
    assert not kinds(folded) & IDLE
    assert type(folded.get_layer("block2b_expand_bn")).__name__ == "DepthwiseConv2D"


@pytest.mark.slow
def test_channels_first(tiny, backend, channels_first):
    model = with_statistics(tiny(weights=None, classes=5, input_shape=(3, 64, 64)))
    folded = fold_batch_norm(model)
    assert not kinds(folded) & GONE
    if backend != "tensorflow":  # whose convolutions on a CPU are channels-last only
        check(model, noise(2, 3, 64, 64), backend, folded)


@pytest.mark.slow
@pytest.mark.once_per_keras
@pytest.mark.parametrize("sequential", [False, True])
def test_a_custom_head_on_a_model_within_the_model(tiny, keras, backend, sequential):
    """As Keras' tutorial on fine-tuning has it: there the batch norm goes into the classifier behind it."""
    layers = keras.layers
    body = tiny(weights=None, include_top=False)
    body.trainable = False
    head = [
        layers.GlobalAveragePooling2D(),
        layers.BatchNormalization(),
        layers.Dropout(0.2),
        layers.Dense(3, name="mine"),
    ]
    if sequential:
        model = keras.Sequential([layers.Input((64, 64, 3)), body, *head])
    else:
        x = body.output
        for layer in head:
            x = layer(x)
        model = keras.models.Model(body.input, x)
    folded = check(with_statistics(model), noise(2, 64, 64, 3), backend)
    assert not kinds(folded) & IDLE
    assert not folded.get_layer("stem_conv").trainable
    assert folded.get_layer("mine").trainable


def precisions(model):
    """In which the layers compute; an input computes nothing."""
    return {layer.compute_dtype for layer in model.layers if type(layer).__name__ != "InputLayer"}


@pytest.fixture
def policy(keras):
    """Sets the dtype policy of new layers."""
    yield keras.mixed_precision.set_global_policy
    keras.mixed_precision.set_global_policy("float32")


@pytest.mark.once_per_keras
@pytest.mark.parametrize("name", ["mixed_float16", "bfloat16", "float64"])
def test_another_precision_is_float32_in_the_copy(tiny, keras, policy, backend, name):
    """What Keras computes in float32 with the same weights is right, and 16 bits are far from it."""
    if (backend, name) == ("jax", "float64"):
        pytest.skip("JAX has no float64 unless it is asked for")
    options = {"weights": None, "classes": 5, "classifier_activation": None, "include_preprocessing": True}
    policy(name)
    model = with_statistics(tiny(**options))
    body = keras.models.Model(model.input, model.get_layer("avg_pool").output, name="body")
    inputs = keras.layers.Input((64, 64, 3))
    around = keras.models.Model(inputs, keras.layers.Dense(3, name="mine")(body(inputs)))
    policy("float32")
    plain = tiny(**options)
    plain.set_weights(model.get_weights())
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 64, 64, 3)).astype("float32")
    for convert in (fold_batch_norm, in_float32):
        assert precisions(check(plain, pixels, backend, convert(model))) == {"float32"}
        assert precisions(convert(around)) == {"float32"}  # also of a model within the model
    assert model.get_layer("stem_conv").compute_dtype == name.removeprefix("mixed_")


def test_float32_is_no_copy(tiny):
    model = tiny(weights=None)
    assert in_float32(model) is model


@pytest.mark.once_per_keras
def test_a_policy_for_new_layers_changes_no_copy(tiny, policy):
    model = tiny(weights=None, include_preprocessing=True)
    policy("mixed_float16")
    assert precisions(fold_batch_norm(model)) == {"float32"}


@pytest.mark.once_per_keras
def test_a_lambda_stays(keras, backend):
    inputs = keras.layers.Input((8, 8, 3))
    x = keras.layers.Lambda(lambda pixels: pixels / 127.5 - 1, name="mine")(inputs)
    x = keras.layers.BatchNormalization()(keras.layers.Conv2D(4, 3)(x))
    folded = check(with_statistics(keras.models.Model(inputs, x)), noise(2, 8, 8, 3), backend)
    assert not kinds(folded) & IDLE


@pytest.mark.once_per_keras
def test_a_pooling_keeps_the_pixel_that_it_is_reshaped_to(keras, backend):
    layers = keras.layers
    inputs = layers.Input((8, 8, 3))
    pixel = layers.Reshape((1, 1, 3))(layers.GlobalAveragePooling2D(name="pixel")(inputs))
    column = layers.Reshape((3, 1, 1), name="column")(layers.GlobalMaxPooling2D()(inputs))
    vector = layers.GlobalMaxPooling2D(name="vector")(inputs)
    of_vector = layers.Reshape((1, 1, 3), name="of_vector")(vector)
    model = keras.models.Model(inputs, [layers.Multiply()([inputs, pixel]), column, vector, of_vector])
    folded = check(model, noise(2, 8, 8, 3), backend)
    assert {layer.name for layer in folded.layers if type(layer).__name__ == "Reshape"} == {"column", "of_vector"}
    assert folded.get_layer("pixel").keepdims
    assert not folded.get_layer("vector").keepdims


@pytest.mark.once_per_keras
def test_what_several_layers_need_stays(keras, backend):
    layers = keras.layers
    inputs = layers.Input((8, 8, 3), name="pixels")
    shared, norm = layers.Conv2D(4, 3, name="shared"), layers.BatchNormalization(name="norm")
    first, second = norm(shared(inputs)), norm(layers.Activation("relu")(shared(inputs * 0.5)))  # both called twice
    conv = layers.Conv2D(4, 3, activation="relu", name="relu")(inputs)
    seen_twice = layers.Conv2D(4, 3, name="seen_twice")(inputs)
    on_its_side = layers.BatchNormalization(axis=2, name="on_its_side")(seen_twice)
    merged = layers.Add()([first, second, layers.BatchNormalization(name="behind_relu")(conv), on_its_side, seen_twice])
    deep = layers.BatchNormalization()(layers.Dense(2, name="dense")(layers.Flatten()(merged)))
    vectors = layers.BatchNormalization(name="vectors")(layers.Activation("tanh")(deep))
    model = with_statistics(keras.models.Model(inputs, [vectors, merged]))
    folded = check(model, noise(2, 8, 8, 3), backend)
    left = {layer.name for layer in folded.layers if type(layer).__name__ == "BatchNormalization"}
    assert left == {"on_its_side", "vectors"}
    assert folded.get_layer("dense").use_bias
    assert (
        type(folded.get_layer("norm")).__name__ == type(folded.get_layer("behind_relu")).__name__ == "DepthwiseConv2D"
    )
    np.testing.assert_array_equal(folded.get_layer("seen_twice").get_weights()[0], model.get_layer("seen_twice").kernel)


@pytest.mark.once_per_keras
def test_grouped_and_multiplied_convolutions(keras, backend):
    layers = keras.layers
    inputs = layers.Input((9, 9, 4))
    x = layers.BatchNormalization(scale=False)(layers.Conv2D(6, 3, groups=1 if backend == "openvino" else 2)(inputs))
    x = layers.BatchNormalization(center=False)(layers.DepthwiseConv2D(3, depth_multiplier=2)(x))
    x = layers.BatchNormalization()(layers.Dropout(0.5)(layers.Conv2D(3, 1, use_bias=False)(x)))
    x = layers.BatchNormalization()(layers.BatchNormalization()(layers.Dense(5)(x)))
    folded = check(with_statistics(keras.models.Model(inputs, x)), noise(2, 9, 9, 4), backend)
    assert len(folded.layers) == 5


def test_what_trains_while_answering_stays(keras, backend, is_legacy):
    """Which Keras 3 takes back in ``predict``."""
    layers = keras.layers
    inputs = layers.Input((8, 8, 3))
    x = layers.BatchNormalization(name="batch")(layers.Conv2D(4, 3)(inputs), training=True)
    x = layers.Dropout(0.5, name="doubt")(x, training=True)
    model = with_statistics(keras.models.Model(inputs, x))
    if is_legacy:
        assert kinds(fold_batch_norm(model)) >= IDLE
    else:
        assert not kinds(check(model, noise(2, 8, 8, 3), backend)) & IDLE


@pytest.mark.once_per_keras
def test_random_changes_of_images_are_left_out_and_adapted_numbers_stay(keras, backend):
    layers = keras.layers
    inputs = layers.Input((8, 8, 3))
    known = layers.Normalization()
    known.adapt(noise(4, 8, 8, 3) * 3 + 1)
    x = layers.RandomRotation(0.1)(layers.RandomFlip()(known(inputs)))
    folded = check(keras.models.Model(inputs, layers.GaussianNoise(1.0)(x)), noise(2, 8, 8, 3), backend)
    assert kinds(folded) == {"InputLayer", "Normalization"}


@pytest.mark.once_per_keras
def test_names_and_arrangement_of_inputs_and_outputs(keras, backend):
    layers = keras.layers
    left, right = layers.Input((4,), name="left"), layers.Input((4,), name="right")
    branch = layers.Input((4,))
    body = keras.models.Model(branch, layers.BatchNormalization()(layers.Dense(3, name="dense")(branch)), name="body")
    outputs = {"a": layers.Dense(3, name="dense")(left), "b": body(right)}
    model = with_statistics(keras.models.Model({"left": left, "right": right}, outputs))
    folded = fold_batch_norm(model)
    assert {layer.name for layer in folded.layers} == {"left", "right", "dense", "body_dense"}
    x = {"left": noise(2, 4), "right": noise(2, 4) + 1}
    answers, expected = folded.predict_on_batch(x), model.predict_on_batch(x)
    assert answers.keys() == expected.keys() == {"a", "b"}
    for key, answer in answers.items():
        np.testing.assert_allclose(answer, expected[key], atol=0.1 if backend == "openvino" else 1e-5)


@pytest.mark.slow
@pytest.mark.once_per_keras
def test_plain_keras_saves_and_opens_it(eff, tiny, keras, backend, tmp_path):
    model = with_statistics(tiny(weights=None, classes=5))
    folded = fold_batch_norm(model)
    assert eff.model_preprocessing(folded) == eff.model_preprocessing(model)
    folded.save(tmp_path / "folded.keras")
    check(model, noise(2, 64, 64, 3), backend, keras.models.load_model(tmp_path / "folded.keras"))


@pytest.mark.once_per_keras
def test_a_model_without_a_graph(keras):
    with pytest.raises(ValueError, match="no graph of layers"):
        fold_batch_norm(keras.Sequential([keras.layers.Dense(3)]))
