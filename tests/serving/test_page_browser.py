"""The server's page in a browser: an image goes in, its classes and its heat map come out."""

import base64
import json
import threading
import time

import keras
import pytest
from chromium import found_by_page, needs_chromium
from color_models import CORNERS, color_model
from test_serving import png

pytest.importorskip("uvicorn", reason="needs pip install 'efficientnet[serve]>=2'")

import uvicorn
from starlette.responses import HTMLResponse
from starlette.routing import Route

from efficientnet.inference import compile
from efficientnet.serving import create_app

pytestmark = [pytest.mark.slow, needs_chromium]

# What a person does: choose a file. Then the frame around the page notes what it shows.
DRIVE = """<script>
(async () => {
  const bytes = Uint8Array.from(atob("IMAGE"), c => c.charCodeAt(0));
  await classify(new File([bytes], "red.png", { type: "image/png" }));
  if (!$("map").hidden) await $("heat").decode();
  while (!$("image").complete) await new Promise(done => setTimeout(done, 10));
  const text = document.createRange();
  const rows = ({ lastChild }) => { text.selectNodeContents(lastChild); return text.getClientRects().length; };
  const wrapped = [...$("classes").querySelectorAll(".line")].filter(line => rows(line) > 1).length;
  parent.postMessage(JSON.stringify({
    wrapped, classes: $("classes").innerText, message: $("message").innerText, heat: $("heat").naturalWidth,
    image: $("image").naturalWidth, isShown: !$("shown").hidden, width: document.documentElement.scrollWidth,
  }), "*");
})();
</script>"""
CONTENTS = {"png": png((255, 0, 0)), "ppm": b"P6 20 20 255\n" + bytes([255, 0, 0]) * 400}  # of which browsers show one
FRAME = """<!DOCTYPE html><body><iframe src="/driven?FORMAT" style="width: WIDTHpx; height: 800px; border: 0"></iframe>
<script>onmessage = event => { document.body.dataset.found = event.data; };</script>"""


@pytest.fixture(scope="module")
def server():
    names = ["a class with a very_long_name_that_has_no_place_to_break_in_it", "green"]
    with compile(color_model(keras, *CORNERS), class_names=names, preprocessing="none", cache=False) as predictor:
        app = create_app({"colors": predictor}, explain={"colors": lambda content: png((9, 9, 9), 30)})
        (page,) = (route for route in app.routes if route.path == "/")

        async def driven(request):
            text = bytes((await page.endpoint(request)).body).decode()
            return HTMLResponse(text + DRIVE.replace("IMAGE", base64.b64encode(CONTENTS[request.url.query]).decode()))

        async def frame(request):
            query = request.query_params
            return HTMLResponse(FRAME.replace("WIDTH", query["width"]).replace("FORMAT", query["format"]))

        app.router.routes += [Route("/driven", driven), Route("/frame", frame)]
        config = uvicorn.Config(app, port=0, log_level="error")
        running = uvicorn.Server(config)
        socket = config.bind_socket()
        thread = threading.Thread(target=running.run, args=([socket],))
        thread.start()
        while not running.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{socket.getsockname()[1]}"
        running.should_exit = True
        thread.join()


@pytest.mark.parametrize(("width", "format"), [(360, "png"), (1280, "png"), (360, "ppm")])
def test_an_image_goes_in_and_its_classes_come_out(server, width, format, tmp_path):
    window = f"--window-size={width + 40},900"
    address = f"{server}/frame?width={width}&format={format}"
    found, complaints = found_by_page(address, tmp_path, "--virtual-time-budget=20000", window)
    shown = json.loads(found.replace("&quot;", '"'))
    assert shown["message"] == ""
    assert shown["classes"].startswith("a class with")
    assert "%" in shown["classes"]
    assert not shown["wrapped"]
    assert (shown["image"], shown["isShown"]) == ((20, True) if format == "png" else (0, False))
    assert shown["heat"] == 30
    assert shown["width"] <= width
    assert not complaints
