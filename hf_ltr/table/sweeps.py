"""Options that a table varies: rows of a method that differ from each other in one number."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from .rows import TableRow
from .specification import MethodSpecification


@dataclass
class Sweep:
    """
    Rows over the values of one option.

    Args:
        method (`str`): Registry name.
        option (`str`): Of the method.
        lines (`dict[str, dict[float, TableRow]]`): Rows by the option's value, of each setting of everything else; the
            name of a line is that of a row without the option.
    """

    method: str
    option: str
    lines: dict[str, dict[float, TableRow]]

    @property
    def file_name(self) -> str:
        return f"sweep_{self.method}_{self.option}.png"


def find_sweeps(rows: Sequence[TableRow]) -> list[Sweep]:
    """
    Every numeric option that at least two finished rows differ in, and in nothing else.

    What a row leaves out counts at its value under the protocol, which is the method's default unless the protocol
    sets it. Where two rows are equal in words other than these, the one that names the option is taken. Options of
    nested methods (`crt:representation=(ldam:scale=10)`) are not looked at.

    Args:
        rows (sequence of [`TableRow`]): With the descriptions of their methods.

    Returns:
        `list[Sweep]`: in the order in which rows name the options.
    """
    finished = [row for row in rows if row.values]
    named = dict.fromkeys((row.row.name, option) for row in finished for option in row.row.options)
    found = []
    for method, option in named:
        lines: dict[str, dict[float, TableRow]] = {}
        for row in finished:
            value = row.description.get("options", {}).get(option)
            if row.row.name != method or isinstance(value, bool) or not isinstance(value, int | float):
                continue
            line = lines.setdefault(_everything_else(row, option), {})
            if value not in line or (option in row.row.options and option not in line[value].row.options):
                line[value] = row
        swept = {_name(line, option): dict(sorted(line.items())) for line in lines.values() if len(line) > 1}
        if swept:
            found.append(Sweep(method, option, swept))
    return found


def is_swept(row: TableRow, sweeps: Sequence[Sweep]) -> bool:
    """Whether the row is there for the value of a swept option."""
    return any(row.row.name == sweep.method and sweep.option in row.row.options for sweep in sweeps)


def _everything_else(row: TableRow, option: str) -> str:
    options = {name: value for name, value in row.description["options"].items() if name != option}
    return json.dumps({**row.description, "options": options, "post_hoc": row.row.post_hoc}, sort_keys=True)


def _name(line: dict[float, TableRow], option: str) -> str:
    """The shortest name of its rows without the option."""
    names = []
    for row in line.values():
        options = {name: value for name, value in row.row.options.items() if name != option}
        names.append(MethodSpecification(row.row.name, options, row.row.post_hoc).label)
    return min(names, key=len)
