"""How a model's pixels are to be prepared goes with the model, however it is copied, saved and built upon."""

import copy
import importlib
import pickle

import numpy as np
import pytest

from efficientnet.checkpoints.marks import Mark, of_config
from efficientnet.family.variants import V1_BLOCKS
from efficientnet.keras_graph import marks
from efficientnet.keras_graph.fold import fold_batch_norm
from efficientnet.preprocessing import Scaling

LITE = Mark("lite", 0.9, "bilinear")
MEAN, VARIANCE = (0.485, 0.456, 0.406), (0.0524, 0.0502, 0.0506)  # of ImageNet's levels in 0..1

NUMBERS = Mark(Scaling((0.5, 0.25, 0.125), (-1.0, 0.0, 2.0)))


@pytest.fixture(
    scope="module", params=[LITE, pytest.param(NUMBERS, marks=pytest.mark.once_per_keras)], ids=["mode", "numbers"]
)
def mark(request):
    return request.param


@pytest.fixture(scope="module")
def body(tiny, mark):
    """A single block: a mark is in the layers before it."""
    body = tiny(weights=None, include_top=False, pooling="avg", blocks_args=V1_BLOCKS[:1])
    marks.put(body, mark)
    return body


@pytest.fixture(scope="module")
def marked(keras, body):
    """The network by itself, within a model, and folded, so that its first convolution has a bias."""
    around = keras.Sequential([keras.layers.Input((64, 64, 3)), body, keras.layers.Dense(2)])
    return body, around, fold_batch_norm(body)


def save_and_load(model, path, load):
    model.save(path)
    return load(path)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["as it is", "clone", "deepcopy", "pickle", ".keras", ".h5", "ours", "json", "folded"])
def test_a_copy_says_the_same(eff, keras, marked, mark, tmp_path, how):
    for model in marked:
        copied = {
            "as it is": lambda model: model,
            "clone": keras.models.clone_model,
            "deepcopy": copy.deepcopy,
            "pickle": lambda model: pickle.loads(pickle.dumps(model)),
            ".keras": lambda model: save_and_load(model, tmp_path / "model.keras", keras.models.load_model),
            ".h5": lambda model: save_and_load(model, str(tmp_path / "model.h5"), keras.models.load_model),
            "ours": lambda model: save_and_load(model, tmp_path / "model.keras", eff.load_model),
            "json": lambda model: keras.models.model_from_json(model.to_json()),
            "folded": fold_batch_norm,
        }[how](model)
        if how == "folded":
            marks.remember(copied, Mark())  # so that the graph itself has to say it
        assert marks.read_mark(copied) == mark
        assert eff.model_preprocessing(copied) == mark.preprocessing


@pytest.mark.slow
def test_a_folded_network_computes_the_same_with_its_mark(tiny, keras, is_legacy, tmp_path):
    folded = fold_batch_norm(tiny(weights=None, classes=2))
    loaded = save_and_load(folded, tmp_path / "folded.keras", keras.models.load_model)
    assert marks.read_mark(loaded) == marks.read_mark(folded)
    pixels = np.random.default_rng(0).random((2, 64, 64, 3), "float32")
    to_numpy = np.asarray if is_legacy else keras.ops.convert_to_numpy
    for training in (False, True):
        results = [to_numpy(model(pixels, training=training)) for model in (loaded, folded)]
        np.testing.assert_allclose(*results, atol=1e-6)


@pytest.mark.slow
@pytest.mark.once_per_keras
@pytest.mark.parametrize("mark", [LITE], indirect=True)
def test_a_folded_network_keeps_what_stands_before_it(keras, body, tmp_path):
    images, numbers = keras.layers.Input((64, 64, 3)), keras.layers.Input((2,))
    scaled = keras.layers.Rescaling(1 / 255)(images)
    for given, mark in ((images, LITE), (scaled, LITE._replace(preprocessing="none"))):
        model = keras.Model([images, numbers], keras.layers.Concatenate()([body(given), numbers]))
        folded = save_and_load(fold_batch_norm(model), tmp_path / "model.keras", keras.models.load_model)
        assert marks.read_mark(folded) == mark


