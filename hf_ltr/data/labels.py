"""Reading and checking the labels of a dataset, in one vectorised pass over the label column alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from .class_counts import arrow_column
from .label_sources import labels_of_rows
from .loading.images import is_arrow_dataset, require_column


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
    values, name = _find(dataset, columns, required)
    if values is None:
        return None
    num_labels = num_labels if class_map is None else len(class_map)
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu()
        values = (values.double() if values.is_floating_point() else values).numpy()
    labels = np.asarray(values)
    if not np.issubdtype(labels.dtype, np.number) and labels.dtype != bool:
        missing = [row for row, value in enumerate(values) if value is None]
        if missing:
            raise ValueError(f"row {missing[0]} has no label ({len(missing)} such rows): remove them")
        raise ValueError(
            f"labels must be class indices, but {name} holds values such as {values[0]!r}; with datasets, convert "
            "them by dataset.class_encode_column(...)"
        )
    if labels.ndim != 1:
        raise ValueError(f"labels must be one class index per row, got an array of shape {labels.shape}")
    with np.errstate(invalid="ignore"):  # NaN and infinity become some integer, which is not equal to them
        whole = labels.astype(np.int64)
    wrong = np.flatnonzero((whole != labels) | (whole < 0) | (whole >= (num_labels or np.iinfo(np.int64).max)))
    if wrong.size:
        classes = f"0..{num_labels - 1}" if num_labels else "0, 1, ..."
        raise ValueError(
            f"label of row {wrong[0]} is {labels[wrong[0]]}, outside the classes {classes} ({wrong.size} such "
            f"row{'s' if wrong.size > 1 else ''}); check num_labels and {name}"
        )
    return torch.from_numpy(whole if class_map is None else np.asarray(class_map, dtype=np.int64)[whole])


def _find(dataset: Any, columns: Sequence[str], required: bool) -> tuple[Any, str]:
    """(labels as array or list, or None where there are none; what to call their place)."""
    if isinstance(dataset, Mapping) or hasattr(dataset, "column_names"):
        found = dataset if isinstance(dataset, Mapping) else dataset.column_names
        for column in columns:
            if column in found:
                return _read_column(dataset, column), f"column {column!r}"
        if isinstance(dataset, Mapping) or is_arrow_dataset(dataset):
            return _missing(columns[0], found, required)
    return _from_items(dataset, columns, required)


def _read_column(dataset: Any, column: str) -> Any:
    if isinstance(dataset, Mapping):
        return dataset[column]
    values = arrow_column(dataset, column)
    return values.to_pylist() if values.null_count else values.to_numpy(zero_copy_only=False)


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
