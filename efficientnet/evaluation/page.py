"""An evaluation as one self-contained HTML page."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ..common.text import about
from ..reports.page import Figure, Page, Paragraph, Section, Table, to_html
from ..reports.theme import render_themes
from .figures import draw_confusion, draw_mistakes, draw_reliability, load_thumbnail
from .formats import percent
from .report import Evaluation
from .statistics import top_k

_FIGURES = {
    "confusion": Figure(
        "confusion", "Confusion matrix.",
        "A row for each true class, a column for each prediction. The stronger the colour, the larger the share of "
        "the row; correct predictions are blue.", is_wide=True,
    ),
    "reliability": Figure(
        "reliability", "Reliability diagram.",
        "Accuracy of the predictions of about the same confidence. Below the dashed line the model is too confident. "
        "The whiskers are 95 % confidence intervals.",
    ),
    "mistakes": Figure(
        "mistakes", "The wrong predictions with the greatest confidence.",
        "Under each image its class, the predicted class, and the probability of either. Wrong labels are often among "
        "these.", is_wide=True,
    ),
}  # fmt: skip
_MAPS = (
    "Beside each image is its heat map (Grad-CAM): the brighter, the more evidence for the predicted class "
    "the model sees there. What it does not get of the image is faded."
)


def draw_figures(found: Evaluation, maps: Sequence[NDArray[np.uint8]] = ()) -> dict[str, bytes]:
    """Draw the figures of an evaluation in both themes, PNG by name, ``NAME-light.png`` and ``NAME-dark.png``.

    Args:
        found: Evaluation.
        maps: Heat maps of its worst mistakes, from ``evidence.draw_evidence``; empty for none.

    Raises:
        ImportError: Matplotlib is missing; the message names the extra.
        OSError: The image of a mistake is no longer there.
    """
    drawn = render_themes("confusion", lambda theme: draw_confusion(found.labelled, found.classes, theme))
    drawn |= render_themes("reliability", lambda theme: draw_reliability(found.labelled, theme))
    if mistakes := found.worst_mistakes():
        thumbnails = [load_thumbnail(mistake.path, found.channels) for mistake in mistakes]
        drawn |= render_themes("mistakes", lambda theme: draw_mistakes(mistakes, thumbnails, theme, maps))
    return drawn


def to_page(found: Evaluation, figures: Mapping[str, bytes], without_maps: str = "") -> str:
    """Return the HTML of an evaluation with its figures from :func:`draw_figures`.

    Args:
        found: Evaluation.
        figures: PNG files by name.
        without_maps: Reason why the mistakes have no heat maps; empty if they have.
    """
    top1 = top_k(found.labelled, 1)
    page = Page(
        title=f"{found.model} on {found.data}",
        verdict=f"{percent(top1.value)} of {len(found.labelled)} images are right.",
        findings=(f"The 95 % interval is {percent(top1.low)} to {percent(top1.high)}.",),
        sections=to_sections(found, figures, without_maps),
    )
    return to_html(page, figures)


def to_sections(found: Evaluation, figures: Mapping[str, bytes], without_maps: str = "") -> tuple[Section, ...]:
    """Return the sections of an evaluation; the arguments are those of :func:`to_page`."""
    tables = {
        name: Table(name, tuple(header), (("", tuple(map(tuple, rows))),))
        for name, (header, rows) in found.tables().items()
    }
    sections = [Section("Measures", (tables["measures"], _FIGURES["reliability"]))]
    if "mistakes-light.png" in figures:
        figure = _FIGURES["mistakes"]
        blocks = (
            (figure, Paragraph(f"Without heat maps: {without_maps}"))
            if without_maps
            else (dataclasses.replace(figure, caption=f"{figure.caption} {_MAPS}"),)
        )
        sections.append(Section("The worst mistakes", blocks))
    confused = [tables["confusions"]] if "confusions" in tables else []
    sections.append(Section("Confusions", (_FIGURES["confusion"], *confused)))
    sections.append(Section("Classes", (tables["classes"],)))
    reported = [*found.notes, *(about(path, reason) for path, reason in found.unreadable)]
    if reported:
        sections.append(Section("Notes", tuple(map(Paragraph, reported))))
    return tuple(sections)
