"""What the older package (1.1.1) exported goes on working under its names and signatures."""

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import efficientnet
import efficientnet.model
import efficientnet.preprocessing
import efficientnet.weights
from efficientnet.model import BlockArgs

PACKAGE = Path(efficientnet.__file__).parent
CONSTRUCTORS = [*(f"EfficientNetB{i}" for i in range(8)), "EfficientNetL2"]
ARGUMENTS = ["include_top", "weights", "input_tensor", "input_shape", "pooling", "classes"]


@pytest.fixture(scope="module")
def modules(keras):
    return {name: getattr(keras, name) for name in ("backend", "layers", "models", "utils")}


# --- names and signatures ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "names"),
    [
        (
            efficientnet,
            [
                "__version__",
                "get_submodules_from_kwargs",
                "init_keras_custom_objects",
                "init_tfkeras_custom_objects",
                "inject_keras_modules",
                "inject_tfkeras_modules",
            ],
        ),
        (
            efficientnet.model,
            [
                *CONSTRUCTORS,
                "BlockArgs",
                "DEFAULT_BLOCKS_ARGS",
                "EfficientNet",
                "get_dropout",
                "get_swish",
                "preprocess_input",
                "round_filters",
                "round_repeats",
            ],
        ),
        (efficientnet.preprocessing, ["MAP_INTERPOLATION_TO_ORDER", "center_crop_and_resize"]),
        (
            efficientnet.weights,
            ["IMAGENET_WEIGHTS_HASHES", "IMAGENET_WEIGHTS_PATH", "NS_WEIGHTS_HASHES", "NS_WEIGHTS_PATH"],
        ),
    ],
)
def test_names(module, names):
    for name in names:
        assert getattr(module, name) is not None
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = module.no_such_name


def test_names_of_the_shims(eff):
    names = {}
    exec(f"from {eff.__name__} import *", names)
    assert {*CONSTRUCTORS, "center_crop_and_resize", "preprocess_input"} <= set(names)
    assert names["EfficientNetB0"] is eff.EfficientNetB0


@pytest.mark.parametrize("name", CONSTRUCTORS)
def test_order_of_the_constructors_arguments(eff, name):
    for constructor in (getattr(efficientnet.model, name), getattr(eff, name)):
        parameters = inspect.signature(constructor).parameters
        assert list(parameters)[:6] == ARGUMENTS
        defaults = [parameters[argument].default for argument in ARGUMENTS]
        assert defaults == [True, "imagenet", None, None, None, 1000]
    modules = {"backend", "layers", "models", "utils"}
    assert modules <= set(inspect.signature(getattr(efficientnet.model, name)).parameters)


def test_order_of_the_factorys_arguments():
    parameters = inspect.signature(efficientnet.model.EfficientNet).parameters
    assert list(parameters) == [
        "width_coefficient",
        "depth_coefficient",
        "default_resolution",
        "dropout_rate",
        "drop_connect_rate",
        "depth_divisor",
        "blocks_args",
        "model_name",
        *ARGUMENTS,
        "kwargs",
    ]
    assert [parameters[name].default for name in list(parameters)[3:6]] == [0.2, 0.2, 8]
    assert parameters["model_name"].default == "efficientnet"


def test_order_of_other_arguments():
    def names(function):
        return list(inspect.signature(function).parameters)

    assert names(efficientnet.model.round_filters) == ["filters", "width_coefficient", "depth_divisor"]
    assert names(efficientnet.model.round_repeats)[:2] == ["repeats", "depth_coefficient"]
    assert names(efficientnet.preprocessing.center_crop_and_resize) == [
        "image", "image_size", "crop_padding", "interpolation",
    ]  # fmt: skip
    assert list(BlockArgs.__dataclass_fields__)[:8] == [
        "kernel_size", "num_repeat", "input_filters", "output_filters",
        "expand_ratio", "id_skip", "strides", "se_ratio",
    ]  # fmt: skip


# --- values -----------------------------------------------------------------------------------------------------


