"""Figures of an evaluation: confusions, calibration, and the worst mistakes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..images.bands import as_rgb
from ..images.loading import load_image
from ..reports.tables import percent
from ..reports.theme import LIGHT, WIDTH, Theme, new_figure, shorten, style
from .outcomes import Outcomes, confusion_matrix, confusions
from .report import ImagePrediction
from .statistics import BINS, calibrate, wilson
from .values import ValueEvaluation

_MOST_CLASSES = 30  # classes whose names and numbers can be read on a page
# The contact sheet in inches: width and height of an image with its captions, the image's side, the margin around.
_COLUMNS = 4
_CELL, _SIDE, _MARGIN = (1.95, 2.5), 1.8, 0.075
_PIXELS = 360  # to a side
_MOST_PANELS = 8


def draw_confusion(outcomes: Outcomes, names: Sequence[str], theme: Theme = LIGHT) -> Any:
    """Draw the confusion matrix: a row for each true class, a column for each prediction. Correct ones are blue.

    A cell is the stronger colored the larger its share of the row. Of more than 30 classes those are shown that are
    confused most often, and the others together.

    Args:
        outcomes: Outcomes in which every image has a label.
        names: Names of the classes.
        theme: Colors of the figure.

    Returns:
        A ``matplotlib.figure.Figure``.

    Raises:
        ImportError: Matplotlib is missing; the message names the extra.
    """
    chosen = _most_confused(outcomes)
    matrix = confusion_matrix(outcomes, chosen)
    labels = [shorten(names[index], 24) for index in chosen]
    if matrix[-1].any() or matrix[:, -1].any():
        labels.append(f"{outcomes.classes - len(chosen)} others")
    side = len(labels)
    matrix = matrix[:side, :side]
    cell = max(0.22, min(0.45, 4.5 / side))  # inches
    margin = 0.45 + 0.075 * max(map(len, labels))
    # As wide as other figures: a page enlarges a narrower one, and its letters with it.
    figure = new_figure(cell * side + margin, theme, width=max(WIDTH, cell * side + margin))
    axes = figure.subplots()
    matrix[len(chosen) :, len(chosen) :] = 0  # among the others, right and wrong are not distinguished
    axes.imshow(_shade(matrix, theme), aspect="equal")
    size = min(9.0, 72 * cell * 0.9 / (0.62 * len(str(matrix.max()))))  # points, so that the longest number fits
    for row, column in np.argwhere(matrix):
        count = str(matrix[row, column])
        axes.text(column, row, count, ha="center", va="center", fontsize=size, color=theme.ink)
    axes.set_xticks(range(side), labels, rotation=90)
    axes.set_yticks(range(side), labels)
    axes.set(xlabel="predicted class", ylabel="true class")
    style(axes, theme, grid="both")
    axes.grid(visible=False)
    axes.set_xticks(np.arange(side + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(side + 1) - 0.5, minor=True)
    axes.grid(which="minor", color=theme.grid, linewidth=0.6)
    for text in (*axes.get_xticklabels(), *axes.get_yticklabels()):
        text.set(parse_math=False, fontsize=8 if cell > 0.25 else 7)
    return figure


def draw_reliability(outcomes: Outcomes, theme: Theme = LIGHT, calibrated: Outcomes | None = None) -> Any:
    """Draw the accuracy of predictions of about the same confidence (arXiv 1706.04599, figure 1), and their number.

    The whiskers are 95% confidence intervals. ``calibrated`` are the same predictions at another temperature, drawn as
    a line. The other arguments, return value and errors are those of :func:`draw_confusion`.
    """
    bins, by_mass = calibrate(outcomes, "width"), calibrate(outcomes, "mass")
    intervals = [wilson(round(share * n), int(n)) for share, n in zip(bins.accuracy, bins.counts, strict=True)]
    figure = new_figure(4.8, theme, width=4.2)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3.4, 1))
    upper.plot([0, 1], [0, 1], color=theme.faint, linewidth=1, linestyle=(0, (4, 3)), label="perfectly calibrated")
    upper.errorbar(
        bins.confidence, bins.accuracy, fmt="o", markersize=5, elinewidth=1.1, capsize=2.5, clip_on=False,
        yerr=np.maximum(0, [[i.value - i.low for i in intervals], [i.high - i.value for i in intervals]]),
        color=theme.series[0], label="this model", zorder=3,
    )  # fmt: skip
    if calibrated is not None:
        line = calibrate(calibrated, "width")
        upper.plot(
            line.confidence, line.accuracy, ".-", markersize=5, linewidth=1, color=theme.series[1], clip_on=False,
            label="calibrated",
        )  # fmt: skip
    counts, edges = np.histogram(outcomes.confidence, BINS, (0, 1))
    lower.stairs(counts / len(outcomes), edges, fill=True, color=theme.series[0])
    upper.set(ylabel="accuracy", xlim=(0, 1), ylim=(0, 1))
    upper.set_title(
        f"expected calibration error {percent(bins.error)}\n({percent(by_mass.error)} in bins of equal mass)",
        color=theme.ink, fontsize=9, pad=10,
    )  # fmt: skip
    lower.set(xlabel="confidence: probability of the prediction", ylabel="share of\nthe images")
    for axes in (upper, lower):
        style(axes, theme, grid="y")
    upper.legend(loc="lower right", frameon=False, fontsize=8, labelcolor=theme.ink)
    figure.align_ylabels()
    return figure


def draw_mistakes(
    mistakes: Sequence[ImagePrediction],
    thumbnails: Sequence[NDArray[np.uint8]],
    theme: Theme = LIGHT,
    maps: Sequence[NDArray[np.uint8]] = (),
) -> Any:
    """Draw a contact sheet: under each image its class, the predicted class, and the probability of either.

    Args:
        mistakes: Predictions to show, at least one, for images of the model's classes.
        thumbnails: The image of each, small, from :func:`load_thumbnail`.
        theme: Colors of the figure.
        maps: The heat map of each, to stand beside it, from ``evidence.draw_evidence``; empty for none.

    Returns:
        A ``matplotlib.figure.Figure``.

    Raises:
        ImportError: Matplotlib is missing; the message names the extra.
    """
    places = 2 if maps else 1  # columns that an image takes in a row
    columns = min(_COLUMNS // places, len(mistakes))
    width, height = columns * places * _CELL[0], -(-len(mistakes) // columns) * _CELL[1]
    figure = new_figure(height, theme, width=width)
    figure.set_layout_engine("none")  # all has its place already

    def show(thumbnail: NDArray[np.uint8], row: int, column: int) -> Any:
        left, top = column * _CELL[0] + _MARGIN, row * _CELL[1] + _MARGIN
        axes = figure.add_axes((left / width, 1 - (top + _SIDE) / height, _SIDE / width, _SIDE / height))
        axes.set_axis_off()
        high, wide = (side / _PIXELS / 2 for side in thumbnail.shape[:2])
        axes.imshow(thumbnail, extent=(0.5 - wide, 0.5 + wide, 0.5 - high, 0.5 + high))
        axes.set(xlim=(0, 1), ylim=(0, 1))
        return axes

    for number, (mistake, thumbnail) in enumerate(zip(mistakes, thumbnails, strict=True)):
        row, column = divmod(number, columns)
        axes = show(thumbnail, row, places * column)
        if maps:
            show(maps[number], row, places * column + 1)
        lines = (
            (shorten(mistake.label, 17), percent(mistake.probability_of_label or 0), theme.ink, 8),
            (f"→ {shorten(mistake.predicted, 15)}", percent(mistake.probability), theme.methods["compound"], 8),
            (shorten(mistake.path.name, 32), "", theme.faint, 6),
        )
        for line, (name, share, color, size) in enumerate(lines):
            for text, x, side in ((name, 0, "left"), (share, 1, "right")):
                axes.annotate(
                    text, (x, 0), (0, -4 - 11 * line), "axes fraction", "offset points", ha=side, va="top",
                    fontsize=size, color=color, parse_math=False,
                )  # fmt: skip
    return figure


def draw_values(found: ValueEvaluation, theme: Theme = LIGHT) -> Any:
    """Draw the predicted numbers against the true ones, a panel for each of the first numbers.

    Returns:
        A ``matplotlib.figure.Figure``.

    Raises:
        ImportError: Matplotlib is missing; the message names the extra.
    """
    names = list(found.names)[:_MOST_PANELS]
    columns = min(2, len(names))
    rows = -(-len(names) // columns)
    figure = new_figure(rows * WIDTH / columns, theme)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in panels[len(names) :]:
        axes.set_axis_off()
    for axes, name, truth, predicted in zip(panels, names, found.truth.T, found.predicted.T, strict=False):
        ends = [min(truth.min(), predicted.min()), max(truth.max(), predicted.max())]
        axes.plot(ends, ends, color=theme.faint, linewidth=1, linestyle=(0, (4, 3)))
        axes.plot(truth, predicted, ".", markersize=4, alpha=0.6, color=theme.series[0])
        axes.set(xlabel="true", ylabel="predicted")
        axes.set_title(shorten(name, 24), color=theme.ink, fontsize=9, parse_math=False)
        style(axes, theme, grid="both")
    return figure


def load_thumbnail(path: Path, channels: int = 3) -> NDArray[np.uint8]:
    """Return a whole image, (height, width, 3), whose longer side is small enough for a contact sheet.

    Of more than three ``channels`` the first three are shown as RGB, of fewer the first in grey.

    Raises:
        OSError: The image is no longer there.
    """
    return fit_thumbnail(as_rgb(load_image(path, reduce=True, channels=channels)))


def fit_thumbnail(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Resize an image, (height, width, 3), to the side of a contact sheet."""
    from PIL import Image

    image = Image.fromarray(np.ascontiguousarray(rgb))
    scale = _PIXELS / max(image.size)
    return np.asarray(image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale)))))


