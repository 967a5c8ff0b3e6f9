"""What a request holds: its body within limits, its images, its JSON."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

from python_multipart.multipart import parse_options_header
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from ..common.json_files import unique_keys
from ..common.text import plain
from .limits import Limits

BAD_REQUEST, FORBIDDEN, NOT_FOUND, TIMEOUT, TOO_LARGE = 400, 403, 404, 408, 413
# Lists in a JSON text: parsing it holds up all requests. 32 images of 224 x 224 have fewer pixels.
_MOST_LISTS = 2_000_000


async def read_body(request: Request, limits: Limits) -> bytes:
    """Read the body of a request.

    Raises:
        HTTPException: The body is empty, larger than the limit, not what its header announces, or takes too long.
    """
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > limits.body_bytes:
        raise _too_large(limits)
    body = bytearray()
    try:
        async with asyncio.timeout(limits.seconds):
            async for piece in request.stream():
                body += piece
                if len(body) > limits.body_bytes:
                    raise _too_large(limits)
    except TimeoutError:
        raise HTTPException(TIMEOUT, f"The body took longer than {limits.seconds:g} seconds.") from None
    except ClientDisconnect:
        raise HTTPException(BAD_REQUEST, "The body is cut short.") from None
    if not body:
        raise HTTPException(BAD_REQUEST, "The body is empty: send the content of an image file.")
    return bytes(body)


def _too_large(limits: Limits) -> HTTPException:
    return HTTPException(TOO_LARGE, f"The body is larger than {limits.body_bytes:,} bytes.")


async def read_images(request: Request, body: bytes, limits: Limits) -> list[bytes]:
    """Return the contents of the image files in a body: the body itself, or the files of a form.

    Raises:
        HTTPException: The form is damaged, holds no file, or too many.
    """
    kind, options = parse_options_header(request.headers.get("content-type"))
    if kind != b"multipart/form-data":
        return [body]
    # The parser drops a file that does not end, and reports a boundary that is missing.
    if b"boundary" in options and b"--%s--" % options[b"boundary"] not in body:
        raise HTTPException(BAD_REQUEST, "The form is cut short: its last boundary is not there.")

    async def pieces() -> AsyncIterator[bytes]:
        yield body

    parser = MultiPartParser(request.headers, pieces(), max_files=limits.images, max_fields=limits.images)  # type: ignore[arg-type]
    try:
        form = await parser.parse()
    except (MultiPartException, KeyError, ValueError) as error:
        message = getattr(error, "message", "it has no boundary, or a damaged one")
        raise HTTPException(BAD_REQUEST, f"The form cannot be read: {message}") from None
    fields = [name for name, value in form.multi_items() if isinstance(value, str)]
    contents = [await value.read() for _, value in form.multi_items() if not isinstance(value, str)]
    await form.close()
    if fields:
        raise HTTPException(
            BAD_REQUEST,
            f"The form's part {fields[0][:80]!r} is not a file: send images as files, and model and top in the query.",
        )
    if not contents:
        raise HTTPException(BAD_REQUEST, "The form holds no file: send each image as a file.")
    return contents


def read_query(request: Request, *names: str) -> Mapping[str, str]:
    """Return the values in a request's query.

    Raises:
        HTTPException: It has others than these, or one twice; either would have no effect.
    """
    given = request.query_params.multi_items()
    values = dict(given)
    if others := [name for name in values if name not in names]:
        raise HTTPException(BAD_REQUEST, f"The query has {others[0][:80]!r}: expected {', '.join(names)}.")
    if len(values) < len(given):
        raise HTTPException(BAD_REQUEST, "The query has the same name twice.")
    return values


def parse_json(body: bytes) -> Mapping[str, Any]:
    """Return the JSON object of a body.

    Raises:
        HTTPException: The body is something else, or has a key twice.
    """
    if body.count(b"[") + body.count(b"{") > _MOST_LISTS:
        raise HTTPException(BAD_REQUEST, f"The body has more than {_MOST_LISTS:,} lists and objects.")
    try:
        found = json.loads(body, object_pairs_hook=unique_keys)
    except (ValueError, RecursionError) as error:
        raise HTTPException(BAD_REQUEST, f"The body is not JSON that can be read: {plain(error)}.") from None
    if not isinstance(found, dict):
        raise HTTPException(BAD_REQUEST, "The body is not a JSON object.")
    return found
