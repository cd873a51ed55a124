"""Images whose classes stand in a table: `images/` and `labels.csv`, `train.csv` beside `train/`, `metadata.csv`."""

from __future__ import annotations

import os
import re
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import label_columns
from .class_folders import ClassFolders, find_class_folders, single_class, suspicion, unlabelled
from .image_names import ImageNames, NamedImages
from .label_columns import split_column, usual
from .label_tables import TABLE_ENDINGS, LabelTable, read_table, without_header
from .left_out import endings, some
from .parquet_folders import holds_images
from .scan import Tree, normal
from .split_names import SplitChoice, assign_splits, given_name, meanings, words

_NO_LABEL = (None, "-1")
# The split of tables where nothing says one.
_ALL = "all"
_EITHER_WAY = "labels_from='folders' takes the folders"


@dataclass
class _Labels:
    """A table that names images, and what was found in it."""

    table: LabelTable
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

    def split_names(self, names: ImageNames, otherwise: str | None) -> list[str | None]:
        """
        What a column, the table's own name, or the folder of its image calls the split of each row; None for a row
        without image.

        Args:
            names ([`ImageNames`])
            otherwise (`str`, *optional*): Its name beside tables that are named after splits.
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
            f"{self.table.line(row)} names {value!r}, which could be {images}; write the folder before it"
        )


def labelled_splits(
    tree: Tree,
    *,
    labels_from: str | None = None,
    image_column: str | None = None,
    label_column: str | None = None,
    splits: SplitChoice | None = None,
    needs_train: bool = True,
) -> dict[str, Any] | None:
    """
    The splits of images that a table gives their classes.

    Args:
        tree ([`~hf_ltr.data.scan.Tree`])
        labels_from (`str`, *optional*): The table, below the folder or anywhere; several with `+` between them. By
            default every table in the folder that names images is looked at, and refused where class folders are
            another reading.
        image_column, label_column (`str`, *optional*): Its columns, where their names and values do not say.
        splits (`dict`, *optional*): See [`~hf_ltr.data.split_names.parse_splits`].
        needs_train (`bool`): Whether there must be a training split.

    Returns:
        `dict[str, datasets.Dataset]` with `image` and `label` (text), or those columns under the names that were
        given, and the table's other columns; None where no table has labels, so that folders are what there is.

    Raises:
        `ValueError`: for a table that cannot be read, columns that cannot be told, rows without a label, with several
            images, or with two labels, and for two readings.
    """
    root, names = tree.root, ImageNames(tree)
    found, unmatched = _tables(tree, names, labels_from, image_column)
    if not found:
        _explain_unmatched(tree, unmatched, labels_from, image_column)
        return None
    folders = None if labels_from is not None else _class_folders(tree, splits)
    _find_labels(found, label_column, folders)
    found = _chosen_tables(found, root, labels_from, image_column or label_column)
    if not any(one.names is not None for one in found):
        if folders is not None and label_column is None:
            return None
        raise ValueError(_no_label(found, label_column, root))
    named = any(one.is_named for one in found)
    raw = [one.split_names(names, one.path.stem if named and not one.is_named else None) for one in found]
    own = list(dict.fromkeys(name for values in raw for name in values if name is not None))
    chosen = assign_splits(own, splits, root, needs_train=needs_train, declared=False)
    rows = _rows(found, raw, chosen, names, root)
    explicit = labels_from is not None or image_column is not None or label_column is not None
    if folders is not None and not explicit and not _is_metadata(found):
        _compare_with_folders(rows, folders, names, found[0].table.name)
    _say_left_out(tree, names, found, rows, folders)
    called = (image_column or "image", label_column or "label")
    return {split: _dataset(part, names, tree, called) for split, part in rows.items() if part}


# A row of the result: table, its row, image, class.
_Row = tuple[_Labels, int, int, str]


def _tables(
    tree: Tree, names: ImageNames, labels_from: str | None, given: str | None
) -> tuple[list[_Labels], list[LabelTable]]:
    found, unmatched = [], []
    for path in _table_files(tree, labels_from):
        name = os.path.relpath(path, tree.root) if path.is_relative_to(tree.root) else str(path)
        try:
            table = read_table(path, name)
        except ValueError as error:
            raise ValueError(f"{error}. If it says nothing about the images, {_EITHER_WAY}") from error
        if given is not None and given not in table.columns:
            unmatched.append(table)
            continue
        named = label_columns.image_column(table, names, tree.root, given)
        if given is None and path.suffix.lower() in (".csv", ".tsv") and table.columns:
            # A first line that names an image is no header.
            if names.find(list(table.columns), path, tree.root).distinct:
                table = without_header(table)
                named = label_columns.image_column(table, names, tree.root, None)
        if named is None:
            unmatched.append(table)
        else:
            found.append(_Labels(table, *named))
    return found, unmatched


def _table_files(tree: Tree, labels_from: str | None) -> list[Path]:
    if labels_from is not None:
        files = []
        for name in labels_from.split("+"):
            path = next((path for path in (tree.root / name, Path(name).expanduser()) if path.is_file()), None)
            if path is None:
                raise FileNotFoundError(f"labels_from={name!r}: there is no such file in {tree.root}")
            if path.suffix.lower() not in TABLE_ENDINGS:
                raise ValueError(f"labels_from={name!r} is no table that can be read ({', '.join(TABLE_ENDINGS)})")
            files.append(path)
        return files
    files = [
        Path(tree.path(folder, name))
        for folder, names in sorted(tree.others.items())
        for name in names
        if name.lower().endswith(TABLE_ENDINGS) and not set(words(name)) & {"submission", "submissions"}
    ]
    return [file for file in files if file.suffix.lower() != ".parquet" or not holds_images(file)]


def _explain_unmatched(tree: Tree, tables: Sequence[LabelTable], labels_from: str | None, given: str | None) -> None:
    """Nothing to say where no table asks for it; else why none of them names an image."""
    root = tree.root
    no_classes = tree.images and (single_class(tree) or suspicion(tree) is not None)
    asked = [table for table in tables if labels_from is not None or no_classes or _looks_like_labels(table)]
    if given is not None and tables:
        with_column = [table for table in tables if given in table.columns]
        if not with_column:
            columns = "; ".join(f"{table.name} has {', '.join(table.columns)}" for table in tables)
            raise ValueError(f"There is no image column {given!r} beside the images of {root}: {columns}")
        asked = with_column
    if not asked:
        return
    table = asked[0]
    columns = [given] if given is not None else list(table.columns)
    values = [f"{column}={next((v for v in table.texts(column) if v), None)}" for column in columns]
    folder, files = next(iter(tree.images.items()), ((), []))
    example = f"its images are such as {'/'.join((*folder, files[0]))}" if files else "it has no images"
    hint = "" if labels_from is not None else f". If the table is about something else, {_EITHER_WAY}"
    raise ValueError(f"{table.name} names no image of {root}: it begins with {some(values)}, and {example}{hint}")


def _looks_like_labels(table: LabelTable) -> bool:
    from .columns import IMAGE_NAMES, LABEL_NAMES, PATH_NAMES

    own = {usual(column) for column in table.columns}
    return bool(own & {*LABEL_NAMES}) and bool(own & {*IMAGE_NAMES, *PATH_NAMES, "image_id", "image_name"})


def _class_folders(tree: Tree, splits: SplitChoice | None) -> ClassFolders | None:
    """The other reading, where it is one."""
    if single_class(tree) or suspicion(tree) is not None:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = find_class_folders(tree, splits)
        except (ValueError, FileNotFoundError):
            return None
    return found if len({found.class_of(folder) for folder in tree.images} - {None}) > 1 else None


def _find_labels(found: Sequence[_Labels], given: str | None, folders: ClassFolders | None) -> None:
    of_training: str | None = None
    for one in sorted(found, key=lambda one: not (one.is_named and "train" in meanings(given_name(one.path)))):
        if given is None or given not in one.too:
            one.split = split_column(one.table, {*one.too, *([given] if given else [])})
        taken = one.too | ({one.split} if one.split else set())
        known = of_training if one.is_named and of_training in one.table.columns else given
        try:
            label = label_columns.label_column(one.table, taken, known)
        except ValueError as error:
            raise ValueError(f"{error}{f'; {_EITHER_WAY}' if folders is not None else ''}") from error
        # Another column than in training would be another kind of label.
        if label is not None and (not one.is_named or of_training in (None, label[0])):
            one.label, one.names = label
            of_training = label[0] if one.is_named else of_training


def _chosen_tables(found: list[_Labels], root: Path, labels_from: str | None, column: str | None) -> list[_Labels]:
    """Those that are labels: tables named after splits, or the one with labels."""
    if len(found) == 1 or labels_from is not None:
        return found
    named = [one for one in found if one.is_named]
    labelled = [one for one in found if one.names is not None]
    kept = [one for one in found if one in named or one in labelled]
    if not named and len(kept) > 1:
        tables = [one.table.name for one in kept]
        raise ValueError(
            f"{root} has several tables with labels: {some(tables)}. Say which with labels_from='{tables[0]}' "
            "(several: "
            f"labels_from='{'+'.join(tables[:2])}'), or {_EITHER_WAY}"
        )
    return kept or found


def _no_label(found: Sequence[_Labels], given: str | None, root: Path) -> str:
    columns = "; ".join(f"{one.table.name} has {', '.join(one.table.columns)}" for one in found)
    if given is not None:
        return f"There is no label column {given!r} beside the images of {root}: {columns}"
    return f"No label column was recognised beside the images of {root}: {columns}. Name it with label_column="


def _rows(
    found: Sequence[_Labels],
    raw: Sequence[Sequence[str | None]],
    chosen: SplitChoice,
    names: ImageNames,
    root: Path,
) -> dict[str, list[_Row]]:
    """Rows of each split whose image is there, with a class."""
    whole = _whole_numbers(found)
    rows: dict[str, list[_Row]] = {}
    seen: dict[int, tuple[str, str, str]] = {}
    for split, own in chosen.items():
        rows[split], missing, repeated = [], [], []
        labels: list[str | None] = []
        for one, calls in zip(found, raw, strict=True):
            for row, name in enumerate(calls):
                image = one.images.images[row]
                if name not in own and not (name is None and set(calls) - {None} <= set(own)):
                    continue
                label = one.names[row] if one.names is not None else None
                label = label.split(".")[0] if whole and label is not None else label
                labels.append(label)
                if image < 0:
                    missing.append((one, row, image, label or ""))
                elif row in one.images.ambiguous:
                    raise one.several(row, names)
                elif image not in seen:
                    seen[image] = (split, label or "", one.table.line(row))
                    rows[split].append((one, row, image, label or ""))
                elif seen[image][:2] == (split, label):
                    repeated.append(one.table.line(row))
                else:
                    other, before, line = seen[image]
                    what = f"in {other} and in {split}" if other != split else f"as {before!r} and as {label!r}"
                    raise ValueError(
                        f"The image {names.shown(image)} is listed {what} ({line}, {one.table.line(row)})"
                    )
        _check_labels(split, labels, rows[split], chosen, found, root)
        _say_missing(split, missing, rows[split], root)
        if repeated:
            _warn(f"{len(repeated)} rows name an image a second time and are left out, such as {repeated[0]}.")
    return rows


def _whole_numbers(found: Sequence[_Labels]) -> bool:
    """Whether classes are numbers that were written with a point."""
    labels = {name for one in found for name in one.names or () if name is not None}
    return any("." in name for name in labels) and all(re.fullmatch(r"-?\d+(\.0*)?", name) for name in labels)


def _check_labels(
    split: str,
    labels: Sequence[str | None],
    rows: Sequence[_Row],
    chosen: SplitChoice,
    found: Sequence[_Labels],
    root: Path,
) -> None:
    if not labels or not any(label in _NO_LABEL for label in labels):
        return
    column = next((one.label for one in found if one.label), "label")
    if all(label in _NO_LABEL for label in labels):
        if split == "train":
            raise ValueError(f"The training split of {root} has no labels: all {len(labels):,} rows are without")
        raise unlabelled(root, split, chosen, f"none of its {len(labels):,} rows has one")
    one, row, _, label = next(entry for entry in rows if (entry[3] or None) in _NO_LABEL)
    number = sum(label in _NO_LABEL for label in labels)
    raise ValueError(
        f"{one.table.line(row)} has no label in column {column!r}{f' ({label})' if label else ''} ({number} such "
        "rows of "
        f"{split})"
    )


def _say_missing(split: str, missing: Sequence[_Row], rows: Sequence[_Row], root: Path) -> None:
    if not missing:
        return
    one, row, _, _ = missing[0]
    value = one.table.texts(one.column)[row]
    counts = Counter(entry[3] for entry in missing)
    lost = sorted(set(counts) - {entry[3] for entry in rows})
    what = (
        f"{len(missing):,} of {len(missing) + len(rows):,} rows of {split} name no image of {root}, such as "
        f"{one.table.line(row)} ({value})"
    )
    if lost:
        raise ValueError(
            f"{what}; no image is left of {len(lost)} classes: {some(lost)}. Add the images, or remove these rows"
        )
    _warn(f"{what}, and are left out ({some(f'{name} {number}' for name, number in counts.most_common())}).")


def _is_metadata(found: Sequence[_Labels]) -> bool:
    """`metadata.csv` is what `imagefolder` calls the table that is read in the place of folders."""
    return all(one.table.path.stem.lower() == "metadata" for one in found)


def _compare_with_folders(rows: dict[str, list[_Row]], folders: ClassFolders, names: ImageNames, table: str) -> None:
    """
    Folders that could be classes beside a table of labels: fine where both say the same, or where the folders hold
    images of several classes, so that they are none.
    """
    pairs = [(names.files[image][0], image, label) for part in rows.values() for _, _, image, label in part]
    classes = {folder: folders.class_of(folder) for folder, _, _ in pairs}
    listed = {image for _, image, _ in pairs}
    either = f"labels_from='{table}' takes the table, {_EITHER_WAY}"
    if all(normal(label) == classes[folder] for folder, _, label in pairs):
        away = [
            index for index, (folder, _) in enumerate(names.files) if index not in listed and folders.class_of(folder)
        ]
        if away:
            raise ValueError(
                f"{table} lists a part of the images in the class folders; {len(away)} are not in it, such as "
                f"{names.shown(away[0])}. {either}"
            )
        return
    common = {normal(label) for _, _, label in pairs} & set(classes.values())
    several = len({(folder, label) for folder, _, label in pairs}) > len(classes)
    if several and not common:
        return
    image, label = next((image, label) for folder, image, label in pairs if normal(label) != classes[folder])
    raise ValueError(
        f"{names.shown(image)} could be of the class {names.files[image][0][-1]!r}, by its folder, or {label!r}, by "
        f"{table}. {either}"
    )


def _say_left_out(
    tree: Tree,
    names: ImageNames,
    found: Sequence[_Labels],
    rows: dict[str, list[_Row]],
    folders: ClassFolders | None,
) -> None:
    """Images in no table; an error where a class folder, of which the table knows others, is not in it at all."""
    listed = {image for one in found for image in one.images.images}
    away = [index for index in range(len(names.files)) if index not in listed]
    if not away:
        return
    by_folder = Counter("/".join(names.files[index][0]) or "." for index in away)
    kinds = endings(names.files[index][1] for index in away)
    tables = some(dict.fromkeys(one.table.name for one in found))
    what = (
        f"{len(away)} of {len(names.files)} images of {tree.root} are not listed in {tables} and are left out "
        f"({kinds}; "
        f"{some(f'{folder} {number}' for folder, number in by_folder.most_common())})"
    )
    labels = {normal(label) for part in rows.values() for *_, label in part}
    if folders is not None:
        known = {folders.class_of(folder) for folder in tree.images} - {None}
        lost = sorted(known - labels) if labels <= known else []
        if lost:
            raise ValueError(f"{what}; no image is left of {len(lost)} classes: {some(lost)}. {_EITHER_WAY}")
    _warn(f"{what}.")


def _dataset(rows: Sequence[_Row], names: ImageNames, tree: Tree, called: tuple[str, str]) -> Any:
    from datasets import Dataset, Image

    first = rows[0][0]
    columns: dict[str, list[Any]] = {
        called[0]: [tree.path(*names.files[image]) for _, _, image, _ in rows],
        called[1]: [label for *_, label in rows],
    }
    dropped = {first.label, *(first.label or "").split(", ")}
    for column in first.table.columns:
        if column in dropped or not all(
            column in one.table.columns for one in {id(row[0]): row[0] for row in rows}.values()
        ):
            continue
        spare = column
        while spare in columns:
            spare = f"{column}_original" if spare == column else f"{spare}_"
        columns[spare] = _typed([one.table.columns[column][row] for one, row, _, _ in rows])
    return Dataset.from_dict(columns).cast_column(called[0], Image())


def _typed(values: list[Any]) -> list[Any]:
    """Text that is all numbers becomes numbers; what Arrow cannot hold in one column becomes text."""
    import pyarrow as pa

    texts = [value for value in values if value is not None]
    if texts and all(isinstance(value, str) for value in texts):
        if all(re.fullmatch(r"0|-?[1-9]\d{0,17}", value) for value in texts):
            return [None if value is None else int(value) for value in values]
        if all(re.fullmatch(r"-?\d+\.\d*|0|-?[1-9]\d{0,17}", value) for value in texts):
            return [None if value is None else float(value) for value in values]
    try:
        pa.array(values)
    except (pa.ArrowException, OverflowError):
        return [None if value is None else str(value) for value in values]
    return values


def _warn(message: str) -> None:
    warnings.warn(message, stacklevel=7)
