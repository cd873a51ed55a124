"""Rows that differ from each other in one number: of an option, a training argument, or post-hoc adjustment."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .statistics import TableRow

_TAU = "tau"


@dataclass
class Sweep:
    """
    Rows over the values of one option.

    Args:
        method (`str`): Registry name.
        option (`str`): Of the method; or `stage.field`, a training argument; or `tau` of post-hoc adjustment.
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
    Every number that at least two finished rows differ in, and in nothing else.

    What a row leaves out counts at its value under the protocol, which is the method's default unless the protocol
    sets it. Where two rows are equal in words other than these, the one that names the option is taken. Options of
    nested methods (`crt:representation=(ldam:scale=10)`) are not looked at.

    Args:
        rows (sequence of [`TableRow`]): With the descriptions of their methods.

    Returns:
        `list[Sweep]`: in the order in which rows name the options.
    """
    finished = [row for row in rows if row.values]
    named = dict.fromkeys((row.specification.name, option) for row in finished for option in _named(row))
    found = []
    for method, option in named:
        lines: dict[str, dict[float, TableRow]] = {}
        for row in finished:
            if row.specification.name != method:
                continue
            value, rest = _taken(_facts(row), option)
            if isinstance(value, bool) or not isinstance(value, int | float):
                continue
            line = lines.setdefault(rest, {})
            if value not in line or (option in _named(row) and option not in _named(line[value])):
                line[value] = row
        swept = {_name(line, option): dict(sorted(line.items())) for line in lines.values() if len(line) > 1}
        if swept:
            found.append(Sweep(method, option, swept))
    return found


def is_swept(row: TableRow, sweeps: Sequence[Sweep]) -> bool:
    """Whether the row is there for the value of a swept option."""
    return any(row.specification.name == sweep.method and sweep.option in _named(row) for sweep in sweeps)


def _named(row: TableRow) -> list[str]:
    """What the row says itself."""
    own = row.specification
    return [*own.options, *own.arguments, *([] if own.tau is None else [_TAU])]


def _facts(row: TableRow) -> dict[str, Any]:
    """All that decides a row's numbers but its seed."""
    settings = next((run["settings"] for run in row.runs.values()), {})
    stages = {
        stage: {name: value for name, value in arguments.items() if name != "seed"}
        for stage, arguments in settings.get("stages", {}).items()
    }
    post_hoc = settings.get("post_hoc")
    return {"method": row.description, "stages": stages, "post_hoc": post_hoc, "after": row.specification.post_hoc}


def _taken(facts: dict[str, Any], option: str) -> tuple[Any, str]:
    """The value of an option, and everything else as text."""
    rest = copy.deepcopy(facts)
    stage, _, argument = option.partition(".")
    if argument:
        place, option = rest["stages"].get(stage, {}), argument
    elif rest["post_hoc"] and option == _TAU:
        place = next(iter(rest["post_hoc"].values()))
    else:
        place = rest["method"].get("options", {})
    return place.pop(option, None), json.dumps(rest, sort_keys=True)


def _name(line: dict[float, TableRow], option: str) -> str:
    """The shortest name of its rows without the option."""
    return min((row.specification.without(option).label for row in line.values()), key=len)
