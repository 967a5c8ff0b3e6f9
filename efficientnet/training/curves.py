"""Pictures of a training: its curves, and the learning rate that lies before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_TRAINING, _VALIDATION, _FAINT = "#8a8a8a", "#1f6f8b", "#c8c8c8"


def draw_curves(history: Sequence[Mapping[str, Any]]) -> Any:
    """Loss and accuracy over the epochs, of training and validation; dotted lines where a new stage begins.

    Returns:
        A ``matplotlib.figure.Figure``.
    """
    figure = _new_figure()
    epochs = [row["epoch"] for row in history]
    starts = [epoch for epoch, row, before in zip(epochs[1:], history[1:], history, strict=False)
              if row["stage"] != before["stage"]]  # fmt: skip
    for axes, field in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        for key, label, colour in ((field, "training", _TRAINING), (f"val_{field}", "validation", _VALIDATION)):
            axes.plot(epochs, [row[key] for row in history], color=colour, marker=".", label=label)
        for start in starts:
            axes.axvline(start - 0.5, color=_FAINT, linestyle=":")
        axes.set(xlabel="epoch", ylabel=field)
        axes.legend(frameon=False)
        _style(axes)
    return figure


def draw_learning_rates(rates: Sequence[Sequence[float]], steps_per_epoch: int) -> Any:
    """The learning rate over the epochs, each stage's steps in a list of their own.

    Returns:
        A ``matplotlib.figure.Figure``.
    """
    figure = _new_figure(width=6)
    axes = figure.subplots()
    start = 0
    for stage in rates:
        axes.plot([(start + step) / steps_per_epoch for step in range(len(stage))], stage, color=_VALIDATION)
        start += len(stage)
        axes.axvline(start / steps_per_epoch, color=_FAINT, linestyle=":")
    axes.set(xlabel="epoch", ylabel="learning rate")
    _style(axes)
    return figure


def _new_figure(width: float = 10) -> Any:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, 4), layout="constrained")


def _style(axes: Any) -> None:
    axes.grid(axis="y", color="#eeeeee")
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
