"""Exported files opened again: ours predict as when they were exported, those of others with what is said of them."""

import functools
import json
import shutil
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from exported_models import small_keras

from efficientnet.errors import CheckpointError
from efficientnet.export import export
from efficientnet.exported_files.formats import FORMATS, format_of
from efficientnet.images.pixel_scaling import scale_and_offset
from efficientnet.inference import ModelSource, compile

keras = pytest.importorskip("keras")
pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("openvino")
pytestmark = pytest.mark.usefixtures("home")

NAMES = {"onnx": "small.onnx", "openvino": "small.xml", "litert": "small.tflite", "saved_model": "small"}
SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("litert", "saved_model")]
LABELS = ["ä", "b", "<c>", '"d"', "e"]


@pytest.fixture(scope="module")
def source():
    """A model, and all that is known of it."""
    return ModelSource.of_model(small_keras(), "tf", 0.9, "bilinear", LABELS, keep=False)


@pytest.fixture(scope="module")
def exported(source, tmp_path_factory):
    """Exports to a format, once for each kind of file."""

    @functools.cache
    def write(format, **options):
        if find_spec(FORMATS[format].module) is None:
            pytest.skip(f"needs {FORMATS[format].module}")
        path = tmp_path_factory.mktemp("exported") / NAMES[format]
        export(source, path, format, **options)
        return path

    return write


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(1)
    return [rng.integers(0, 256, (40 + number, 50, 3), np.uint8) for number in range(7)]


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(2).integers(0, 256, (7, 32, 32, 3), np.uint8)


@pytest.fixture(scope="module")
def reference(source, images, pixels):
    """What Keras predicts for the images and for the pixels."""
    with compile(source, "keras") as predictor:
        return predictor.predict(images), predictor.predict(pixels)


