"""Exports in 8 bits: those that lose classes keep layers in float, or are not written."""

import functools
from pathlib import Path

import numpy as np
import pytest
from tiny_exports import NAMES, RUNTIMES, build, contents

from efficientnet.export import export, exporting, read_metadata
from efficientnet.export.formats import WRITERS
from efficientnet.exported_files.opening import open_exported
from efficientnet.inference import eight_bits
from efficientnet.keras_graph.fold import fold_batch_norm
from efficientnet.keras_graph.tensorflow import Options

keras = pytest.importorskip("keras")
pytest.importorskip("onnx")
pytest.importorskip("efficientnet.keras")


@pytest.mark.slow
def test_eight_bits_of_raw_pixels(images, tmp_path, few_views):
    model = build(include_top=False, pooling="avg", input_shape=(64, 64, 3))
    for format, modules in (("onnx", ("nncf", "onnxruntime")), ("litert", ("ai_edge_litert",))):
        for module in modules:
            pytest.importorskip(module)
        path = tmp_path / NAMES[format]
        report = export(model, path, format, "int8", images, raw_pixels=True, input_type="uint8")
        assert 0 < report.difference < 0.1
        assert (report.agreement, report.fidelity.held_out) == (None, 3)


@pytest.mark.slow
@pytest.mark.parametrize("format", ["onnx", "openvino", "litert"])
@pytest.mark.parametrize("batch", ["dynamic", 4])
def test_eight_bits(model, images, tmp_path, few_views, format, batch):
    pytest.importorskip(RUNTIMES[format])
    if format != "litert":
        pytest.importorskip("nncf")
    report = export(model, tmp_path / NAMES[format], format, "int8", images, batch, agreement=0.8)
    assert 0 < report.difference < 0.5
    assert report.agreement >= 0.8
    fidelity = report.fidelity
    assert (report.images, fidelity.held_out) == (fidelity.views, 3)
    assert "views of 3 images that it was not calibrated on keep their prediction" in str(report)
    assert read_metadata(tmp_path / NAMES[format])["verification"] == {
        "runtime": report.runtime, "images": report.images, **fidelity._asdict(), "floating": list(fidelity.floating),
    }  # fmt: skip


def test_eight_bits_need_images(model, tmp_path):
    pytest.importorskip("onnxruntime")
    with pytest.raises(ValueError, match="pass calibration="):
        export(model, tmp_path / "tiny.onnx", "onnx", "int8")
    with pytest.raises(ValueError, match=r"agreement=0\.9 is for precision='int8'"):
        export(model, tmp_path / "tiny.onnx", "onnx", "f16", agreement=0.9)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def rounding(monkeypatch):
    """Instead of 8 bits of ONNX, weights rounded so coarsely in some layers that classes are lost."""
    right = exporting.WRITERS["onnx"]
    tried = []

    def write(coarse, model, path, options):
        tried.append(tuple(options.floating))
        rounded = keras.models.clone_model(model)
        rounded.set_weights(model.get_weights())
        for layer in rounded.layers:
            if layer.name in coarse and layer.name not in options.floating:
                layer.set_weights([np.round(value / 1e3) for value in layer.get_weights()])
        right(rounded, path, options._replace(precision="f32"))

    def install(*coarse):
        monkeypatch.setitem(exporting.WRITERS, "onnx", functools.partial(write, coarse))
        return tried

    return install


def test_a_sensitive_layer_stays_in_float(model, images, tmp_path, few_views, rounding, monkeypatch):
    pytest.importorskip("onnxruntime")
    layers = ["stem_conv", "block1a_dwconv", "block1a_project_conv", "probs"]
    monkeypatch.setattr(eight_bits, "by_sensitivity", lambda model, inputs: layers)
    tried = rounding("stem_conv")
    report = export(model, tmp_path / "tiny.onnx", "onnx", "int8", images)
    assert tried == [(), ("stem_conv",)]
    assert report.agreement == 1
    assert "1 of 4 layers are kept in float: stem_conv" in str(report)
    found = read_metadata(tmp_path / "tiny.onnx")["verification"]
    assert (found["floating"], found["layers"], found["held_out"]) == (["stem_conv"], 4, 3)


def test_eight_bits_that_lose_classes_are_not_written(model, images, tmp_path, few_views, rounding, monkeypatch):
    pytest.importorskip("onnxruntime")
    path = tmp_path / "tiny.onnx"
    monkeypatch.setattr(eight_bits, "by_sensitivity", lambda model, inputs: ["stem_conv", "block1a_dwconv", "probs"])
    export(model, path, "onnx")
    rounding("block1a_project_conv", "probs")
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"int8 is refused\. At best, .*1 of 3 layers are kept"):
        export(model, path, "onnx", "int8", images)
    assert contents(tmp_path) == {Path("tiny.onnx"): before}


@pytest.mark.slow
@pytest.mark.parametrize("format", ["onnx", "openvino", "litert"])
def test_a_network_whose_layers_all_stay_in_float(model, tmp_path, format):
    """So that each runtime's quantisation knows them by name."""
    pytest.importorskip(RUNTIMES[format])
    if format != "litert":
        pytest.importorskip("nncf")
    folded, images = fold_batch_norm(model), np.random.default_rng(0).normal(size=(4, 64, 64, 3)).astype(np.float32)
    path = tmp_path / NAMES[format]
    differences = []
    names = [layer.name for layer in folded.layers]
    for floating in ((), names[: len(names) // 2], names):
        WRITERS[format](folded, path, Options("int8", samples=images, floating=floating))
        (found,) = open_exported(path, format).run(images)
        differences.append(np.abs(found - model.predict_on_batch(images)).max())
    assert differences[2] < 1e-5 < min(differences[:2])
