"""A contact sheet: images and those that are like them, as one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ..common.text import plain
from ..images.loading import load_image
from ..images.thumbnails import to_jpeg
from ..reports.page import Block, Page, Paragraph, Photo, Photos, Section, to_html

_SIDE = 240  # side of an image on the page, pixels
MOST_ROWS = 100  # on a page, so that a browser can open it


class SheetRow(NamedTuple):
    """A heading, and images with their captions."""

    title: str
    images: Sequence[tuple[str | Path, str]]


def to_page(title: str, verdict: str, rows: Sequence[SheetRow]) -> str:
    """Return the HTML of a contact sheet; the first 100 rows are shown.

    Raises:
        ImportError: Jinja2 is missing; the message names the extra.
    """
    files: dict[str, bytes] = {}
    sections = [Section(row.title, (_photos(row, files),)) for row in rows[:MOST_ROWS]]
    findings = [f"The first {MOST_ROWS} of {len(rows)} are shown."] if len(rows) > MOST_ROWS else []
    return to_html(Page(title, verdict, tuple(findings), tuple(sections)), files)


def _photos(row: SheetRow, files: dict[str, bytes]) -> Block:
    from PIL import Image

    photos, gone = [], []
    for source, caption in row.images:
        try:
            pixels = load_image(source, reduce=True)
        except (OSError, ValueError):  # it has been moved or changed since it was embedded
            gone.append(plain(source))
            continue
        name = f"{len(files)}.jpg"
        files[name] = to_jpeg(Image.fromarray(pixels), _SIDE)
        photos.append(Photo(name, f"{source}.", caption))
    return Photos(tuple(photos)) if photos else Paragraph(f"None of these can be read: {', '.join(gone)}")