@pytest.mark.slow
@pytest.mark.parametrize("format", ["onnx", "openvino", *SLOW])
def test_ours_predict_as_at_export(exported, source, images, pixels, reference, format):
    path = exported(format)
    with compile(path) as predictor:
        assert predictor.engine == FORMATS[format].engine
        assert predictor.spec == source.load()[1]
        np.testing.assert_allclose(predictor.predict(images), reference[0], atol=1e-5)
        np.testing.assert_allclose(predictor.predict(pixels), reference[1], atol=1e-5)
        streamed = [record.outputs for record in predictor.stream(images * 12)]
        np.testing.assert_allclose(streamed, np.tile(reference[0], (12, 1)), atol=1e-5)
    if format == "openvino":  # from the cache
        with compile(str(path)) as predictor:
            np.testing.assert_allclose(predictor.predict(pixels), reference[1], atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("format", ["onnx", "openvino", *SLOW])
@pytest.mark.parametrize("input_type", ["float32", "uint8"])
def test_raw_pixels_and_a_fixed_batch(exported, images, pixels, reference, format, input_type):
    path = exported(format, raw_pixels=True, input_type=input_type, batch=3)
    with compile(path) as predictor:
        assert not predictor.spec.is_scaled
        assert predictor.batch_size == 3
        np.testing.assert_allclose(predictor.predict(pixels), reference[1], atol=1e-5)
        np.testing.assert_allclose(predictor.predict(pixels[:1]), reference[1][:1], atol=1e-5)
        # Whole numbers are what is left of resized images in uint8.
        atol = 1e-5 if input_type == "float32" else 5e-3
        np.testing.assert_allclose(predictor.predict(images), reference[0], atol=atol)
        assert len(list(predictor.stream(images * 12))) == 84
    with pytest.raises(ValueError, match=r"batch_size=8: .* takes exactly 3 images at a time"):
        compile(path, batch_size=8)


@pytest.mark.slow
@pytest.mark.parametrize("format", ["onnx", "openvino", "litert"])
def test_eight_bits(source, tmp_path, images, format):
    pytest.importorskip("nncf")
    pytest.importorskip(FORMATS[format].module)
    export(source, tmp_path / NAMES[format], format, "int8", images, agreement=0.0)
    with compile(tmp_path / NAMES[format]) as predictor, compile(source, "keras") as reference:
        assert predictor.precision == "int8"
        assert 0 < np.abs(predictor.predict(images) - reference.predict(images)).max() < 0.1


@pytest.mark.slow
@pytest.mark.parametrize("format", ["onnx", "openvino", *SLOW])
def test_several_outputs_in_the_models_order(tmp_path, pixels, format):
    pytest.importorskip(FORMATS[format].module)
    inputs = keras.Input((32, 32, 3))
    maps = [keras.layers.Conv2D(n, 3, strides=2, name=name)(inputs) for n, name in ((3, "z"), (2, "a"), (4, "m"))]
    model = keras.Model(inputs, maps, name="maps")
    export(ModelSource.of_model(model, "tf", keep=False), tmp_path / NAMES[format], format)
    with compile(tmp_path / NAMES[format]) as predictor:
        found = predictor.predict(pixels)
    scale, offset = scale_and_offset("tf")
    for ours, theirs in zip(
        found, model.predict_on_batch(pixels * np.float32(scale) + np.float32(offset)), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_what_is_given_replaces_what_is_recorded(exported, pixels, caplog):
    path = exported("onnx")
    with compile(path, preprocessing="lite", crop=0.5, interpolation="nearest", class_names=list("vwxyz")) as predictor:
        assert predictor.spec.scaling == scale_and_offset("lite")
        assert (predictor.spec.crop, predictor.spec.interpolation) == (0.5, "nearest")
        assert [label for _, label in predictor.spec.classes] == list("vwxyz")
    assert caplog.text.count('gets pixels scaled as given, "lite"') == 1
    with pytest.raises(ValueError, match="5 outputs but 2 class names"):
        compile(path, class_names=["a", "b"])
    with pytest.raises(ValueError, match="preprocessing mode="):
        compile(path, preprocessing="caffe")
    with pytest.raises(ValueError, match="crop=7"):
        compile(path, crop=7)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engine": "openvino"}, r"engine='openvino': .*small.onnx is exported for ONNX Runtime.*--engine"),
        ({"engine": "fastest"}, "is exported for ONNX Runtime"),
        ({"precision": "bf16"}, r"precision='bf16': .*small.onnx is exported, and has its precision"),
        ({"calibration": ["a.jpg"]}, "calibration=: .* export the model anew"),
    ],
)
def test_options_that_contradict_a_file(exported, options, message):
    with pytest.raises(ValueError, match=message):
        compile(exported("onnx"), **options)


@pytest.mark.slow
def test_threads_of_tensorflow_are_those_of_the_process(exported, pixels):
    tf = pytest.importorskip("tensorflow")
    path, own = exported("saved_model"), tf.config.threading.get_intra_op_parallelism_threads()
    with compile(path, threads=own or None) as predictor:
        predictor.predict(pixels)
    with pytest.raises(ValueError, match="threads=7: TensorFlow has threads for the whole process"):
        compile(path, threads=7)


