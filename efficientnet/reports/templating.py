"""The templates of reports and pages, which Jinja2 fills."""

from __future__ import annotations

import re
from typing import Any

from ..common.packages import missing
from ..common.text import clean
from .theme import DARK, LIGHT


def render(template: str, **values: Any) -> str:
    """Fill a template of ``templates/``; in one of HTML, values are escaped.

    Raises:
        ImportError: Jinja2 is missing; the message names the extra.
    """
    try:
        from jinja2 import Environment, PackageLoader
    except ImportError as error:
        raise missing("Reports and pages need Jinja2", "design") from error
    environment = Environment(
        loader=PackageLoader("efficientnet.reports"),
        autoescape=template.endswith(".html"),
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"typeset": _typeset, "mark": _mark}
    return environment.get_template(template).render(light=LIGHT.background, dark=DARK.background, **values)


def _typeset(text: str) -> str:
    """Keep a number and its error or unit on one line, in text that is then escaped for HTML."""
    text = clean(text).replace(" ± ", "\xa0±\xa0")
    return re.sub(r"(?<=×) (?=\d)|(?<=\d) (?=px\b|[GMk]\b)", "\xa0", text)


def _mark(text: str) -> str:
    """Escape text for Markdown, at the start of a line, too."""
    escaped = re.sub(r"([\\`*_\[\]<>|~&])", r"\\\1", clean(text))
    return re.sub(r"^(\d*)([#+.)-])(?=\s|$)", r"\1\\\2", escaped)
