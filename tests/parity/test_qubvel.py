"""Weights and models that the older `efficientnet` package saved answer as they did there."""

import h5py
import numpy as np
import pytest
from make_golden import DEPTH, SIZE, WIDTH

pytestmark = pytest.mark.usefixtures("eagerly")


def relative_error(answer, expected):
    return np.abs(np.asarray(answer) - expected).max() / max(1.0, np.abs(expected).max())


@pytest.fixture
def tolerance(backend):
    # Keras' own predict on OpenVINO computes in bfloat16 where the processor has it; float32 is the
    # predictor's, below.
    return 0.1 if backend == "openvino" else 1e-5


def network(eff, folder, weights, **options):
    scaling = (0.25, 1.0, 64) if "-w0.25" in folder else (WIDTH, DEPTH, SIZE)
    return eff.EfficientNet(*scaling, model_name="narrow", weights=weights, **options)


@pytest.mark.parametrize(
    ("folder", "options"),
    [
        ("qubvel-b0", {"classes": 10}),
        pytest.param("qubvel-w0.25", {"classes": 10}, marks=pytest.mark.once),
        pytest.param("qubvel-w0.25-notop", {"include_top": False, "pooling": "avg"}, marks=pytest.mark.once),
    ],
)
class TestGolden:
    @pytest.fixture
    def files(self, golden, folder):
        return golden(folder)

    @pytest.mark.slow
    def test_weights(self, eff, files, folder, options, tolerance):
        io = np.load(files / "io.npz")
        model = network(eff, folder, files / "weights.h5", **options)
        assert relative_error(model.predict(io["x"], verbose=0), io["y"]) < tolerance

    @pytest.mark.slow
    @pytest.mark.once_per_keras
    def test_weights_on_the_float32_predictor(self, eff, files, folder, options):
        from efficientnet.inference import compile

        pytest.importorskip("openvino")
        io = np.load(files / "io.npz")
        model = network(eff, folder, files / "weights.h5", **options)
        predictor = compile(model, engine="openvino", preprocessing="none")
        assert relative_error(predictor(io["x"]), io["y"]) < 1e-5

    @pytest.mark.slow
    @pytest.mark.once_per_keras
    def test_full_model_as_weights(self, eff, files, folder, options, tolerance):
        io = np.load(files / "io.npz")
        model = network(eff, folder, files / "full_model.h5", **options)
        assert relative_error(model.predict(io["x"], verbose=0), io["y"]) < tolerance

    @pytest.mark.slow
    def test_full_model(self, eff, files, folder, options, tolerance):
        io = np.load(files / "io.npz")
        model = eff.load_model(files / "full_model.h5")
        assert relative_error(model.predict(io["x"], verbose=0), io["y"]) < tolerance

    @pytest.mark.slow
    @pytest.mark.once_per_keras
    def test_full_model_saved_again_opens(self, eff, keras, files, options, tolerance, tmp_path):
        io = np.load(files / "io.npz")
        eff.load_model(files / "full_model.h5").save(tmp_path / "again.keras")
        model = keras.models.load_model(tmp_path / "again.keras", custom_objects={}, compile=False)
        assert relative_error(model.predict(io["x"], verbose=0), io["y"]) < tolerance

    def test_full_model_with_plain_load_model(self, keras, is_legacy, files, options):
        if not is_legacy:
            pytest.skip("Keras 3's own load_model refuses files of Keras 2; ours does not")
        io = np.load(files / "io.npz")
        model = keras.models.load_model(files / "full_model.h5")
        assert relative_error(model.predict(io["x"], verbose=0), io["y"]) < 1e-5

    @pytest.mark.slow
    @pytest.mark.once_per_keras
    def test_same_layers_in_the_same_order(self, eff, files, folder, options):
        with h5py.File(files / "weights.h5") as file:
            names = [name if isinstance(name, str) else name.decode() for name in file.attrs["layer_names"]]
        assert [layer.name for layer in network(eff, folder, None, **options).layers][1:] == names[1:]


@pytest.mark.slow
@pytest.mark.once_per_keras
def test_built_in_layers_stay_as_they_are(eff, keras, golden):
    eff.load_model(golden("qubvel-b0") / "full_model.h5")
    layer = keras.layers.DepthwiseConv2D(3)
    assert type(layer).from_config(layer.get_config()).kernel_size == (3, 3)
    custom = keras.utils.get_custom_objects()
    assert "DepthwiseConv2D" not in custom
    assert {"swish", "FixedDropout"} <= set(custom)
