"""Figures of what confusing groups costs: figures 1a and 1b of the MEM paper (Long et al., arXiv 2302.09498)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..data.class_counts import GROUP_NAMES
from ..markup import GROUP_COLUMNS, figure_text
from .drawing import colour_of, group_bars, new_figure, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_PANELS_IN_A_ROW = 4


def plot_group_confusion(path: str | Path, confusion: Any, names: Sequence[str], title: str | None = None) -> Path:
    """
    Heat map of [`group_confusion`], in percent of each true group's images.

    Args:
        path (`str` or `Path`): The PNG file to write; its folder is made.
        confusion (array of shape `(groups, groups)`): Counts; rows are true groups.
        names (sequence of `str`): The groups, `list(class_counts.groups)`.
        title (`str`, *optional*)

    Returns:
        `Path`: `path`.
    """
    confusion = np.asarray(confusion, dtype=np.float64)
    if confusion.shape != (len(names), len(names)):
        raise ValueError(f"Got a confusion matrix of shape {confusion.shape} for {len(names)} groups.")
    percent = 100 * confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    figure = new_figure(4.5, 4)
    axes = figure.add_subplot()
    texts = [
        [f"{share:.1f}\n({number:.0f})" for share, number in zip(*line, strict=True)]
        for line in zip(percent, confusion, strict=True)
    ]
    image = _heat_map(axes, percent, names, texts)
    axes.set(xlabel="group of the predicted class", ylabel="group of the true class")
    if title:
        axes.set_title(figure_text(title), fontsize="medium")
    figure.colorbar(image, ax=axes, label="% of the true group")
    return save(figure, path)


def plot_group_errors(path: str | Path, results: Mapping[str, Mapping[str, Mapping[str, float]]]) -> Path:
    """
    Heat maps of [`group_errors`], one per result: where the misclassified images of each group went (figure 1a).

    Args:
        path (`str` or `Path`): The PNG file to write; its folder is made.
        results (mapping of `str` to mapping): By name, what [`group_errors`] returns. A group without misclassified
            images is an empty line.

    Returns:
        `Path`: `path`.

    Raises:
        `ValueError`: if no result has a misclassified image.
    """
    present = {group for errors in results.values() for row in errors.values() for group in row}
    names = [name for name in GROUP_NAMES if name in present] + sorted(present - set(GROUP_NAMES))
    if not names:
        raise ValueError("No result has a misclassified image, so there is nothing to draw")
    columns = min(len(results), _PANELS_IN_A_ROW)
    lines = math.ceil(len(results) / columns)
    figure = new_figure(1.4 + 2.5 * columns, 0.9 + 2.4 * lines)
    panels = figure.subplots(lines, columns, squeeze=False).flat
    for axes, (name, errors) in zip(panels, results.items(), strict=False):
        percent = np.array([[errors.get(row, {}).get(column, math.nan) for column in names] for row in names])
        texts = [["-" if math.isnan(value) else f"{value:.1f}" for value in row] for row in percent]
        image = _heat_map(axes, percent, names, texts)
        axes.set_title(figure_text(name), fontsize="small")
    for axes in list(figure.axes)[len(results) :]:
        axes.set_axis_off()
    figure.supxlabel("group of the predicted class", fontsize="small")
    figure.supylabel("group of the true class", fontsize="small")
    figure.colorbar(image, ax=figure.axes, label="% of the group's errors")
    return save(figure, path)


def plot_group_given(
    path: str | Path, rows: Mapping[str, Mapping[str, Any]], columns: Sequence[str] = GROUP_COLUMNS
) -> Path:
    """
    Accuracy against all classes, and beside it, paler, if the group of every image were given (figure 1b).

    Args:
        path (`str` or `Path`): The PNG file to write; its folder is made.
        rows (mapping of `str` to metrics): By name, metrics in [0, 1] with `accuracy`, `many`, ... and
            `oracle_accuracy`, `oracle_many`, ... as [`StreamingMetrics`] computes them; several results stand side by
            side. Where a result lacks one of the two, neither is drawn.
        columns (sequence of `str`): The metrics to draw.

    Returns:
        `Path`: `path`.

    Raises:
        `ValueError`: if no result has both.
    """
    both = {
        name: [column for column in columns if column in metrics and f"oracle_{column}" in metrics]
        for name, metrics in rows.items()
    }
    columns = [column for column in columns if any(column in own for own in both.values())]
    if not columns:
        raise ValueError("No result has an accuracy with the group given (`oracle_accuracy`, `oracle_many`, ...)")
    bars: list[tuple[str, Mapping[str, float], Any]] = []
    for number, (name, metrics) in enumerate(rows.items()):
        colour = colour_of(number)
        bars.append((name, {column: metrics[column] for column in both[name]}, colour))
        given = {column: metrics[f"oracle_{column}"] for column in both[name]}
        bars.append((f"{name}, group given", given, (*colour, 0.4)))
    return group_bars(path, columns, bars)


def _heat_map(axes: Axes, percent: np.ndarray, names: Sequence[str], texts: Sequence[Sequence[str]]) -> Any:
    """Percentages as colours with a text in every field; NaN is left white."""
    image = axes.imshow(percent, cmap="Blues", vmin=0, vmax=100)
    for row, column in np.ndindex(*percent.shape):
        colour = "white" if percent[row, column] > 60 else "black"
        axes.text(column, row, texts[row][column], ha="center", va="center", color=colour, fontsize=8)
    axes.set_xticks(range(len(names)), names)
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(labelsize="small")
    return image
