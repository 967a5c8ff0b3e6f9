"""Issues of a data set as one self-contained HTML page with the images to look at."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..common.files import write_file
from ..common.text import plain
from ..images.bands import as_rgb
from ..images.loading import load_image
from ..images.thumbnails import to_jpeg
from ..reports.page import Block, Page, Paragraph, Photo, Photos, Section, Table, to_html
from ..reports.tables import percent
from .report import KINDS, Image, Issue, Issues, write_issues

_MOST_IMAGES = 40  # issues of a kind that are shown, so that a browser can open the page
_MOST_ROWS = 200  # rows of a table; the file has all
_SIDE = 400  # side of an image on the page, pixels


def write_report(found: Issues, folder: Path) -> None:
    """Write ``issues.csv`` and ``report.html`` into a folder, which is made; each file is replaced as a whole.

    Args:
        found: What :func:`find_issues` returned.
        folder: Folder to write into.

    Raises:
        ImportError: Jinja2 is missing; the message names the extra.
        OSError: The files cannot be written.

    Example:
        >>> from pathlib import Path
        >>> from efficientnet.cleaning import Issues
        >>> from efficientnet.datasets import load
        >>> data = load([([[[[0, 0, 0]]], [[[9, 9, 9]]]], [0, 1])] * 4, 0.5, 1, classes=["black", "grey"])
        >>> write_report(Issues(data, "lite0", 8, [], [], []), Path("suspects"))
        >>> sorted(path.name for path in Path("suspects").iterdir())
        ['issues.csv', 'report.html']
    """
    write_issues(folder / "issues.csv", found.found)
    files: dict[str, bytes] = {}
    sections = [
        Section(KINDS[kind].capitalize(), tuple(_blocks(found, kind, header, rows, files)))
        for kind, (header, rows) in found.tables().items()
        if rows
    ]
    notes = [*found.notes, *(f"{plain(path)} cannot be read" for path in found.unreadable)]
    if notes:
        sections.append(Section("Notes", tuple(map(Paragraph, notes))))
    page = Page(
        title=f"Issues of {found.data.name}",
        verdict=f"{len(found.of('label'))} of {found.images} labels are probably wrong.",
        findings=(
            f"There are {len(found.of('duplicate'))} {KINDS['duplicate']} and {len(found.of('outlier'))} "
            f"{KINDS['outlier']}.",
            "All of them are suspects to look at: images that are hard to recognize are among them, too.",
        ),
        sections=tuple(sections),
    )
    write_file(folder / "report.html", to_html(page, files).encode())


def _blocks(found: Issues, kind: str, header: list[str], rows: list[list[str]], files: dict[str, bytes]) -> list[Block]:
    """Return the images and the table of a kind of issues; the images go to ``files``."""
    shown = [_photos(found, issue, files) for issue in found.of(kind)[:_MOST_IMAGES]]
    blocks: list[Block] = []
    if kind == "duplicate":
        blocks += map(Photos, shown)  # a pair stays side by side
    else:
        blocks.append(Photos(tuple(photo for photos in shown for photo in photos)))
    if len(rows) > _MOST_IMAGES:
        blocks.append(Paragraph(f"The worst {_MOST_IMAGES} of {len(rows)} are shown; issues.csv has all."))
    blocks.append(Table(KINDS[kind], tuple(header), (("", tuple(map(tuple, rows[:_MOST_ROWS]))),)))
    return blocks


def _photos(found: Issues, issue: Issue, files: dict[str, bytes]) -> tuple[Photo, ...]:
    """Return the image of an issue, or the two near-duplicates; those that are no longer there are left out."""
    photos = []
    for image in filter(None, (issue.image, issue.other)):
        if (content := _thumbnail(found, image)) is not None:
            files[f"{image.row}.jpg"] = content
            caption = f"{image.label}, {image.part}, {issue.score:.3f}: {image.path}"
            if issue.kind == "label":
                caption = (
                    f"{image.label} {percent(issue.score)} → {issue.suggested} {percent(issue.confidence or 0)}: "
                    f"{image.path}"
                )
            photos.append(Photo(f"{image.row}.jpg", f"{image.path}.", caption))
    return tuple(photos)


def _thumbnail(found: Issues, image: Image) -> bytes | None:
    from PIL import Image as Pillow

    data = found.data
    try:
        pixels = (
            load_image(data.entries[image.row].path, reduce=True, channels=data.channels)
            if data.entries
            else data.pixels[image.row]
        )
    except (OSError, ValueError):  # it has been moved or changed since it was read
        return None
    return to_jpeg(Pillow.fromarray(np.ascontiguousarray(as_rgb(pixels))), _SIDE)
