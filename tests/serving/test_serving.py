"""The server, of a classifier of the mean color whose probabilities are known."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import pytest
from color_models import expected, png
from exported_models import write_onnx_map
from PIL import Image

pytest.importorskip("starlette", reason="needs pip install 'efficientnet[serve]>=2'")
pytest.importorskip("httpx2", reason="needs pip install 'efficientnet[test]>=2'")

from starlette.testclient import TestClient

from efficientnet.errors import QueueFullError
from efficientnet.inference import compile
from efficientnet.serving import Gatherer, Limits, create_app
from efficientnet.serving import app as serving_app


def test_the_content_of_a_file(client):
    found = client.post("/predict", content=png((255, 0, 0))).json()
    assert found["model"] == "colors"
    (image,) = found["images"]
    assert image["kind"] == "probabilities"
    assert [each["label"] for each in image["predictions"]] == ["red", "green"]
    assert image["predictions"][0]["probability"] == pytest.approx(expected((255, 0, 0))[0], abs=1e-6)
    assert (
        len(client.post("/predict?top=1&model=again", content=png((9, 9, 9))).json()["images"][0]["predictions"]) == 1
    )


def test_an_exported_classifier_that_ends_in_a_convolution(tmp_path):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    with (
        compile(write_onnx_map(tmp_path / "map.onnx"), preprocessing="tf", class_names=list("abcde")) as predictor,
        TestClient(create_app({"map": predictor})) as client,
    ):
        (image,) = client.post("/predict", content=png((255, 0, 0))).json()["images"]
    assert sum(each["probability"] for each in image["predictions"]) == pytest.approx(1, abs=1e-5)


def test_a_form_with_several_files(client):
    files = [("a", ("a.png", png((255, 0, 0)), "image/png")), ("b", ("b.png", png((0, 255, 0)), "image/png"))]
    found = client.post("/predict", files=files).json()["images"]
    assert [image["predictions"][0]["label"] for image in found] == ["red", "green"]


def test_a_black_image_is_an_image(client):
    (image,) = client.post("/predict", content=png((0, 0, 0))).json()["images"]
    probability = {each["label"]: each["probability"] for each in image["predictions"]}["red"]
    assert probability == pytest.approx(expected((0, 0, 0))[0], abs=1e-6)


def test_many_requests_at_a_time_each_get_their_own(client):
    colors = [tuple(map(int, color)) for color in np.random.default_rng(0).integers(0, 256, (60, 3))]
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda color: client.post("/predict", content=png(color)).json(), colors))
    for color, answer in zip(colors, found, strict=True):
        got = {each["label"]: each["probability"] for each in answer["images"][0]["predictions"]}
        assert got["red"] == pytest.approx(expected(color)[0], abs=1e-5)


FORM = {"content-type": "multipart/form-data; boundary=x"}
PART = b'--x\r\nContent-Disposition: form-data; name="a"; filename="a"\r\n\r\n'
BAD = {
    "no body": ({}, b"", 400),
    "no image": ({}, b"no image", 400),
    "cut short": ({}, png((1, 2, 3))[:45], 400),
    "too large": ({}, b"x" * 100_001, 413),
    "a bomb": ({}, png((0, 0, 0), 4000), 400),
    "form without boundary": ({"content-type": "multipart/form-data"}, b"--x", 400),
    "form without files": (FORM, b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--x--\r\n', 400),
    "form with a field": (
        FORM,
        PART + png((1, 2, 3)) + b'\r\n--x\r\nContent-Disposition: form-data; name="model"\r\n\r\nagain\r\n--x--\r\n',
        400,
    ),
    "form whose second file ends too early": (FORM, PART + png((1, 2, 3)) + b"\r\n" + PART + png((1, 2, 3))[:30], 400),
    "form without its end": (FORM, PART + png((1, 2, 3)) + b"\r\n" + PART + png((1, 2, 3)) + b"\r\n--x", 400),
    "form of garbage": (FORM, b"\0" * 99, 400),
    "form with too many files": (
        FORM,
        b'--x\r\nContent-Disposition: form-data; name="a"; filename="a"\r\n\r\n1\r\n' * 5 + b"--x--\r\n",
        400,
    ),
    "an address that is not allowed": ({"content-type": "application/json"}, b'{"url": "http://127.0.0.1:1/x"}', 403),
    "a file's address": ({"content-type": "application/json"}, b'{"url": "file:///etc/passwd"}', 400),
    "an address and what has no effect": (
        {"content-type": "application/json"},
        b'{"url": "http://127.0.0.1:1/x", "model": "again"}',
        400,
    ),
    "JSON of something else": ({"content-type": "application/json"}, b"[1]", 400),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_bodies(client, name, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1_000_000)
    headers, body, status = BAD[name]
    found = client.post("/predict", content=body, headers=headers)
    assert (found.status_code, list(found.json())) == (status, ["error"])
    assert "Traceback" not in found.text


@pytest.mark.parametrize(
    "path",
    [
        "/predict?model=../etc/passwd",
        "/predict?model=%00",
        "/predict?model=",
        "/predict?top=0",
        "/predict?top=x",
        "/predict?Model=again",
        "/predict?model=colors&model=again",
        "/explain?top=1",
    ],
)
def test_bad_queries(client, path):
    assert client.post(path, content=png((1, 1, 1))).status_code in (400, 404)


@pytest.mark.parametrize("path", ["/../etc/passwd", "/static/", "/v2/models/../../x", "/%2e%2e/x"])
def test_there_are_no_other_paths(client, path):
    assert client.get(path).status_code in (404, 405)


def test_the_page_and_the_heat_map(client):
    page = client.get("/")
    assert page.status_code == 200
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "http" not in page.text.replace("http-equiv", "")  # no other address
    assert client.get("/models").json()["models"][0] == {"name": "colors", "explains": True}
    assert client.post("/explain", content=png((1, 1, 1))).content == b"map of \x89PNG"
    assert client.post("/explain?model=again", content=png((1, 1, 1))).status_code == 404


def test_counters(client):
    client.post("/predict", content=png((1, 1, 1)))
    found = client.get("/metrics").text
    assert 'efficientnet_requests_total{route="/predict",status="200"}' in found
    assert 'efficientnet_waiting_images{model="colors"} 0.0' in found


def test_the_description_names_the_routes(client):
    found = client.get("/openapi.json").json()
    assert {"/predict", "/explain", "/models", "/metrics"} == set(found["paths"])


@pytest.mark.parametrize("path", ["/explain", "/predict"])
def test_who_waits_for_a_map_or_an_address_is_told_when_it_takes_too_long(predictor, path, monkeypatch):
    may_go_on = threading.Event()

    def slow(*source, **options):
        may_go_on.wait(20)
        return np.zeros((8, 8, 3), np.uint8) if options else b"map"

    monkeypatch.setattr(serving_app, "load_image", slow)
    monkeypatch.setattr(serving_app, "_FETCHES", 1)
    app = create_app({"colors": predictor}, Limits(seconds=0.5), allow_urls=True, explain={"colors": slow})
    body = {"json": {"url": "http://127.0.0.1/x"}} if path == "/predict" else {"content": png((1, 1, 1))}
    with TestClient(app) as client, ThreadPoolExecutor(3) as threads:
        asked = [threads.submit(client.post, path, **body) for _ in range(3)]
        while sum(future.done() for future in asked) < 2:
            time.sleep(0.01)
        may_go_on.set()
        found = sorted(future.result().status_code for future in asked)
        assert found == [200, 503, 503]
        late = next(future.result() for future in asked if future.result().status_code == 503)
        assert late.headers["retry-after"] == "1"
        assert client.post(path, **body).status_code == 200


def test_a_token(predictor):
    with TestClient(create_app({"colors": predictor}, token="sécret")) as client:
        assert client.get("/").status_code == client.get("/v2/health/live").status_code == 200
        for headers in ({}, {"authorization": "Bearer other"}, {"authorization": "Basic x"}):
            assert client.post("/predict", content=png((1, 1, 1)), headers=headers).status_code == 401
            assert client.get("/metrics", headers=headers).status_code == 401
        for scheme in ("Bearer", "bearer"):
            right = {"authorization": f"{scheme} sécret".encode()}
            assert client.post("/predict", content=png((1, 1, 1)), headers=right).status_code == 200


class Slow:
    """A predictor that waits until it may go on."""

    def __init__(self, spec):
        self.spec, self.may_go_on = spec, threading.Event()

    def predict_prepared(self, images):
        self.may_go_on.wait(20)
        return np.tile(np.float32([1, 0]), (len(images), 1))


def test_a_full_queue_and_a_prediction_that_takes_too_long(predictor):
    slow = Slow(predictor.spec)
    limits = Limits(waiting=2, images=4, seconds=0.5)
    with TestClient(create_app({"slow": slow}, limits)) as client:
        for _ in range(3):
            late = client.post("/predict", content=png((1, 1, 1)))
            assert (late.status_code, late.headers["retry-after"]) == (503, "1")
        slow.may_go_on.set()
        time.sleep(0.1)
        assert client.post("/predict", content=png((1, 1, 1))).status_code == 200


def test_what_was_accepted_is_predicted_before_the_end(predictor):
    slow = Slow(predictor.spec)
    gatherer = Gatherer(slow, waiting=40)
    futures = [gatherer.submit(png((1, 1, 1))) for _ in range(30)]
    threading.Timer(0.1, slow.may_go_on.set).start()
    gatherer.close()
    assert all(future.done() for future in futures)
    with pytest.raises(QueueFullError):
        for _ in range(99):
            gatherer.submit(b"")


def test_images_are_predicted_together(predictor):
    slow, sizes = Slow(predictor.spec), []
    gatherer = Gatherer(slow, waiting=99, on_batch=sizes.append)
    futures = [gatherer.submit(png((1, 1, 1))) for _ in range(50)]
    slow.may_go_on.set()
    gatherer.close()
    assert sum(sizes) == len(futures) == 50
    assert max(sizes) > 8


def test_numbers_that_are_not_finite_concern_one_image_alone(predictor):
    class Odd(Slow):
        def predict_prepared(self, images):
            return np.where(images.mean((1, 2, 3))[:, None] > 100, np.nan, super().predict_prepared(images))

    slow = Odd(predictor.spec)
    slow.may_go_on.set()
    with Gatherer(slow, waiting=9) as gatherer:
        futures = [gatherer.submit(png((level, level, level))) for level in (0, 255, 0)] + [gatherer.submit(b"")]
        assert [type(future.exception()) for future in futures] == [type(None), ValueError, type(None), ValueError]


def test_a_failing_engine_is_no_end(predictor):
    class Failing(Slow):
        def predict_prepared(self, images):
            raise RuntimeError("a secret path")

    with TestClient(create_app({"failing": Failing(predictor.spec)})) as client:
        for _ in range(2):
            found = client.post("/predict", content=png((1, 1, 1)))
            assert found.status_code == 500
            assert "secret" not in found.text


def test_nothing_to_serve(predictor, model):
    with pytest.raises(ValueError, match="no model"):
        create_app({})
    with (
        compile(keras.Model(model.inputs, model.layers[0].output), cache=False) as maps,
        pytest.raises(ValueError, match="no vector"),
    ):
        create_app({"maps": maps})
    with pytest.raises(ValueError, match="waiting"):
        Limits(waiting=0)


@pytest.mark.parametrize("name", ["", "a/b", "..", "a\nb", 5])
def test_names_that_no_address_can_have(predictor, name):
    with pytest.raises((ValueError, TypeError), match=r"expected a name without|expected the name of a model"):
        create_app({name: predictor})


@pytest.mark.parametrize("token", ["", " secret", "secret\n", 5])
def test_tokens_that_no_header_can_have(predictor, token):
    with pytest.raises((ValueError, TypeError), match="expected a secret"):
        create_app({"colors": predictor}, token=token)


def test_arguments_of_another_type(predictor):
    for wrong, limits, message in (
        ([predictor], Limits(), "expected a dictionary of predictors"),
        (predictor, Limits(), "expected a dictionary of predictors"),
        ({"a": "lite0"}, Limits(), "expected a predictor"),
        ({"a": predictor}, 3, "expected Limits"),
    ):
        with pytest.raises(TypeError, match=message):
            create_app(wrong, limits)