def test_hashes():
    weights = efficientnet.weights
    folder = "https://github.com/Callidior/keras-applications/releases/download/efficientnet/"
    assert folder == weights.IMAGENET_WEIGHTS_PATH
    assert weights.NS_WEIGHTS_PATH == "https://github.com/qubvel/efficientnet/releases/download/v0.0.1/"
    variants = [f"efficientnet-b{i}" for i in range(8)]
    assert list(weights.IMAGENET_WEIGHTS_HASHES) == list(weights.NS_WEIGHTS_HASHES) == variants
    assert weights.IMAGENET_WEIGHTS_HASHES["efficientnet-b0"] == (
        "163292582f1c6eaca8e7dc7b51b01c615b0dbc0039699b4dcd0b975cc21533dc",
        "c1421ad80a9fc67c2cc4000f666aa50789ce39eedb4e06d531b0c593890ccff3",
    )
    assert weights.IMAGENET_WEIGHTS_HASHES["efficientnet-b7"] == (
        "876a41319980638fa597acbbf956a82d10819531ff2dcb1a52277f10c7aefa1a",
        "60b56ff3a8daccc8d96edfd40b204c113e51748da657afd58034d54d3cec2bac",
    )
    assert weights.NS_WEIGHTS_HASHES["efficientnet-b3"] == (
        "3b29e32602dad75d1f575d9ded00f930",
        "47da5b154de1372b557a65795d3e6135",
    )
    assert weights.NS_WEIGHTS_HASHES["efficientnet-b7"] == (
        "1ac825752cbc26901c8952e030ae4dd9",
        "e112b00c464fe929b821edbb35d1af55",
    )


def test_published_files_have_the_names_that_the_older_package_put_together():
    for row in efficientnet.weights.list_weights():
        if row.format == "qubvel-h5":
            notop = "" if row.has_top else "_notop"
            assert row.url.rpartition("/")[2] in (
                f"{row.variant}_weights_tf_dim_ordering_tf_kernels_autoaugment{notop}.h5",
                f"{row.variant}_{row.name}{notop}.h5",
            )


def test_blocks():
    blocks = efficientnet.model.DEFAULT_BLOCKS_ARGS
    assert isinstance(blocks, list)
    assert [block.num_repeat for block in blocks] == [1, 2, 2, 3, 3, 4, 1]
    assert [block.kernel_size for block in blocks] == [3, 3, 5, 3, 5, 5, 3]
    assert [block.output_filters for block in blocks] == [16, 24, 40, 80, 112, 192, 320]
    assert blocks[0] == BlockArgs(3, 1, 32, 16, 1, True, [1, 1], 0.25)
    assert blocks[1]._replace(strides=[1, 1]).strides == 1
    assert blocks[1].strides == 2


def test_rounding():
    assert efficientnet.model.round_filters(32, 1.1, 8) == 32
    assert efficientnet.model.round_filters(32, 4.3, depth_divisor=8) == 136
    assert efficientnet.model.round_repeats(4, 3.1) == 13


def test_interpolations():
    orders = {"nearest": 0, "bilinear": 1, "biquadratic": 2, "bicubic": 3}
    assert orders == efficientnet.preprocessing.MAP_INTERPOLATION_TO_ORDER


# --- which Keras ------------------------------------------------------------------------------------------------


def test_submodules():
    assert efficientnet.get_submodules_from_kwargs({"layers": 1, "utils": 2}) == (None, 1, None, 2)
    with pytest.raises(TypeError, match="Invalid keyword argument: layer; accepted are backend, layers"):
        efficientnet.get_submodules_from_kwargs({"layer": 1})


def inject(eff):
    if eff.__name__.endswith("tfkeras"):
        return efficientnet.inject_tfkeras_modules
    return efficientnet.inject_keras_modules


def test_injection(eff, modules):
    @inject(eff)
    def function(a, b=2, **kwargs):
        """Says what it got."""
        return a, b, kwargs

    assert function(1, backend="is replaced") == (1, 2, modules)
    assert (function.__name__, function.__doc__) == ("function", "Says what it got.")


@pytest.mark.slow
def test_an_injected_constructor_builds(eff):
    model = inject(eff)(efficientnet.model.EfficientNetB0)(include_top=False, weights=None, input_shape=(32, 32, 3))
    assert model.output_shape == (None, 1, 1, 1280)


def test_custom_objects(eff, keras):
    register = (
        efficientnet.init_tfkeras_custom_objects
        if eff.__name__.endswith("tfkeras")
        else efficientnet.init_keras_custom_objects
    )
    for name in ("swish", "FixedDropout"):
        del keras.utils.get_custom_objects()[name]
    register()
    assert keras.utils.get_custom_objects()["FixedDropout"] is keras.layers.Dropout
    assert keras.layers.Activation("swish")(np.zeros((1, 2), "float32")).shape == (1, 2)


