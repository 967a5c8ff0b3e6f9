"""The kernels for processors with AVX2, which those with AVX-512 have, too."""

import tempfile

import numpy as np
import pytest

from efficientnet.inference import compile, openvino_engine
from efficientnet.inference.openvino_kernels import compile_faster, has_slower_kernels
from efficientnet.keras_graph import openvino as openvino_graph

pytest.importorskip("openvino")
pytest.importorskip("keras")
OPTIONS = {"INFERENCE_PRECISION_HINT": "f32"}


def kernels(compiled):
    """The kernels of convolutions."""
    notes = [operation.get_rt_info() for operation in compiled.get_runtime_model().get_ops()]
    return {one["primitiveType"].get() for one in notes if "Convolution" in str(one["layerType"].get())}


@pytest.fixture
def graph(tiny):
    graph = openvino_graph.convert(tiny(weights=None, classes=5, input_shape=(32, 32, 3), include_preprocessing=True))
    graph.reshape([2, 32, 32, 3])
    return graph


def test_they_are_taken_and_predict_the_same(graph):
    core = openvino_graph.core()
    chosen = compile_faster(core, graph, OPTIONS)
    if "avx2" not in str(kernels(chosen)):
        pytest.skip("this processor has no AVX2")
    assert kernels(chosen) == {"jit_avx2_f32", "jit_avx2_1x1_f32", "jit_avx2_dw_f32"}
    assert not has_slower_kernels(chosen)
    images = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype("float32")
    by_default = core.compile_model(graph, "CPU", OPTIONS)
    np.testing.assert_allclose(chosen([images])[0], by_default([images])[0], rtol=0, atol=1e-6)


def test_slower_ones_are_recognised(graph):
    """By their name in what OpenVINO says of a compiled graph."""

    class Compiled:
        def get_runtime_model(self):
            return self

        def get_ops(self):
            return [self]

        def get_rt_info(self):
            return {"primitiveType": self}

        def get(self):
            return "brgconv_avx2_1x1_f32"

    assert has_slower_kernels(Compiled())


def test_no_predictor_has_the_slower_ones(tiny, monkeypatch):
    found = []
    core = openvino_graph.core()
    model = tiny(weights=None, classes=5, input_shape=(32, 32, 3), include_preprocessing=True)
    compile_model = type(core).compile_model

    def noted(self, *arguments, **options):
        found.append(compile_model(self, *arguments, **options))
        return found[-1]

    monkeypatch.setattr(type(core), "compile_model", noted)
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    with compile(model, "openvino", cache=False) as predictor:
        predicted = predictor(images)
    assert not has_slower_kernels(found[-1])
    np.testing.assert_allclose(predicted, model.predict_on_batch(images.astype("float32")), rtol=0, atol=1e-6)


def test_without_a_place_for_temporary_files_it_is_slower(tiny, monkeypatch, caplog):
    def refuse(*arguments, **options):
        raise FileNotFoundError("No usable temporary directory found")

    monkeypatch.setattr(tempfile, "mkdtemp", refuse)
    monkeypatch.setattr(openvino_engine, "has_slower_kernels", lambda compiled: True)
    model = tiny(weights=None, classes=5, input_shape=(32, 32, 3), include_preprocessing=True)
    with compile(model, "openvino", cache=False) as predictor:
        assert predictor(np.zeros((1, 32, 32, 3), np.uint8)).shape == (1, 5)
    assert "a temporary file cannot be written (No usable temporary directory found)" in caplog.text