def test_a_runtime_that_is_not_installed(exported, monkeypatch):
    path = exported("onnx")
    monkeypatch.setattr("efficientnet.exported_files.formats.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"small.onnx needs ONNX Runtime: pip install 'efficientnet\[onnx\]>=2'"):
        compile(path)


def test_there_are_no_layers_in_it(exported):
    with pytest.raises(ValueError, match="has no layers of Keras any more: give the model that it was exported from"):
        ModelSource.of_file(exported("onnx")).load()


def test_files_that_are_missing_damaged_or_of_another_kind(exported, tmp_path):
    import onnx

    for name in ("missing.onnx", "missing.xml", "missing.tflite"):
        with pytest.raises(FileNotFoundError, match=f"No exported model at .*{name}"):
            compile(tmp_path / name)
    shutil.copy(exported("openvino"), tmp_path / "alone.xml")
    with pytest.raises(FileNotFoundError, match=r"alone.bin is missing, which holds weights of .*alone.xml"):
        compile(tmp_path / "alone.xml")
    (tmp_path / "alone.bin").write_bytes(b"short")
    with pytest.raises(CheckpointError, match=r"alone.xml cannot be opened by openvino .*damaged"):
        compile(tmp_path / "alone.xml")
    content = exported("onnx").read_bytes()
    (tmp_path / "half.onnx").write_bytes(content[: len(content) // 2])
    with pytest.raises(CheckpointError, match=r"half\.onnx: it is damaged: an entry runs past its end\. Export"):
        compile(tmp_path / "half.onnx")
    shutil.copy(exported("onnx"), tmp_path / "small.tflite")
    with pytest.raises(CheckpointError, match=r"is a model for ONNX Runtime, not for LiteRT: give it a name .*\.onnx"):
        compile(tmp_path / "small.tflite")
    onnx.save(
        onnx.load(exported("onnx")),
        tmp_path / "apart.onnx",
        save_as_external_data=True,
        location="a.data",
        size_threshold=0,
    )
    (tmp_path / "a.data").unlink()
    with pytest.raises(FileNotFoundError, match=r"a\.data is missing, which holds weights of .*apart\.onnx"):
        compile(tmp_path / "apart.onnx")
    pointer = b"version https://git-lfs.github.com/spec/v1"
    for name, start in (("a.onnx", b"<html>"), ("a.xml", b"<html>"), ("a.tflite", b""), ("b.onnx", pointer)):
        (tmp_path / name).write_bytes(start)
        with pytest.raises(CheckpointError, match=f"{name} is not a model for .*: it is "):
            compile(tmp_path / name)
    (tmp_path / "folder.onnx").mkdir()
    with pytest.raises(OSError, match="is a folder"):
        compile(tmp_path / "folder.onnx")


@pytest.mark.parametrize(
    "change",
    [
        {"classes": [["0", "a"]]}, {"sides": [64, 64]}, {"channels_last": False}, {"outputs": 4}, {"crop": "big"},
        {"scaling": [[1, 1], [0, 0]]}, {"scaling": [["a"] * 3, [0] * 3]}, {"interpolation": "spline"},
        {"thresholds": [0.5]}, {"name": 5}, {"output_tensors": ["other"]}, {"crop": None}, {"classes": 5},
    ],
)  # fmt: skip
def test_what_a_file_records_has_to_fit_it(exported, tmp_path, change):
    import onnx

    model = onnx.load(exported("onnx"))
    (entry,) = model.metadata_props
    entry.value = json.dumps({**json.loads(entry.value), **change})
    onnx.save(model, tmp_path / "changed.onnx")
    with pytest.raises(CheckpointError, match=r"changed.onnx does not fit what it says of itself.*export it again"):
        compile(tmp_path / "changed.onnx")


@pytest.mark.slow
def test_a_remark_of_the_export_stays(source, tmp_path, caplog):
    from efficientnet.keras import EfficientNet

    model = EfficientNet(0.25, 0.25, 32, weights=None, classes=5)
    model.save(tmp_path / "net.keras")
    export(ModelSource.of_file(tmp_path / "net.keras"), tmp_path / "net.onnx", "onnx")
    caplog.clear()
    compile(tmp_path / "net.onnx").close()
    assert caplog.text.count("net.onnx was exported from a model that was built without weights, and does not say") == 1


def test_a_part_stands_for_the_whole(exported, pixels, reference):
    with compile(exported("openvino").with_suffix(".bin")) as predictor:
        np.testing.assert_allclose(predictor.predict(pixels), reference[1], atol=1e-5)


def test_the_folder_of_a_saved_model_is_distinguished_from_others(tmp_path):
    (tmp_path / "lite0").mkdir()
    (tmp_path / "lite0" / "saved_model.pb").touch()
    assert format_of(tmp_path / "lite0") == "saved_model"
    assert format_of(tmp_path / "lite0" / "saved_model.pb") == "saved_model"
    assert format_of(tmp_path / "pytorch_model.bin") is None
    assert format_of(tmp_path) is None
    assert format_of(Path("net.ONNX")) == "onnx"
    assert format_of("b0") is None
