"""The limits of one request."""

from __future__ import annotations

from dataclasses import dataclass

from ..common import arguments


@dataclass(frozen=True)
class Limits:
    """Limits of a server. How many pixels an image may have is Pillow's limit, ``PIL.Image.MAX_IMAGE_PIXELS``.

    Attributes:
        waiting: Images that may wait; beyond it a request gets status 503.
        body_bytes: Size of a request's body.
        images: Images of one request.
        seconds: Time to send a body, and time to wait for the prediction; with ``efficientnet serve``, time to send the
            headers, too.

    Example:
        >>> Limits(waiting=8).seconds
        30.0
    """

    waiting: int = 256
    body_bytes: int = 20_000_000
    images: int = 32
    seconds: float = 30.0

    def __post_init__(self) -> None:
        for name in ("waiting", "body_bytes", "images"):
            arguments.whole(name, getattr(self, name))
        arguments.number("seconds", self.seconds, lambda value: 0 < value < 1e6, "a number of seconds above 0")