@pytest.mark.once_per_keras
@pytest.mark.parametrize("mark", [LITE], indirect=True)
def test_what_stands_before_a_network_is_seen(eff, keras, body, mark):
    layers = keras.layers

    def model(*before, shape=(64, 64, 3)):
        x = inputs = layers.Input(shape)
        for layer in before:
            x = layer(x)
        return keras.Model(inputs, layers.Dense(2)(body(x)))

    for idle in (layers.RandomFlip(), layers.Dropout(0.1), layers.ZeroPadding2D(1)):
        shape = (62, 62, 3) if isinstance(idle, layers.ZeroPadding2D) else (64, 64, 3)
        assert marks.read_mark(model(idle, shape=shape)) == LITE
    levels = np.random.default_rng(0).uniform(size=(4, 64, 64, 3)).astype("float32")
    adapted = {greatest: layers.Normalization() for greatest in (1, 255)}
    for greatest, layer in adapted.items():
        layer.adapt(greatest * levels)
    taken_raw = LITE._replace(preprocessing="none")
    for steps in (
        [adapted[255]],
        [layers.Rescaling(1 / 255)],
        [layers.RandomFlip(), layers.Rescaling(1 / 127.5, -1)],
        [lambda x: x / 255.0],
        [lambda x: (x - 128.0) / 128.0],
        [layers.Rescaling(1 / 255), layers.Rescaling(2.0, -1.0)],
        [layers.Normalization(mean=(124.0, 116.0, 104.0), variance=(3400.0, 3300.0, 3300.0))],
        [layers.Rescaling(1 / 255), layers.Normalization(mean=MEAN, variance=VARIANCE)],
        [lambda x: 1.0 - x / 255.0],
        [lambda x: x - np.float32([124, 116, 104])],
        [lambda x: (x / 255.0 - np.float32(MEAN)) / np.sqrt(np.float32(VARIANCE))],
        [eff.preprocess_input],
    ):
        assert marks.read_mark(model(*steps)) == taken_raw, steps
    # What is given are levels of 0..1, or -1..1, or nobody knows what.
    for steps in (
        [adapted[1]],
        [layers.Rescaling(255.0)],
        [lambda x: x * 255.0],
        [layers.Rescaling(1.0, -0.5)],
        [lambda x: (x - 0.5) / 0.5],
        [lambda x: (x + 1.0) * 0.5],
        [lambda x: (x + 1.0) * 127.5],
        [lambda x: 1.0 - x],
        [layers.Normalization(mean=MEAN, variance=VARIANCE)],
        [lambda x: (x - np.float32(MEAN)) / np.sqrt(np.float32(VARIANCE))],
        [lambda x: x / np.full((64, 64, 3), 255.0, "float32")],
        [layers.Conv2D(3, 1)],
    ):
        assert marks.read_mark(model(*steps)) == Mark(), steps
        with pytest.raises(ValueError, match="does not say how its pixels are scaled"):
            marks.model_preprocessing(model(*steps))


@pytest.mark.parametrize("mark", [LITE], indirect=True)
def test_tensors_that_pixels_are_scaled_by_are_seen(keras, body, backend, is_legacy):
    white = importlib.import_module("tensorflow").constant(255.0) if is_legacy else keras.ops.convert_to_tensor(255.0)
    tensors = [white, importlib.import_module("torch").nn.Parameter(white)] if backend == "torch" else [white]
    for tensor in tensors:
        inputs = keras.Input((64, 64, 3))
        assert marks.read_mark(keras.Model(inputs, body(inputs / tensor))) == LITE._replace(preprocessing="none")


@pytest.mark.once_per_keras
@pytest.mark.parametrize("mark", [LITE], indirect=True)
def test_networks_in_unusual_places(tiny, keras, body, mark):
    layers = keras.layers
    assert marks.read_mark(keras.Sequential([body, layers.Dense(2)])) == LITE  # not built yet
    video = layers.Input((4, 64, 64, 3))
    assert marks.read_mark(keras.Model(video, layers.TimeDistributed(body)(video))) == LITE
    grey = layers.Input((64, 64, 1))
    assert marks.read_mark(keras.Model(grey, body(layers.Concatenate()([grey, grey, grey])))) == LITE
    images = layers.Input((64, 64, 3))
    twins = [body(images), body(layers.RandomFlip()(images))]
    assert marks.read_mark(keras.Model(images, layers.Add()(twins))) == LITE
    other = tiny(weights=None, include_top=False, pooling="avg", name="other")
    assert marks.read_mark(keras.Model(images, layers.Add()([body(images), other(images)]))) == Mark()


@pytest.mark.slow
@pytest.mark.once_per_keras
def test_what_a_network_is_built_with(tiny, keras):
    assert marks.read_mark(tiny(weights=None)) == Mark("torch", is_known=False)
    assert marks.read_mark(tiny(weights=None, include_preprocessing=True)) == Mark("none")
    scaled = keras.layers.Rescaling(1 / 255)(keras.layers.Input((64, 64, 3)))
    assert marks.read_mark(tiny(weights=None, input_tensor=scaled)) == Mark("none")


@pytest.mark.once_per_keras
def test_models_of_others(keras):
    layers = keras.layers
    inputs = layers.Input((8, 8, 3))
    pooled = layers.GlobalAveragePooling2D()
    assert marks.read_mark(keras.Model(inputs, pooled(inputs))) == Mark()
    assert marks.read_mark(keras.Model(inputs, pooled(layers.Rescaling(1 / 255)(inputs)))) == Mark("none")
    assert (
        marks.read_mark(keras.Model(inputs, pooled(layers.Normalization(mean=MEAN, variance=VARIANCE)(inputs))))
        == Mark()
    )
    # Scaled by a layer of its own somewhere within, it does not take raw pixels.
    assert marks.read_mark(keras.Model(inputs, layers.Rescaling(0.1)(layers.Conv2D(2, 3)(inputs)))) == Mark()


@pytest.mark.once_per_keras
def test_texts_of_others_are_no_marks():
    for value in (
        0.5,
        "text",
        '{"efficientnet": 3}',
        '{"efficientnet": {"preprocessing": [1]}}',
        '{"efficientnet": [',
        None,
    ):
        config = {"use_bias": False, "bias_initializer": {"class_name": "Constant", "config": {"value": value}}}
        assert of_config(config) is None
    assert of_config({"use_bias": False, "bias_initializer": "zeros"}) is None
