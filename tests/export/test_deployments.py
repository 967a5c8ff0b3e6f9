"""Folders for a browser and for servers: their layout, as the servers document it, and what cannot be one."""

import json
import re

import pytest
from exported_models import small_keras

from efficientnet.export import export
from efficientnet.export.deployments import web
from efficientnet.inference import ModelSource, compile

keras = pytest.importorskip("keras")
pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

NAMES = ("daisy", "rose", "two\nlines", "tulip", "Edelweiß")


@pytest.fixture(scope="module")
def source():
    return ModelSource.of_model(small_keras(), class_names=NAMES, preprocessing="tf")


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def pbtxt(text):
    """The fields of a text of Protocol Buffers: lists of values, numbers and objects in turn."""
    tokens = re.findall(r'"[^"]*"|[\w-]+|[:{}\[\]]', text)

    def message():
        fields = {}
        while tokens and tokens[0] != "}":
            name = tokens.pop(0)
            if tokens[0] == ":":
                tokens.pop(0)
            fields.setdefault(name, []).extend(values())
        return fields

    def values():
        token = tokens.pop(0)
        if token == "[":
            found = []
            while tokens[0] != "]":
                found += values()
            tokens.pop(0)
            return found
        if token == "{":
            found = message()
            assert tokens.pop(0) == "}"
            return [found]
        return [json.loads(token) if token[0] in '"-0123456789' else token]

    return message()


@pytest.mark.parametrize(
    ("options", "most", "shape", "kind"),
    [
        ({}, 32, [32, 32, 3], "TYPE_FP32"),
        ({"batch": 2}, 0, [2, 32, 32, 3], "TYPE_FP32"),
        ({"raw_pixels": True, "input_type": "uint8"}, 32, [32, 32, 3], "TYPE_UINT8"),
    ],
)
def test_a_repository_for_triton(source, tmp_path, options, most, shape, kind):
    """As its pages "Model Repository" and "Model Configuration" have it."""
    report = export(source, tmp_path / "flowers", "triton", **options)
    assert report.size == sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    assert files(tmp_path / "flowers") == ["flowers/1/model.onnx", "flowers/config.pbtxt", "flowers/labels.txt"]
    folder = tmp_path / "flowers" / "flowers"
    config = pbtxt((folder / "config.pbtxt").read_text())
    with compile(str(folder / "1" / "model.onnx")) as predictor:
        assert predictor.spec.classes[1] == ("1", "rose")
    import onnx

    graph = onnx.load(folder / "1" / "model.onnx").graph
    assert (config["name"], config["backend"], config["max_batch_size"]) == (["flowers"], ["onnxruntime"], [most])
    assert config["input"] == [{"name": [graph.input[0].name], "data_type": [kind], "dims": shape}]
    dims = [options["batch"], 5] if "batch" in options else [5]
    assert config["output"] == [
        {"name": [graph.output[0].name], "data_type": ["TYPE_FP32"], "dims": dims, "label_filename": ["labels.txt"]}
    ]
    assert ("dynamic_batching" in config) == (most > 0)
    labels = (folder / "labels.txt").read_text("utf-8").splitlines()
    assert labels == ["daisy", "rose", "two lines", "tulip", "Edelweiß"]


def test_a_repository_for_openvino_model_server(source, tmp_path):
    """As its pages "Classic Models" and "Starting the Server" have it."""
    pytest.importorskip("openvino")
    export(source, tmp_path / "flowers", "ovms")
    assert files(tmp_path / "flowers") == [
        "config.json", "flowers/1/labels.txt", "flowers/1/model.bin", "flowers/1/model.xml",
    ]  # fmt: skip
    (model,) = json.loads((tmp_path / "flowers" / "config.json").read_text())["model_config_list"]
    assert model == {"config": {"name": "flowers", "base_path": "flowers"}}
    with compile(str(tmp_path / "flowers" / "flowers" / "1" / "model.xml")) as predictor:
        assert predictor.spec.classes[0] == ("0", "daisy")


def test_a_page_without_the_runtime_names_its_address_and_hashes(source, tmp_path):
    export(source, tmp_path / "page", "web")
    assert files(tmp_path / "page") == ["index.html", "model.onnx.js"]
    page = (tmp_path / "page" / "index.html").read_text("utf-8")
    assert len(re.findall(r"sha384-[\w+/]{64}", page)) == 2
    assert set(re.findall(r"https?://[^\s\"']+", page)) == {
        "https://cdn.jsdelivr.net/npm/onnxruntime-web@1.30.0/dist/",
        "https://cdn.jsdelivr.net/npm/onnxruntime-web@1.30.0/dist/;",
    }
    assert "two\\nlines" in page


