"""Names and messages of others, which may hold anything, made safe to print, to put into a table and into a file.

What is escaped does something to a reader instead of being read: control characters (terminals obey them), ends of
lines, marks that turn the direction of writing around, and halves of characters, which stand for the bytes of a file's
name that is not UTF-8. Letters, emoji and blanks of all languages stay.
"""

from __future__ import annotations

import codecs
import json
import logging
import re
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import PurePath
from typing import Any, TextIO

_UNSAFE_CATEGORIES = {"Cc", "Cf", "Cs", "Zl", "Zp"}
_JOINERS = "\u200c\u200d"  # Persian words and many emoji have them inside
_OWN_MARKS = {"–": "-", "…": "...", "×": "x", "→": "->", "≥": ">=", "φ": "phi", "α": "alpha", "β": "beta", "γ": "gamma"}


def plain(text: object) -> str:
    """Return a text as one printable line; unsafe characters become Python's escapes, ``\\x1b``."""
    return "".join(_escape(c) if _is_unsafe(c) else c for c in str(text))


def lines(text: object) -> str:
    """Return a message of several lines, each of them as :func:`plain` has it."""
    return "\n".join(map(plain, str(text).split("\n")))


def markdown(text: object) -> str:
    """Return a cell of a Markdown table, or a part of a line of it."""
    return re.sub(r"([|<])", r"\\\1", plain(text))


def some(names: Sequence[object], most: int = 10) -> str:
    """Return the first of several names, as a part of a sentence; "…" stands for the others."""
    return ", ".join(map(str, names[:most])) + (", …" if len(names) > most else "")


def counted(count: int, what: str) -> str:
    """Return a number of things: ``"1 image"``, ``"2 images"``."""
    return f"{count} {what}{'' if count == 1 else 's'}"


def csv_cell(value: Any) -> Any:
    """Return a value for a CSV file that people open; a text that a spreadsheet would compute gets a ``'`` in front."""
    if not isinstance(value, (str, PurePath)):
        return value
    text = plain(value)
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text


def is_utf_8(text: str) -> bool:
    """Return whether a text can be written as UTF-8, which some names of files cannot."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def json_text(value: Any, indent: int | None = None) -> str:
    """Return JSON whose texts come back unchanged, and in which nothing is unsafe to print."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    return "".join(json.dumps(c)[1:-1] if c != "\n" and _is_unsafe(c) else c for c in text)


def print_json(value: Any) -> None:
    """Print one line of JSON, in ASCII if the terminal has no other letters."""
    text = json_text(value)
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        text = json.dumps(value)
    print(text)


def notify(message: object) -> None:
    """Print a line for the reader of a command's messages, on stderr."""
    print(f"efficientnet: {lines(message)}", file=sys.stderr)


def get_logger() -> logging.Logger:
    """Return the package's logger; names and messages of others in its records are as safe as in what is printed."""
    logger = logging.getLogger("efficientnet")
    logger.addFilter(_make_safe)  # once, however often it is asked for
    return logger


def log_remarks(name: object, remarks: Iterable[str]) -> None:
    """Log remarks as warnings, each after the name of the file or model that it is about."""
    for remark in remarks:
        get_logger().warning("%s %s", name, remark)


def about(file: object, problem: object) -> str:
    """Return the problem of a file in a line that names it once."""
    name, found = plain(file), plain(re.sub(r"^\[Errno \d+\] ", "", str(problem)))  # Python's number of an OSError
    return found if found.startswith(f"{name} ") or found.endswith(f": {str(file)!r}") else f"{name}: {found}"


def print_what_can_be(stream: TextIO) -> None:
    """Make a stream print ASCII for characters that its encoding lacks, instead of raising."""
    codecs.register_error("efficientnet.ascii", _in_ascii)
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(errors="efficientnet.ascii")


def _make_safe(record: logging.LogRecord) -> bool:
    """Escape a record's arguments: a name becomes one line, and an error's message keeps its lines."""
    if isinstance(record.args, tuple):
        record.args = tuple(
            value
            if isinstance(value, int | float | None)
            else (lines if isinstance(value, Exception) else plain)(value)
            for value in record.args
        )
    return True


def _is_unsafe(character: str) -> bool:
    is_ascii = " " <= character <= "~"
    return not is_ascii and unicodedata.category(character) in _UNSAFE_CATEGORIES and character not in _JOINERS


def _escape(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # the byte of a file's name
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")


def _in_ascii(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    characters = error.object[error.start : error.end]
    return "".join(_OWN_MARKS.get(c) or _escape(c) for c in characters), error.end


def clean(text: str) -> str:
    """Return one line that can be written as UTF-8, whatever a name was made of."""
    printable = "".join(character if character.isprintable() else " " for character in text)
    return " ".join(printable.split())
