"""Exported files: what is in them, and that there are none that answer otherwise than Keras."""

import errno
import functools
import json
import os
import resource
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from tiny_blocks import tiny_blocks
from tiny_exports import NAMES, RUNTIMES, build, contents

from efficientnet.export import ExportReport, export, exporting, litert_bytes, onnx_bytes, read_metadata
from efficientnet.inference import InputSpec, ModelSource
from efficientnet.inference.fidelity import Fidelity

keras = pytest.importorskip("keras")
pytest.importorskip("onnx")
efn = pytest.importorskip("efficientnet.keras")


@pytest.mark.slow
@pytest.mark.parametrize("format", NAMES)
def test_what_a_file_says_about_itself(model, tmp_path, format):
    pytest.importorskip(RUNTIMES[format])
    path = tmp_path / NAMES[format]
    source = ModelSource.of_model(model, class_names=["ä", "b", "<c>", '"d"', "e"], keep=False)
    report = export(source, path, format)
    assert report.difference < 1e-5
    assert (report.agreement, report.images, report.precision) == (1, 4, "f32")
    assert 3 * model.count_params() < report.size < 10 * model.count_params()
    expected = {"tiny.xml", "tiny.bin"} if format == "openvino" else {NAMES[format]}
    assert {file.name for file in tmp_path.iterdir()} == expected
    metadata = read_metadata(path)
    assert (metadata["kind"], metadata["activation"]) == ("probabilities", "softmax")
    spec = InputSpec.from_json({field: metadata[field] for field in InputSpec._fields})
    assert spec == source.load()[1]
    assert spec.classes[2] == ("2", "<c>")
    assert metadata["verification"]["difference"] == report.difference
    assert metadata["verification"]["runtime"] == report.runtime
    assert RUNTIMES[format].replace("_", "-") in report.runtime
    assert str(path) in str(report)


@pytest.mark.slow
@pytest.mark.parametrize("input_type", ["float32", "uint8"])
@pytest.mark.parametrize("format", NAMES)
def test_raw_pixels_in_plain_runtimes(model, tmp_path, format, input_type):
    """As somebody would ask the file who has nothing but its runtime."""
    pytest.importorskip(RUNTIMES[format])
    path = tmp_path / NAMES[format]
    report = export(model, path, format, raw_pixels=True, input_type=input_type)
    assert report.difference < 1e-5
    pixels = np.random.default_rng(1).integers(0, 256, (2, 64, 64, 3)).astype(input_type)
    expected = model.predict_on_batch(efn.preprocess_input(pixels))
    np.testing.assert_allclose(ASK[format](str(path), pixels), expected, atol=1e-5)
    name = model.inputs[0]._keras_history[0].name
    assert f"input {name!r}: {input_type} (batch, 64, 64, 3), NHWC, RGB, raw pixels 0..255" in str(report)
    metadata = read_metadata(path)
    assert metadata["input"] == {
        "name": name, "dtype": input_type, "shape": ["batch", 64, 64, 3], "layout": "NHWC", "colors": "RGB",
        "range": [0, 255],
    }  # fmt: skip
    assert metadata["scaling"] == [[1, 1, 1], [0, 0, 0]]


def ask_onnx(path, pixels):
    import onnxruntime

    session = onnxruntime.InferenceSession(path)
    return session.run(None, {session.get_inputs()[0].name: pixels})[0]


def ask_openvino(path, pixels):
    import openvino

    return openvino.compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(pixels)[0]


def ask_litert(path, pixels):
    from ai_edge_litert.interpreter import Interpreter

    run = Interpreter(path).get_signature_runner()
    return next(iter(run(**{next(iter(run.get_input_details())): pixels}).values()))


def ask_saved_model(path, pixels):
    import tensorflow

    loaded = tensorflow.saved_model.load(path)
    return next(iter(loaded.serve(pixels).values()))


ASK = {"onnx": ask_onnx, "openvino": ask_openvino, "litert": ask_litert, "saved_model": ask_saved_model}


def test_the_input_of_a_file_that_takes_what_the_model_takes(model, tmp_path):
    pytest.importorskip("onnxruntime")
    report = export(model, tmp_path / "tiny.onnx", "onnx", batch=2)
    assert '(2, 64, 64, 3), NHWC, RGB, scaled as "torch", (pixels - (123.675' in report.input
    assert read_metadata(tmp_path / "tiny.onnx")["input"]["range"] == [-2.1179, 2.64]
    first = keras.Input((3, 8, None))
    unknown = keras.Model(first, keras.layers.GlobalAveragePooling2D(data_format="channels_first")(first), name="mine")
    report = export(unknown, tmp_path / "tiny.onnx", "onnx")
    assert "(batch, 3, 8, any), NCHW, RGB, scaled as in the model's training, which it does not record" in report.input
    assert read_metadata(tmp_path / "tiny.onnx")["input"]["range"] is None
    with pytest.raises(ValueError, match=r"mine does not say how its pixels are scaled.*\(--preprocessing\)"):
        export(unknown, tmp_path / "tiny.onnx", "onnx", raw_pixels=True)


