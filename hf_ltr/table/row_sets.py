"""Several rows written as one: the values of an option in braces, and sets of rows that a protocol names."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ..naming import unknown_name
from .protocol import Protocol
from .specification import MethodSpecification

# Alternatives multiply: six pairs of ten would be a million rows.
_MOST_ROWS = 1_000
SET_PREFIX = "@"
# A value in JSON's own braces is left alone: `{"a": 1}` and `{}`.
_ALTERNATIVES = re.compile(r'\{(?!\s*["}])')


def expand_rows(rows: Sequence[str | MethodSpecification], protocol: Protocol) -> list[MethodSpecification]:
    """
    The rows that are meant, in order.

    Args:
        rows (sequence of `str` or [`MethodSpecification`]): As in [`MethodSpecification.parse`], with alternatives in
            braces (see [`expand_braces`]), or `@name` for a set of rows of the protocol. A row of a set that is there
            already is left out; what is written twice otherwise stays twice, and is refused by [`Table`].
        protocol ([`Protocol`]): Whose `rows` are the sets.

    Raises:
        `ValueError`: for an unknown set, with the nearest names, and for a row that cannot be read.

    Example:

    ```python
    >>> [row.label for row in expand_rows(["crt", "mem:width={32,64}"], load_protocol("cifar100_lt_mae"))]
    ['crt', 'mem:width=32', 'mem:width=64']
    ```
    """
    found: list[MethodSpecification] = []
    of_sets: set[str] = set()
    for row in rows:
        if isinstance(row, MethodSpecification):
            found.append(row)
            continue
        name = row.strip().removeprefix(SET_PREFIX)
        if name == row.strip():
            found += [one for one in parse_rows([row]) if one.label not in of_sets]
            continue
        if name not in protocol.rows:
            raise unknown_name(f"set of rows in protocol {protocol.name}", name, protocol.rows)
        present = {one.label for one in found}
        added = [one for one in parse_rows(protocol.rows[name]) if one.label not in present]
        of_sets |= {one.label for one in added}
        found += added
    return found


def parse_rows(texts: Sequence[str]) -> list[MethodSpecification]:
    """Rows with alternatives in braces, read one by one."""
    return [MethodSpecification.parse(text) for row in texts for text in expand_braces(row)]


def checked_row_sets(sets: Any, where: str) -> dict[str, list[str]]:
    """
    The key `rows` of a protocol: lists of rows by name.

    Args:
        sets (`dict[str, list[str]]`): As written.
        where (`str`): The protocol, for messages.

    Raises:
        `ValueError`: for another form, a row that cannot be read, one that is in a set twice, or a set in a set.
    """
    if not isinstance(sets, Mapping):
        raise ValueError(f"{where}, rows must hold lists of rows by name, got {sets!r}")
    for name, rows in sets.items():
        place = f"{where}, rows, {name}"
        if not isinstance(rows, list) or not rows or not all(isinstance(row, str) for row in rows):
            raise ValueError(f"{place} must be a list of rows such as 'mem' and 'mem:width={{32,64}}', got {rows!r}")
        if any(row.strip().startswith(SET_PREFIX) for row in rows):
            raise ValueError(f"{place}: a set of rows cannot hold another set")
        try:
            labels = [row.label for row in parse_rows(rows)]
        except ValueError as error:
            raise ValueError(f"{place}: {error}") from error
        twice = sorted({label for label in labels if labels.count(label) > 1})
        if twice:
            raise ValueError(f"{place} has {', '.join(twice)} more than once")
    return {str(name): list(rows) for name, rows in sets.items()}


def find_baseline(text: str, rows: Sequence[MethodSpecification]) -> str:
    """
    The label of the row that is meant by a baseline.

    Args:
        text (`str`): A row as it is written, or its name and as many of its options as tell it from the others.
        rows (sequence of [`MethodSpecification`]).

    Raises:
        `ValueError`: if it is none of the rows, or could be several of them.
    """
    wanted, labels = MethodSpecification.parse(text), [row.label for row in rows]
    if wanted.label in labels:
        return wanted.label
    meant = [
        row.label
        for row in rows
        if (row.name, row.post_hoc) == (wanted.name, wanted.post_hoc) and wanted.options.items() <= row.options.items()
    ]
    if len(meant) > 1:
        raise ValueError(f"The baseline {text!r} could be {' or '.join(meant)}; write it as the row is written")
    if not meant:
        raise unknown_name("baseline", wanted.label, labels, "It must be one of the rows.")
    return meant[0]


def expand_braces(text: str) -> list[str]:
    """
    Every way to choose one of the alternatives in each pair of braces, as a shell expands them: the last pair changes
    fastest. Commas in brackets belong to an alternative; braces of a JSON object are none.

    Raises:
        `ValueError`: for a brace without its partner, or an empty alternative.

    Example:

    ```python
    >>> expand_braces("mem:width={32,64}")
    ['mem:width=32', 'mem:width=64']
    ```
    """
    rows = _expand_braces(text)
    if len(rows) > _MOST_ROWS:
        raise ValueError(f"The braces of {text[:80]!r} stand for more than {_MOST_ROWS:,} rows")
    return rows


def _expand_braces(text: str) -> list[str]:
    start = _next_alternatives(text)
    if start is None:
        return [text]
    end = _closing(text, start)
    inner, parts, depth, begin = text[start + 1 : end], [], 0, 0
    for position, character in enumerate(inner):
        depth += (character in "([{") - (character in ")]}")
        if character == "," and depth == 0:
            parts.append(inner[begin:position])
            begin = position + 1
    parts.append(inner[begin:])
    if not all(part.strip() for part in parts):
        raise ValueError(f"{text!r} has an empty alternative in its braces")
    rows: list[str] = []
    for part in parts:
        rows += _expand_braces(text[:start] + part.strip() + text[end + 1 :])
        if len(rows) > _MOST_ROWS:
            break
    return rows


def _next_alternatives(text: str) -> int | None:
    """Where the first pair of braces opens that is not a JSON object."""
    position = 0
    while (opening := text.find("{", position)) >= 0:
        if _ALTERNATIVES.match(text, opening):
            return opening
        position = _closing(text, opening) + 1
    if "}" in text[position:]:
        raise ValueError(f"{text!r} has a brace that is not opened")
    return None


def _closing(text: str, opening: int) -> int:
    depth = 0
    for position in range(opening, len(text)):
        depth += (text[position] == "{") - (text[position] == "}")
        if depth == 0:
            return position
    raise ValueError(f"{text!r} has a brace that is not closed")
