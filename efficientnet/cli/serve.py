"""The command ``efficientnet serve``: a server that predicts images sent to it."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from ..common.packages import missing
from ..common.text import plain
from . import model_options, pixel_options
from .exit_statuses import SUCCESS
from .number_types import positive, seconds

if TYPE_CHECKING:
    from ..inference import ModelSource, Predictor

_MAP_SIDE = 720  # side of a heat map, pixels
TOKEN = "EFFICIENTNET_TOKEN"
_NEEDED = ("starlette", "uvicorn", "python_multipart", "prometheus_client", "jinja2")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``serve`` and its function."""
    parser.description = (
        "Serves models by HTTP: POST /predict takes an image file, /v2/models/NAME/infer speaks the Open "
        "Inference Protocol, /metrics is for Prometheus, /openapi.json describes it all, and / is a page to drop "
        "images on. SIGTERM ends the server once all accepted requests have a response. If the environment variable "
        f"{TOKEN} is set, requests have to send this token."
    )
    add = parser.add_argument
    add("models", nargs="+", metavar="MODEL", help="variant or saved or exported model; NAME=MODEL gives it a name")
    add("--host", default="127.0.0.1", metavar="ADDRESS",
        help="address to listen on; 0.0.0.0 is every network's (default: 127.0.0.1)")  # fmt: skip
    add("--port", type=_port, default=8000, metavar="N", help="port to listen on; 0 takes a free one (default: 8000)")
    add("--waiting", type=positive, default=256, metavar="N",
        help="images that may wait; beyond it requests get status 503 (default: 256)")  # fmt: skip
    add("--max-bytes", type=positive, default=20_000_000, metavar="N",
        help="bytes of a request's body (default: 20000000)")  # fmt: skip
    add("--seconds", type=seconds, default=30.0, metavar="S",
        help="time to send headers, to send a body, and to wait for a prediction (default: 30)")  # fmt: skip
    add("--allow-urls", action="store_true",
        help="fetch images from addresses that requests name, also those that only this machine reaches")  # fmt: skip
    add("--explain", action="store_true", help="draw heat maps, too; keeps the Keras models in memory. Of an "
        "exported model a map takes about 200 predictions")  # fmt: skip
    model_options.add_options(parser)
    pixel_options.add_options(parser)
    parser.set_defaults(run=_serve)


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text[:9]) < 2**16):
        raise argparse.ArgumentTypeError(f"{text!r} is not a port, 0 to 65535")
    return int(text)


def _serve(arguments: argparse.Namespace) -> int:
    if lacking := [name for name in _NEEDED if not find_spec(name)]:
        raise missing(f"serve needs {', '.join(lacking)}", "serve")
    from ..serving import Limits, create_app
    from ..serving.app import check_name, check_token
    from ..serving.running import check_address, create_server

    token = os.environ.get(TOKEN)
    if token is not None:
        check_token(token)  # an empty one is refused, too: whoever sets it does not mean a server for everyone
    check_address(arguments.host, arguments.port)
    sources = {}
    for given in arguments.models:  # all are found before the first is compiled
        name, model = named(given)
        check_name(name)
        if name in sources:
            raise ValueError(f"Two models are called {name}: give them names, NAME=MODEL.")
        of_model = argparse.Namespace(**{**vars(arguments), "model": model})
        sources[name] = of_model, model_options.model_source(of_model)
    models, maps = {}, {}
    for name, (of_model, source) in sources.items():
        models[name] = model_options.open_predictor(of_model, source)
        models[name].warm_up()  # the first requests that come together would wait for it, longer than --seconds perhaps
        if arguments.explain:
            maps[name] = _heat_maps(source, models[name])
    limits = Limits(arguments.waiting, arguments.max_bytes, seconds=arguments.seconds)
    app = create_app(models, limits, token=token, allow_urls=arguments.allow_urls, explain=maps)
    shown = ", ".join(f"{plain(name)} ({predictor.engine})" for name, predictor in models.items())
    host = f"[{arguments.host}]" if ":" in arguments.host else arguments.host

    def started(port: int) -> None:
        print(f"http://{host}:{port}/ serves {shown}", flush=True)

    create_server(app, arguments.host, arguments.port, limits.seconds, started).run()
    return SUCCESS


def named(given: str) -> tuple[str, str]:
    """Return the name and the model of ``NAME=MODEL``; the name is the model's without them."""
    name, equals, model = given.partition("=")
    if equals and not os.path.exists(given):
        return name, model
    path = Path(given)
    return (path.stem if path.suffix or os.path.isdir(given) else given), given


def _heat_maps(source: ModelSource, predictor: Predictor) -> Callable[[bytes], bytes]:
    """Return the function from the content of an image to a JPEG of the map of its best class.

    An exported model has no layers for Grad-CAM, and gets maps by occlusion.
    """
    from ..explain.explaining import Explainer
    from ..explain.overlay import overlay
    from ..images.bands import as_rgb
    from ..images.thumbnails import to_jpeg
    from ..model_io.images import read_pixels

    if source.exported is None:
        explainer = Explainer(*source.load())
    else:
        explainer = Explainer(predictor, predictor.spec, "occlusion")

    def draw(content: bytes) -> bytes:
        pixels = read_pixels(content, explainer.spec.channels)
        return to_jpeg(overlay(as_rgb(pixels), explainer(pixels)[0]), _MAP_SIDE)

    return draw
