"""The exported page in a browser, opened from the disk: it predicts what Keras predicts."""

import base64
import functools
import io
import json
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files

import numpy as np
import pytest
from chromium import needs_chromium, opened
from exported_models import small_keras
from onnxruntime_web import unpacked
from PIL import Image

from efficientnet.export import export
from efficientnet.export.deployments import web
from efficientnet.images.resizing import MAP_INTERPOLATION_TO_ORDER, center_crop_and_resize
from efficientnet.inference import ModelSource, compile

keras = pytest.importorskip("keras")
pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

pytestmark = [pytest.mark.slow, needs_chromium]

CLOSE = 1e-3  # of a probability
CLASSIFY = """(async () => {
  const bytes = Uint8Array.from(atob("CONTENT"), c => c.charCodeAt(0));
  await classify(new File([bytes], "image"));
  const rows = $("message").innerText ? [] : await predict(new File([bytes], "image"));
  return { rows, message: $("message").innerText, width: document.documentElement.scrollWidth };
})()"""


@pytest.fixture(scope="module")
def runtime(pytestconfig):
    return unpacked(pytestconfig.cache.mkdir("onnxruntime-web"))


def encoded(pixels, kind, **options):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def smooth(height, width, channels=3):
    """Colors that differ all over an image, as in a photograph, so that each step of the preparation shows."""
    noise = np.random.default_rng(0).integers(0, 256, (7, 5, channels), np.uint8).squeeze()
    return np.asarray(Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC))


def turned():
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


IMAGES = {
    "a photograph": encoded(smooth(300, 401), "JPEG", quality=95),
    "turned by the camera": encoded(smooth(200, 301), "JPEG", quality=95, exif=turned()),
    "smaller than the input": encoded(smooth(9, 14), "PNG"),
    "transparent": encoded(smooth(80, 60, 4), "PNG"),
    "grey": encoded(smooth(50, 70, 1), "PNG"),
}


def classified(page, content):
    return page.run(CLASSIFY.replace("CONTENT", base64.b64encode(content).decode()))


def address(folder):
    return (folder / "index.html").resolve().as_uri()


@pytest.mark.parametrize(("precision", "width"), [("f32", 360), ("f16", 1280), ("int8", 1280)])
def test_it_predicts_as_keras_does(runtime, tmp_path, precision, width):
    source = ModelSource.of_model(
        small_keras(), class_names=[f"label{'_long' * 20} {n}" for n in range(5)], preprocessing="tf"
    )
    images = [np.asarray(Image.open(io.BytesIO(content)).convert("RGB")) for content in IMAGES.values()]
    export(source, tmp_path / "page", "web", precision, images if precision == "int8" else (), runtime=runtime)
    with (
        opened(address(tmp_path / "page"), width, tmp_path) as page,
        compile(source, cache=False) as predictor,
    ):
        for name, content in IMAGES.items():
            found = classified(page, content)
            expected = dict(predictor.top([content], k=5)[0][n][1:] for n in range(5))
            assert found["message"] == "", name
            got = {row["label"]: row["probability"] for row in found["rows"]}
            if precision == "int8":  # as far as 8 bits go
                assert got == pytest.approx(expected, abs=0.1), name
            else:
                assert got == pytest.approx(expected, abs=CLOSE), name
            assert found["width"] <= width
        assert "cannot read" in classified(page, b"no image")["message"]
        assert not page.complaints
        page.run("fetch('http://127.0.0.1:9/').catch(() => {})")  # which no image leaves by
        assert "Content Security Policy" in page.complaints[0]


@pytest.mark.parametrize(("activation", "outputs"), [("sigmoid", 4), ("sigmoid", 1), (None, 3)])
def test_labels_one_probability_and_numbers_of_a_grey_image(runtime, tmp_path, activation, outputs):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((32, 32, 1))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(8, 3, activation="relu")(inputs))
    model = keras.Model(inputs, keras.layers.Dense(outputs, activation, kernel_initializer="he_normal")(x))
    source = ModelSource.of_model(model, preprocessing="tf")
    export(source, tmp_path / "page", "web", runtime=runtime)
    with opened(address(tmp_path / "page"), 400, tmp_path) as page, compile(source, cache=False) as predictor:
        found = classified(page, IMAGES["a photograph"])["rows"]
        prediction = predictor.spec.prediction(predictor.predict([IMAGES["a photograph"]])[0])
    expected = prediction.to_json(prediction.classes)["predictions"]
    assert [row["label"] for row in found] == [row["label"] for row in expected]
    value = "value" if activation is None else "probability"
    assert [row[value] for row in found] == pytest.approx([row[value] for row in expected], abs=CLOSE)


@pytest.mark.parametrize("interpolation", MAP_INTERPOLATION_TO_ORDER)
@pytest.mark.parametrize(("side", "new_side"), [(70, 31), (1, 8), (5, 24), (32, 32), (333, 16)])
def test_it_resizes_as_python_does(blank_page, interpolation, side, new_side):
    levels = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    order = MAP_INTERPOLATION_TO_ORDER[interpolation]
    found = blank_page.run(f"Array.from(resize({levels.reshape(-1).tolist()}, {side}, {new_side}, 3, {order}))")
    expected = center_crop_and_resize(levels, new_side, 0, interpolation)
    np.testing.assert_allclose(np.reshape(found, expected.shape), expected, atol=2e-3)


@pytest.fixture(scope="module")
def blank_page(tmp_path_factory):
    with opened("about:blank", 400, tmp_path_factory.mktemp("browser")) as page:
        page.run(files("efficientnet.reports").joinpath("templates", "resizing.js").read_text("utf-8"))
        yield page


class Files(SimpleHTTPRequestHandler):
    def end_headers(self):
        self.send_header("Access-Control-Allow-Origin", "*")
        super().end_headers()

    def log_message(self, *arguments):
        pass


@pytest.mark.parametrize("is_changed", [False, True])
def test_the_runtime_from_an_address_is_compared_with_its_hash(runtime, tmp_path, monkeypatch, is_changed):
    served = tmp_path / "served"
    served.mkdir()
    for name in web._INTEGRITY:
        content = (runtime / "dist" / name).read_bytes()
        (served / name).write_bytes(content + b" " if is_changed and name.endswith(".mjs") else content)
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Files, directory=served)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(web, "_ADDRESS", f"http://127.0.0.1:{server.server_port}/")
        export(ModelSource.of_model(small_keras(), preprocessing="tf"), tmp_path / "page", "web")
        with opened(address(tmp_path / "page"), 400, tmp_path) as page:
            found = classified(page, IMAGES["a photograph"])
        server.shutdown()
    assert ("cannot be loaded" in found["message"]) == is_changed
    assert bool(found["rows"]) != is_changed
    assert any("integrity" in json.dumps(complaint) for complaint in page.complaints) == is_changed
