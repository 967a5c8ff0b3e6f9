"""Reports as blocks, and their two formats: one self-contained HTML file, and Markdown."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from .templating import render


@dataclass(frozen=True)
class Paragraph:
    """A paragraph of plain text."""

    kind: ClassVar[str] = "paragraph"

    text: str


@dataclass(frozen=True)
class Figure:
    """A figure in both themes.

    Attributes:
        name: Name of the files, without theme and suffix.
        alternative: Description for those who do not see the figure.
        caption: Explanation of how to read the figure.
        is_wide: Whether the figure scrolls instead of shrinking on a narrow page.
    """

    kind: ClassVar[str] = "figure"
    name: str
    alternative: str
    caption: str
    is_wide: bool = False


@dataclass(frozen=True)
class Table:
    """A table whose rows come in groups.

    Attributes:
        label: Description for those who do not see the table.
        header: Header of each column; the first column names the row.
        groups: Pairs of a heading, "" for none, and rows.
    """

    kind: ClassVar[str] = "table"
    label: str
    header: tuple[str, ...]
    groups: tuple[tuple[str, tuple[tuple[str, ...], ...]], ...]


@dataclass(frozen=True)
class Photo:
    """An image that is the same in both themes.

    Attributes:
        name: Name of the file.
        alternative: Description for those who do not see the image.
        caption: What it shows.
    """

    name: str
    alternative: str
    caption: str


@dataclass(frozen=True)
class Photos:
    """Images side by side, below each other on a narrow page."""

    kind: ClassVar[str] = "photos"

    photos: tuple[Photo, ...]


@dataclass(frozen=True)
class Code:
    """Lines of a program or commands.

    Attributes:
        label: Sentence in front of it.
        language: Language, as Markdown names it.
        text: The lines.
    """

    kind: ClassVar[str] = "code"

    label: str
    language: str
    text: str


Block = Code | Figure | Paragraph | Photos | Table


@dataclass(frozen=True)
class Section:
    """A heading and its blocks."""

    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Page:
    """A whole report.

    Attributes:
        title: Subject of the report.
        verdict: Outcome in a few words.
        findings: Outcome in whole sentences.
        sections: Details.
    """

    title: str
    verdict: str
    findings: tuple[str, ...]
    sections: tuple[Section, ...]


def to_html(page: Page, images: Mapping[str, bytes]) -> str:
    """Return the report as a self-contained HTML document.

    Args:
        page: Report; every text in it is escaped.
        images: Content of the image files by name: ``NAME-light.png`` and ``NAME-dark.png`` for each figure, and those
            of the photos, PNG or JPEG.

    Raises:
        ImportError: Jinja2 is missing; the message names the extra.
    """

    def embedded(name: str) -> str:
        kind = "jpeg" if name.endswith(".jpg") else "png"
        return f"data:image/{kind};base64,{base64.b64encode(images[name]).decode()}"

    return render("page.html", page=page, source=embedded)


def to_markdown(page: Page, folder: str) -> str:
    """Return the report as Markdown.

    Args:
        page: Report; every text in it is escaped.
        folder: Folder of its image files, relative to the document.

    Raises:
        ImportError: Jinja2 is missing; the message names the extra.
    """
    return render("page.md", page=page, source=lambda name: f"{folder}/{name}")
