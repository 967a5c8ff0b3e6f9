"""The predictor: what it takes, what it refuses, and which engine answers."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import threading
from pathlib import PurePosixPath

import numpy as np
import pytest
from PIL import Image

from efficientnet.images.loading import load_image
from efficientnet.inference import ModelSource, compile
from efficientnet.keras_graph import openvino
from efficientnet.model_io.describing import describe_model
from efficientnet.model_io.inputs import model_inputs
from efficientnet.preprocessing import center_crop_and_resize, preprocess_input

pytest.importorskip("openvino")
pytest.importorskip("keras")

pytestmark = pytest.mark.usefixtures("eagerly")


def has(*modules):
    return all(importlib.util.find_spec(module) for module in modules)


@pytest.fixture(autouse=True)
def _home(tmp_path, monkeypatch):
    monkeypatch.setenv("EFFICIENTNET_HOME", str(tmp_path / "home"))


@pytest.fixture(scope="module")
def model(tiny):
    import keras

    keras.utils.set_random_seed(0)
    return tiny(weights=None, classes=5)


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (7, 64, 64, 3), np.uint8)


@pytest.fixture(scope="module")
def expected(model, images):
    return np.asarray(model.predict_on_batch(preprocess_input(images, mode="torch")))


@pytest.fixture
def image(tmp_path):
    pixels = np.random.default_rng(1).integers(0, 256, (90, 120, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "image.png")
    return tmp_path / "image.png", pixels


@pytest.mark.slow
@pytest.mark.parametrize(
    ("engine", "modules"),
    [
        ("auto", ()),
        ("openvino", ()),
        ("onnxruntime", ("onnxruntime", "onnx", "efficientnet.export")),
        ("litert", ("ai_edge_litert", "efficientnet.export")),
        ("keras", ()),
    ],
)
def test_every_engine_answers_as_the_model_does(model, images, expected, engine, modules):
    if not has(*modules):
        pytest.skip(f"needs {', '.join(modules)}")
    with compile(model, engine, threads=2) as predictor:
        assert predictor.engine == ("openvino" if engine == "auto" else engine)
        np.testing.assert_allclose(predictor(images), expected, atol=1e-5)
        np.testing.assert_allclose(predictor(images[:1].astype(np.float64)), expected[:1], atol=1e-5)


def test_images_are_cropped_and_resized(model, image):
    path, pixels = image
    with compile(model) as predictor:
        square = center_crop_and_resize(pixels, 64, crop_padding=64 / 0.875 - 64)
        reference = predictor(square[np.newaxis])
        opaque = np.dstack([pixels, np.full(pixels.shape[:2], 255, np.uint8)])
        sources = [
            path,
            str(path),
            pixels,
            path.read_bytes(),
            Image.fromarray(pixels),
            opaque,
            lambda: load_image(path),
        ]
        answers = predictor(sources)
        np.testing.assert_allclose(answers, np.repeat(reference, len(sources), axis=0), atol=1e-6)
        grey = Image.fromarray(pixels).convert("L")
        several = predictor([grey, np.asarray(grey), np.asarray(grey)[..., np.newaxis], grey.convert("RGB")])
        np.testing.assert_allclose(several, np.repeat(several[:1], 4, axis=0), atol=1e-6)
        np.testing.assert_array_equal(predictor(iter([pixels])), answers[2:3])


def test_names_of_the_best_classes(model, images, expected):
    names = ["a", "b", "c", "d", "e"]
    with compile(model, class_names=names) as predictor:
        best = predictor.top(images, k=2)
    for row, scores in zip(best, expected, strict=True):
        first, second = np.argsort(-scores)[:2]
        assert [label for _, label, _ in row] == [names[first], names[second]]
        assert row[0][2] == pytest.approx(scores[first], abs=1e-5)


@pytest.mark.slow
def test_feature_maps_and_features(tiny, images):
    with compile(tiny(weights=None, features_only=True)) as predictor:
        maps = predictor(images)
        assert [part.shape for part in maps] == [(7, 32, 32, 16), (7, 16, 16, 8), (7, 8, 8, 24)]
        record = next(predictor.stream(images))
        for part, whole in zip(record.outputs, maps, strict=True):
            np.testing.assert_allclose(part, whole[0], atol=1e-5)
        with pytest.raises(ValueError, match="no vector of scores"):
            predictor.top(images)
    with compile(tiny(weights=None, include_top=False, pooling="avg")) as predictor:
        assert predictor(images).ndim == 2


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["openvino", "keras"])
def test_a_dictionary_of_feature_maps(tiny, images, engine):
    model = tiny(weights=None, features_only=True, out_strides=(8, 4), named_features=True, input_shape=(64, 64, 3))
    expected = {"P2": (7, 16, 16, 8), "P3": (7, 8, 8, 24)}
    for _ in range(2):  # the second from the cache
        with compile(model, engine) as predictor:
            assert {name: part.shape for name, part in predictor(images).items()} == expected
            record = next(predictor.stream(images))
            assert {name: (7, *part.shape) for name, part in record.outputs.items()} == expected


@pytest.mark.slow
@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.parametrize("options", [{}, {"include_preprocessing": True}])
def test_files_of_other_numbers_of_channels(tiny, tmp_path, channels, options):
    model = tiny(weights=None, in_channels=channels, classes=5, **options)
    arrays = np.random.default_rng(0).integers(0, 256, (2, 64, 64, channels), dtype=np.uint8)
    paths = [tmp_path / "0.npy", tmp_path / "1.npy"]
    for path, array in zip(paths, arrays, strict=True):
        np.save(path, array)
    with compile(model, crop=1.0) as predictor:
        np.testing.assert_allclose(predictor(paths), predictor(arrays), atol=1e-5)
    inputs = model_inputs(paths, model, crop=1.0)
    assert inputs.shape == (2, 64, 64, channels)
    np.testing.assert_allclose(model.predict_on_batch(inputs), predict(compile(model), arrays), atol=1e-5)


def predict(predictor, images):
    with predictor:
        return predictor(images)


@pytest.mark.slow
def test_images_for_a_model_of_any_size_are_made_as_large_as_its_variant_wants():
    efn = importlib.import_module("efficientnet.keras")
    body = efn.EfficientNetLite1(weights=None, include_top=False, pooling="avg")
    model = efn._keras.Sequential([efn._keras.Input((None, None, 3)), body, efn._keras.layers.Dense(2)])
    for network in (body, model):
        spec = describe_model(network, "lite")
        assert spec.sides == (None, None)
        assert spec.check_images() == 240


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["onnxruntime", "litert", "keras"])
def test_engines_give_outputs_in_the_models_order(tiny, images, engine):
    if not has({"litert": "ai_edge_litert"}.get(engine, engine)):
        pytest.skip(f"{engine} is not installed")
    model = tiny(weights=None, features_only=True)
    with compile(model, engine, preprocessing="tf") as predictor, compile(model, preprocessing="tf") as other:
        for part, expected in zip(predictor(images), other(images), strict=True):
            np.testing.assert_allclose(part, expected, atol=1e-4)


@pytest.mark.slow
def test_bf16_and_int8_are_reported(model, images, expected):
    if "BF16" in openvino.core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        with compile(model, precision="bf16") as predictor:
            assert 0 < predictor.deviation < 0.05
            np.testing.assert_allclose(predictor(images), expected, atol=0.05)
    else:
        with pytest.raises(ValueError, match="has no bfloat16"):
            compile(model, precision="bf16")
    with pytest.raises(ValueError, match="calibration="):
        compile(model, precision="int8")
    with pytest.raises(ValueError, match="OpenVINO's alone"):
        compile(model, "keras", precision="bf16")
    if has("nncf"):
        with pytest.raises(ValueError, match="int8 is refused"):
            compile(model, precision="int8", calibration=list(images), agreement=1.0)
        with compile(model, precision="int8", calibration=list(images), agreement=0.0) as predictor:
            assert 0 < predictor.deviation == predictor.fidelity.difference < 0.2
            assert (predictor.fidelity.floating, predictor.fidelity.held_out) == ((), len(images) // 2)
            np.testing.assert_allclose(predictor(images), expected, atol=0.2)
    else:
        with pytest.raises(ImportError, match=r"efficientnet\[int8\]"):
            compile(model, precision="int8", calibration=list(images))


@pytest.mark.slow
def test_the_fastest_is_measured(model, images, expected, monkeypatch):
    # LiteRT's conversion alone takes longer than all other tests here.
    monkeypatch.setattr("efficientnet.inference.compiling._is_installed", lambda name: name in ("openvino", "keras"))
    with compile(model, "fastest", threads=1) as predictor:
        best = min(predictor.timings, key=predictor.timings.get)
        assert best == f"{predictor.engine}, {predictor.batch_size} at a time"
        assert {"openvino, 1 at a time", "openvino, 8 at a time", "keras, 8 at a time"} <= predictor.timings.keys()
        np.testing.assert_allclose(predictor(images), expected, atol=1e-5)


def test_an_engine_that_is_not_installed_names_the_extra(model, monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        "efficientnet.inference.compiling.find_spec",
        lambda name: None if name in ("openvino", "onnxruntime", "ai_edge_litert") else find_spec(name),
    )
    for engine, extra in (("openvino", "openvino"), ("onnxruntime", "onnx"), ("litert", "litert")):
        with pytest.raises(ImportError, match=rf"efficientnet\[{extra}\]"):
            compile(model, engine)
    with compile(model) as predictor:
        assert predictor.engine == "keras"


@pytest.mark.slow
def test_a_thousand_requests_from_eight_threads(model, images, expected):
    wrong = []
    with compile(model, threads=2) as predictor:

        def ask(seed):
            generator = np.random.default_rng(seed)
            for _ in range(125):
                chosen = generator.integers(0, 7, generator.integers(1, 6))
                if np.abs(predictor(images[chosen]) - expected[chosen]).max() > 1e-5:
                    wrong.append(chosen)

        threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []


def test_a_dark_batch_is_no_mistake(model, images):
    with compile(model) as predictor:
        dark = images // 64
        np.testing.assert_array_equal(predictor(dark.astype("f")), predictor(dark))
        np.testing.assert_array_equal(
            predictor(np.zeros((1, 64, 64, 3), "f")), predictor(np.zeros((1, 64, 64, 3), "u1"))
        )
        # Black but for noise, made floating by resizing only.
        predictor([np.random.default_rng(0).integers(0, 2, (90, 80, 3), np.uint8)])
        np.testing.assert_array_equal(predictor(images.astype(np.uint16) * 257), predictor(images))


def test_whoever_preprocesses_gets_numbers_through(tiny, images, expected, model):
    with compile(model, preprocessing="none") as predictor:
        inputs = preprocess_input(images, mode="torch")
        np.testing.assert_allclose(predictor(inputs), expected, atol=1e-5)
        np.testing.assert_allclose(predictor(inputs / 255), model.predict_on_batch(inputs / 255), atol=1e-5)
        with pytest.raises(ValueError, match="image 6 of the batch has NaN"):
            predictor(np.concatenate([inputs[:6], np.full_like(inputs[:1], np.nan)]))


def test_a_model_that_does_not_say_takes_floats_unchanged(images):
    import keras

    inputs = keras.Input((64, 64, 3))
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(inputs))
    with compile(model) as predictor:
        x = np.random.default_rng(0).normal(size=(2, 64, 64, 3)).astype("f")
        np.testing.assert_allclose(predictor(x), x.mean(axis=(1, 2)), atol=1e-5)
        for raw in (images, [images[0]]):
            with pytest.raises(ValueError, match=r"does not record how its pixels are scaled.*preprocessing="):
                predictor(raw)


@pytest.mark.slow
def test_a_saved_model_by_its_path(model, images, expected, tmp_path):
    from efficientnet.checkpoints.facts import Facts
    from efficientnet.keras_files.metadata import write_facts

    model.save(tmp_path / "model.keras")
    write_facts(tmp_path / "model.keras", Facts(class_names=tuple("abcde")))
    with compile(tmp_path / "model.keras", preprocessing="torch") as predictor:
        np.testing.assert_allclose(predictor(images), expected, atol=1e-5)
        assert predictor.top(images[:1], 1)[0][0][1] == "abcde"[expected[0].argmax()]
    with pytest.raises(FileNotFoundError, match=r"No model at .*missing\.keras"):
        compile(tmp_path / "missing.keras")


def test_importing_it_imports_no_framework():
    code = "import sys, efficientnet.inference; print({'keras', 'tensorflow', 'openvino', 'PIL'} & {*sys.modules})"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"


@pytest.mark.slow
def test_a_signal_after_many_predictors_is_no_fault(model, tmp_path):
    model.save(tmp_path / "model.keras")
    code = f"""
