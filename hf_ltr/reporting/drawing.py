"""What all figures share. matplotlib is imported when one is drawn, and no global state of it is touched."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

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
