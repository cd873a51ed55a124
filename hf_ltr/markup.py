"""Text from other people (names of classes, data sets, weights, licences) inside Markdown and figures, as it reads."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

LONGEST = 200
# The metrics that a table or a figure shows unless it is asked for others, and those of a single model.
GROUP_COLUMNS = ("accuracy", "many", "medium", "few")
MODEL_COLUMNS = ("accuracy", "balanced_accuracy", "many", "medium", "few")

# Everything that Markdown or HTML could take for more than a character; `_` only where it does not join a word, a
# colon and a point only where a URL would become a link.
_SPECIAL = re.compile(r"[\\`*\[\]<>|~$&#{}!]|(?<![^\W_])_|_(?![^\W_])|:(?=//)|(?<=\bwww)\.")


def one_line(text: object, longest: int = LONGEST) -> str:
    """
    `text` on one line: control characters and what turns the direction of writing become spaces, halves of characters
    (file names that are no UTF-8) become question marks, and what is longer than `longest` is cut.
    """
    characters = [_shown(character) for character in str(text)]
    line = " ".join("".join(characters).split())
    return line if len(line) <= longest else f"{line[: longest - 3].rstrip()}..."


def markdown(text: object) -> str:
    """`text` in a sentence, a heading or a cell of a table: nothing in it is markup, a link or HTML."""
    return _SPECIAL.sub(lambda match: f"\\{match.group()}", one_line(text))


def markdown_code(text: object, longest: int = LONGEST) -> str:
    """`text` between backticks, more of them than it has in a row itself."""
    line = one_line(text, longest)
    fence = "`" * (1 + _longest_run(line))
    space = " " if not line or line.startswith("`") or line.endswith("`") else ""
    return f"{fence}{space}{line}{space}{fence}"


def code_block(text: str, language: str = "") -> str:
    """Lines of code, between fences that none of them can close."""
    clean = "\n".join("".join(_shown(c, keep="\t") for c in line) for line in text.split("\n"))
    fence = "`" * max(3, 1 + _longest_run(clean))
    return f"{fence}{language}\n{clean}\n{fence}"


def cell(text: str) -> str:
    """`text`, which may be Markdown, as the cell of a table: a bar or a line break would end it."""
    return re.sub(r"(?<!\\)((?:\\\\)*)\|", r"\1\\|", one_line(text, 10 * LONGEST))


def markdown_table(
    header: Sequence[str], rows: Sequence[Sequence[str]], align: str | None = None, *, padded: bool = True
) -> str:
    """
    A table whose cells may be Markdown.

    Args:
        header (sequence of `str`): Names of the columns.
        rows (sequence of sequences of `str`): One cell for each column.
        align (`str`, *optional*): A letter per column: `l` as the reader's program has it, usually to the left, `r` to
            the right; all of the first kind if not given.
        padded (`bool`, defaults to `True`): Whether columns are as wide as their widest cell, so that the table reads
            as plain text too.

    Returns:
        `str`: the lines of the table, without a newline at the end.
    """
    lines = [[cell(text) for text in line] for line in (header, *rows)]
    widths = [max(3, *(len(line[column]) for line in lines)) if padded else 3 for column in range(len(header))]
    columns = list(zip(align or "l" * len(header), widths, strict=True))
    lines.insert(1, ["-" * (width - 1) + (":" if side == "r" else "-") for side, width in columns])
    if padded:
        to_side = {"l": str.ljust, "r": str.rjust}
        sized = [(to_side[side], width) for side, width in columns]
        lines = [[pad(text, width) for text, (pad, width) in zip(line, sized, strict=True)] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def metrics_table(rows: Mapping[str, Mapping[str, Any]], columns: Sequence[str] = GROUP_COLUMNS) -> str:
    """
    A table of metrics in percent, with one digit after the point.

    Args:
        rows (mapping of `str` to metrics): Metrics in [0, 1] as [`long_tail_metrics`] returns them, by name.
        columns (sequence of `str`): The metrics to show, see [`column_title`]. A metric that a row lacks (a
            group without classes) is shown as "-".

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
                line.append("-")
                continue
            if not math.isfinite(value):
                raise ValueError(f"{column!r} of {name!r} is {value}, not a number that can be reported.")
            line.append(f"{100 * value:.1f}")
        lines.append(line)
    header = ["", *map(column_title, columns)]
    return markdown_table(header, lines, align="l" + "r" * len(columns))


def column_title(metric: str) -> str:
    """A metric as readers call it: accuracy over all images is "all"."""
    return "all" if metric == "accuracy" else metric.replace("_", " ")


def figure_text(text: object) -> str:
    """`text` in a figure: dollars are no formulas, and an underscore in front does not hide the entry of a legend."""
    line = one_line(text, longest=60).replace("$", r"\$")
    return f" {line}" if line.startswith("_") else line


def _longest_run(text: str) -> int:
    return max((len(run) for run in re.findall(r"`+", text)), default=0)


def _shown(character: str, keep: str = "") -> str:
    category = unicodedata.category(character)
    if character in keep:
        return character
    if category == "Cs":
        return "?"
    return " " if category in ("Cc", "Zl", "Zp") or character in _DIRECTIONS else character


# Characters without a glyph that reorder the text after them.
_DIRECTIONS = frozenset("\u200e\u200f\u061c\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff")
