"""The compiled predictor answers as the model does, in float32, whatever Keras is underneath."""

import threading

import numpy as np
import pytest

from efficientnet.errors import UnsupportedLayerError
from efficientnet.inference import compile

pytest.importorskip("openvino")
pytestmark = pytest.mark.usefixtures("eagerly")


@pytest.fixture(autouse=True)
def _home_and_seed(tmp_path, monkeypatch, keras):
    monkeypatch.setenv("EFFICIENTNET_HOME", str(tmp_path))
    keras.utils.set_random_seed(0)


def pixels(*shape):
    return np.random.default_rng(0).uniform(0, 255, shape).astype("float32")


def check(model, x, backend, predictor=None, preprocessing="none"):
    """Both engines on one model; Keras' own OpenVINO backend may compute in bfloat16."""
    tolerance = 0.1 if backend == "openvino" else 2e-5  # random weights spread answers further than trained ones
    answers = (predictor or compile(model, "openvino", preprocessing=preprocessing))(x)
    expected = compile(model, "keras", preprocessing=preprocessing)(x)
    pairs = zip(answers, expected, strict=True) if isinstance(answers, list) else [(answers, expected)]
    for answer, reference in pairs:
        assert answer.shape == reference.shape
        assert answer.dtype == np.float32
        assert np.abs(answer - reference).max() <= tolerance * max(1, np.abs(reference).max())


@pytest.mark.slow
@pytest.mark.parametrize("network", ["tiny", pytest.param("tiny_lite", marks=pytest.mark.once_per_keras)])
@pytest.mark.parametrize(
    "options",
    [
        {"include_preprocessing": True, "classes": 10},
        pytest.param({"include_top": False, "pooling": "max"}, marks=pytest.mark.once_per_keras),
        pytest.param({"include_top": False}, marks=pytest.mark.once_per_keras),
        {"features_only": True},
    ],
)
def test_every_kind_of_output(request, backend, network, options):
    model = request.getfixturevalue(network)(weights=None, input_shape=(64, 96, 3), **options)
    check(model, pixels(2, 64, 96, 3) / (1 if "include_preprocessing" in options else 255), backend)


@pytest.mark.slow
def test_any_size_and_batch_with_one_compiled_model(tiny_lite, backend):
    model = tiny_lite(weights=None, input_shape=(None, None, 3), include_top=False, pooling="avg")
    predictor = compile(model, "openvino", preprocessing="none")
    for shape in ((1, 32, 32, 3), (3, 47, 65, 3)):
        check(model, pixels(*shape) / 255, backend, predictor)


@pytest.mark.slow
@pytest.mark.parametrize(
    "mode",
    [
        "torch",
        pytest.param("lite", marks=pytest.mark.once_per_keras),
        pytest.param(None, marks=pytest.mark.once_per_keras),
    ],
)
def test_raw_pixels_are_preprocessed_as_the_model_wants_it(eff, tiny, backend, mode):
    model = tiny(weights=None, classes=5, include_preprocessing=mode is None)
    images = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), np.uint8)
    with compile(model, "openvino", preprocessing=mode) as predictor:
        answers = predictor(images)
        np.testing.assert_array_equal(predictor(images.astype("float32")), answers)
    expected = images.astype("float32") if mode is None else eff.preprocess_input(images, mode=mode)
    reference = compile(model, "keras", preprocessing="none")(expected)
    np.testing.assert_allclose(answers, reference, atol=0.1 if backend == "openvino" else 1e-5)


@pytest.mark.slow
@pytest.mark.once_per_keras
def test_every_batch_gives_the_same_answers(eff, tiny):
    model = tiny(weights=None, classes=5, include_preprocessing=True)
    images = pixels(11, 64, 64, 3)
    with compile(model, "openvino", threads=2) as predictor:
        together = predictor(images)
        for count in (1, 2, 3, 6):
            np.testing.assert_allclose(predictor(images[:count]), together[:count], atol=1e-6)


@pytest.mark.slow
@pytest.mark.once_per_keras
def test_a_custom_head(tiny_lite, keras, backend):
    layers = keras.layers
    body = tiny_lite(weights=None, input_shape=(64, 64, 3), include_top=False)
    x = layers.Flatten()(layers.Dropout(0.5)(body.output))
    x = layers.BatchNormalization()(layers.Dense(16, activation="tanh")(x))
    check(keras.models.Model(body.input, layers.Dense(3, activation="sigmoid")(x)), pixels(2, 64, 64, 3) / 255, backend)


@pytest.mark.slow
@pytest.mark.once_per_keras
def test_a_model_inside_a_model(tiny_lite, keras, backend):
    layers = keras.layers
    body = tiny_lite(weights=None, input_shape=(32, 32, 3), include_top=False)
    model = keras.Sequential(
        [layers.Input((32, 32, 3)), body, layers.GlobalMaxPooling2D(), layers.Dense(3, activation="softmax")]
    )
    check(model, pixels(2, 32, 32, 3) / 255, backend)