@pytest.mark.slow
@pytest.mark.parametrize("format", NAMES)
def test_several_outputs_and_a_fixed_batch(tmp_path, format):
    """Runtimes have outputs in orders of their own."""
    pytest.importorskip(RUNTIMES[format])
    report = export(build(features_only=True), tmp_path / NAMES[format], format, batch=3)
    assert report.difference < 1e-4
    assert (report.agreement, report.images) == (None, 3)


@pytest.mark.slow
@pytest.mark.parametrize("format", ["onnx", "openvino", "litert"])
def test_half_precision(model, tmp_path, format):
    pytest.importorskip(RUNTIMES[format])
    (tmp_path / "half").mkdir()
    whole = export(model, tmp_path / NAMES[format], format)
    half = export(model, tmp_path / "half" / NAMES[format], format, "f16")
    # OpenVINO keeps what is small as it is, which in a network of this size is much.
    assert whole.size - half.size > (0.4 if format == "openvino" else 0.8) * 2 * model.count_params()
    assert whole.difference < half.difference < 0.01


def test_the_content_of_files(model):
    ort = pytest.importorskip("onnxruntime")
    x = np.random.default_rng(0).normal(size=(2, 64, 64, 3)).astype("float32")
    session = ort.InferenceSession(onnx_bytes(model))
    (answer,) = session.run(None, {session.get_inputs()[0].name: x})
    np.testing.assert_allclose(answer, model.predict_on_batch(x), atol=1e-5)


@pytest.mark.slow
def test_the_content_of_a_litert_file(model):
    litert = pytest.importorskip("ai_edge_litert.interpreter")
    x = np.random.default_rng(0).normal(size=(2, 64, 64, 3)).astype("float32")
    interpreter = litert.Interpreter(model_content=litert_bytes(model))
    (answer,) = interpreter.get_signature_runner()(**{model.inputs[0]._keras_history[0].name: x}).values()
    np.testing.assert_allclose(answer, model.predict_on_batch(x), atol=1e-5)


SHORT = {"blocks_args": tiny_blocks("b0")[:1]}  # where it is about files and processes, not about layers
EXPORTING = "print(export(build(classes=5, **SHORT), *sys.argv[1:3]).difference)"
FAILING = """
class Mine(keras.layers.Layer):
    def call(self, x):
        return x

x = keras.Input((8, 8, 3))
export(keras.Model(x, Mine()(x)), *sys.argv[3:])
"""


@pytest.mark.slow
@pytest.mark.parametrize(("backend", "format", "after"), [("jax", "litert", FAILING), ("torch", "saved_model", "")])
def test_what_tensorflow_writes_of_models_on_other_backends(tmp_path, backend, format, after):
    """And what the other process, where Keras runs on TensorFlow, says if it fails."""
    for module in (backend, RUNTIMES[format], "tensorflow"):
        pytest.importorskip(module)
    right, wrong = tmp_path / NAMES[format], tmp_path / f"wrong-{NAMES[format]}"
    done = run(f"{EXPORTING}\n{after}", right, format, wrong, format, KERAS_BACKEND=backend)
    assert float(done.stdout.splitlines()[-1]) < 1e-4, done.stderr
    assert list(tmp_path.iterdir()) == [right]
    assert done.returncode == (1 if after else 0), done.stderr
    if after:
        assert "in a separate process, where Keras runs on TensorFlow, and that failed: " in done.stderr
        assert "Mine" in done.stderr.splitlines()[-1]


def run(code, *arguments, most=resource.RLIM_INFINITY, **environment):
    """Runs code in a process of its own, which can write no files larger than ``most`` bytes."""
    return subprocess.run(
        [sys.executable, "-c", f"import sys; from test_export import *\n{code}", *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **environment},
        capture_output=True,
        text=True,
        preexec_fn=functools.partial(resource.setrlimit, resource.RLIMIT_FSIZE, (most, most)),
    )


