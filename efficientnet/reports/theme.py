"""The style of all figures: colors, letters, axes. Nothing of Matplotlib's global state is used."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..common.packages import missing
from ..common.text import clean

WIDTH = 4.8  # inches: small, so that the letters are still read where a phone shrinks the figure
FONT_SIZE = 9  # points
_DOTS_PER_INCH = 200


@dataclass(frozen=True)
class Theme:
    """Colors of a figure.

    Attributes:
        name: ``"light"`` or ``"dark"``.
        background: Background of the page, so that a figure has no edge.
        ink: Color of letters.
        faint: Color of axes and minor parts.
        grid: Color of lines behind the data.
        methods: Colors of the methods of scaling.
        series: Colors of further lines, in order.
    """

    name: str
    background: str
    ink: str
    faint: str
    grid: str
    methods: Mapping[str, str]
    series: tuple[str, ...]


LIGHT = Theme(
    "light", "#ffffff", "#1f2328", "#7d8590", "#e6e8eb",
    {"width": "#3b6fd4", "depth": "#12806a", "resolution": "#8250c4", "compound": "#d1492e"},
    ("#3b6fd4", "#a8730a", "#12806a", "#8250c4", "#d1492e", "#5b6673"),
)  # fmt: skip
DARK = Theme(
    "dark", "#15181c", "#e3e6ea", "#8b949e", "#2a2f36",
    {"width": "#7aa7f7", "depth": "#4cc4a8", "resolution": "#bd93f2", "compound": "#ff8a6b"},
    ("#7aa7f7", "#e0b04c", "#4cc4a8", "#bd93f2", "#ff8a6b", "#aab3bd"),
)  # fmt: skip


def new_figure(height: float, theme: Theme, width: float = WIDTH) -> Any:
    """Return an empty figure; its sides are in inches.

    Raises:
        ImportError: Matplotlib is missing; the message names the extra.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise missing("Figures need Matplotlib", "design") from error
    return Figure(figsize=(width, height), layout="constrained", facecolor=theme.background)


def shorten(text: str, length: int) -> str:
    """Return a name without its middle, since names of a kind are often alike at one end."""
    text = clean(text)
    half = length // 2
    return text if len(text) <= length else f"{text[: length - half - 1]}…{text[-half:]}"


def render(figure: Any) -> bytes:
    """Render a figure to the content of a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DOTS_PER_INCH, facecolor=figure.get_facecolor())
    return buffer.getvalue()


def render_themes(name: str, draw: Callable[[Theme], Any]) -> dict[str, bytes]:
    """Render a figure in both themes: PNG by file name, ``NAME-light.png`` and ``NAME-dark.png``."""
    return {f"{name}-{theme.name}.png": render(draw(theme)) for theme in (LIGHT, DARK)}


def style(axes: Any, theme: Theme, grid: str) -> None:
    """Give axes a theme's colors, and lines behind the data across the axis ``grid``, "x", "y" or "both"."""
    axes.set_facecolor(theme.background)
    axes.grid(axis=grid, color=theme.grid, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", colors=theme.faint, labelcolor=theme.ink, labelsize=FONT_SIZE - 1, length=0)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set(color=theme.ink, fontsize=FONT_SIZE)
    for side, spine in axes.spines.items():
        spine.set(visible=side in ("left", "bottom"), color=theme.grid)