def test_a_page_with_the_runtime_names_no_address(source, tmp_path):
    folder = tmp_path / "package" / "dist"
    folder.mkdir(parents=True)
    for name in ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"):
        (folder / name).write_bytes(name.encode())
    for given in (folder, folder.parent):
        export(source, tmp_path / "page", "web", runtime=given)  # the second takes the place of the first
        assert files(tmp_path / "page") == [
            "index.html", "model.onnx.js", "ort-wasm-simd-threaded.wasm.js", "ort.wasm.bundle.min.mjs.js",
        ]  # fmt: skip
        page = (tmp_path / "page" / "index.html").read_text("utf-8")
        assert "http:" not in page and "https:" not in page
        assert "connect-src 'none'" in page


@pytest.mark.parametrize(
    ("name", "format", "options", "error", "message"),
    [
        ("page", "web", {"batch": 2}, ValueError, "one image at a time"),
        ("page", "web", {"raw_pixels": True, "input_type": "uint8"}, ValueError, "one image at a time"),
        ("page", "web", {"runtime": "missing"}, FileNotFoundError, "npm pack onnxruntime-web"),
        ("page", "triton", {"runtime": "missing"}, ValueError, "leave it out"),
        ("two words", "triton", {}, ValueError, "letters, digits"),
        ("ä", "ovms", {}, ValueError, "letters, digits"),
        ("config.json", "ovms", {}, ValueError, "the server's own file"),
        ("photos", "web", {}, FileExistsError, "choose another name"),
        ("photos", "triton", {}, FileExistsError, "choose another name"),
    ],
)
def test_what_is_refused(source, tmp_path, name, format, options, error, message):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "photo.jpg").write_bytes(b"")
    with pytest.raises(error, match=message):
        export(source, tmp_path / name, format, **options)
    assert files(tmp_path) == ["photos/photo.jpg"]


@pytest.mark.parametrize(
    ("format", "others"),
    [
        ("ovms", ["config.json", "model.safetensors"]),  # of a network in the format of transformers
        ("ovms", ["config.json"]),
        ("ovms", ["config.json", "flowers/1/model.xml", "flowers/1/model.bin", "trees/1/model.xml"]),
        ("triton", ["flowers/1/model.onnx", "flowers/config.pbtxt", "flowers/2/model.onnx"]),
        ("triton", ["flowers/1/model.onnx", "flowers/config.pbtxt", "trees/config.pbtxt"]),
        ("web", ["model.onnx.js", "index.html", "photo.jpg"]),
        ("saved_model", ["saved_model.pb", "variables/variables.index", "notes.txt"]),
    ],
)
def test_a_folder_that_holds_anything_else_is_not_replaced(source, tmp_path, format, others):
    """Several models may have been moved together, as the documentation proposes."""
    for name in others:
        (tmp_path / "flowers" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "flowers" / name).write_text("mine")
    with pytest.raises(FileExistsError, match="choose another name"):
        export(source, tmp_path / "flowers", format)
    assert files(tmp_path / "flowers") == sorted(others)


@pytest.mark.parametrize("format", ["triton", "ovms"])
def test_an_earlier_repository_is_replaced(source, tmp_path, format):
    export(source, tmp_path / "flowers", format)
    first = files(tmp_path / "flowers")
    export(source, tmp_path / "flowers", format, batch=2)
    assert files(tmp_path / "flowers") == first


@pytest.mark.parametrize(
    ("shape", "has_vector", "message"),
    [((32, 32, 4), True, "channels"), ((32, 16, 3), True, "32 x 16"), ((32, 32, 3), False, "no vector")],
)
def test_models_that_a_page_cannot_have(tmp_path, shape, has_vector, message):
    inputs = keras.Input(shape)
    x = keras.layers.Conv2D(4, 3)(inputs)
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x) if has_vector else x)
    with pytest.raises(ValueError, match=message):
        export(ModelSource.of_model(model, preprocessing="tf"), tmp_path / "page", "web")


def test_a_page_needs_jinja(source, tmp_path, monkeypatch):
    monkeypatch.setattr(web, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"efficientnet\[web\]"):
        export(source, tmp_path / "page", "web")
    assert not files(tmp_path)
