"""The report of an evaluation: a folder of tables, figures and one self-contained HTML page."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..common.files import write_file
from ..common.text import about
from ..reports.page import Code, Figure, Page, Paragraph, Section, Table, to_html
from ..reports.tables import percent
from ..reports.theme import render_themes
from .evidence import draw_worst
from .figures import draw_confusion, draw_mistakes, draw_reliability, draw_values, load_thumbnail
from .formats import write_summary, write_table
from .labels import LabelEvaluation
from .outcomes import Outcomes
from .report import Evaluation
from .temperature import TemperatureScaling
from .values import ValueEvaluation

AnyEvaluation = Evaluation | LabelEvaluation | ValueEvaluation

_FIGURES = {
    "confusion": Figure(
        "confusion", "Confusion matrix.",
        "A row for each true class, a column for each prediction. The stronger the color, the larger the share of "
        "the row; correct predictions are blue.", is_wide=True,
    ),
    "reliability": Figure(
        "reliability", "Reliability diagram.",
        "Accuracy of the predictions of about the same confidence. Below the dashed line the model is too confident. "
        "The whiskers are 95% confidence intervals. Of labels, each label of each image is a prediction: yes or no.",
    ),
    "mistakes": Figure(
        "mistakes", "The wrong predictions with the greatest confidence.",
        "Under each image its class, the predicted class, and the probability of either. Wrong labels are often among "
        "these.", is_wide=True,
    ),
    "values": Figure(
        "values", "Predicted numbers against true ones.",
        "A point for each image. On the dashed line the prediction is right.",
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
    drawn |= _draw_calibration(found.labelled, found.temperature)
    if mistakes := found.worst_mistakes():
        thumbnails = [load_thumbnail(mistake.path, found.channels) for mistake in mistakes]
        drawn |= render_themes("mistakes", lambda theme: draw_mistakes(mistakes, thumbnails, theme, maps))
    return drawn


def write_report(found: AnyEvaluation, folder: Path, model: Any = None) -> None:
    """Write an evaluation's measures, tables and figures into a folder, which is made.

    They are ``metrics.json``, ``report.md``, CSV files (``predictions.csv``, and by kind ``classes.csv`` and
    ``confusions.csv``, ``labels.csv`` or ``values.csv``), and ``report.html``, one self-contained page. Of classes
    there are also ``confusion.png``, ``reliability.png``, and if the model was ever wrong ``mistakes.png``. Each file
    is replaced as a whole.

    Args:
        found: Evaluation.
        folder: Folder.
        model: Keras model that was evaluated, or its ``ModelSource``, to draw heat maps beside the worst mistakes of
            classes; the page says why if there are none.

    Raises:
        ImportError: Matplotlib or Jinja2 is missing; the message names the extra.
        OSError: The files cannot be written.

    Example:
        >>> import numpy as np
        >>> from pathlib import Path
        >>> truth = np.array([[1.0], [3.0]])
        >>> paths = [Path("a.jpg"), Path("b.jpg")]
        >>> found = ValueEvaluation("mine", "photos.csv", ["age"], paths, truth + 1, truth, unreadable=[], notes=[])
        >>> write_report(found, Path("measured"))
        >>> sorted(path.name for path in Path("measured").iterdir())
        ['metrics.json', 'predictions.csv', 'report.html', 'report.md', 'values.csv']
    """
    write_summary(folder, found.as_json(), found.text(), found.unreadable, found.notes)
    for name, rows in found.files().items():
        write_table(folder / name, rows)
    sections, figures = compose(found, model)
    page = Page(f"{found.model} on {found.data}", found.headline, findings_of(found), sections)
    write_file(folder / "report.html", to_html(page, figures).encode())
    for name in ("confusion", "reliability", "mistakes") if isinstance(found, Evaluation) else ():
        if content := figures.get(f"{name}-light.png"):
            write_file(folder / f"{name}.png", content)
        else:  # a figure of an earlier evaluation
            (folder / f"{name}.png").unlink(missing_ok=True)


def compose(
    found: AnyEvaluation,
    model: Any = None,
    without: str = "they need the Keras model, write_report(found, folder, model).",
) -> tuple[tuple[Section, ...], dict[str, bytes]]:
    """Return the sections of a page on an evaluation, and their figures.

    Args:
        found, model: As in :func:`write_report`.
        without: Reason why there are no heat maps if there is no model.
    """
    tables = {
        name: Table(name, tuple(header), (("", tuple(map(tuple, rows))),))
        for name, (header, rows) in found.tables().items()
    }
    figures: dict[str, bytes] = {}
    if isinstance(found, Evaluation):
        maps, without_maps = draw_worst(found, model, without)
        figures = draw_figures(found, maps)
        sections = _of_classes(tables, "mistakes-light.png" in figures, without_maps)
        sections.insert(1, _calibration(tables, found.temperature))
    elif isinstance(found, ValueEvaluation):
        figures = render_themes("values", lambda theme: draw_values(found, theme))
        sections = [Section("Measures", (tables["measures"], _FIGURES["values"]))]
    else:
        figures = _draw_calibration(found.pairs, found.temperature)
        sections = [Section(name.capitalize(), (tables[name],)) for name in ("measures", "labels")]
        sections.append(_calibration(tables, found.temperature))
    if reported := [*found.notes, *(about(path, reason) for path, reason in found.unreadable)]:
        sections.append(Section("Notes", tuple(map(Paragraph, reported))))
    return tuple(sections), figures


def findings_of(found: AnyEvaluation) -> tuple[str, ...]:
    """Return sentences that follow the headline."""
    if not isinstance(found, Evaluation):
        return ()
    top1 = found.measures.top1
    return (f"The 95% interval is {percent(top1.low)} to {percent(top1.high)}.",)


def _draw_calibration(outcomes: Outcomes, temperature: TemperatureScaling | str) -> dict[str, bytes]:
    after = None if isinstance(temperature, str) else temperature.after
    return render_themes("reliability", lambda theme: draw_reliability(outcomes, theme, after))


def _calibration(tables: Mapping[str, Table], temperature: TemperatureScaling | str) -> Section:
    """Return the section on how far confidence is from accuracy, and the temperature that brings them together."""
    figure = _FIGURES["reliability"]
    if isinstance(temperature, str):
        return Section("Calibration", (figure, Paragraph(f"No temperature scaling: {temperature}.")))
    text = (
        f"Temperature scaling divides the logits by a number; the predicted classes stay the same. At "
        f"{temperature.temperature:.4g} the likelihood of these images is the highest. The number was fitted to these "
        "images, so on others the model is calibrated a little less well."
    )
    command = Code(
        "To save the calibrated model:", "sh",
        "efficientnet evaluate MODEL DATA --save-calibrated calibrated.keras",
    )  # fmt: skip
    return Section("Calibration", (figure, Paragraph(text), tables["temperature"], command))


def _of_classes(tables: Mapping[str, Table], has_mistakes: bool, without_maps: str) -> list[Section]:
    """Return the sections on classes; ``without_maps`` says why the mistakes have no heat maps, if so."""
    sections = [Section("Measures", (tables["measures"],))]
    if has_mistakes:
        figure = _FIGURES["mistakes"]
        blocks = (
            (figure, Paragraph(f"Without heat maps: {without_maps}"))
            if without_maps
            else (dataclasses.replace(figure, caption=f"{figure.caption} {_MAPS}"),)
        )
        sections.append(Section("The worst mistakes", blocks))
    confused = [tables["confusions"]] if "confusions" in tables else []
    sections.append(Section("Confusions", (_FIGURES["confusion"], *confused)))
    return [*sections, Section("Classes", (tables["classes"],))]
