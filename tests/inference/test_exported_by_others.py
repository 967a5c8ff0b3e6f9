"""Exported files of others, which say nothing of themselves: what is read from them, and what the caller says."""

import numpy as np
import pytest
from exported_models import expected, small_keras, write_onnx, write_onnx_map, write_saved_model_map
from peers import import_torchvision

from efficientnet.export import export
from efficientnet.images.pixel_scaling import scale_and_offset
from efficientnet.inference import ModelSource, compile

pytest.importorskip("keras")
pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("openvino")
pytestmark = pytest.mark.usefixtures("home")

LABELS = list("abcde")


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(1)
    return [rng.integers(0, 256, (40 + number, 50, 3), np.uint8) for number in range(7)]


@pytest.mark.parametrize("shape", [["batch", 3, 32, 32], [1, 3, 32, 32], [4, 32, 32, 3], ["n", "h", "w", 3]])
@pytest.mark.parametrize("dtype", ["FLOAT", "UINT8", "FLOAT16", "DOUBLE"])
def test_the_layout_type_and_batch_of_others_files(tmp_path, images, shape, dtype):
    path = write_onnx(tmp_path / "theirs.onnx", shape, dtype)
    channels_last = shape[-1] == 3
    with compile(path, preprocessing="none", class_names=LABELS) as predictor:
        spec = predictor.spec
        assert (spec.channels_last, spec.channels, spec.kind) == (channels_last, 3, "probabilities")
        assert spec.image_sides == ((32, 32) if shape[-2] != "w" else (224, 224))
        batch = np.stack([spec.image(image) for image in images])
        batch = np.rint(batch) if dtype == "UINT8" else batch
        atol = 0.1 if dtype == "FLOAT16" else 1e-4
        np.testing.assert_allclose(predictor.predict(images), expected(batch, channels_last), atol=atol)


def test_the_scaling_of_others_files(tmp_path, images, caplog):
    path = write_onnx(tmp_path / "theirs.onnx", ["batch", 3, 32, 32])
    with compile(path, preprocessing="torch") as predictor:
        batch = predictor.spec.scale(np.stack([predictor.spec.image(image) for image in images]))
        np.testing.assert_allclose(predictor.predict(images), expected(batch, False), atol=1e-5)
    with compile(path) as predictor:
        with pytest.raises(ValueError, match=r"theirs.onnx does not record how its pixels are scaled: compile it with"):
            predictor.predict(images)
        assert not caplog.text
        for _ in range(2):
            np.testing.assert_allclose(predictor.predict(batch), expected(batch, False), atol=1e-5)
        assert caplog.text.count("so numbers go to it unchanged") == 1
    raw = write_onnx(tmp_path / "raw.onnx", ["batch", 32, 32, 3], "UINT8")
    with compile(raw) as predictor:
        assert predictor.spec.scaling == scale_and_offset("none")
    with pytest.raises(ValueError, match="takes uint8, raw pixels, and scales them itself: leave preprocessing out"):
        compile(raw, preprocessing="torch")


@pytest.mark.parametrize(
    ("activation", "kind"), [("Softmax", "probabilities"), ("Sigmoid", "labels"), (None, "logits")]
)
def test_the_last_activation_of_others_files(tmp_path, activation, kind):
    path = write_onnx(tmp_path / "theirs.onnx", ["batch", 3, 32, 32], activation=activation)
    with compile(path, preprocessing="none", class_names=LABELS) as predictor:
        assert predictor.spec.kind == kind


def test_others_files_for_openvino(tmp_path, images):
    import openvino

    graph = openvino.Core().read_model(write_onnx(tmp_path / "theirs.onnx", ["batch", 3, 32, 32], activation="Sigmoid"))
    openvino.save_model(graph, tmp_path / "theirs.xml", compress_to_fp16=False)
    with compile(tmp_path / "theirs.xml", preprocessing="tf") as predictor:
        assert (predictor.engine, predictor.spec.kind) == ("openvino", "labels")
        batch = predictor.spec.scale(np.stack([predictor.spec.image(image) for image in images]))
        np.testing.assert_allclose(predictor.predict(images), expected(batch, False, "Sigmoid"), atol=1e-5)


def write_map(path):
    """Writes a classifier that ends in a convolution; returns whether its channels are last."""
    if path.suffix == ".onnx":
        write_onnx_map(path)
        return False
    if path.suffix == ".xml":
        import openvino

        graph = openvino.Core().read_model(write_onnx_map(path.with_suffix(".onnx")))
        openvino.save_model(graph, path, compress_to_fp16=False)
        return False
    tf = pytest.importorskip("tensorflow")
    folder = write_saved_model_map(path.with_suffix(""))
    if path.suffix:
        pytest.importorskip("ai_edge_litert")
        path.write_bytes(tf.lite.TFLiteConverter.from_saved_model(str(folder)).convert())
    return True


