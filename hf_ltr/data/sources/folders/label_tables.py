"""The tables of a folder that say something about its images, and which of them hold labels."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ....naming import some
from ..columns import IMAGE_NAMES, LABEL_NAMES, PATH_NAMES
from ..source_options import SourceOptions
from ..split_names import given_name, meanings, words
from . import label_columns
from .class_folders import ClassFolders, single_class, suspicion
from .image_names import ImageNames, NamedImages
from .label_columns import LABEL_WORDS, split_column, usual
from .parquet_folders import holds_images
from .scan import Tree
from .tables import MORE_ENDINGS, TABLE_ENDINGS, Table, read_table, without_header

EITHER_WAY = "labels_from='folders' takes the folders"
# The split of tables where nothing says one.
_ALL = "all"


@dataclass
class LabelTable:
    """A table that names images, and what was found in it."""

    table: Table
    column: str
    images: NamedImages
    too: set[str]
    split: str | None = None
    label: str | None = None
    names: list[str | None] | None = None

    @property
    def path(self) -> Path:
        """Of the table, below the dataset's folder."""
        path = Path(self.table.name)
        return Path(path.name) if path.is_absolute() else path

    @property
    def is_named(self) -> bool:
        """Whether the table's name, or its folder's, says a split."""
        return any(meanings(part) for part in self.path.with_suffix("").parts)

    @property
    def is_called_labels(self) -> bool:
        """Whether the name of the table or of its column says that labels are there, and not only the values."""
        called = set(words(self.path.stem)) & {*LABEL_WORDS, "class", "classes"} or meanings(self.path.stem)
        return bool(called) or label_columns.is_label_name(self.label or "")

    @property
    def meanings(self) -> frozenset[str]:
        """The splits that the name says."""
        return meanings(given_name(self.path, pieces=False)) if self.is_named else frozenset()

    def split_names(self, names: ImageNames, otherwise: str | None) -> list[str | None]:
        """
        What the split of each row is called: by a column, by the table's own name (`otherwise`, beside tables that are
        named after splits), or by the folder of its image; None for a row without image.
        """
        if self.split is not None:
            return [value or "(none)" for value in self.table.texts(self.split)]
        if self.is_named or otherwise is not None:
            name = given_name(self.path, pieces=False) if self.is_named else otherwise
            return [name] * len(self.table)
        for row in self.images.ambiguous:
            raise self.several(row, names)
        found: list[str | None] = []
        for image in self.images.images:
            folder = names.files[image][0] if image >= 0 else ()
            named = next((part for part in reversed(folder) if meanings(part)), None)
            found.append(None if image < 0 else named or "")
        if not any(found):
            return [None if name is None else _ALL for name in found]
        top = [names.files[image][0][:1] if image >= 0 else () for image in self.images.images]
        return [
            name if name is None else name or "".join(folder) or "." for name, folder in zip(found, top, strict=True)
        ]

    def several(self, row: int, names: ImageNames) -> ValueError:
        """The error for a row that could mean several images."""
        value = self.table.texts(self.column)[row]
        images = " or ".join(map(names.shown, self.images.ambiguous[row][:2]))
        return ValueError(
            f"{self.table.line(row)} names {value!r}, which could be {images}; write the folder before it, or "
            f"read the folders ({EITHER_WAY})"
        )


def find_tables(
    tree: Tree, names: ImageNames, labels_from: str | None, given: str | None
) -> tuple[list[LabelTable], list[Table]]:
    """
    `(tables that name images, other tables)`; `given` is the image column, if the user says it.

    Raises:
        `ValueError`: for a table that cannot be read.
        `FileNotFoundError`: for one that is not there.
    """
    found, unmatched = [], []
    for path in _table_files(tree, labels_from):
        name = os.path.relpath(path, tree.root) if path.is_relative_to(tree.root) else str(path)
        try:
            table = read_table(path, name)
        except ValueError as error:
            raise ValueError(f"{error}. If it says nothing about the images, {EITHER_WAY}") from error
        if given is not None and given not in table.columns:
            unmatched.append(table)
            continue
        named = label_columns.image_column(table, names, tree.root, given)
        if given is None and named is not None and path.suffix.lower() in (".csv", ".tsv", ".txt"):
            # A first line that names an image is no header.
            if names.find([named[0]], path, tree.root).distinct:
                table = without_header(table)
                named = label_columns.image_column(table, names, tree.root, None)
        if named is None:
            unmatched.append(table)
        else:
            found.append(LabelTable(table, *named))
    return found, unmatched


def has_tables(tree: Tree) -> bool:
    """Whether there is a file that could be a table of labels."""
    return any(name.lower().endswith(TABLE_ENDINGS) for names in tree.others.values() for name in names)


