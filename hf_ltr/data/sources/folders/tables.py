"""Tables on disk (CSV in its dialects, JSON lines, parquet), read as columns of plain values."""

from __future__ import annotations

import csv
import io
import math
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ....reading import parse_json

TABLE_ENDINGS = (".csv", ".tsv", ".jsonl", ".parquet")
# Read when they are named; many other things are written in such files.
MORE_ENDINGS = (".txt", ".json")
_DELIMITERS = (",", ";", "\t", "|", " ")
_SNIFFED_LINES = 20


@dataclass(frozen=True)
class Table:
    """
    Args:
        path (`Path`): Of the file.
        name (`str`): How errors call it: its path below the dataset's folder.
        columns (`dict[str, list]`): Values by column; of a CSV file all are strings, an empty one is None.
        first_line (`int`): Line or row number of the first value, for errors.
    """

    path: Path
    name: str
    columns: dict[str, list[Any]]
    first_line: int = 1

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), []))

    def line(self, row: int) -> str:
        """How errors call a row."""
        return f"line {row + self.first_line} of {self.name}"

    def texts(self, column: str) -> list[str | None]:
        """The values as text, whole floats without their point; None for a missing one and for what is no text."""
        return [as_text(value) for value in self.columns[column]]


def as_text(value: Any) -> str | None:
    """One value as it would stand in a file name or a list of classes."""
    if isinstance(value, str):
        return value.strip() or None
    if isinstance(value, float):
        return None if math.isnan(value) else str(int(value)) if value.is_integer() else str(value)
    return str(int(value)) if isinstance(value, int) else None


def read_table(path: Path, name: str) -> Table:
    """
    Read a table by the ending of its name.

    Raises:
        `ValueError`: for a file that is no table, with the line where it shows.
    """
    kind = path.suffix.lower()
    if kind == ".parquet":
        return Table(path, name, _parquet_columns(path))
    text = _text(path, name)
    if kind in (".jsonl", ".json"):
        return Table(path, name, _json_columns(text, name) if kind == ".jsonl" else _json_table(text, name))
    columns, first = _csv_columns(text, name, kind)
    return Table(path, name, columns, first)


def without_header(table: Table) -> Table:
    """The same CSV file read as one whose first line is a row too; columns are called `column 1`, `column 2`, ..."""
    columns = {
        f"column {number}": [name or None, *values]
        for number, (name, values) in enumerate(table.columns.items(), start=1)
    }
    return Table(table.path, table.name, columns, 1)


def _text(path: Path, name: str) -> str:
    content = path.read_bytes()
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ValueError(
            f"line {line} of {name} is not UTF-8 text ({error.reason}); save the table as UTF-8"
        ) from None


def _csv_columns(text: str, name: str, kind: str) -> tuple[dict[str, list[Any]], int]:
    delimiter = "\t" if kind == ".tsv" else None
    marked = re.match(r"sep=(.)\r?\n", text)  # Excel's
    skipped = 0
    if marked:
        delimiter, text, skipped = marked[1], text[marked.end() :], 1
    lines = [line for line in text.splitlines()[:_SNIFFED_LINES] if line.strip()]
    if not lines:
        return {}, 2
    if delimiter is None:
        marks = _DELIMITERS if kind == ".txt" else _DELIMITERS[:-1]
        delimiter = max(marks, key=lambda mark: (_consistent(lines, mark), -marks.index(mark)))
    header: list[str] | None = None
    rows: list[list[str]] = []
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    first = 2
    try:
        for row in reader:
            if not any(value.strip() for value in row):
                continue
            if header is None:
                header, first = [value.strip() for value in row], reader.line_num + 1 + skipped
                continue
            if len(row) != len(header):
                raise ValueError(
                    f"line {reader.line_num} of {name} has {len(row)} fields, but its first line has {len(header)}"
                )
            rows.append(row)
    except csv.Error as error:
        raise ValueError(f"line {reader.line_num} of {name} cannot be read: {error}") from None
    assert header is not None
    twice = [column for column, number in Counter(header).items() if number > 1 and column]
    if twice:
        raise ValueError(f"{name} has two columns called {twice[0]!r}")
    values = list(zip(*rows, strict=True)) or [()] * len(header)
    columns: dict[str, list[Any]] = {}
    for column, own in zip(header, values, strict=True):
        # A column without a name is the row number that pandas writes.
        columns[column or f"(unnamed {len(columns) + 1})"] = [value.strip() or None for value in own]
    return columns, first


def _consistent(lines: list[str], delimiter: str) -> int:
    """Fields of the first line if the next lines have as many, else 0."""
    try:
        counts = [len(row) for row in csv.reader(lines, delimiter=delimiter)]
    except csv.Error:
        return 0
    # The last of them may be the cut half of a quoted field.
    return counts[0] if counts[0] > 1 and len(set(counts[:-1] or counts)) == 1 else 0


def _json_columns(text: str, name: str) -> dict[str, list[Any]]:
    rows = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        row = parse_json(line, f"line {number} of {name}", strict=False)
        if not isinstance(row, dict):
            raise ValueError(f"line {number} of {name} is no JSON object")
        rows.append(row)
    keys = dict.fromkeys(key for row in rows for key in row)
    return {key: [row.get(key) for row in rows] for key in keys}


def _json_table(text: str, name: str) -> dict[str, list[Any]]:
    """A list of records, or labels by file name."""
    content = parse_json(text, name, strict=False)
    if isinstance(content, dict) and content and all(isinstance(value, str | int) for value in content.values()):
        return {"file_name": list(content), "label": list(content.values())}
    if isinstance(content, list) and content and all(isinstance(row, dict) for row in content):
        return {key: [row.get(key) for row in content] for key in dict.fromkeys(key for row in content for key in row)}
    raise ValueError(f"{name} is no table: it must hold a list of objects, or one object of labels by file name")


def _parquet_columns(path: Path) -> dict[str, list[Any]]:
    try:
        return pq.read_table(path).to_pydict()
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path} cannot be read as parquet: {error}") from error
