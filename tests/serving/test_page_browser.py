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
  parent.postMessage(JSON.stringify({
    classes: $("classes").innerText, message: $("message").innerText, heat: $("heat").naturalWidth,
    image: $("image").naturalWidth, width: document.documentElement.scrollWidth,
  }), "*");
})();
</script>"""
FRAME = """<!DOCTYPE html><body><iframe src="/driven" style="width: WIDTHpx; height: 800px; border: 0"></iframe>
<script>onmessage = event => { document.body.dataset.found = event.data; };</script>"""


@pytest.fixture(scope="module")
def server():
    names = ["a class with a very_long_name_that_has_no_place_to_break_in_it", "green"]
    with compile(color_model(keras, *CORNERS), class_names=names, preprocessing="none", cache=False) as predictor:
        app = create_app({"colors": predictor}, explain={"colors": lambda content: png((9, 9, 9), 30)})
        (page,) = (route for route in app.routes if route.path == "/")

        async def driven(request):
            text = bytes((await page.endpoint(request)).body).decode()
            return HTMLResponse(text + DRIVE.replace("IMAGE", base64.b64encode(png((255, 0, 0))).decode()))

        async def frame(request):
            return HTMLResponse(FRAME.replace("WIDTH", request.query_params["width"]))

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


@pytest.mark.parametrize("width", [360, 1280])
def test_an_image_goes_in_and_its_classes_come_out(server, width, tmp_path):
    window = f"--window-size={width + 40},900"
    found, complaints = found_by_page(f"{server}/frame?width={width}", tmp_path, "--virtual-time-budget=20000", window)
    shown = json.loads(found.replace("&quot;", '"'))
    assert shown["message"] == ""
    assert shown["classes"].startswith("a class with")
    assert " %" in shown["classes"]
    assert (shown["image"], shown["heat"]) == (20, 30)
    assert shown["width"] <= width
    assert not complaints