def test_swish_and_dropout(modules):
    swish = efficientnet.model.get_swish(**modules)
    x = np.array([-1.0, 0.0, 2.0], "float32")
    np.testing.assert_allclose(np.asarray(swish(modules["layers"].Activation("linear")(x))), x / (1 + np.exp(-x)), 1e-5)
    dropout = efficientnet.model.get_dropout(**modules)(0.5, noise_shape=(None, 1, 1, 1), name="drop")
    assert dropout(np.ones((2, 3, 3, 4), "float32")).shape == (2, 3, 3, 4)
    for get in (efficientnet.model.get_swish, efficientnet.model.get_dropout):
        with pytest.raises(TypeError, match=r"pass layers=keras\.layers"):
            get(backend=modules["backend"])


def test_preprocess_input(modules):
    x = np.full((2, 4, 4, 3), 255.0, "float32")
    y = efficientnet.model.preprocess_input(x, **modules)
    np.testing.assert_allclose(y[0, 0, 0], [(1 - 0.485) / 0.229, (1 - 0.456) / 0.224, (1 - 0.406) / 0.225], 1e-5)
    assert (x == 255).all()


# --- building as of old -----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_constructor_with_the_modules_of_a_keras(modules):
    model = efficientnet.model.EfficientNetB0(include_top=False, weights=None, input_shape=(64, 64, 3), **modules)
    assert model.output_shape == (None, 2, 2, 1280)
    assert model.name == "efficientnet-b0"


@pytest.mark.slow
def test_positional_arguments(eff, keras):
    tensor = keras.layers.Input((64, 64, 3))
    model = eff.EfficientNetB1(False, None, tensor, None, "max")
    assert model.output_shape == (None, 1280)
    assert model.input_shape == (None, 64, 64, 3)
    assert eff.EfficientNetB0(True, None, None, (32, 32, 3), None, 7).output_shape == (None, 7)


@pytest.mark.slow
def test_the_factory_with_positional_arguments_and_changed_blocks(modules):
    first, second, third, *_ = efficientnet.model.DEFAULT_BLOCKS_ARGS
    blocks = [first, second._replace(num_repeat=1, output_filters=40, se_ratio=None), third._replace(strides=[1, 1])]
    blocks[2] = blocks[2]._replace(input_filters=40)
    model = efficientnet.model.EfficientNet(
        0.5, 2.0, 48, 0.4, 0.3, 4, blocks, "mine", True, None, None, None, None, 5, **modules
    )
    assert model.name == "mine"
    assert model.input_shape == (None, 48, 48, 3)
    assert model.output_shape == (None, 5)
    assert model.get_layer("top_dropout").rate == 0.4
    assert model.get_layer("block1b_drop").rate == pytest.approx(0.3 / 8)
    names = {layer.name for layer in model.layers}
    assert {"block1b_add", "block2b_add", "block3d_add"} <= names
    assert not {"block2a_se_reduce", "block2c_add", "block4a_bn"} & names
    assert model.get_layer("block2a_project_conv").filters == 20
    assert model.get_layer("block3a_dwconv").strides == (1, 1)


def test_slices_of_the_default_blocks(modules):
    blocks = efficientnet.model.DEFAULT_BLOCKS_ARGS[:3]
    model = efficientnet.model.EfficientNet(
        1.0, 1.0, 64, blocks_args=blocks, weights=None, include_top=False, input_shape=(64, 64, 3), **modules
    )
    assert model.get_layer("block3b_add").output.shape[1:3] == (8, 8)
    assert model.name == "efficientnet"


# --- nothing inside depends on it -------------------------------------------------------------------------------


@pytest.mark.slow
def test_nothing_inside_imports_it():
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or "", *(alias.name for alias in node.names)]
            ours = [name for name in names if not name.startswith("tensorboard.")]
            assert not any("compat" in name.split(".") for name in ours), path


def test_it_is_imported_only_when_asked_for():
    code = (
        "import sys, efficientnet.model, efficientnet.preprocessing, efficientnet.weights\n"
        "import efficientnet.keras_files.opening\n"
        "assert 'efficientnet.compat' not in sys.modules\n"
        "efficientnet.weights.NS_WEIGHTS_PATH\n"
        "assert 'efficientnet.compat' in sys.modules\n"
        "assert not {'keras', 'tensorflow', 'tf_keras', 'jax', 'torch', 'openvino'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=PACKAGE.parent)
