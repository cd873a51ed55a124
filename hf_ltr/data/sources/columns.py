"""Find the image and the label column whatever they are called, and put the classes in an explicit order."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import ClassLabel, Image, Value

from ..arrow import arrow_column
from ..labels import MOST_UNNAMED_CLASSES, column_labels, outside, require_classes, require_labelled

# Usual names; the first wins wherever it occurs, the others count only where they are the one candidate.
IMAGE_NAMES = ("image", "img", "picture", "photo", "pixel_values", "jpg", "png", "webp", "bytes")
PATH_NAMES = ("path", "file", "file_path", "filepath", "image_path", "img_path", "file_name", "filename", "image_file")
LABEL_NAMES = (
    *("label", "labels", "fine_label", "class", "class_label", "class_name"),
    *("category", "target", "cls", "species"),
)
_STRINGS = ("string", "large_string")
_BINARY = ("binary", "large_binary")


def find_columns(data: Any, image_column: str | None, label_column: str | None) -> tuple[str, str]:
    """
    `(image column, label column)` of a split: what the user says, or what can be told.

    The image is the one `Image` feature, else the one column of bytes, of `{bytes, path}` or of paths under a usual
    name; the label is `label`, else the one `ClassLabel`, else the one integer or string column under a usual name.

    Raises:
        `ValueError`: if a column is not there, cannot hold images or labels, or cannot be told; the columns that were
            found are listed.
    """
    return _image_column(data, image_column), _label_column(data, label_column)


def _listing(data: Any) -> str:
    return ", ".join(
        f"{name} ({getattr(feature, 'dtype', None) if type(feature).__name__ == 'Value' else type(feature).__name__})"
        for name, feature in data.features.items()
    )


def _holds_images(feature: Any) -> bool:
    if isinstance(feature, dict):
        return "bytes" in feature and set(feature) <= {"bytes", "path"}
    if isinstance(feature, Image):
        return True
    return isinstance(feature, Value) and feature.dtype in (*_BINARY, *_STRINGS)


def _holds_labels(feature: Any) -> bool:
    if isinstance(feature, ClassLabel):
        return True
    return isinstance(feature, Value) and (feature.dtype in _STRINGS or feature.dtype.lstrip("u").startswith("int"))


def _given(data: Any, column: str, what: str, fits: bool) -> str:
    if column not in data.column_names:
        raise ValueError(f"There is no {what} column {column!r}; the columns are {_listing(data)}")
    if not fits:
        kinds = {"image": "images, bytes or paths", "label": "classes, integers or strings"}
        raise ValueError(f"{what}_column={column!r} does not hold {kinds[what]}; the columns are {_listing(data)}")
    return column


def _image_column(data: Any, given: str | None) -> str:
    if given is not None:
        return _given(data, given, "image", _holds_images(data.features.get(given)))
    images = [name for name, feature in data.features.items() if isinstance(feature, Image)]
    if not images:
        # Parquet files that were not written by `datasets` hold images as bytes, as {bytes, path}, or as paths.
        fitting = {name: feature for name, feature in data.features.items() if _holds_images(feature)}
        strings = [name for name in fitting if isinstance(fitting[name], Value) and fitting[name].dtype in _STRINGS]
        images = [name for name in fitting if name not in strings]
        images = images or [name for name in strings if name in IMAGE_NAMES]
        images = images or [name for name in strings if name.lower() in PATH_NAMES]
    return _only(data, images, IMAGE_NAMES[0], "image")


def _label_column(data: Any, given: str | None) -> str:
    if given is not None:
        return _given(data, given, "label", given in data.features and _holds_labels(data.features[given]))
    labels = [name for name, feature in data.features.items() if _holds_labels(feature)]
    if LABEL_NAMES[0] in labels:
        return LABEL_NAMES[0]
    classes = [name for name in labels if isinstance(data.features[name], ClassLabel)]
    return _only(data, classes or [name for name in labels if name.lower() in LABEL_NAMES], LABEL_NAMES[0], "label")


def _only(data: Any, candidates: list[str], preferred: str, what: str) -> str:
    if len(candidates) == 1:
        return candidates[0]
    if preferred in candidates:
        return preferred
    problem = f"No {what} column was recognised" if not candidates else f"Several columns could be the {what}"
    raise ValueError(
        f"{problem}{': ' + ', '.join(candidates) if candidates else ''}. The columns are {_listing(data)}. Name the "
        f"one to use with {what}_column=."
    )


def distinct_labels(data: Any, column: str) -> set[Any]:
    """
    The values of a label column, without those that mean none: large public sets ship test splits in which all are -1,
    empty or null.
    """
    values = arrow_column(data, column)
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    return set(values.unique().to_pylist()) - {None, -1, "", "-1"}


def standardize(
    data: Any,
    image_column: str,
    label_column: str,
    names: list[str],
    split: str = "train",
    folder: Path | None = None,
) -> Any:
    """
    The same rows with columns `image` (an `Image` feature) and `label` (a `ClassLabel` over `names`); other columns
    stay, one that is in the way gets the suffix `_original`. Relative paths of images are meant from `folder`.

    Raises:
        `ValueError`: for a label outside the classes, with its row and split.
    """
    for role, column in (("image", image_column), ("label", label_column)):
        if column == role:
            continue
        if role in data.column_names:
            spare = f"{role}_original"
            while spare in data.column_names:
                spare += "_"
            data = data.rename_column(role, spare)
        data = data.rename_column(column, role)
    feature = data.features["image"]
    if isinstance(feature, Value) and feature.dtype in _STRINGS:
        data = _with_paths(data, folder)
    elif isinstance(feature, Value) and feature.dtype == "large_binary":
        # What polars writes; `datasets` casts only ordinary bytes to images.
        data = data.cast_column("image", Value("binary"))
    if not isinstance(feature, Image):
        data = data.cast_column("image", Image())
    return _relabel(data, names, split)


def _with_paths(data: Any, folder: Path | None) -> Any:
    paths = arrow_column(data, "image").to_pylist()
    if folder is not None:
        paths = [path if path is None or "://" in path else os.path.join(folder, path) for path in paths]
    columns = data.column_names
    # Ordinary strings: `datasets` casts no large ones to images.
    data = data.remove_columns("image").add_column("image", paths, feature=Value("string"))
    return data.select_columns(columns)


def class_names(splits: dict[str, Any], label_column: str) -> list[str]:
    """
    The classes of all splits in one explicit order: that of the `ClassLabel`, sorted for strings, `0..max` for
    integers. Names that are whole numbers in the order of strings are put into the order of numbers, with a warning.

    Raises:
        `ValueError`: if the splits name other classes than the training split, or a label is missing or negative.
    """
    declared = {name: getattr(split.features[label_column], "names", None) for name, split in splits.items()}
    if any(declared.values()):
        return _declared_names(declared, label_column)
    values: set[Any] = set()
    for name, split in splits.items():
        column = arrow_column(split, label_column)
        require_labelled(column, label_column, name)
        values.update(column.unique().to_pylist())
    if not values:
        raise ValueError("The dataset has no rows")
    if all(isinstance(value, str) for value in values):
        return numeric_order(sorted(values))
    if not all(isinstance(value, int) for value in values):
        kinds = sorted({type(value).__name__ for value in values})
        raise ValueError(
            f"Labels must be strings or integers in every split, but column {label_column!r} holds {', '.join(kinds)}"
        )
    return _numbers_as_names(
        {name: column_labels(split, label_column) for name, split in splits.items()}, label_column
    )


def _numbers_as_names(labels: Mapping[str, np.ndarray], label_column: str) -> list[str]:
    """Unnamed integers mean the classes 0, 1, ... up to the highest of all splits."""
    for split, own in labels.items():
        wrong = outside(own)
        if wrong is not None:
            raise ValueError(f"Row {wrong.row} of {split} has label {wrong.label}; labels must not be negative")
    values = set(np.unique(np.concatenate(list(labels.values()))).tolist())
    highest = max(values)
    if highest >= MOST_UNNAMED_CLASSES:
        raise ValueError(
            f"Column {label_column!r} holds integers up to {highest}, which are ids rather than classes 0, 1, ...; "
            "make them strings, so that each becomes a class name"
        )
    for split, own in labels.items():
        if len(own) and own.max() == highest:
            require_classes(own, f"{split}, column {label_column!r},", values)
    absent = sorted(set(range(highest + 1)) - values)
    if absent:
        shown = ", ".join(map(str, absent[:10])) + (", ..." if len(absent) > 10 else "")
        warnings.warn(
            f"No image has label {shown} in column {label_column!r}, and these classes exist all the same, because "
            f"unnamed labels mean the classes 0..{highest}. If numbering does not start at 0, make the labels "
            "strings.",
            stacklevel=5,
        )
    return [str(value) for value in range(highest + 1)]


def _declared_names(declared: Mapping[str, list[str] | None], label_column: str) -> list[str]:
    """
    The names of the first split; another may name the same, or fewer, in another order: labels are matched by name.
    """
    unnamed = [split for split, names in declared.items() if names is None]
    if unnamed:
        named = ", ".join(split for split in declared if split not in unnamed)
        raise ValueError(
            f"Column {label_column!r} names its classes in {named}, but not in {', '.join(unnamed)}; cast them to the "
            "same ClassLabel"
        )
    (first, names), *others = ((split, list(own)) for split, own in declared.items() if own is not None)
    for split, own in others:
        foreign = sorted(set(own) - set(names))
        if foreign:
            raise ValueError(
                f"The splits do not have the same classes: {split} names {len(foreign)} that {first} does not, such "
                f"as {', '.join(foreign[:5])}"
            )
    # An order that is neither that of strings nor that of numbers was somebody's choice, and stays.
    ordered = numeric_order(names) if names == sorted(names) else names
    if ordered != names:
        # `imagefolder` sorts folder names as strings (0, 1, 10, 100, ...): category 10 would silently be class 2.
        warnings.warn(
            f"The class names are numbers in the order of strings ({', '.join(names[:4])}, ...); they are put into "
            f"numeric order ({', '.join(ordered[:4])}, ...), so that class i is category i where numbering starts at "
            "0.",
            stacklevel=5,
        )
    return ordered


def numeric_order(names: list[str]) -> list[str]:
    """The names sorted as numbers if every one is a whole number, else as they are."""
    if all(name.isascii() and name.isdigit() for name in names):
        return sorted(names, key=lambda name: (int(name), name))
    return list(names)


def _relabel(data: Any, names: list[str], split: str) -> Any:
    """Labels as indices into `names`."""
    own = getattr(data.features["label"], "names", None)
    if own is not None:
        indices = _checked_labels(data, len(own), split)
        if list(own) == names:
            return data
        position = {name: index for index, name in enumerate(names)}
        indices = np.asarray([position[name] for name in own], dtype=np.int64)[indices]
    else:
        values = arrow_column(data, "label")
        if pa.types.is_integer(values.type):
            indices = values.to_numpy(zero_copy_only=False).astype(np.int64)
        else:
            found = pc.index_in(values.cast(pa.string()), value_set=pa.array(names))
            indices = found.to_numpy(zero_copy_only=False)
    columns = data.column_names
    feature = ClassLabel(names=names)
    data = data.remove_columns("label").add_column("label", indices.astype(np.int64), feature=feature)
    return data.select_columns(columns)


def _checked_labels(data: Any, num_classes: int, split: str) -> np.ndarray:
    labels = column_labels(data, split=split)
    wrong = outside(labels, num_classes)
    if wrong is not None:
        raise ValueError(
            f"Row {wrong.row} of {split} has label {wrong.label}, but the label column names {num_classes} classes, "
            f"0..{num_classes - 1} ({wrong.number} such rows)"
        )
    return labels
