"""Figures of a training: its curves, and its planned learning rate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..reports.theme import LIGHT, new_figure, style

_TRAINING, _VALIDATION = LIGHT.faint, LIGHT.series[0]


def draw_curves(history: Sequence[Mapping[str, Any]]) -> Any:
    """Draw the measures of training and validation over the epochs; a dotted line marks each new stage.

    Returns:
        A ``matplotlib.figure.Figure``.
    """
    figure = new_figure(3.5, LIGHT, width=9)
    epochs = [row["epoch"] for row in history]
    starts = [epoch for epoch, row, before in zip(epochs[1:], history[1:], history, strict=False)
              if row["stage"] != before["stage"]]  # fmt: skip
    # Training and validation have the loss and a metric in common; validation may have more measures.
    fields = [key.removeprefix("val_") for key in history[0] if key.startswith("val_")]
    for axes, field in zip(figure.subplots(1, len(fields)), fields, strict=True):
        for key, label, colour in ((field, "training", _TRAINING), (f"val_{field}", "validation", _VALIDATION)):
            if key in history[0]:
                axes.plot(epochs, [row[key] for row in history], color=colour, marker=".", label=label)
        for start in starts:
            axes.axvline(start - 0.5, color=LIGHT.grid, linestyle=":")
        axes.set(xlabel="epoch", ylabel=field.replace("_", " "))
        axes.legend(frameon=False)
        style(axes, LIGHT, grid="y")
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
        axes.plot([(start + step) / steps_per_epoch for step in range(len(stage))], stage, color=_VALIDATION)
        start += len(stage)
        axes.axvline(start / steps_per_epoch, color=LIGHT.grid, linestyle=":")
    axes.set(xlabel="epoch", ylabel="learning rate")
    style(axes, LIGHT, grid="y")
    return figure
