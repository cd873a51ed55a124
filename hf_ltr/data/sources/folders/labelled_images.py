"""Images whose classes stand in a table: `images/` and `labels.csv`, `train.csv` beside `train/`, `metadata.csv`."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
from datasets import Dataset, Image

from ....naming import some
from ..source_options import SourceOptions
from ..split_names import SplitChoice, assign_splits
from .class_folders import ClassFolders, find_class_folders, single_class, suspicion, unlabelled
from .image_names import ImageNames
from .label_columns import is_label_name
from .label_tables import EITHER_WAY, LabelTable, chosen_tables, explain_unmatched, find_labels, find_tables, no_label
from .scan import Tree, endings, normal

_NO_LABEL = (None, "-1")


def labelled_splits(tree: Tree, options: SourceOptions, *, needs_train: bool = True) -> dict[str, Any] | None:
    """
    The splits of images that a table gives their classes.

    Args:
        tree ([`~hf_ltr.data.sources.folders.scan.Tree`]): If the user names no table, every one in it that names
            images is looked at, and refused where class folders are another options.
        options ([`~hf_ltr.data.sources.source_options.SourceOptions`]): What the user says. A table may lie anywhere.
        needs_train (`bool`): Whether there must be a training split.

    Returns:
        `dict[str, datasets.Dataset]` with `image` and `label` (text), or those columns under the names that were
        given, and the table's other columns; None where no table has labels, so that folders are what there is.

    Raises:
        `ValueError`: for a table that cannot be read, columns that cannot be told, rows without a label, with several
            images, or with two labels, and for two readings.
    """
    labels_from, image_column, label_column = options.labels_from, options.image_column, options.label_column
    root, names = tree.root, ImageNames(tree)
    found, unmatched = find_tables(tree, names, labels_from, image_column)
    if not found:
        explain_unmatched(tree, names, unmatched, options)
        return None
    folders = None if labels_from is not None else _class_folders(tree, options.splits)
    find_labels(found, label_column, folders)
    found = chosen_tables(found, root, labels_from)
    if not any(one.names is not None for one in found):
        if folders is not None and label_column in (None, "label"):
            for one in found:
                if one.split is not None:
                    _warn(
                        f"{one.table.name} has a column {one.split!r}, but none with classes, and is not read: the "
                        "splits are those of the folders. With the class of each image in a column of it, it is."
                    )
            return None
        raise ValueError(no_label(found, label_column, root))
    named = any(one.is_named for one in found)
    raw = [one.split_names(names, one.path.stem if named and not one.is_named else None) for one in found]
    own = list(dict.fromkeys(name for values in raw for name in values if name is not None))
    chosen = assign_splits(own, options.splits, root, needs_train=needs_train, declared=False, frames=False)
    rows = _rows(found, raw, chosen, names, root)
    explicit = labels_from is not None or image_column is not None or label_column is not None
    if folders is not None and not explicit and not _is_metadata(found):
        _compare_with_folders(rows, folders, names, found)
    _check_unlisted(tree, names, found, rows, folders)
    called = (image_column or "image", label_column or "label")
    return {split: _dataset(part, names, tree, called) for split, part in rows.items() if part}


class _Row(NamedTuple):
    """A row of the result: where it stands, the index of its image (-1: not there), and its class."""

    table: LabelTable
    row: int
    image: int
    label: str


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


def _rows(
    found: Sequence[LabelTable],
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
                label = None if label is None else normal(label.split(".")[0] if whole else label)
                labels.append(label)
                if image < 0:
                    missing.append(_Row(one, row, image, label or ""))
                elif row in one.images.ambiguous:
                    raise one.several(row, names)
                elif image not in seen:
                    seen[image] = (split, label or "", one.table.line(row))
                    rows[split].append(_Row(one, row, image, label or ""))
                elif seen[image][:2] == (split, label):
                    repeated.append(one.table.line(row))
                else:
                    other, before, line = seen[image]
                    what = f"in {other} and in {split}" if other != split else f"as {before!r} and as {label!r}"
                    raise ValueError(
                        f"The image {names.shown(image)} is listed {what} ({line}, {one.table.line(row)})"
                    )
        _check_labels(split, labels, rows[split], chosen, found, root)
        _check_missing(split, missing, rows[split], root)
        if repeated:
            _warn(f"{len(repeated)} rows name an image a second time and are left out, such as {repeated[0]}.")
    return rows


def _whole_numbers(found: Sequence[LabelTable]) -> bool:
    """Whether classes are numbers that were written with a point."""
    labels = {name for one in found for name in one.names or () if name is not None}
    return any("." in name for name in labels) and all(re.fullmatch(r"-?\d+(\.0*)?", name) for name in labels)


def _check_labels(
    split: str,
    labels: Sequence[str | None],
    rows: Sequence[_Row],
    chosen: SplitChoice,
    found: Sequence[LabelTable],
    root: Path,
) -> None:
    if not labels or not any(label in _NO_LABEL for label in labels):
        return
    column = next((one.label for one in found if one.label), "label")
    if all(label in _NO_LABEL for label in labels):
        if split == "train":
            raise ValueError(f"The training split of {root} has no labels: all {len(labels):,} rows are without")
        raise unlabelled(root, split, chosen, f"none of its {len(labels):,} rows has one")
    one, row, _, label = next(entry for entry in rows if (entry.label or None) in _NO_LABEL)
    number = sum(label in _NO_LABEL for label in labels)
    raise ValueError(
        f"{one.table.line(row)} has no label in column {column!r}{f' ({label})' if label else ''} ({number} such rows "
        f"of {split}): remove these rows, or give them one"
    )


def _check_missing(split: str, missing: Sequence[_Row], rows: Sequence[_Row], root: Path) -> None:
    if not missing:
        return
    one, row, _, _ = missing[0]
    value = one.table.texts(one.column)[row]
    counts = Counter(entry.label for entry in missing)
    lost = sorted(set(counts) - {entry.label for entry in rows})
    what = (
        f"{len(missing):,} of {len(missing) + len(rows):,} rows of {split} name no image of {root}, such as "
        f"{one.table.line(row)} ({value})"
    )
    if lost:
        raise ValueError(
            f"{what}; no image is left of {len(lost)} classes: {some(lost)}. Add the images, or remove these rows"
        )
    _warn(f"{what}, and are left out ({some(f'{name} {number}' for name, number in counts.most_common())}).")


def _is_metadata(found: Sequence[LabelTable]) -> bool:
    """`metadata.csv` is what `imagefolder` calls the table that is read in the place of folders, if it has labels."""
    labelled = all(is_label_name(one.label or "") for one in found if one.names is not None)
    return labelled and all(one.table.path.stem.lower() == "metadata" for one in found)


def _compare_with_folders(
    rows: dict[str, list[_Row]], folders: ClassFolders, names: ImageNames, found: Sequence[LabelTable]
) -> None:
    """
    Folders that could be classes beside a table: fine where both say the same, or where the table is called one of
    labels and the folders hold images of several classes, so that they are none. A table of file sizes or checksums
    has columns of repeated values too.
    """
    table = found[0].table.name
    pairs = [(names.files[image][0], image, label) for part in rows.values() for _, _, image, label in part]
    classes = {folder: folders.class_of(folder) for folder, _, _ in pairs}
    listed = {image for _, image, _ in pairs}
    either = f"labels_from='{table}' takes the table, {EITHER_WAY}"
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
    if several and not common and all(one.is_called_labels for one in found if one.names is not None):
        return
    image, label = next((image, label) for folder, image, label in pairs if normal(label) != classes[folder])
    raise ValueError(
        f"{names.shown(image)} could be of the class {names.files[image][0][-1]!r}, by its folder, or {label!r}, by "
        f"{table}. {either}"
    )


def _check_unlisted(
    tree: Tree,
    names: ImageNames,
    found: Sequence[LabelTable],
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
        f"({kinds}; {some(f'{folder} {number}' for folder, number in by_folder.most_common())})"
    )
    labels = {normal(label) for part in rows.values() for *_, label in part}
    if folders is not None:
        known = {name for folder in tree.images if (name := folders.class_of(folder)) is not None}
        lost = sorted(known - labels) if labels <= known else []
        if lost:
            raise ValueError(f"{what}; no image is left of {len(lost)} classes: {some(lost)}. {EITHER_WAY}")
    _warn(f"{what}.")


def _dataset(rows: Sequence[_Row], names: ImageNames, tree: Tree, called: tuple[str, str]) -> Any:
    first = rows[0].table
    columns: dict[str, list[Any]] = {
        called[0]: [tree.path(*names.files[image]) for _, _, image, _ in rows],
        called[1]: [label for *_, label in rows],
    }
    dropped = {first.label, *(first.label or "").split(", ")}
    for column in first.table.columns:
        if (
            column in dropped
            or column.startswith("(unnamed")
            or not all(column in one.table.columns for one in {id(row.table): row.table for row in rows}.values())
        ):
            continue
        spare = column
        while spare in columns:
            spare = f"{column}_original" if spare == column else f"{spare}_"
        columns[spare] = _typed([one.table.columns[column][row] for one, row, _, _ in rows])
    return Dataset.from_dict(columns).cast_column(called[0], Image())


def _typed(values: list[Any]) -> list[Any]:
    """Text that is all numbers becomes numbers; what Arrow cannot hold in one column becomes text."""
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
