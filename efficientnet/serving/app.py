"""The routes of the server."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import hmac
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any

import numpy as np
import starlette.responses
from numpy.typing import NDArray
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from ..common import arguments
from ..common.text import clean, get_logger
from ..errors import QueueFullError
from ..images.loading import is_address, load_image
from ..inference import Predictor
from ..reports.templating import render
from . import protocol
from .gathering import Gatherer
from .limits import Limits
from .metrics import Metrics
from .openapi import description
from .requests import BAD_REQUEST, FORBIDDEN, NOT_FOUND, parse_json, read_body, read_images, read_query

_TOP = 5
_FETCHES = 16  # addresses at a time, fewer than Starlette has threads, which other requests need, too
_UNAUTHORIZED, _UNAVAILABLE, _FAILED = 401, 503, 500
_OPEN_ROUTES = ("/", "/v2/health/live", "/v2/health/ready")  # without a token
_PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "connect-src 'self'; img-src 'self' blob: data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "X-Content-Type-Options": "nosniff",
}

Handler = Callable[[Request], Awaitable[Response]]


class JSONResponse(starlette.responses.JSONResponse):
    """JSON of any text: also of halves of characters, which UTF-8 does not have."""

    def render(self, content: Any) -> bytes:
        try:
            return super().render(content)
        except UnicodeEncodeError:
            return json.dumps(content, allow_nan=False).encode()


def create_app(
    models: Mapping[str, Predictor],
    limits: Limits = Limits(),  # noqa: B008, which is frozen
    *,
    token: str | None = None,
    allow_urls: bool = False,
    explain: Mapping[str, Callable[[bytes], bytes]] | None = None,
    threads: int | None = None,
) -> Starlette:
    """Create the server's application, which any ASGI server runs.

    Args:
        models: Predictors by the name that requests call them; the first serves requests that name none.
        limits: What a request may take.
        token: Secret that requests have to send (``Authorization: Bearer TOKEN``); none by default.
        allow_urls: Whether a request may have an image fetched from an address. Who can send requests then reaches
            whatever the server can reach.
        explain: For each model that has one, the function from the content of an image to its heat map, a JPEG.
        threads: Groups of images that each model predicts at a time; by default as many as there are processors.

    Raises:
        ValueError, TypeError: There is no model, or one that does not return a vector per image or does not take image
            files; a name that no address can have; or a token that no header can have.

    Example:
        >>> from efficientnet.inference import compile
        >>> from efficientnet.keras import EfficientNet
        >>> predictor = compile(EfficientNet(0.25, 0.25, 32, weights=None, classes=5), cache=False)
        >>> app = create_app({"small": predictor}, Limits(waiting=8))
    """
    if not models:
        raise ValueError("There is no model to serve: expected at least one.")
    arguments.instance("models", models, Mapping, "a dictionary of predictors by their names")
    arguments.instance("limits", limits, Limits, "Limits")
    if token is not None:
        check_token(token)
    for name, predictor in models.items():
        check_name(name)
        if not hasattr(predictor, "spec"):
            raise TypeError(f"models[{name!r}]={predictor!r}: expected a predictor, as inference.compile returns it.")
        predictor.spec.check_vector()
        predictor.spec.check_images()
    server = _Server(models, limits, token, allow_urls, explain or {}, threads)
    return Starlette(routes=server.routes(), lifespan=server.lifespan, exception_handlers={HTTPException: _refused})


def check_name(name: Any) -> None:
    """Check that the name of a model can be one part of an address: /v2/models/NAME.

    Raises:
        ValueError, TypeError: It cannot.
    """
    arguments.instance("name", name, str, "the name of a model")
    if not name or "/" in name or name in (".", "..") or not name.isprintable():
        raise ValueError(
            f"A model is called {name!r}: expected a name without '/', since it is a part of addresses; NAME=MODEL "
            "gives one."
        )


def check_token(token: Any) -> None:
    """Check that a header can have a token.

    Raises:
        ValueError, TypeError: It is empty, or has blanks around it or control characters, so that no request could.
    """
    arguments.instance("token", token, str, "a secret, or None")
    if not token or token != token.strip() or not token.isprintable():
        raise ValueError(
            "The token is empty, or has blanks around it or control characters: expected a secret, or none at all."
        )


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": clean(error.detail)}, error.status_code, error.headers)


class _Server:
    def __init__(
        self, models: Mapping[str, Predictor], limits: Limits, token: str | None, allow_urls: bool,
        explain: Mapping[str, Callable[[bytes], bytes]], threads: int | None,
    ) -> None:  # fmt: skip
        self.models, self.limits, self.token, self.allow_urls, self.explain = models, limits, token, allow_urls, explain
        self.threads = threads
        self.page_text = render("server.html")
        self.metrics = Metrics()
        self.gatherers: dict[str, Gatherer] = {}
        self.explains = asyncio.Semaphore(1)
        self.fetches = asyncio.Semaphore(_FETCHES)

    @contextlib.asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        """Start the threads, and at the end predict what was accepted."""
        for name, predictor in self.models.items():
            count = self.metrics.together.labels(name).observe
            self.gatherers[name] = Gatherer(predictor, self.limits.waiting, count, self.threads)
        watched = {name: functools.partial(getattr, gatherer, "waiting") for name, gatherer in self.gatherers.items()}
        self.metrics.watch(watched)
        gc.freeze()  # a request with many lists would have the garbage collector go through all frameworks' objects
        try:
            yield
        finally:
            gc.unfreeze()
            for gatherer in self.gatherers.values():
                await run_in_threadpool(gatherer.close)

    def routes(self) -> list[Route]:
        handlers: list[tuple[str, Handler, str]] = [
            ("/", self.page, "GET"),
            ("/models", self.list_models, "GET"),
            ("/predict", self.predict, "POST"),
            ("/explain", self.heat_map, "POST"),
            ("/metrics", self.show_metrics, "GET"),
            ("/openapi.json", self.openapi, "GET"),
            ("/v2", self.server_metadata, "GET"),
            ("/v2/health/live", self.alive, "GET"),
            ("/v2/health/ready", self.alive, "GET"),
            ("/v2/models/{model}", self.model_metadata, "GET"),
            ("/v2/models/{model}/ready", self.model_ready, "GET"),
            ("/v2/models/{model}/infer", self.infer, "POST"),
        ]
        return [Route(path, self.guarded(path, handler), methods=[method]) for path, handler, method in handlers]

    def guarded(self, route: str, handler: Handler) -> Handler:
        """Return the same handler, behind the token, and counted."""

        @functools.wraps(handler)
        async def handle(request: Request) -> Response:
            started = time.monotonic()
            status = _FAILED
            try:
                if route not in _OPEN_ROUTES:
                    self.check_token(request)
                response = await handler(request)
                status = response.status_code
                return response
            except HTTPException as error:
                status = error.status_code
                raise
            except Exception as error:
                get_logger().exception("%s failed", route)
                raise HTTPException(_FAILED, "The prediction failed; the server's log says why.") from error
            finally:
                self.metrics.requests.labels(route, status).inc()
                self.metrics.seconds.labels(route).observe(time.monotonic() - started)

        return handle

    def check_token(self, request: Request) -> None:
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if self.token is None:
            return
        if scheme.lower() != "bearer" or not hmac.compare_digest(given.encode("latin-1"), self.token.encode()):
            headers = {"WWW-Authenticate": "Bearer"}
            raise HTTPException(_UNAUTHORIZED, "Send the server's token: Authorization: Bearer TOKEN.", headers)

    def name_of(self, given: Mapping[str, str]) -> str:
        """Return the model that a request's path or query names, or the first."""
        name = given.get("model", next(iter(self.models)))
        if name not in self.models:
            raise HTTPException(NOT_FOUND, f"There is no model {name[:80]!r}: there are {', '.join(self.models)}.")
        return name

    async def outputs(self, name: str, sources: Sequence[Any]) -> list[NDArray[np.float32]]:
        """Return the model's outputs for images, once they are predicted."""
        gatherer = self.gatherers[name]
        futures = []
        try:
            for source in sources:
                futures.append(gatherer.submit(source))
            waiting = asyncio.gather(*map(asyncio.wrap_future, futures))
            return list(await asyncio.wait_for(waiting, self.limits.seconds))
        except QueueFullError as error:
            raise self.busy(str(error)) from None
        except TimeoutError:
            raise self.busy(f"The prediction took longer than {self.limits.seconds:g} seconds.") from None
        except ValueError as error:
            raise HTTPException(BAD_REQUEST, str(error)) from None
        finally:
            for future in futures:
                future.cancel()  # only if it still waits

    @contextlib.asynccontextmanager
    async def turn(self, turns: asyncio.Semaphore) -> AsyncIterator[None]:
        """Wait for one of the turns, which a request has until it has done its work."""
        try:
            async with asyncio.timeout(self.limits.seconds):
                await turns.acquire()
        except TimeoutError:
            raise self.busy(f"Others of its kind took longer than {self.limits.seconds:g} seconds.") from None
        try:
            yield
        finally:
            turns.release()

    def busy(self, message: str) -> HTTPException:
        return HTTPException(_UNAVAILABLE, f"{message} Try again.", {"Retry-After": "1"})

    async def sources(self, request: Request) -> list[Any]:
        """Return the images that a request sends, or has fetched."""
        body = await read_body(request, self.limits)
        if not request.headers.get("content-type", "").lower().startswith("application/json"):
            return list(await read_images(request, body, self.limits))
        asked = parse_json(body)
        url: Any = asked.get("url")
        if len(asked) > 1 or not is_address(url):
            raise HTTPException(BAD_REQUEST, 'Send an image, or {"url": "https://…"}; model and top go in the query.')
        if not self.allow_urls:
            raise HTTPException(FORBIDDEN, "This server fetches no images (--allow-urls): send the content.")
        async with self.turn(self.fetches):
            try:
                return [await run_in_threadpool(load_image, url, timeout=self.limits.seconds)]
            except OSError as error:
                raise HTTPException(BAD_REQUEST, str(error)) from None

    async def predict(self, request: Request) -> Response:
        query = read_query(request, "model", "top")
        name, top = self.name_of(query), query.get("top", str(_TOP))
        count = int(top[:9]) if top.isascii() and top.isdigit() else 0
        if not count:
            raise HTTPException(BAD_REQUEST, f"top={top[:80]}: expected a whole number, at least 1.")
        spec = self.models[name].spec
        found = []
        for scores in await self.outputs(name, await self.sources(request)):
            prediction = spec.prediction(scores)
            found.append(prediction.to_json(prediction.first(count)))
        return JSONResponse({"model": name, "images": found})

    async def heat_map(self, request: Request) -> Response:
        name = self.name_of(read_query(request, "model"))
        if name not in self.explain:
            raise HTTPException(NOT_FOUND, f"The server draws no heat maps of {name} (--explain).")
        (content, *others) = await self.sources(request)
        if others or not isinstance(content, bytes):
            raise HTTPException(BAD_REQUEST, "Send the content of one image.")
        async with self.turn(self.explains):  # a map takes as long as several predictions
            try:
                drawn = await run_in_threadpool(self.explain[name], content)
            except (OSError, ValueError) as error:
                raise HTTPException(BAD_REQUEST, str(error)) from None
        return Response(drawn, media_type="image/jpeg")

    async def infer(self, request: Request) -> Response:
        name = self.name_of(request.path_params)
        if "inference-header-content-length" in request.headers:
            raise HTTPException(BAD_REQUEST, protocol.NO_BINARY)
        asked = parse_json(await read_body(request, self.limits))
        sources = await run_in_threadpool(protocol.read_inputs, asked, self.models[name].spec, self.limits)
        return JSONResponse(protocol.response(name, asked, await self.outputs(name, sources)))

    async def list_models(self, request: Request) -> Response:
        return JSONResponse({"models": [{"name": name, "explains": name in self.explain} for name in self.models]})

    async def page(self, request: Request) -> Response:
        return HTMLResponse(self.page_text, headers=_PAGE_HEADERS)

    async def show_metrics(self, request: Request) -> Response:
        return Response(self.metrics.text(), media_type="text/plain; version=0.0.4")

    async def openapi(self, request: Request) -> Response:
        return JSONResponse(description())

    async def alive(self, request: Request) -> Response:
        return JSONResponse({})

    async def server_metadata(self, request: Request) -> Response:
        return JSONResponse(protocol.server_metadata())

    async def model_metadata(self, request: Request) -> Response:
        name = self.name_of(request.path_params)
        return JSONResponse(protocol.model_metadata(name, self.models[name].spec))

    async def model_ready(self, request: Request) -> Response:
        self.name_of(request.path_params)
        return JSONResponse({})
