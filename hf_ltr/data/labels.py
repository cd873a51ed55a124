"""
The labels of a dataset and the names of its classes: read from where they are kept, and checked.

They are kept in a column of a `datasets.Dataset` or of a dict of arrays, in an attribute `labels` or `targets`, or
below a torch `Subset` or `ConcatDataset` of such. Where only the items tell, [`read_labels`] reads each of them once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .arrow import arrow_column
from .map_style import is_arrow_dataset, require_column

# Class counts are known before anything heavy is imported: torch is, by the functions here that need it.
if TYPE_CHECKING:
    import torch

LABEL_COLUMNS = ("label", "labels")
# More classes than this, without a name for any, are ids.
MOST_UNNAMED_CLASSES = 100_000
# What mask and label formats write for "no label": the largest value of a type.
_FILLERS = (127, 255, 32_767, 65_535, 2**31 - 1, 2**32 - 1)


def read_labels(
    dataset: Any,
    columns: Sequence[str],
    num_labels: int | None,
    required: bool,
    class_map: Sequence[int] | None = None,
) -> torch.Tensor | None:
    """
    The class index of every row.

    Args:
        dataset: `datasets.Dataset` (its label column is read, transforms are not run), dict of arrays, or a map-style
            dataset: an attribute `labels` or `targets` of the right length (also below a torch `Subset` or
            `ConcatDataset`), else every item is read once.
        columns: Names the label may have, the preferred one first.
        num_labels (`int`, *optional*): Number of classes to check against.
        required (`bool`): Whether a dataset without labels is an error.
        class_map (sequence of `int`, *optional*): Class to return for each of the dataset's own, where it numbers
            them differently; labels are then checked against its length.

    Returns:
        `torch.LongTensor (N,)`, or None.

    Raises:
        ValueError: for a missing label, one that is no class index, or one outside `0..num_labels - 1`; the first
            such row is named.
    """
    import torch

    values, place = _find(dataset, columns, required)
    if values is None:
        return None
    indices = class_indices(values, num_labels if class_map is None else len(class_map), place)
    return torch.from_numpy(indices if class_map is None else np.asarray(class_map, dtype=np.int64)[indices])


def class_indices(values: Any, num_classes: int | None = None, place: str = "") -> np.ndarray:
    """
    One class index per row, as int64; whole floating-point numbers are taken.

    Args:
        values: Array, tensor or list.
        num_classes (`int`, *optional*): To check against.
        place (`str`, *optional*): Where they are from, for the message.

    Raises:
        ValueError: with the first row whose label is missing, no whole number, or outside the classes.
    """
    if hasattr(values, "detach"):  # a tensor; NumPy has no bfloat16
        values = values.detach().cpu()
        values = (values.double() if values.is_floating_point() else values).numpy()
    labels = np.asarray(values)
    if not np.issubdtype(labels.dtype, np.number) and labels.dtype != bool:
        missing = [row for row, value in enumerate(values) if value is None]
        if missing:
            raise ValueError(f"row {missing[0]} has no label ({len(missing)} such rows): remove them")
        raise ValueError(
            f"labels must be class indices, but {place or 'the list'} holds values such as {values[0]!r}; with "
            "datasets, convert them by dataset.class_encode_column(...)"
        )
    if labels.ndim != 1:
        raise ValueError(f"labels must be one class index per row, got an array of shape {labels.shape}")
    wrong = outside(labels, num_classes)
    if wrong is not None:
        classes = f"0..{num_classes - 1}" if num_classes else "0, 1, ..."
        hint = f"check num_labels and {place}" if place else "whole numbers from 0 (-1 usually marks unlabelled rows)"
        raise ValueError(
            f"label of row {wrong.row} is {wrong.label}, outside the classes {classes} ({wrong.number} such "
            f"row{'s' if wrong.number > 1 else ''}); {hint}"
        )
    return labels.astype(np.int64)


def integer_labels(values: Any) -> np.ndarray:
    """Labels that are integers already, as int64; numbers of another kind, text and lists in lists are refused."""
    try:
        labels = np.asarray(values)
    except ValueError:
        raise ValueError("Labels must be one integer per row, got lists of different lengths") from None
    if labels.size and (labels.dtype.kind not in "iu" or labels.ndim != 1):
        raise ValueError(f"Labels must be one integer per row, got {labels.dtype} of shape {labels.shape}")
    return labels.astype(np.int64)


class Outside(NamedTuple):
    """The first row whose label is none of the classes, that label, and how many such rows there are."""

    row: int
    label: Any
    number: int


def outside(labels: np.ndarray, num_classes: int | None = None) -> Outside | None:
    """
    Look for labels that are none of the classes `0 .. num_classes - 1`, or no class at all: negative, no whole number.
    """
    with np.errstate(invalid="ignore"):  # NaN and infinity become some integer, which is not equal to them
        whole = labels.astype(np.int64, copy=False)
    wrong = (whole != labels) | (whole < 0)
    if num_classes is not None:
        wrong |= whole >= num_classes
    if not wrong.any():
        return None
    row = int(np.argmax(wrong))
    return Outside(row, labels[row], int(wrong.sum()))


def require_classes(labels: np.ndarray, where: str = "", elsewhere: Iterable[int] = ()) -> None:
    """
    Refuse unnamed labels that cannot be the classes 0, 1, ..., with the first such row: ids, and the filler of a type
    (255 in uint8).

    Args:
        labels (`np.ndarray`): Not negative.
        where (`str`, *optional*): What they are of, for the message.
        elsewhere (*optional*): Labels of other splits.
    """
    largest = int(labels.max())
    place = f" of {where}" if where else ""
    row = int(np.argmax(labels == largest))
    if largest in _FILLERS and largest - 1 not in elsewhere and not (labels == largest - 1).any():
        raise ValueError(
            f"Row {row}{place} has label {largest}, the usual mark for 'no label', and no row has {largest - 1} "
            f"({int((labels == largest).sum()):,} such rows): remove them; or name the classes (a ClassLabel, or an "
            f"attribute `classes`) if there really are {largest + 1:,}"
        )
    if largest >= MOST_UNNAMED_CLASSES:
        raise ValueError(
            f"Row {row}{place} has label {largest}: labels up to there are ids rather than classes 0, 1, ...; make "
            "them strings, so that each becomes a class name"
        )


def column_labels(dataset: Any, column: str = "label", split: str = "") -> np.ndarray:
    """
    The label column of a `datasets.Dataset`, called `split` in messages, as int64: read from Arrow, no image decoded.

    Raises:
        `ValueError`: for labels that are missing or not integers, with the row.
    """
    values = arrow_column(dataset, column)
    if len(values) == 0:
        return np.zeros(0, dtype=np.int64)
    require_labelled(values, column, split)
    array = values.to_numpy(zero_copy_only=False)
    if array.dtype.kind not in "iu":
        where = f"{column!r} of {split}" if split else f"{column!r}"
        raise ValueError(f"Labels must be integers, but column {where} holds {values.type}, for example {array[0]!r}")
    return array.astype(np.int64)


def require_labelled(values: Any, column: str, split: str = "") -> None:
    """Refuse an Arrow array of labels with missing ones, naming the first such row."""
    if values.null_count:
        row = int(np.argmax(values.is_null().to_numpy(zero_copy_only=False)))
        where = f"Row {row} of {split}" if split else f"Row {row}"
        raise ValueError(f"{where} has no label in column {column!r} ({values.null_count} such rows)")


def stored_labels(dataset: Any) -> Any:
    """
    The label column of a `datasets.Dataset` or a dict of arrays, unchecked: an array, or a list where labels are
    missing; `None` without such a column.
    """
    column = next((name for name in LABEL_COLUMNS if name in _columns(dataset)), None)
    return None if column is None else _stored(dataset, column)


def _stored(dataset: Any, column: str) -> Any:
    if isinstance(dataset, Mapping):
        return dataset[column]
    values = arrow_column(dataset, column)
    return values.to_pylist() if values.null_count else values.to_numpy(zero_copy_only=False)


def _columns(dataset: Any) -> Iterable[str]:
    return dataset if isinstance(dataset, Mapping) else dataset.column_names


def labels_of_rows(dataset: Any) -> Any:
    """
    The labels of a map-style dataset that is no `datasets.Dataset`, as they are kept, unchecked: of a torch `Subset`
    or `ConcatDataset`, or an attribute `labels` or `targets` of the right length. `None` where only the items tell.
    """
    parts, rows = _parts(dataset)
    if parts:
        known = [_known(part) for part in parts]
        if any(values is None for values in known):
            return None
        everything = np.concatenate([np.asarray(values) for values in known])
        if rows is None:
            return everything
        rows = np.asarray(rows, dtype=np.int64)
        if rows.size and (rows.max() >= len(everything) or rows.min() < -len(everything)):
            raise ValueError(f"The Subset names row {rows.max()} of a dataset with {len(everything)} rows")
        return everything[rows]
    # A torchvision dataset with one keeps the labels before it in `targets`.
    if getattr(dataset, "target_transform", None) is not None:
        return None
    for attribute in ("labels", "targets"):
        values = getattr(dataset, attribute, None)
        if values is None or callable(values) or not hasattr(values, "__len__"):
            continue
        if not hasattr(dataset, "__len__") or len(values) == len(dataset):
            return values
    return None


def class_names_of(dataset: Any) -> list[str] | None:
    """
    The names of a dataset's classes in label order: of its label column, or, as in torchvision, of an attribute
    `classes`; `None` where there are none.

    Raises:
        `ValueError`: if the parts of a torch `ConcatDataset` number their classes differently.
    """
    if hasattr(dataset, "column_names"):
        features = getattr(dataset, "features", None) or {}
        for column in LABEL_COLUMNS:
            names = getattr(features.get(column), "names", None)
            if names:
                return [str(name) for name in names]
        return None
    parts, _ = _parts(dataset)
    if parts:
        found = [class_names_of(part) for part in parts]
        for number, names in enumerate(found):
            if names is not None and found[0] is not None and names != found[0]:
                first = next((i for i, (a, b) in enumerate(zip(names, found[0], strict=False)) if a != b), None)
                where = "" if first is None else f": class {first} is {found[0][first]!r} and {names[first]!r}"
                raise ValueError(
                    f"Part 0 and part {number} of the ConcatDataset have other classes, or number them "
                    f"differently{where}. Bring their labels into one order first."
                )
        return found[0] if all(names is not None for names in found) else None
    names = getattr(dataset, "classes", None)
    if isinstance(names, list | tuple) and names and all(isinstance(name, str) for name in names):
        return list(names)
    return None


def _find(dataset: Any, columns: Sequence[str], required: bool) -> tuple[Any, str]:
    """(labels as array or list, or None where there are none; what to call their place)."""
    if isinstance(dataset, Mapping) or hasattr(dataset, "column_names"):
        column = next((name for name in columns if name in _columns(dataset)), None)
        if column is not None:
            return _stored(dataset, column), f"column {column!r}"
        if isinstance(dataset, Mapping) or is_arrow_dataset(dataset):
            return _missing(columns[0], _columns(dataset), required)
    return _from_items(dataset, columns, required)


def _from_items(dataset: Any, columns: Sequence[str], required: bool) -> tuple[Any, str]:
    if len(dataset) == 0:
        return [], "its items"
    known = labels_of_rows(dataset)
    if known is not None and _same_as_items(known, dataset, columns):
        return known, "the labels kept beside its items"
    first = dataset[0]
    key = _label_key(first, columns)
    if key is None:
        return _missing(columns[0], first if isinstance(first, Mapping) else (), required)
    from tqdm.auto import tqdm

    rows = tqdm(range(len(dataset)), desc="Reading labels", unit="row", delay=2.0)
    # As they are: int() would make 0 of 0.7.
    return [_scalar(dataset[row][key]) for row in rows], f"item {key!r}"


def _scalar(label: Any) -> Any:
    """A number out of a tensor or array of one."""
    try:
        return label.item() if hasattr(label, "item") else label
    except (RuntimeError, ValueError):  # several numbers; the array they make says so
        return label


def _label_key(item: Any, columns: Sequence[str]) -> Any:
    """Where an item has its label, or None."""
    if isinstance(item, Mapping):
        return next((column for column in columns if column in item), None)
    return 1 if isinstance(item, Sequence) and len(item) > 1 else None


def _same_as_items(known: Any, dataset: Any, columns: Sequence[str]) -> bool:
    """Whether the first and the last item have the labels that are kept beside them: a wrapper may change them."""
    for row in (0, len(dataset) - 1):
        try:
            item = dataset[row]
        except Exception:
            continue  # an image that cannot be read is named where images are read
        key = _label_key(item, columns)
        if key is not None and item[key] is not None and item[key] != known[row]:
            return False
    return True


def _missing(column: str, found: Iterable[str], required: bool) -> tuple[None, str]:
    if required:
        require_column(column, found, "label")
    return None, ""


def _known(dataset: Any) -> Any:
    """Labels of a dataset of any kind that are known without its items."""
    if hasattr(dataset, "column_names") and not isinstance(dataset, Mapping):
        column = next((name for name in LABEL_COLUMNS if name in dataset.column_names), None)
        return None if column is None else column_labels(dataset, column)
    return labels_of_rows(dataset)


def _parts(dataset: Any) -> tuple[Sequence[Any], Any]:
    """
    (the datasets below, the rows taken of them if not all) of a torch `Subset` or `ConcatDataset`; none of another
    kind, and none of a subclass with items of its own.
    """
    from torch.utils.data import ConcatDataset, Subset

    if isinstance(dataset, Subset) and type(dataset).__getitem__ is Subset.__getitem__:
        return [dataset.dataset], dataset.indices
    if isinstance(dataset, ConcatDataset) and type(dataset).__getitem__ is ConcatDataset.__getitem__:
        return dataset.datasets, None
    return [], None
