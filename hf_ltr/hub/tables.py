"""Results as a table and as a file."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..files import write_json
from ..markup import markdown_table

ABSENT = "-"


def format_table(
    rows: Mapping[str, Mapping[str, Any]],
    columns: Sequence[str] = ("accuracy", "many", "medium", "few"),
    digits: int = 1,
) -> str:
    """
    A Markdown table, aligned so that it reads as plain text too, of metrics in percent.

    Args:
        rows (mapping of `str` to metrics): Metrics in [0, 1] as [`long_tail_metrics`] returns them, by name.
        columns (sequence of `str`): The metrics to show; `accuracy` is headed "all". A metric that a row lacks (a
            group without classes) is shown as "-".
        digits (`int`, defaults to 1): Digits after the point.

    Returns:
        `str`: the lines of the table, without a newline at the end.

    Raises:
        `ValueError`: for a value that is not finite, naming row and column.
    """
    lines = []
    for name, metrics in rows.items():
        line = [name]
        for column in columns:
            value = metrics.get(column)
            if value is None:
                line.append(ABSENT)
                continue
            if not math.isfinite(value):
                raise ValueError(f"{column!r} of {name!r} is {value}, not a number that can be reported.")
            line.append(f"{100 * value:.{digits}f}")
        lines.append(line)
    header = ["", *("all" if column == "accuracy" else column.replace("_", " ") for column in columns)]
    return markdown_table(header, lines, align="l" + "r" * len(columns))


def write_metrics(path: str | Path, metrics: Mapping[str, Any]) -> Path:
    """
    Write metrics as JSON. The file is replaced in one step: a reader or an interrupted run finds the old or the new
    one, never half of it.

    Args:
        path (`str` or `Path`): The file to write; its folder is made.
        metrics (mapping): Numbers, strings, `None`, lists and mappings of them; NumPy and zero-dimensional tensors are
            turned into numbers.

    Returns:
        `Path`: `path`.

    Raises:
        `ValueError`: for a value that is NaN or infinite, by its name; nothing is written then.
    """
    return write_json(path, _plain(metrics, ""))


def _plain(value: Any, name: str) -> Any:
    """`value` as JSON types; `name` is where it stands, for errors."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item, f"{name}.{key}" if name else str(key)) for key, item in value.items()}
    if isinstance(value, str) or value is None or isinstance(value, bool):
        return value
    if hasattr(value, "tolist"):  # NumPy scalars and arrays, tensors
        return _plain(value.tolist(), name)
    if isinstance(value, (list, tuple)):
        return [_plain(item, f"{name}[{index}]") for index, item in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"Metric {name!r} is {value}; a report holds finite numbers only.")
    if isinstance(value, (int, float)):
        return value
    raise TypeError(f"Metric {name!r} is of type {type(value).__name__}, which has no place in a JSON report.")