def _table_files(tree: Tree, labels_from: str | None) -> list[Path]:
    if labels_from is not None:
        files = []
        for name in labels_from.split("+"):
            path = next((path for path in (tree.root / name, Path(name).expanduser()) if path.is_file()), None)
            if path is None:
                raise FileNotFoundError(f"labels_from={name!r}: there is no such file in {tree.root}")
            if path.suffix.lower() not in (*TABLE_ENDINGS, *MORE_ENDINGS):
                kinds = ", ".join((*TABLE_ENDINGS, *MORE_ENDINGS))
                raise ValueError(f"labels_from={name!r} is no table that can be read ({kinds})")
            files.append(path)
        return files
    files = [
        Path(tree.path(folder, name))
        for folder, names in sorted(tree.others.items())
        for name in names
        if name.lower().endswith(TABLE_ENDINGS) and not set(words(name)) & {"submission", "submissions"}
    ]
    return [file for file in files if file.suffix.lower() != ".parquet" or not holds_images(file)]


def explain_unmatched(tree: Tree, names: ImageNames, tables: Sequence[Table], options: SourceOptions) -> None:
    """Say why a table that is asked for, or that could be meant, names no image (`ValueError`)."""
    root, given, labels_from = tree.root, options.image_column, options.labels_from
    no_classes = tree.images and (single_class(tree) or suspicion(tree) is not None)
    asked = [
        table
        for table in tables
        if labels_from is not None or no_classes or options.label_column in table.columns or _is_meant(table, names)
    ]
    if given is not None and tables:
        with_column = [table for table in tables if given in table.columns]
        if not with_column:
            raise ValueError(f"There is no image column {given!r} beside the images of {root}: {_columns_of(tables)}")
        asked = with_column
    if not asked:
        return
    table = asked[0]
    if not len(table):
        raise ValueError(f"{table.name}, beside the images of {root}, has no rows")
    columns = [given] if given is not None else list(table.columns)
    values = [f"{column}={next((v for v in table.texts(column) if v), None)}" for column in columns]
    folder, files = next(iter(tree.images.items()), ((), []))
    example = f"its images are such as {'/'.join((*folder, files[0]))}" if files else "it has no images"
    hint = "" if labels_from is not None else f". If the table is about something else, {EITHER_WAY}"
    raise ValueError(f"{table.name} names no image of {root}: it begins with {some(values)}, and {example}{hint}")


def _is_meant(table: Table, names: ImageNames) -> bool:
    """Whether a table is hardly about anything but the images, although it names none."""
    own = {usual(column) for column in table.columns}
    if own & {*LABEL_NAMES} and own & {*IMAGE_NAMES, *PATH_NAMES, "image_id", "image_name"}:
        return True
    return any(2 * names.alike(table.texts(column)) > len(table) for column in table.columns)


def find_labels(found: Sequence[LabelTable], given: str | None, folders: ClassFolders | None) -> None:
    """
    The label column of every table, completed in place; other splits have that of training.

    Args:
        given (`str`, *optional*): The column, if the user says it.
        folders ([`~hf_ltr.data.sources.folders.class_folders.ClassFolders`], *optional*): Another reading, for errors.

    Raises:
        `ValueError`: if no table has labels and one has several columns that could be.
    """
    training = [one for one in found if not one.is_named or "train" in one.meanings] or list(found)
    problem: ValueError | None = None
    for one in training:
        try:
            _find_label(one, given)
        except ValueError as error:
            problem = problem or error
    columns = {one.label for one in training if one.names is not None}
    if problem is not None and not columns:
        raise ValueError(f"{problem}{f'; {EITHER_WAY}' if folders is not None else ''}") from problem
    for one in found:
        if one not in training:
            try:
                _find_label(one, next((column for column in columns if column in one.table.columns), given))
            except ValueError:
                continue
            if one.label not in columns:  # another kind of label, or none
                one.label = one.names = None


def _find_label(one: LabelTable, given: str | None) -> None:
    one.split = split_column(one.table, {*one.too, *([given] if given else [])})
    label = label_columns.label_column(one.table, one.too | ({one.split} if one.split else set()), given)
    if label is not None:
        one.label, one.names = label


def chosen_tables(found: list[LabelTable], root: Path, labels_from: str | None) -> list[LabelTable]:
    """Tables with labels, and those of splits that have none; several that do not share out the splits are refused."""
    if len(found) == 1 or labels_from is not None:
        return found
    labelled = [one for one in found if one.names is not None]
    covered = frozenset[str]().union(*(one.meanings for one in labelled))
    for one in labelled:
        same = [other for other in labelled if other.meanings == one.meanings]
        if len(same) > 1 and (not one.is_named or len({other.label for other in same}) > 1):
            tables = [other.table.name for other in same]
            raise ValueError(
                f"{root} has several tables with labels: {some(tables)}. Say which with labels_from='{tables[0]}' "
                f"(several: labels_from='{'+'.join(tables[:2])}'), or {EITHER_WAY}"
            )
    bare = [one for one in found if one.names is None and one.is_named and not one.meanings & covered]
    return [one for one in found if one in labelled or one in bare] or found


def no_label(found: Sequence[LabelTable], given: str | None, root: Path) -> str:
    """What to say where tables name images and have no labels."""
    columns = _columns_of([one.table for one in found])
    if given is not None:
        return f"There is no label column {given!r} beside the images of {root}: {columns}"
    return f"No label column was recognised beside the images of {root}: {columns}. Name it with label_column="


def _columns_of(tables: Sequence[Table]) -> str:
    return "; ".join(f"{table.name} has {', '.join(table.columns)}" for table in tables)
