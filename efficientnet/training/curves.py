"""Figures of a training: its curves, and its planned learning rate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..reports.theme import LIGHT, Theme, new_figure, style

_BARS = "▁▂▃▄▅▆▇█"
_MOST_BARS = 20


def sparkline(values: Sequence[float]) -> str:
    """Return a bar of one letter for each of the last 20 values, from the lowest of them to the highest.

    Example:
        >>> sparkline([0.2, 0.5, 0.9, 0.9])
        '▁▄██'
    """
    shown = values[-_MOST_BARS:]
    low, high = min(shown), max(shown)
    scale = (len(_BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(_BARS[round((value - low) * scale)] for value in shown)


def draw_curves(history: Sequence[Mapping[str, Any]], theme: Theme = LIGHT) -> Any:
    """Draw the measures of training and validation over the epochs; a dotted line marks each new stage.

    Returns:
        A ``matplotlib.figure.Figure``.
    """
    epochs = [row["epoch"] for row in history]
    starts = [epoch for epoch, row, before in zip(epochs[1:], history[1:], history, strict=False)
              if row["stage"] != before["stage"]]  # fmt: skip
    # Training and validation have the loss and a metric in common; validation may have more measures.
    fields = [key.removeprefix("val_") for key in history[0] if key.startswith("val_")]
    figure = new_figure(2.9, theme, width=3.3 * len(fields))
    for axes, field in zip(figure.subplots(1, len(fields)), fields, strict=True):
        for key, label, color in ((field, "training", theme.faint), (f"val_{field}", "validation", theme.series[0])):
            if key in history[0]:
                axes.plot(epochs, [row[key] for row in history], color=color, marker=".", label=label)
        for start in starts:
            axes.axvline(start - 0.5, color=theme.faint, linestyle=":")
        axes.set(xlabel="epoch", ylabel=field.replace("_", " "))
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.legend(frameon=False, labelcolor=theme.ink)
        style(axes, theme, grid="y")
    return figure


def draw_learning_rates(rates: Sequence[Sequence[float]], steps_per_epoch: int) -> Any:
    """Draw the learning rate over the epochs, from a list of rates for each stage.

    Returns:
        A ``matplotlib.figure.Figure``.
    """
    figure = new_figure(3.5, LIGHT, width=6)
    axes = figure.subplots()
    start = 0
    for stage in rates:
        axes.plot([(start + step) / steps_per_epoch for step in range(len(stage))], stage, color=LIGHT.series[0])
        start += len(stage)
        axes.axvline(start / steps_per_epoch, color=LIGHT.grid, linestyle=":")
    axes.set(xlabel="epoch", ylabel="learning rate")
    style(axes, LIGHT, grid="y")
    return figure
