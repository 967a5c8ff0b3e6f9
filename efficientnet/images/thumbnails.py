"""Small images for reports."""

from __future__ import annotations

import io
from typing import Any


def to_jpeg(image: Any, side: int) -> bytes:
    """Return a Pillow image as the content of a JPEG file; shrinks it in place to at most ``side`` pixels a side."""
    buffer = io.BytesIO()
    image.thumbnail((side, side))
    image.save(buffer, "JPEG", quality=85)
    return buffer.getvalue()
