"""Code written for `efficientnet` 1.1.1 goes on working."""

import ast
import inspect
from pathlib import Path

import numpy as np
import pytest

import efficientnet
from efficientnet import model, preprocessing, weights

keras = pytest.importorskip("keras")

MODULES = {"backend": keras.backend, "layers": keras.layers, "models": keras.models, "utils": keras.utils}


@pytest.mark.parametrize("shim", ["efficientnet.keras", "efficientnet.tfkeras"])
def test_the_shims_export_what_they_did(shim):
    if shim.endswith("tfkeras"):
        pytest.importorskip("tensorflow")
    names: dict[str, object] = {}
    exec(f"from {shim} import *", names)
    for name in (*(f"EfficientNetB{i}" for i in range(8)), "EfficientNetL2"):
        assert callable(names[name])
    assert callable(names["center_crop_and_resize"])
    assert callable(names["preprocess_input"])


@pytest.mark.parametrize("name", [*(f"EfficientNetB{i}" for i in range(8)), "EfficientNetL2"])
def test_constructors_keep_the_order_of_their_arguments(name):
    parameters = inspect.signature(getattr(model, name)).parameters
    assert list(parameters)[:6] == ["include_top", "weights", "input_tensor", "input_shape", "pooling", "classes"]
    defaults = [parameter.default for parameter in list(parameters.values())[:6]]
    assert defaults == [True, "imagenet", None, None, None, 1000]
    assert set(MODULES) <= set(parameters)


def test_the_general_constructor_keeps_the_order_of_its_arguments():
    assert list(inspect.signature(model.EfficientNet).parameters) == [
        "width_coefficient", "depth_coefficient", "default_resolution", "dropout_rate", "drop_connect_rate",
        "depth_divisor", "blocks_args", "model_name", "include_top", "weights", "input_tensor", "input_shape",
        "pooling", "classes", "kwargs",
    ]  # fmt: skip


def test_modules_are_handed_in_as_before():
    body = model.EfficientNetB0(False, None, None, (64, 64, 3), "avg", **MODULES)
    assert body.output_shape == (None, 1280)


def test_changed_blocks_as_before():
    blocks = [model.DEFAULT_BLOCKS_ARGS[0], model.DEFAULT_BLOCKS_ARGS[1]._replace(num_repeat=1, strides=[1, 1])]
    blocks.append(model.BlockArgs(5, 1, 24, 40, 6, True, [2, 2], None))
    network = model.EfficientNet(0.5, 1.0, 64, 0.1, 0.2, 8, blocks, "mine", include_top=False, weights=None, **MODULES)
    assert network.name == "mine"
    assert network.output_shape == (None, 16, 16, 640)
    names = [layer.name for layer in network.layers]
    assert "block2a_se_reduce" in names
    assert "block3a_se_reduce" not in names


def test_functions_of_the_model_module():
    swish = model.get_swish(**MODULES)
    x = np.linspace(-3, 3, 7, dtype="float32")
    np.testing.assert_allclose(keras.ops.convert_to_numpy(swish(x)), x / (1 + np.exp(-x)), rtol=1e-5)
    dropout = model.get_dropout(**MODULES)
    assert dropout(0.5, noise_shape=(None, 1, 1)).rate == 0.5
    assert model.round_filters(32, 1.2, 8) == 40
    assert model.round_repeats(3, 1.4) == 5
    assert model.preprocess_input(np.zeros((1, 2, 2, 3)), **MODULES).shape == (1, 2, 2, 3)
    with pytest.raises(AttributeError, match="mb_conv_block"):
        _ = model.mb_conv_block


def test_helpers_of_the_package():
    backend, layers, _, utils = efficientnet.get_submodules_from_kwargs({"backend": 1, "utils": 2})
    assert (backend, layers, utils) == (1, None, 2)
    with pytest.raises(TypeError, match="nonsense"):
        efficientnet.get_submodules_from_kwargs({"nonsense": 1})
    assert efficientnet.inject_keras_modules(lambda **modules: modules)() == MODULES
    efficientnet.init_keras_custom_objects()
    assert {"swish", "FixedDropout"} <= set(keras.utils.get_custom_objects())
    with pytest.raises(AttributeError):
        _ = efficientnet.no_such_name


def test_helpers_of_the_package_for_tensorflow():
    tensorflow = pytest.importorskip("tensorflow")
    assert efficientnet.inject_tfkeras_modules(lambda **modules: modules)()["layers"] is tensorflow.keras.layers
    efficientnet.init_tfkeras_custom_objects()


def test_tables_of_weights():
    assert weights.IMAGENET_WEIGHTS_PATH.endswith("Callidior/keras-applications/releases/download/efficientnet/")
    assert weights.NS_WEIGHTS_PATH.endswith("qubvel/efficientnet/releases/download/v0.0.1/")
    assert list(weights.IMAGENET_WEIGHTS_HASHES) == list(weights.NS_WEIGHTS_HASHES)
    assert weights.IMAGENET_WEIGHTS_HASHES["efficientnet-b7"][0].startswith("876a41319980638f")
    assert weights.NS_WEIGHTS_HASHES["efficientnet-b0"] == (
        "5e376ca93bc6ba60f5245d13d44e4323",
        "a5b48ae7547fc990c7e4f3951230290d",
    )


def test_names_of_interpolations():
    assert preprocessing.MAP_INTERPOLATION_TO_ORDER == {"nearest": 0, "bilinear": 1, "biquadratic": 2, "bicubic": 3}


def test_nothing_inside_imports_the_older_names():
    package = Path(efficientnet.__file__).parent
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                assert node.module != "compat", path
                assert all(alias.name != "compat" for alias in node.names), path
