"""What all figures share. matplotlib is imported when one is drawn, and no global state of it is touched."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..markup import column_title, figure_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def new_figure(width: float, height: float) -> Figure:
    """
    An empty figure of a size in inches.

    Raises:
        `ImportError`: without matplotlib, saying how to install it.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("Figures need matplotlib: `pip install hf_ltr[plots]`.") from error
    # The object interface draws without a display and without pyplot, whatever backend the user has chosen.
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def add_legend(figure: Figure, entries: int) -> None:
    """Names above the axes, where they hide nothing."""
    if entries:
        figure.legend(loc="outside upper center", ncols=min(entries, 4), fontsize="small")


def colour_of(number: int) -> tuple[float, float, float]:
    """The colour of a result: ten strong ones, then ten pale ones, then over again."""
    from matplotlib import colormaps

    number %= 20
    # tab20 holds pairs of a strong and a pale colour.
    red, green, blue, _ = colormaps["tab20"](2 * number if number < 10 else 2 * (number - 10) + 1)
    return red, green, blue


def save(figure: Figure, path: str | Path) -> Path:
    """Write a PNG; its folder is made."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        # A name in a script that matplotlib's font has no glyphs for is drawn as boxes; the tables have it in letters.
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        figure.savefig(path, dpi=150, format="png")
    return path


def group_bars(path: str | Path, columns: Sequence[str], bars: Sequence[tuple[str, Mapping[str, float], Any]]) -> Path:
    """
    Accuracies side by side, a cluster of bars for each metric.

    Args:
        path (`str` or `Path`): The PNG file to write.
        columns (sequence of `str`): The metrics, from left to right.
        bars (sequence of `(name, accuracy in [0, 1] by metric, colour)`): A metric that is absent has no bar.
    """
    # Every bar gets room for its number.
    figure = new_figure(max(7, 0.8 + 0.3 * len(columns) * (len(bars) + 1)), 4)
    axes = figure.add_subplot()
    width = 0.8 / max(1, len(bars))
    for number, (name, values, colour) in enumerate(bars):
        shift = (number - (len(bars) - 1) / 2) * width
        drawn = axes.bar(
            [columns.index(column) + shift for column in values],
            [100 * value for value in values.values()],
            width,
            label=figure_text(name),
            color=colour,
        )
        axes.bar_label(drawn, fmt="%.1f", fontsize=7)
    axes.set_xticks(range(len(columns)), [column_title(column) for column in columns])
    axes.set(ylabel="accuracy on test images (%)", ylim=(0, 108))
    add_legend(figure, len(bars))
    return save(figure, path)
