"""The server of the Open Inference Protocol, of a classifier of the mean color whose probabilities are known."""

import base64
import json

import numpy as np
import pytest
from color_models import expected, png

pytest.importorskip("starlette", reason="needs pip install 'efficientnet[serve]>=2'")
pytest.importorskip("httpx2", reason="needs pip install 'efficientnet[test]>=2'")

from starlette.exceptions import HTTPException

from efficientnet.serving.requests import parse_json

TENSOR = {"name": "images", "shape": [1, 16, 16, 3], "datatype": "FP32", "data": [0] * 768}


@pytest.mark.parametrize("kind", ["FP32", "UINT8", "BYTES"])
def test_the_open_inference_protocol(client, kind):
    color = (200, 20, 100)
    pixels = np.broadcast_to(np.array(color), (2, 16, 16, 3))
    tensor = {"name": "images", "shape": [2, 16, 16, 3], "datatype": kind, "data": pixels.reshape(-1).tolist()}
    if kind == "BYTES":
        tensor |= {"shape": [2], "data": [base64.b64encode(png(color)).decode()] * 2}
    found = client.post("/v2/models/colors/infer", json={"id": "7", "inputs": [tensor]}).json()
    assert (found["model_name"], found["id"]) == ("colors", "7")
    (output,) = found["outputs"]
    assert output["shape"] == [2, 2]
    np.testing.assert_allclose(np.reshape(output["data"], (2, 2)), [expected(color)] * 2, atol=1e-6)


def test_a_tensor_is_neither_cropped_nor_resized(client, predictor):
    pixels = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3)).astype(np.float32)
    pixels[:, 2:-2, 2:-2] = 0  # so that all is in the margin that the crop of a file leaves out
    tensor = {"name": "images", "shape": [2, 16, 16, 3], "datatype": "FP32", "data": pixels.reshape(-1).tolist()}
    (output,) = client.post("/v2/models/colors/infer", json={"inputs": [tensor]}).json()["outputs"]
    np.testing.assert_allclose(np.reshape(output["data"], (2, 2)), predictor.predict(pixels), atol=1e-6)


def test_what_the_protocol_says_of_server_and_models(client):
    assert client.get("/v2/health/live").status_code == client.get("/v2/health/ready").status_code == 200
    assert client.get("/v2").json()["name"] == "efficientnet"
    found = client.get("/v2/models/colors").json()
    assert found["inputs"][0]["shape"] == [-1, 16, 16, 3]
    assert found["outputs"][0]["shape"] == [-1, 2]
    assert client.get("/v2/models/colors/ready").status_code == 200
    assert client.get("/v2/models/none/ready").status_code == 404


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shape": [1, 8, 8, 3]}, "the model takes"),
        ({"shape": [9, 16, 16, 3]}, "9 images"),
        ({"shape": [0, 16, 16, 3]}, "positive whole numbers"),
        ({"shape": [True, 16, 16, 3]}, "positive whole numbers"),
        ({"shape": "x"}, "positive whole numbers"),
        ({"name": "pixels"}, "the model takes 'images', got 'pixels'"),
        ({"datatype": "FP64"}, "datatype"),
        ({"data": [0] * 5}, "expected 768 numbers"),
        ({"data": [[0], [0, 1]]}, "list of numbers"),
        ({"data": {"a": 1}}, "list of numbers"),
        ({"data": ["1"] * 768}, "list of numbers"),
        ({"data": [True] * 768}, "list of numbers"),
        ({"data": None, "parameters": {"binary_data_size": 3072}}, "binary_data=False"),
        ({"data": np.zeros((1, 3, 16, 16)).tolist()}, "got those of [1, 3, 16, 16]"),
        ({"data": [[0] * 768]}, "got those of [1, 768]"),
        ({"data": [10**60] * 768}, "0 to 255"),
        ({"data": [10**400, *[0] * 767]}, "0 to 255"),
        ({"datatype": "UINT8", "data": [0.5] * 768}, "whole numbers"),
        ({"data": [1e9] * 768}, "0 to 255"),
        ({"data": [float("nan")] * 768}, "0 to 255"),
        ({"datatype": "BYTES", "shape": [1], "data": ["%%"]}, "Base64"),
        ({"datatype": "BYTES", "shape": [1], "data": [3]}, "Base64"),
        ({"datatype": "BYTES", "shape": [2], "data": ["aaaa"]}, "a string for each"),
    ],
)
def test_bad_tensors(client, changes, message):
    found = client.post("/v2/models/colors/infer", content=json.dumps({"inputs": [TENSOR | changes]}))
    assert found.status_code == 400
    assert message in found.json()["error"]


def test_lists_in_lists_and_whole_floats_are_pixels(client):
    pixels = np.random.default_rng(0).integers(0, 256, (1, 16, 16, 3))
    each = [TENSOR | {"data": pixels.reshape(-1).tolist()}, TENSOR | {"data": pixels.tolist()},
            TENSOR | {"data": pixels.astype(float).tolist(), "datatype": "UINT8"}]  # fmt: skip
    first, *others = (client.post("/v2/models/colors/infer", json={"inputs": [tensor]}).json() for tensor in each)
    assert first["outputs"][0]["shape"] == [1, 2]
    assert others == [first, first]


@pytest.mark.parametrize("asked", [None, [], [{"name": "outputs", "parameters": {"binary_data": True}}]])
def test_the_output_that_the_model_has(client, asked):
    found = client.post("/v2/models/colors/infer", json={"inputs": [TENSOR], "outputs": asked}).json()
    assert [output["name"] for output in found["outputs"]] == ["outputs"]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("outputs", "expected a list of tensors"),
        (["outputs"], "expected a list of tensors"),
        ([{}], "the model gives 'outputs', got 'None'"),
        ([{"name": "outputs"}, {"name": "probs"}], "the model gives 'outputs', got 'probs'"),
        ([{"name": "outputs", "parameters": {"classification": 3}}], "/predict returns the best classes"),
        ([{"name": "outputs", "parameters": {"shared_memory_region": "x"}}], "not understood"),
        ([{"name": "outputs", "parameters": 3}], "not understood"),
    ],
)
def test_other_outputs_are_refused(client, asked, message):
    found = client.post("/v2/models/colors/infer", json={"inputs": [TENSOR], "outputs": asked})
    assert found.status_code == 400
    assert message in found.json()["error"]


def test_binary_tensors_are_refused_by_name(client):
    headers = {"inference-header-content-length": "2"}
    found = client.post("/v2/models/colors/infer", content=b"{}\0\1", headers=headers)
    assert found.status_code == 400 and "binary_data=False" in found.json()["error"]


@pytest.mark.parametrize(
    "body",
    [
        b"{", b"[" * 90_000, b'{"inputs": 1}', b'{"inputs": []}', b'{"inputs": [1]}', b"\xff\xfe", b"null",
        b'{"id": "a", "id": "b", "inputs": [%s]}' % json.dumps(TENSOR).encode(),
    ],
)  # fmt: skip
def test_bad_json(client, body):
    assert client.post("/v2/models/colors/infer", content=body).status_code == 400


def test_json_of_too_many_lists():
    with pytest.raises(HTTPException, match="more than 2,000,000 lists"):
        parse_json(b'{"a": [' + b"[]," * 2_000_000 + b"0]}")


def test_an_id_that_utf_8_does_not_have_comes_back(client):
    body = json.dumps({"id": "\ud800é", "inputs": [TENSOR]})
    assert client.post("/v2/models/colors/infer", content=body).json()["id"] == "\ud800é"
