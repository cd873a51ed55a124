"""Find the image and the label column whatever they are called, and put the classes in an explicit order."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from .class_counts import label_array

# In order of preference, where more than one column could be meant.
IMAGE_NAMES = ("image", "img", "picture", "photo", "pixel_values", "jpg", "png", "webp", "bytes")
LABEL_NAMES = ("label", "fine_label", "labels", "class", "category", "target", "class_label", "cls", "species")


def find_columns(data: Any, image_column: str | None, label_column: str | None) -> tuple[str, str]:
    """
    Args:
        data (`datasets.Dataset`): One split.
        image_column, label_column (`str`, *optional*): What the user says.

    Returns:
        `(image column, label column)`.

    Raises:
        `ValueError`: if a column is not there, or cannot be told; the columns that were found are listed.
    """
    return _image_column(data, image_column), _label_column(data, label_column)


def _listing(data: Any) -> str:
    return ", ".join(f"{name} ({type(feature).__name__})" for name, feature in data.features.items())


def _image_column(data: Any, given: str | None) -> str:
    from datasets import Image, Value

    if given is not None:
        if given not in data.column_names:
            raise ValueError(f"There is no image column {given!r}; the columns are {_listing(data)}")
        return given
    images = [name for name, feature in data.features.items() if isinstance(feature, Image)]
    if not images:
        # Parquet files that were not written by `datasets` hold images as bytes, as {bytes, path}, or as paths.
        images = [
            name
            for name, feature in data.features.items()
            if (isinstance(feature, dict) and set(feature) == {"bytes", "path"})
            or (isinstance(feature, Value) and feature.dtype in ("binary", "large_binary"))
            or (name in IMAGE_NAMES and isinstance(feature, Value) and feature.dtype in ("string", "large_string"))
        ]
    return _only(data, images, IMAGE_NAMES, "image")


def _label_column(data: Any, given: str | None) -> str:
    from datasets import ClassLabel, Value

    if given is not None:
        if given not in data.column_names:
            raise ValueError(f"There is no label column {given!r}; the columns are {_listing(data)}")
        return given
    labels = [name for name, feature in data.features.items() if isinstance(feature, ClassLabel)]
    if not labels:
        labels = [
            name
            for name, feature in data.features.items()
            if name in LABEL_NAMES and isinstance(feature, Value) and feature.dtype not in ("bool", "binary")
        ]
    return _only(data, labels, LABEL_NAMES, "label")


def _only(data: Any, candidates: list[str], preferred: tuple[str, ...], what: str) -> str:
    if len(candidates) == 1:
        return candidates[0]
    for name in preferred:
        if name in candidates:
            return name
    problem = f"No {what} column was recognised" if not candidates else f"Several columns could be the {what}"
    raise ValueError(
        f"{problem}{': ' + ', '.join(candidates) if candidates else ''}. The columns are {_listing(data)}. Name the "
        f"one to "
        f"use with {what}_column=."
    )


def standardize(data: Any, image_column: str, label_column: str, names: list[str] | None) -> Any:
    """
    The same rows with columns `image` (an `Image` feature) and `label` (a `ClassLabel` over `names`); other columns
    stay, one that is in the way gets the suffix `_original`.
    """
    from datasets import Image

    for role, column in (("image", image_column), ("label", label_column)):
        if column == role:
            continue
        if role in data.column_names:
            data = data.rename_column(role, f"{role}_original")
        data = data.rename_column(column, role)
    if not isinstance(data.features["image"], Image):
        data = data.cast_column("image", Image())
    return _relabel(data, names) if names is not None else data


def class_names(splits: dict[str, Any], label_column: str) -> list[str] | None:
    """
    The classes of all splits in one explicit order: that of the `ClassLabel`, sorted for strings, `0..max` for
    integers. Names that are whole numbers are ordered as numbers.

    Raises:
        `ValueError`: if the splits name their classes differently, or labels are neither strings nor integers.
    """
    declared = {name: getattr(split.features[label_column], "names", None) for name, split in splits.items()}
    stated = [tuple(names) for names in declared.values() if names is not None]
    if stated:
        if len(set(stated)) > 1 or len(stated) != len(splits):
            raise ValueError(
                "The splits do not have the same classes: "
                + "; ".join(f"{name}: {len(names or [])} names" for name, names in declared.items())
            )
        names = list(stated[0])
        ordered = numeric_order(names)
        if ordered != names:
            # `imagefolder` sorts folder names as strings (0, 1, 10, 100, ...): category 10 would silently be class 2.
            warnings.warn(
                f"The class names are numbers in the order of strings ({', '.join(names[:4])}, ...); they are put "
                f"into "
                f"numeric order ({', '.join(ordered[:4])}, ...), so that class i is category i where numbering starts "
                f"at 0.",
                stacklevel=4,
            )
        return ordered
    values: set[Any] = set()
    for split in splits.values():
        values.update(_unique(split, label_column))
    if all(isinstance(value, str) for value in values):
        return numeric_order(sorted(values))
    if all(isinstance(value, int) for value in values):
        if min(values) < 0:
            for name, split in splits.items():
                labels = label_array(split, label_column)
                if (labels < 0).any():
                    raise ValueError(
                        f"Row {int(np.argmax(labels < 0))} of {name} has label {labels.min()}; labels must not be "
                        f"negative"
                    )
        return [str(value) for value in range(max(values) + 1)]
    kinds = sorted({type(value).__name__ for value in values})
    raise ValueError(f"Labels must be strings or integers, but column {label_column!r} holds {', '.join(kinds)}")


def numeric_order(names: list[str]) -> list[str]:
    """The names sorted as numbers if every one is a whole number, else as they are."""
    if all(name.isascii() and name.isdigit() for name in names):
        return sorted(names, key=lambda name: (int(name), name))
    return list(names)


def _unique(split: Any, column: str) -> list[Any]:
    table = split.with_format("arrow").select_columns([column])[:]
    values = table.column(column)
    if values.null_count:
        row = int(np.argmax(values.combine_chunks().is_null().to_numpy(zero_copy_only=False)))
        raise ValueError(f"Row {row} has no label in column {column!r} ({values.null_count} such rows)")
    return values.unique().to_pylist()


def _relabel(data: Any, names: list[str]) -> Any:
    """Labels as indices into `names`."""
    import pyarrow as pa
    import pyarrow.compute as pc
    from datasets import ClassLabel

    feature = data.features["label"]
    own = getattr(feature, "names", None)
    if own is not None and list(own) == names:
        _check_range(data, len(names))
        return data
    table = data.with_format("arrow").select_columns(["label"])[:]
    values = table.column("label").combine_chunks()
    if own is not None:
        _check_range(data, len(own))
        position = {name: index for index, name in enumerate(names)}
        mapping = np.asarray([position[name] for name in own], dtype=np.int64)
        indices = mapping[values.to_numpy(zero_copy_only=False)]
    elif pa.types.is_integer(values.type):
        indices = values.to_numpy(zero_copy_only=False).astype(np.int64)
    else:
        indices = pc.index_in(values.cast(pa.string()), value_set=pa.array(names)).to_numpy(zero_copy_only=False)
    columns = data.column_names
    data = data.remove_columns("label").add_column("label", indices.astype(np.int64), feature=ClassLabel(names=names))
    return data.select_columns(columns)


def _check_range(data: Any, num_classes: int) -> None:
    labels = label_array(data, "label")
    bad = (labels < 0) | (labels >= num_classes)
    if bad.any():
        row = int(np.argmax(bad))
        raise ValueError(
            f"Row {row} has label {labels[row]}, but the label column names {num_classes} classes, "
            f"0..{num_classes - 1} "
            f"({int(bad.sum())} such rows)"
        )
