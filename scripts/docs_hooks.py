"""What MkDocs does besides reading docs/: the page of commands from their parsers, notebooks, the drawing of the
floors, and the images of misc/.

Pages refer to notebooks as ``….ipynb`` and to files outside docs/ as ``../misc/…``, so that the links hold on a code
host, too.
"""

from __future__ import annotations

import argparse
import html
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files
from nbconvert import MarkdownExporter

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))


def on_files(files: Files, config: Any) -> Files:
    """Add the generated pages and the files of misc/ that pages show or refer to."""
    files.append(File.generated(config, "commands.md", content=commands_page()))
    for path in sorted((ROOT / "docs").rglob("*.ipynb")):
        for name, content in notebook_page(path).items():
            files.append(File.generated(config, str(path.parent.relative_to(ROOT / "docs") / name), content=content))
    for path in sorted((ROOT / "misc").rglob("*")):
        if path.is_file():
            files.append(File.generated(config, str(path.relative_to(ROOT)), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, **kwargs: Any) -> str:
    """Draw the floors, and make links to notebooks, to misc/ and from there to docs/ hold within the site."""
    markdown = re.sub(r"```floors\n(.*?)```\n", lambda block: floors_drawing(block[1]), markdown, flags=re.DOTALL)
    markdown = re.sub(r"\]\(([\w./-]+)\.ipynb\)", r"](\1.md)", markdown).replace("](../docs/", "](../")
    return re.sub(r"\]\(((?:\.\./)*)\.\./misc/", r"](\1misc/", markdown)


def notebook_page(path: Path) -> dict[str, str | bytes]:
    """Return the page of a notebook, Markdown, and its images by file name. Outputs are the stored ones."""
    resources = {"unique_key": path.stem, "output_files_dir": f"{path.stem}_files"}
    page, found = MarkdownExporter().from_filename(str(path), resources=resources)
    page += f'\n<a href="../{path.name}" download>Download this notebook</a>\n'
    return {f"{path.stem}.md": page, **found["outputs"]}


def floors_drawing(text: str) -> str:
    """Return an SVG drawing, in the colors of the page, of lines ``floor: rooms``, each with an arrow to the next."""
    width, height, gap = 360, 44, 18
    boxes = []
    for number, line in enumerate(text.strip().splitlines()):
        floor, rooms = map(html.escape, line.split(": "))
        top = number * (height + gap) + 1
        if number:
            boxes.append(f'<path d="M180 {top - gap} v{gap - 6} m-4 -1 l4 6 l4 -6 z"/>')
        boxes.append(f'<rect x="1" y="{top}" width="{width - 2}" height="{height}" rx="4"/>')
        boxes.append(f'<text x="180" y="{top + 18}" class="floor">{floor}</text>')
        boxes.append(f'<text x="180" y="{top + 35}">{rooms}</text>')
    size = f"{width} {(number + 1) * (height + gap) - gap + 2}"
    return f'<svg class="floors" viewBox="0 0 {size}" role="img" aria-label="The floors">{"".join(boxes)}</svg>\n'


def commands_page() -> str:
    """Return the reference of the command ``efficientnet``, Markdown."""
    from efficientnet.cli.main import _parser

    lines = ["# Commands", "", "This page is generated from the program. `--help` prints the same.", ""]
    for parser in _leaves(_parser()):
        lines += [f"## {parser.prog}", "", *_section(parser)]
    return "\n".join(lines)


def _leaves(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """Return the parsers of all commands that do something, in the order in which help lists them."""
    groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    for group in groups:
        for child in group.choices.values():
            yield from _leaves(child)
    if not groups:
        yield parser


def _section(parser: argparse.ArgumentParser) -> Iterator[str]:
    formatter = argparse.HelpFormatter(parser.prog, width=80)
    formatter.add_usage(parser.usage, parser._actions, parser._mutually_exclusive_groups, prefix="")
    yield from ("```text", formatter.format_help().strip(), "```", "")
    if parser.description:
        yield from (_escaped(parser.description), "")
    yield from ("| argument | |", "|---|---|")
    for action in parser._actions:
        if action.help != argparse.SUPPRESS and not isinstance(action, argparse._HelpAction):
            name = ", ".join(action.option_strings) or str(action.metavar or action.dest)
            value = "" if action.nargs == 0 or not action.option_strings else f" {_value(action)}"
            text = (action.help or "") % {**vars(action), "prog": parser.prog}
            yield f"| `{name}{value}` | {_escaped(text)} |"
    yield ""


def _value(action: argparse.Action) -> str:
    if action.choices is not None and action.metavar is None:
        return "{" + ", ".join(map(str, action.choices)) + "}"  # with spaces, to wrap in a narrow table
    return " ".join(action.metavar) if isinstance(action.metavar, tuple) else str(action.metavar or action.dest.upper())


def _escaped(text: str) -> str:
    return re.sub(r"([*_|<>\[\]`])", r"\\\1", text)
