"""Figures of accuracy: by class, by group and over an option (figures 3 and 4 of Long et al., arXiv 2302.09498)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..data.class_counts import ClassCounts
from ..markup import GROUP_COLUMNS, column_title, figure_text
from .drawing import add_legend, colour_of, group_bars, new_figure, save

# From this ratio of the largest to the smallest value on, equal factors are drawn as equal distances.
_LOGARITHMIC_FROM = 8


def plot_per_class_accuracy(
    path: str | Path,
    class_counts: ClassCounts | Sequence[int],
    results: Mapping[str, Sequence[float | None]],
) -> Path:
    """
    Accuracy of every class over its number of training images, one colour per result; a line is the mean of a group.

    Args:
        path (`str` or `Path`): The PNG file to write; its folder is made.
        class_counts (`ClassCounts` or sequence of `int`): Training images of every class, in label order.
        results (mapping of `str` to sequence): Per-class accuracy in [0, 1] by name, `None` where a class has no test
            images, as [`per_class_accuracy`] gives it.

    Returns:
        `Path`: `path`.
    """
    counts = ClassCounts.of(class_counts)
    for name, values in results.items():
        if len(values) != counts.num_classes:
            raise ValueError(f"Result {name!r} has {len(values)} accuracies for {counts.num_classes} classes.")
    figure = new_figure(7, 4)
    axes = figure.add_subplot()
    for name, values in results.items():
        tested = {index: 100 * value for index, value in enumerate(values) if value is not None}
        points = axes.scatter(
            [counts[index] for index in tested],
            list(tested.values()),
            s=16,
            alpha=0.6,
            label=figure_text(name),
        )
        for classes in counts.groups.values():
            members = [tested[index] for index in classes if index in tested]
            if members:
                images = [counts[index] for index in classes]
                mean = sum(members) / len(members)
                axes.hlines(mean, min(images), max(images), colors=points.get_facecolor(), linewidth=2)
    # Linear below 1, so that a class without training images has a place.
    axes.set_xscale("symlog", linthresh=1)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.invert_xaxis()
    if counts.grouping == "thresholds":
        for threshold in counts.thresholds:
            axes.axvline(threshold, color="grey", linewidth=0.8, linestyle=":")
    axes.set(xlabel="training images of the class", ylabel="accuracy on test images (%)", ylim=(-2, 102))
    add_legend(figure, len(results))
    return save(figure, path)


def plot_group_accuracy(
    path: str | Path, rows: Mapping[str, Mapping[str, Any]], columns: Sequence[str] = GROUP_COLUMNS
) -> Path:
    """
    Bars of accuracy, many, medium and few for several results side by side (figure 3 of Long et al., "MEM", arXiv
    2302.09498). A group that a result lacks has no bar.

    Args:
        path (`str` or `Path`): The PNG file to write; its folder is made.
        rows (mapping of `str` to metrics): Metrics as [`long_tail_metrics`] returns them, by name.
        columns (sequence of `str`): The metrics to draw.

    Returns:
        `Path`: `path`.
    """
    columns = [column for column in columns if any(column in metrics for metrics in rows.values())]
    bars = [
        (name, {column: metrics[column] for column in columns if column in metrics}, colour_of(number))
        for number, (name, metrics) in enumerate(rows.items())
    ]
    return group_bars(path, columns, bars)


def plot_group_intervals(
    path: str | Path, rows: Mapping[str, Mapping[str, Mapping[str, float]]], columns: Sequence[str] = GROUP_COLUMNS
) -> Path:
    """
    Accuracy of many methods as points with intervals, one panel for all images and one per group.

    Args:
        path (`str` or `Path`): The PNG file to write; its folder is made.
        rows (mapping of `str` to mapping): By method and metric `mean`, `low` and `high`, in [0, 1]; a group that a
            method lacks has no point.
        columns (sequence of `str`): The metrics to draw.

    Returns:
        `Path`: `path`.
    """
    columns = [column for column in columns if any(column in values for values in rows.values())]
    names = list(rows)
    figure = new_figure(1.5 + 2.4 * len(columns), 1.2 + 0.28 * len(names))
    panels = figure.subplots(1, len(columns), sharey=True, squeeze=False)[0]
    for axes, column in zip(panels, columns, strict=True):
        for place, name in enumerate(names):
            value = rows[name].get(column)
            if value is None:
                continue
            mean, below, above = _interval(value)
            axes.errorbar(mean, place, xerr=[[below], [above]], fmt="o", color="C0", markersize=4)
        axes.set_title(column_title(column), fontsize="medium")
        axes.grid(axis="x", linewidth=0.5, alpha=0.5)
        axes.set_yticks(range(len(names)), [figure_text(name) for name in names])
        axes.tick_params(labelsize="small")
    panels[0].invert_yaxis()
    figure.supxlabel("accuracy on test images (%), 95 % interval", fontsize="small")
    return save(figure, path)


def plot_option_sweep(
    path: str | Path,
    option: str,
    lines: Mapping[str, Mapping[float, Mapping[str, Mapping[str, float]]]],
    columns: Sequence[str] = GROUP_COLUMNS,
) -> Path:
    """
    Accuracy with intervals over the values of an option, one panel for all images and one per group.

    Args:
        path (`str` or `Path`): The PNG file to write; its folder is made.
        option (`str`): Its name, under the panels.
        lines (mapping of `str` to mapping): By the name of a line and the option's value, by metric `mean`, `low` and
            `high` in [0, 1]; a group that a value lacks has no point.
        columns (sequence of `str`): The metrics to draw.

    Returns:
        `Path`: `path`.

    Raises:
        `ValueError`: if there is nothing to draw.
    """
    columns = [
        column for column in columns if any(column in values for line in lines.values() for values in line.values())
    ]
    if not columns:
        raise ValueError(f"There are no results over {option} to draw")
    settings = sorted({value for line in lines.values() for value in line})
    figure = new_figure(1.2 + 2.4 * len(columns), 2.8 + 0.2 * (len(lines) > 1))
    panels = figure.subplots(1, len(columns), squeeze=False)[0]
    for axes, column in zip(panels, columns, strict=True):
        for number, (name, line) in enumerate(lines.items()):
            points = {value: _interval(line[value][column]) for value in sorted(line) if column in line[value]}
            axes.errorbar(
                list(points),
                [mean for mean, _, _ in points.values()],
                yerr=[[below for _, below, _ in points.values()], [above for _, _, above in points.values()]],
                fmt="o-",
                markersize=4,
                linewidth=1,
                capsize=2,
                color=colour_of(number),
                label=figure_text(name) if axes is panels[0] else None,
            )
        if settings[0] > 0 and settings[-1] >= _LOGARITHMIC_FROM * settings[0]:
            axes.set_xscale("log")
        axes.set_xticks(settings, [f"{value:g}" for value in settings])
        axes.minorticks_off()
        axes.tick_params(labelsize="small")
        axes.grid(axis="y", linewidth=0.5, alpha=0.5)
        axes.set_title(column_title(column), fontsize="medium")
    figure.supxlabel(figure_text(option), fontsize="small")
    figure.supylabel("accuracy (%), 95 % interval", fontsize="small")
    if len(lines) > 1:
        add_legend(figure, len(lines))
    return save(figure, path)


def _interval(value: Mapping[str, float]) -> tuple[float, float, float]:
    """A mean in percent, and how far its interval goes below and above it."""
    mean, low, high = (100 * value[key] for key in ("mean", "low", "high"))
    # The interval of a resampled mean may, for tiny groups, lie beside the mean itself.
    return mean, max(0.0, mean - low), max(0.0, high - mean)