import gc, os, signal
from efficientnet.inference import compile

signal.signal(signal.SIGTERM, lambda *_: print("handled"))
predictors = [compile({str(tmp_path / "model.keras")!r})]
for _ in range(4):
    predictors.append(compile({str(tmp_path / "model.keras")!r}))
    predictors.pop(0).close()
    gc.collect()
predictors.clear()
gc.collect()
os.kill(os.getpid(), signal.SIGTERM)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ)
    assert (run.returncode, run.stdout.strip()) == (0, "handled"), run.stderr


@pytest.mark.slow
def test_a_cached_engine_answers_without_keras(model, images, expected, tmp_path):
    model.save(tmp_path / "model.keras")
    with compile(ModelSource.of_file(tmp_path / "model.keras", "torch")) as predictor:
        predictor(images)
    np.save(tmp_path / "images.npy", images)
    code = (
        "import sys, numpy as np; from efficientnet.inference import compile, ModelSource; "
        f"predictor = compile(ModelSource.of_file({str(tmp_path / 'model.keras')!r}, 'torch')); "
        f"np.save({str(tmp_path / 'answers.npy')!r}, predictor(np.load({str(tmp_path / 'images.npy')!r}))); "
        "print({'keras', 'tensorflow', 'jax', 'torch'} & {*sys.modules})"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert run.stdout.strip() == "set()"
    np.testing.assert_allclose(np.load(tmp_path / "answers.npy"), expected, atol=1e-5)


@pytest.mark.slow
def test_sources_of_other_types(tmp_path, tiny):
    predictor = compile(tiny(weights=None, input_shape=(32, 32, 3), classes=3), preprocessing="tf", engine="keras")
    path = tmp_path / "image.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)).save(path)
    expected = predictor([path])
    with os.scandir(tmp_path) as entries:
        entry = next(entries)
    for sources in ([PurePosixPath(path)], [entry], np.array([str(path)]), np.array([path], object), [np.str_(path)]):
        np.testing.assert_array_equal(predictor(sources), expected)
        np.testing.assert_array_equal([record.outputs for record in predictor.stream(sources)], expected)
    for sources in ({str(path): 1}, {str(path)}):  # keys, and what has no order
        with pytest.raises(TypeError, match=r"an array of pixels or a list of images; got (dict|set)"):
            predictor(sources)
    for single in (np.str_(path), entry):
        with pytest.raises(ValueError, match=r"got a single one\. Put it into a list"):
            predictor(single)