@pytest.mark.slow
@pytest.mark.once_per_keras
def test_mixed_precision_is_float32_in_every_engine(tiny, keras, backend):
    options = {"weights": None, "classes": 4, "classifier_activation": None, "include_preprocessing": True}
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        mixed = tiny(**options)
    finally:
        keras.mixed_precision.set_global_policy("float32")
    plain, x = tiny(**options), pixels(2, 64, 64, 3)
    plain.set_weights(mixed.get_weights())
    expected = np.asarray(plain.predict_on_batch(x))
    assert np.abs(np.asarray(mixed.predict_on_batch(x), "float32") - expected).max() > 2e-5  # as 16 bits do
    for engine in ("keras", "openvino", "onnxruntime"):
        tolerance = 0.1 if backend == "openvino" else 2e-6
        np.testing.assert_allclose(compile(mixed, engine)(x), expected, atol=tolerance)


@pytest.mark.slow
def test_channels_first(tiny, backend, channels_first):
    model = tiny(weights=None, input_shape=(3, 64, 64), classes=4, include_preprocessing=True)
    x = pixels(2, 3, 64, 64)
    answer = compile(model, "openvino")(x)
    np.testing.assert_allclose(answer.sum(axis=1), 1, atol=1e-5)
    if backend != "tensorflow":  # whose convolutions on a CPU are channels-last only
        check(model, x, backend)


@pytest.mark.once_per_keras
def test_channels_first_where_tensorflow_computes_is_refused(tiny, backend, is_legacy, channels_first):
    """LiteRT answers otherwise, without an error."""
    model = tiny(weights=None, classes=5, input_shape=(3, 64, 64))
    expected = r"is channels_first, which TensorFlow does not compute on a processor: predict by OpenVINO"
    for engine in ("keras", "litert"):
        if engine == "litert" or backend == "tensorflow":
            with pytest.raises(ValueError, match=expected):
                compile(model, engine, preprocessing="none")(pixels(1, 3, 64, 64))


@pytest.mark.slow
@pytest.mark.once_per_keras
def test_an_unknown_layer_is_named_and_auto_falls_back(tiny_lite, keras, monkeypatch):
    monkeypatch.setattr("efficientnet.keras_graph.detours.find_spec", lambda name: None)
    body = tiny_lite(weights=None, input_shape=(32, 32, 3), include_top=False)
    odd = keras.layers.UpSampling2D(interpolation="bicubic", name="enlarge")(body.output)
    model = keras.models.Model(body.input, odd)
    with pytest.raises(UnsupportedLayerError, match=r"'enlarge', a UpSampling2D,.*not installed.*engine='keras'"):
        compile(model, "openvino")
    assert compile(model).engine == "keras"
    assert compile(body).engine == "openvino"


@pytest.mark.once_per_keras
@pytest.mark.slow
def test_what_only_has_the_name_of_a_layer_is_not_taken_for_it(keras):
    class Activation(keras.layers.Layer):
        activation = staticmethod(keras.activations.relu)

        def call(self, x):
            return x * 5

    inputs = keras.layers.Input((4, 4, 3))
    # Keras 3 calls the classes of the latter's operations Multiply and Add, which have a form of their own.
    for outputs, expected in ((Activation()(inputs), 5), (inputs * 2.0 + 1.0, 3)):
        predictor = compile(keras.models.Model(inputs, outputs))
        np.testing.assert_allclose(predictor(np.ones((1, 4, 4, 3), "float32")), expected, rtol=1e-2)


@pytest.mark.slow
@pytest.mark.once_per_keras
def test_many_threads_get_their_own_answers(tiny_lite):
    model = tiny_lite(weights=None, input_shape=(32, 32, 3), classes=5, include_preprocessing=True)
    with compile(model, "openvino") as predictor:
        images = pixels(8, 32, 32, 3)
        expected = predictor(images)
        answers = {}

        def ask(index):
            answers[index] = predictor(images[index : index + 1])[0]

        threads = [threading.Thread(target=ask, args=(index,)) for index in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    np.testing.assert_allclose(np.stack([answers[index] for index in range(8)]), expected, atol=1e-6)


@pytest.mark.slow
@pytest.mark.once_per_keras
def test_bad_calls(tiny_lite):
    model = tiny_lite(weights=None, input_shape=(32, 32, 3), classes=5)
    with pytest.raises(ValueError, match=r"'tensorrt'.*'openvino', 'onnxruntime'"):
        compile(model, "tensorrt")
    predictor = compile(model)
    with pytest.raises(ValueError, match=r"got shape \(32, 32, 3\)"):
        predictor(pixels(32, 32, 3))
    predictor.close()
    with pytest.raises(ValueError, match="closed"):
        predictor(pixels(1, 32, 32, 3))