@pytest.mark.slow
def test_a_wrong_file_is_not_left_behind(model, tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime")
    path = tmp_path / "tiny.onnx"
    right = exporting.open_exported
    for wrong in (lambda x: 1 - x, lambda x: x * np.nan):
        monkeypatch.setattr(
            exporting, "open_exported", lambda part, format, wrong=wrong: changed(right(part, format), wrong)
        )
        with pytest.raises(ValueError, match=r"differ from Keras' more than f32 explains"):
            export(model, path, "onnx")
    assert list(tmp_path.iterdir()) == []


def changed(exported, change):
    return exported._replace(run=lambda batch: [change(value) for value in exported.run(batch)])


@pytest.fixture(scope="module")
def without_room(tmp_path_factory):
    """Exports of each format, what is in them, and what a process says that finds no room for later ones."""
    folder = tmp_path_factory.mktemp("exports")
    paths = {format: folder / format / NAMES[format] for format in NAMES if find_spec(RUNTIMES[format])}
    for format, path in paths.items():
        path.parent.mkdir()
        export(build(classes=5, **SHORT), path, format)
    before = {format: contents(path.parent) for format, path in paths.items()}
    code = """
import json
said = {}
for format, path in json.loads(sys.argv[1]).items():
    try:
        export(build(classes=3, **SHORT), path, format)
    except Exception as error:
        said[format] = str(error)
print(json.dumps(said))
"""
    done = run(code, json.dumps(paths, default=str), most=1_000)  # as on a full disk
    assert done.returncode == 0, done.stderr
    return paths, before, json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.parametrize("format", NAMES)
def test_an_earlier_export_is_replaced_whole_or_not_at_all(without_room, format):
    pytest.importorskip(RUNTIMES[format])
    paths, before, said = without_room
    path = paths[format]
    assert "was not written" in said[format] or os.strerror(errno.EFBIG) in said[format], said
    assert contents(path.parent) == before[format]
    export(build(classes=3, **SHORT), path, format)
    after = contents(path.parent)
    assert after.keys() == before[format].keys() or format == "saved_model"
    assert after != before[format]
    assert len(read_metadata(path)["classes"]) == 3


def test_bad_calls(model, tmp_path, monkeypatch):
    for arguments, problem in (
        (("a.pb", "graphdef"), "format='graphdef': expected one of 'onnx'"),
        (("a.onnx", "onnx", "int4"), "precision='int4': expected one of 'f32'"),
        (("a", "saved_model", "f16"), "SavedModel cannot be in f16"),
        (("a.onnx", "onnx", "f32", (), 0), "batch=0"),
        (("a.onnx", "onnx", "f32", (), 99999999999), "batch=99999999999: expected a number of images, 1 to 1,024"),
        (("a.pt", "onnx"), r"ends in \.onnx"),
        (("a.onnx", "onnx", "f32", (), 1, {"input_type": "int4", "raw_pixels": True}), "input_type='int4': expected"),
        (("a.onnx", "onnx", "f32", (), 1, {"input_type": "uint8"}), "pass raw_pixels=True"),
    ):
        name, *rest = arguments
        options = rest.pop() if isinstance(rest[-1], dict) else {}
        with pytest.raises(ValueError, match=problem):
            export(model, tmp_path / name, *rest, **options)
    with pytest.raises(FileNotFoundError, match="make it first"):
        export(model, tmp_path / "missing" / "a.onnx", "onnx")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "precious.txt").touch()
    with pytest.raises(FileExistsError, match="not one of an earlier export"):
        export(model, tmp_path / "mine", "saved_model")
    vectors = keras.Input((4,))
    with pytest.raises(ValueError, match="expected one input, images"):
        export(keras.Model(vectors, keras.layers.Dense(2)(vectors)), tmp_path / "a.onnx", "onnx")
    monkeypatch.setattr("efficientnet.exported_files.formats.find_spec", lambda name: None)
    for format, extra in (("onnx", "onnx"), ("litert", "litert"), ("saved_model", "tensorflow")):
        with pytest.raises(ImportError, match=rf"efficientnet\[{extra}\]"):
            export(model, tmp_path / NAMES[format], format)
    assert [file.name for file in tmp_path.rglob("*")] == ["mine", "precious.txt"]


def test_channels_first_is_not_tensorflows(tmp_path):
    pytest.importorskip("ai_edge_litert")
    inputs = keras.Input((3, 8, 8))
    pooled = keras.layers.GlobalAveragePooling2D(data_format="channels_first")(inputs)
    with pytest.raises(ValueError, match="channels_first, which TensorFlow does not compute on a processor"):
        export(keras.Model(inputs, pooled), tmp_path / "a.tflite", "litert")


def test_files_of_others(tmp_path):
    (tmp_path / "b.xml").write_text("<net></net>")
    (tmp_path / "c").mkdir()
    for name in ("b.xml", "c"):
        with pytest.raises(ValueError, match="does not say what it holds"):
            read_metadata(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        read_metadata(tmp_path / "missing.onnx")


def test_the_report_as_text():
    about = "'x': uint8 (1, 224, 224, 3), NHWC, RGB, raw pixels 0..255"
    report = ExportReport(Path("b0.onnx"), "onnx", "f16", 5_400_000, "onnxruntime 1.2", 0.0123, 0.95, 20, about)
    assert str(report) == (
        "b0.onnx: onnx, f16, 5.4 MB\n"
        "input 'x': uint8 (1, 224, 224, 3), NHWC, RGB, raw pixels 0..255\n"
        "in onnxruntime 1.2, predictions for 20 images differ from Keras' by up to 0.012; the prediction is the same "
        "for 95% of them"
    )
    fidelity = Fidelity(0.0123, 0.992, 0.0104, 1000, 10, 59, ("stem_conv", "probs"))
    assert str(report._replace(fidelity=fidelity)).splitlines()[-1] == (
        "in onnxruntime 1.2, against Keras: 99.2% of 1,000 views of 10 images that it was not calibrated on keep their "
        "prediction, whose probability shifts by 0.010 on average; 2 of 59 layers are kept in float: stem_conv, probs"
    )
