"""What a request holds: its body within limits, its images, its JSON."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

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
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        return [body]

    async def pieces() -> AsyncIterator[bytes]:
        yield body

    parser = MultiPartParser(request.headers, pieces(), max_files=limits.images, max_fields=limits.images)  # type: ignore[arg-type]
    try:
        form = await parser.parse()
    except (MultiPartException, KeyError, ValueError) as error:
        message = getattr(error, "message", "it has no boundary, or a damaged one")
        raise HTTPException(BAD_REQUEST, f"The form cannot be read: {message}") from None
    files = [value for _, value in form.multi_items() if not isinstance(value, str)]
    contents = [await file.read() for file in files]
    await form.close()
    if not contents:
        raise HTTPException(BAD_REQUEST, "The form holds no file: send each image as a file.")
    return contents


def parse_json(body: bytes) -> Mapping[str, Any]:
    """Return the JSON object of a body.

    Raises:
        HTTPException: The body is something else.
    """
    if body.count(b"[") + body.count(b"{") > _MOST_LISTS:
        raise HTTPException(BAD_REQUEST, f"The body has more than {_MOST_LISTS:,} lists and objects.")
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise HTTPException(BAD_REQUEST, "The body is no JSON object.")
    return found
