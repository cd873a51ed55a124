"""Accuracy over the values of one option (figure 4 of the MEM paper, Long et al., arXiv 2302.09498)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ..markup import GROUP_COLUMNS, column_title, figure_text
from .drawing import add_legend, colour_of, new_figure, save

# From this ratio of the largest to the smallest value on, equal factors are drawn as equal distances.
_LOGARITHMIC_FROM = 8


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
            points = [(value, line[value][column]) for value in sorted(line) if column in line[value]]
            means = [100 * point["mean"] for _, point in points]
            # The interval of a resampled mean may, for tiny groups, lie beside the mean itself.
            below = [max(0.0, 100 * (point["mean"] - point["low"])) for _, point in points]
            above = [max(0.0, 100 * (point["high"] - point["mean"])) for _, point in points]
            axes.errorbar(
                [value for value, _ in points],
                means,
                yerr=[below, above],
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