def _most_confused(outcomes: Outcomes) -> NDArray[np.int64]:
    """Return the classes to show, in their order: all, or those that occur, or those most often confused."""
    if outcomes.classes <= _MOST_CLASSES:
        return np.arange(outcomes.classes)
    pairs = confusions(outcomes)
    pairs = np.concatenate([pairs[pairs[:, 0] != pairs[:, 1]], pairs[pairs[:, 0] == pairs[:, 1]]])  # mistakes first
    chosen = list(dict.fromkeys(pairs[:, :2].ravel().tolist()))[:_MOST_CLASSES]
    return np.sort(np.array(chosen))


def _shade(matrix: NDArray[np.int64], theme: Theme) -> NDArray[np.float64]:
    """Return the colors of the cells, (rows, columns, 3) RGB, 0..1."""
    from matplotlib.colors import to_rgb

    share = matrix / np.maximum(1, matrix.sum(axis=1, keepdims=True))
    opacity = 0.85 * np.sqrt(share)[..., np.newaxis]  # by the root, so that rare mistakes are seen, too
    right = np.eye(len(matrix), dtype=bool)[..., np.newaxis]
    colors = np.where(right, to_rgb(theme.methods["width"]), to_rgb(theme.methods["compound"]))
    blended: NDArray[np.float64] = (1 - opacity) * np.array(to_rgb(theme.background)) + opacity * colors
    return blended