@pytest.mark.parametrize(
    "name", ["map.onnx", "map.xml", *(pytest.param(name, marks=pytest.mark.slow) for name in ("map.tflite", "map"))]
)
def test_a_vector_that_is_a_map_of_one_place(tmp_path, images, name):
    channels_last = write_map(tmp_path / name)
    with compile(tmp_path / name, preprocessing="tf", class_names=LABELS) as predictor:
        spec = predictor.spec
        assert (spec.outputs, spec.kind, spec.channels_last) == (5, "probabilities", channels_last)
        wanted = expected(spec.scale(np.stack([spec.image(image) for image in images])), channels_last)
        np.testing.assert_allclose(predictor.predict(images), wanted, atol=1e-5)
        streamed = [record.outputs for record in predictor.stream(images * 12)]
        np.testing.assert_allclose(streamed, np.tile(wanted, (12, 1)), atol=1e-5)
        assert predictor.top(images)[0][0][1] == LABELS[wanted[0].argmax()]


def test_a_feature_map_of_one_place_that_was_exported_as_such(tmp_path):
    import keras

    inputs = keras.Input((32, 32, 3))
    model = keras.Model(inputs, keras.layers.Conv2D(4, 32)(inputs))
    export(ModelSource.of_model(model, "tf", keep=False), tmp_path / "ours.onnx", "onnx")
    with compile(tmp_path / "ours.onnx") as predictor:
        assert predictor.spec.outputs == 0
        assert predictor.predict(np.zeros((2, 32, 32, 3), np.uint8)).shape == (2, 1, 1, 4)


@pytest.mark.slow
def test_keras_own_exports(tmp_path, images):
    tf = pytest.importorskip("tensorflow")
    pytest.importorskip("ai_edge_litert")
    model = small_keras()
    model.export(tmp_path / "theirs", verbose=False)
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    (tmp_path / "theirs.tflite").write_bytes(converter.convert())
    for path in (tmp_path / "theirs", tmp_path / "theirs.tflite"):
        with compile(path, preprocessing="tf") as predictor, compile(model, "keras", preprocessing="tf") as reference:
            assert predictor.spec.kind == "probabilities"
            np.testing.assert_allclose(predictor.predict(images), reference.predict(images), atol=1e-5)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Statistics for quantized inputs:UserWarning")
def test_whole_numbers_that_stand_for_others(tmp_path, images):
    """As LiteRT's files in 8 bits have them at both ends."""
    tf = pytest.importorskip("tensorflow")
    pytest.importorskip("ai_edge_litert")
    model = small_keras()
    scale, offset = (np.float32(values) for values in scale_and_offset("tf"))
    samples = np.random.default_rng(0).integers(0, 256, (20, 1, 32, 32, 3))
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([sample.astype("f") * scale + offset] for sample in samples)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.uint8
    (tmp_path / "theirs.tflite").write_bytes(converter.convert())
    path = tmp_path / "theirs.tflite"
    with compile(path, preprocessing="tf") as found, compile(model, "keras", preprocessing="tf") as reference:
        np.testing.assert_allclose(found.predict(images), reference.predict(images), atol=0.05)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_timms_export(tmp_path, images):
    torch = pytest.importorskip("torch")
    import_torchvision(torch)
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    model = timm.create_model("test_efficientnet", num_classes=7).eval()
    torch.onnx.export(
        model,
        torch.zeros(1, 3, 64, 64),
        tmp_path / "timm.onnx",
        dynamo=False,
        dynamic_axes={"x": {0: "n"}},
        input_names=["x"],
    )
    with compile(tmp_path / "timm.onnx", preprocessing="tf", class_names=list("abcdefg")) as predictor:
        assert predictor.spec.kind == "logits"
        batch = predictor.spec.scale(np.stack([predictor.spec.image(image) for image in images]))
        with torch.inference_mode():
            theirs = model(torch.from_numpy(batch)).numpy()
        np.testing.assert_allclose(predictor.predict(images), theirs, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"inputs": 2}, r"takes 'x0': float32 \(any, 3, 32, 32\); 'x1': .*: expected one input, images"),
        ({"shape": ["n", 3]}, r"takes 'x0': float32 \(any, 3\): expected one input, images"),
        ({"shape": ["n", 3, 32, 3]}, "does not show whether channels are its second axis or its last"),
        ({"dtype": "INT64"}, r"takes 'x0': int64 .*: expected pixels as float16"),
    ],
)
def test_models_of_something_else(tmp_path, options, message):
    if options.get("shape") == ["n", 3]:
        write_vectors(tmp_path / "theirs.onnx")
    else:
        write_onnx(tmp_path / "theirs.onnx", **{"shape": ["n", 3, 32, 32], **options})
    with pytest.raises(ValueError, match=message):
        compile(tmp_path / "theirs.onnx")


def write_vectors(path):
    import onnx
    from onnx import TensorProto, helper

    given, found = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3]) for name in ("x0", "y"))
    graph = helper.make_graph([helper.make_node("Relu", ["x0"], ["y"])], "mine", [given], [found])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)


def test_a_file_that_cannot_compute_what_it_says_it_takes(tmp_path):
    import onnx

    model = onnx.load(write_onnx(tmp_path / "wrong.onnx", [1, 32, 32, 3]))
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "n"
    model.graph.node[1].CopyFrom(onnx.helper.make_node("Reshape", ["floats", "one"], ["means"]))
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([1, 3]), "one"))
    onnx.save(model, tmp_path / "wrong.onnx")
    message = r"wrong.onnx cannot compute a batch of shape \(4, 32, 32, 3\) in ONNX Runtime"
    with compile(tmp_path / "wrong.onnx", preprocessing="none") as found, pytest.raises(ValueError, match=message):
        found.predict(np.zeros((4, 32, 32, 3), np.uint8))
