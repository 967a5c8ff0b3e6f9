"""What needs no TensorFlow is exported from any Keras."""

import pytest

from efficientnet.export import export


@pytest.mark.parametrize(("format", "name"), [("onnx", "tiny.onnx"), ("openvino", "tiny.xml")])
def test_without_tensorflow(tiny, tmp_path, format, name):
    pytest.importorskip("onnxruntime" if format == "onnx" else "openvino")
    pytest.importorskip("onnx")
    report = export(tiny(weights=None, classes=5), tmp_path / name, format)
    assert report.agreement == 1
    assert report.images == 4
