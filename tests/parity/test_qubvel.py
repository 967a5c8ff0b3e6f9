"""Weights and models that the older `efficientnet` package saved answer as they did there."""

import h5py
import numpy as np
import pytest


def relative_error(answer, expected):
    return np.abs(np.asarray(answer) - expected).max() / max(1.0, np.abs(expected).max())


@pytest.fixture
def tolerance(backend):
    # Keras' own predict on OpenVINO computes in bfloat16 where the processor has it; float32 is the
    # predictor's, below.
    return 0.1 if backend == "openvino" else 1e-5


def network(eff, weights, **options):
    return eff.EfficientNet(0.25, 1.0, 64, model_name="width-0.25", weights=weights, **options)


@pytest.mark.parametrize(
    ("folder", "options"),
    [
        ("qubvel-w0.25", {"classes": 10}),
        ("qubvel-w0.25-notop", {"include_top": False, "pooling": "avg"}),
    ],
)
class TestGolden:
    @pytest.fixture
    def golden(self, shared, folder):
        return shared / "golden" / folder

    def test_weights(self, eff, golden, options, tolerance):
        io = np.load(golden / "io.npz")
        model = network(eff, golden / "weights.h5", **options)
        assert relative_error(model.predict(io["x"], verbose=0), io["y"]) < tolerance

    def test_weights_on_the_float32_predictor(self, eff, golden, options):
        from efficientnet.inference import compile

        pytest.importorskip("openvino")
        io = np.load(golden / "io.npz")
        predictor = compile(network(eff, golden / "weights.h5", **options), engine="openvino", preprocessing="none")
        assert relative_error(predictor(io["x"]), io["y"]) < 1e-5

    def test_full_model_as_weights(self, eff, golden, options, tolerance):
        io = np.load(golden / "io.npz")
        model = network(eff, golden / "full_model.h5", **options)
        assert relative_error(model.predict(io["x"], verbose=0), io["y"]) < tolerance

    def test_full_model(self, eff, golden, options, tolerance):
        io = np.load(golden / "io.npz")
        model = eff.load_model(golden / "full_model.h5")
        assert relative_error(model.predict(io["x"], verbose=0), io["y"]) < tolerance

    def test_full_model_saved_again_opens(self, eff, keras, golden, options, tolerance, tmp_path):
        io = np.load(golden / "io.npz")
        eff.load_model(golden / "full_model.h5").save(tmp_path / "again.keras")
        model = keras.models.load_model(tmp_path / "again.keras", custom_objects={}, compile=False)
        assert relative_error(model.predict(io["x"], verbose=0), io["y"]) < tolerance

    def test_full_model_with_plain_load_model(self, keras, is_legacy, golden, options):
        if not is_legacy:
            pytest.skip("Keras 3's own load_model refuses files of Keras 2; ours does not")
        io = np.load(golden / "io.npz")
        model = keras.models.load_model(golden / "full_model.h5")
        assert relative_error(model.predict(io["x"], verbose=0), io["y"]) < 1e-5

    def test_same_layers_in_the_same_order(self, eff, golden, options):
        with h5py.File(golden / "weights.h5") as file:
            names = [name if isinstance(name, str) else name.decode() for name in file.attrs["layer_names"]]
        assert [layer.name for layer in network(eff, None, **options).layers][1:] == names[1:]


def test_built_in_layers_stay_as_they_are(eff, keras, shared):
    eff.load_model(shared / "golden/qubvel-w0.25/full_model.h5")
    layer = keras.layers.DepthwiseConv2D(3)
    assert type(layer).from_config(layer.get_config()).kernel_size == (3, 3)
    custom = keras.utils.get_custom_objects()
    assert "DepthwiseConv2D" not in custom
    assert {"swish", "FixedDropout"} <= set(custom)
