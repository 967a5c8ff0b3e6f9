"""A model of 1,000 outputs that names no classes is taken for one of ImageNet's, and that is said."""

import pytest

from efficientnet.checkpoints.marks import Mark
from efficientnet.export import export
from efficientnet.inference import ModelSource, compile
from efficientnet.keras_graph import marks

keras = pytest.importorskip("keras")
pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytestmark = [pytest.mark.usefixtures("home"), pytest.mark.slow]

ASSUMED = "has 1,000 outputs, and does not say of which classes: taken for ImageNet's"
NAMES = [f"product {index}" for index in range(1000)]


@pytest.fixture(scope="module")
def network():
    """A network as with published weights, whose classifier is the original one."""
    from efficientnet.keras import EfficientNet

    network = EfficientNet(0.25, 0.25, 32, weights=None)
    marks.put(network, Mark("torch"))
    return network


@pytest.fixture(scope="module")
def products(network, tmp_path_factory):
    """The file of a model with another classifier on the network."""
    outputs = keras.layers.Dense(1000, "softmax", name="products")(network.get_layer("avg_pool").output)
    path = tmp_path_factory.mktemp("saved") / "products.keras"
    keras.Model(network.input, outputs).save(path)
    return path


def test_of_a_saved_model(products, caplog):
    compile(products, cache=False).close()
    assert caplog.text.count(f"products.keras {ASSUMED}") == 1
    caplog.clear()
    with compile(products, class_names=NAMES, cache=False) as predictor:
        assert predictor.spec.classes[7] == ("7", "product 7")
    assert ASSUMED not in caplog.text


def test_an_original_classifier_is_known(network, tmp_path, caplog):
    network.save(tmp_path / "net.keras")
    keras.Sequential([keras.layers.Input((32, 32, 3)), network]).save(tmp_path / "around.keras")
    for name in ("net.keras", "around.keras"):
        with compile(tmp_path / name, cache=False) as predictor:
            assert predictor.spec.classes[388][1] == "giant_panda"
    assert ASSUMED not in caplog.text


def test_of_an_exported_file(products, tmp_path, caplog):
    export(ModelSource.of_file(products), tmp_path / "ours.onnx", "onnx")
    (tmp_path / "theirs.onnx").write_bytes((tmp_path / "ours.onnx").read_bytes())
    forget(tmp_path / "theirs.onnx")
    for name, remark in (("ours", f"was exported from a model that {ASSUMED}"), ("theirs", ASSUMED)):
        caplog.clear()
        compile(tmp_path / f"{name}.onnx", preprocessing="torch", cache=False).close()
        assert caplog.text.count(f"{name}.onnx {remark}") == 1
        caplog.clear()
        with compile(tmp_path / f"{name}.onnx", class_names=NAMES, cache=False) as predictor:
            assert predictor.spec.classes[7] == ("7", "product 7")
        assert ASSUMED not in caplog.text


def forget(path):
    """Remove what a file records of itself, as other programs leave it."""
    import onnx

    model = onnx.load(path)
    del model.metadata_props[:]
    onnx.save(model, path)
