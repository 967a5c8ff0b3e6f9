"""Reports as blocks, and their two formats: one self-contained HTML file, and Markdown."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Mapping
from dataclasses import dataclass

from ..common.text import clean
from ..reports.theme import DARK, LIGHT
from .page_template import DOCUMENT


@dataclass(frozen=True)
class Paragraph:
    """A paragraph of plain text."""

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

    label: str
    header: tuple[str, ...]
    groups: tuple[tuple[str, tuple[tuple[str, ...], ...]], ...]


Block = Paragraph | Figure | Table


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
        images: Content of the PNG files by name, ``NAME-light.png`` and ``NAME-dark.png`` for each figure.
    """
    sections = [
        "\n".join(
            [
                f"<section>\n<h2>{_escape(section.title)}</h2>",
                *(_block_to_html(block, images) for block in section.blocks),
                "</section>",
            ]
        )
        for section in page.sections
    ]
    return DOCUMENT.substitute(
        title=_escape(page.title),
        verdict=_escape(page.verdict),
        findings="\n".join(f"<p>{_escape(text)}</p>" for text in page.findings),
        sections="\n".join(sections),
        light=LIGHT.background,
        dark=DARK.background,
    )


def to_markdown(page: Page, folder: str) -> str:
    """Return the report as Markdown.

    Args:
        page: Report; every text in it is escaped.
        folder: Folder of its PNG files, relative to the document.
    """
    parts = [f"# {_mark(page.title)}", f"**{_mark(page.verdict)}**", *map(_mark, page.findings)]
    for section in page.sections:
        parts += [f"## {_mark(section.title)}", *(_block_to_markdown(block, folder) for block in section.blocks)]
    return "\n\n".join(parts) + "\n"


def _escape(text: str) -> str:
    """Escape text for HTML; no line ends between a number and its error or unit."""
    text = clean(text).replace(" ± ", "\xa0±\xa0")
    return html.escape(re.sub(r"(?<=×) (?=\d)|(?<=\d) (?=%|px\b|[GMk]\b)", "\xa0", text))


def _block_to_html(block: Block, images: Mapping[str, bytes]) -> str:
    match block:
        case Paragraph():
            return f"<p>{_escape(block.text)}</p>"
        case Figure():
            return _figure_to_html(block, images)
        case Table():
            return _table_to_html(block)


def _scrolling(content: str, label: str) -> str:
    """Wrap content that scrolls if it is too wide; it can be focused, to be reached by keyboard."""
    return f'<div class="scroll" tabindex="0" role="group" aria-label="{_escape(label)}">\n{content}\n</div>'


def _figure_to_html(figure: Figure, images: Mapping[str, bytes]) -> str:
    light, dark = (
        f"data:image/png;base64,{base64.b64encode(images[f'{figure.name}-{theme.name}.png']).decode()}"
        for theme in (LIGHT, DARK)
    )
    content = (
        f'<picture><source media="(prefers-color-scheme: dark)" srcset="{dark}">'
        f'<img src="{light}" alt="{_escape(figure.alternative)}"></picture>'
    )
    if figure.is_wide:
        content = _scrolling(content, figure.caption)
    return f"<figure>\n{content}\n<figcaption>{_escape(figure.caption)}</figcaption>\n</figure>"


def _table_to_html(table: Table) -> str:
    bodies = []
    for heading, rows in table.groups:
        lines = [
            f'<tr><th scope="row">{_escape(row[0])}</th>{"".join(f"<td>{_escape(cell)}</td>" for cell in row[1:])}</tr>'
            for row in rows
        ]
        if heading:
            cell = f'<th scope="rowgroup" colspan="{len(table.header)}"><span>{_escape(heading)}</span></th>'
            lines.insert(0, f'<tr class="group">{cell}</tr>')
        bodies.append("\n".join(["<tbody>", *lines, "</tbody>"]))
    head = "".join(f'<th scope="col">{_escape(name)}</th>' for name in table.header)
    content = "\n".join(["<table>", f"<thead><tr>{head}</tr></thead>", *bodies, "</table>"])
    return _scrolling(content, table.label)


def _mark(text: str) -> str:
    """Escape text for Markdown, at the start of a line, too."""
    escaped = re.sub(r"([\\`*_\[\]<>|~&])", r"\\\1", clean(text))
    return re.sub(r"^(\d*)([#+.)-])(?=\s|$)", r"\1\\\2", escaped)


def _block_to_markdown(block: Block, folder: str) -> str:
    match block:
        case Paragraph():
            return _mark(block.text)
        case Figure():
            path = f"{folder}/{block.name}"
            return (
                f'<picture><source media="(prefers-color-scheme: dark)" srcset="{path}-dark.png">'
                f'<img src="{path}-light.png" alt="{_escape(block.alternative)}"></picture>\n\n*{_mark(block.caption)}*'
            )
        case Table():
            lines = [_row_to_markdown(block.header), "|---" + "|--:" * (len(block.header) - 1) + "|"]
            for heading, rows in block.groups:
                if heading:
                    lines.append(f"| **{_mark(heading)}** " + "| " * (len(block.header) - 1) + "|")
                lines += map(_row_to_markdown, rows)
            return "\n".join(lines)


def _row_to_markdown(cells: tuple[str, ...]) -> str:
    return "| " + " | ".join(map(_mark, cells)) + " |"
