"""Which column of a table names the images, and which the classes."""

from __future__ import annotations

import re
import warnings
from collections.abc import Collection, Sequence
from typing import Any

from ..columns import IMAGE_NAMES, LABEL_NAMES, PATH_NAMES
from ..split_names import is_split_word, words
from .image_names import ImageNames, NamedImages
from .tables import Table, as_text

# Usual names beyond those that a column of a dataset on the Hub may have.
_LABELS = (
    *LABEL_NAMES,
    *("label_name", "class_id", "category_id", "label_id", "breed", "dx", "diagnosis", "target_name"),
)
# In the name of a file with labels.
LABEL_WORDS = frozenset(("label", "labels", "annotation", "annotations", "groundtruth", "truth", "targets"))
_IMAGES = (*IMAGE_NAMES, *PATH_NAMES, "image_id", "image_name", "img_name", "id", "filepaths", "files", "images")
_SPLITS = ("split", "set", "subset", "partition", "data_set", "dataset", "usage", "phase")
_BITS = {"0": 0, "1": 1, "0.0": 0, "1.0": 1, "0.": 0, "1.": 1}


def usual(column: str) -> str:
    """A column's name as lists of usual names spell it: `ClassId`, `class id` -> `class_id`."""
    return "_".join(words(column))


def is_label_name(column: str) -> bool:
    """Whether a column is called what labels are; several columns, of one class each, have names of classes."""
    return usual(column) in _LABELS or ", " in column


def image_column(
    table: Table, names: ImageNames, root: Any, given: str | None
) -> tuple[str, NamedImages, set[str]] | None:
    """
    `(column, images, columns that name images too)`: the column whose values name most images, of several the one with
    a usual name; None where no column names an image.

    Raises:
        `ValueError`: for several columns that name other images each.
    """
    found: dict[str, NamedImages] = {}
    # Labels that are numbers name images that are numbered.
    own = [column for column in table.columns if usual(column) not in LABEL_NAMES]
    for column in own if given is None else [given]:
        named = names.find(table.texts(column), table.path, root)
        if named.distinct:
            found[column] = named
    if not found:
        return None
    most = max(named.distinct for named in found.values())
    best = {column: named for column, named in found.items() if named.distinct == most}
    if len({tuple(named.images) for named in best.values()}) > 1:
        best = {column: named for column, named in best.items() if usual(column) in _IMAGES} or best
    first = next(iter(best))
    if len({tuple(named.images) for named in best.values()}) > 1:
        raise ValueError(
            f"Several columns of {table.name} name images: {', '.join(best)}. Say which with image_column='{first}'"
        )
    too = {column for column, named in found.items() if 2 * named.distinct > most and usual(column) not in _LABELS}
    return first, best[first], too | {first}


def split_column(table: Table, taken: Collection[str]) -> str | None:
    """A column with a usual name whose values are splits; one called `split` whatever it holds."""
    for column in table.columns:
        if column in taken or usual(column) not in _SPLITS:
            continue
        values = set(table.texts(column))
        if values and (usual(column) == "split" or all(value and is_split_word(value) for value in values)):
            return column
    return None


def label_column(table: Table, taken: Collection[str], given: str | None) -> tuple[str, list[str | None]] | None:
    """
    `(column, class of every row)`, a class being None for a row without; None where no column can hold classes.

    By the name of the column (`given`, if the user says it), else the only column besides those `taken` by something
    else that can be classes, else columns of 0 and 1, one for each class (one-hot).

    Raises:
        `ValueError`: if it cannot be told, with the candidates.
    """
    if given is not None:
        if given not in table.columns:
            return None
        return given, table.texts(given)
    columns = [column for column in table.columns if column not in taken and not column.startswith("(unnamed")]
    distinct = {column: set(table.texts(column)) - {None} for column in columns if _could_be_classes(table, column)}
    named = [column for column in columns if usual(column) in _LABELS and column in distinct]
    if len(named) > 1 and LABEL_NAMES[0] in map(usual, named):
        named = [column for column in named if usual(column) == LABEL_NAMES[0]]
    if len(named) > 1 and _same_classes(table, named):
        # Names and numbers of the same classes: names say more.
        named = [column for column in named if not _all_numbers(distinct[column])][:1] or named[:1]
    if len(named) == 1:
        return named[0], table.texts(named[0])
    if not named:
        bits = [column for column in columns if _is_bits(table, column)]
        others = [column for column in distinct if column not in bits and 1 < len(distinct[column]) < len(table)]
        if len(bits) > 1 and (len(bits) > 2 or not others):
            return ", ".join(bits), one_hot(table, bits)
        candidates = [column for column in distinct if 1 < len(distinct[column]) < len(table)]
        if len(candidates) == 1:
            return candidates[0], table.texts(candidates[0])
        named = candidates
    if not named:
        return None
    shown = ", ".join(f"{column} ({len(distinct[column])} values)" for column in named)
    raise ValueError(
        f"Several columns of {table.name} could be the label: {shown}. Say which with label_column=<name>"
    )


def one_hot(table: Table, columns: Sequence[str]) -> list[str | None]:
    """
    The class of every row of a table with a column of 0 and 1 for each class; rows with none or several, which have no
    class of their own, are refused.
    """
    rows = list(zip(*(table.texts(column) for column in columns), strict=True))
    sums = [sum(_BITS[value or "0"] for value in row) for row in rows]
    wrong = [row for row, number in enumerate(sums) if number != 1]
    if wrong:
        several = sum(sums[row] > 1 for row in wrong)
        raise ValueError(
            f"The columns {', '.join(columns)} of {table.name} are 0 and 1, as of one column for each class, but "
            f"{several} rows have several 1 and {len(wrong) - several} have none, such as {table.line(wrong[0])}. "
            "Images of several classes are not what this package is for: keep the rows with one class, or write the "
            "class into a column and name it with label_column="
        )
    names: list[str | None] = [columns[[_BITS[value or "0"] for value in row].index(1)] for row in rows]
    without = [column for column in columns if column not in set(names)]
    if without:
        warnings.warn(f"No row of {table.name} is of {', '.join(without)}, which become no class.", stacklevel=6)
    return names


def _could_be_classes(table: Table, column: str) -> bool:
    for value in table.columns[column]:
        if value is None:
            continue
        text = as_text(value)
        if text is None or re.fullmatch(r"-?\d*\.\d*[1-9]\d*(e-?\d+)?", text):
            return False
    return True


def _is_bits(table: Table, column: str) -> bool:
    values = set(table.texts(column))
    return bool(values) and values <= set(_BITS)


def _all_numbers(values: Collection[str | None]) -> bool:
    return all(re.fullmatch(r"-?\d+(\.0*)?", value or "") for value in values)


def _same_classes(table: Table, columns: Sequence[str]) -> bool:
    first = table.texts(columns[0])
    return all(
        len(set(first)) == len(set(other)) == len(set(zip(first, other, strict=True)))
        for other in map(table.texts, columns[1:])
    )
