"""Where a dataset keeps its labels and class names, found without reading an item."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

LABEL_COLUMNS = ("label", "labels")


def labels_of_rows(dataset: Any) -> Any:
    """
    The labels of a map-style dataset that is no `datasets.Dataset`, as they are kept, unchecked.

    Args:
        dataset: A torch `Subset` or `ConcatDataset` of datasets whose labels are known, or anything with an attribute
            `labels` or `targets` of the right length.

    Returns:
        Sequence or array, or `None` where only the items tell.
    """
    inner, rows = _subset(dataset)
    if inner is not None:
        values = _known(inner)
        if values is None:
            return None
        rows = np.asarray(rows, dtype=np.int64)
        if rows.size and (rows.max() >= len(values) or rows.min() < -len(values)):
            raise ValueError(f"The Subset names row {rows.max()} of a dataset with {len(values)} rows")
        return np.asarray(values)[rows]
    parts = _parts(dataset)
    if parts is not None:
        known = [_known(part) for part in parts]
        return None if any(values is None for values in known) else np.concatenate([np.asarray(v) for v in known])
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
    inner, _ = _subset(dataset)
    if inner is not None:
        return class_names_of(inner)
    parts = _parts(dataset)
    if parts is not None:
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


def _known(dataset: Any) -> Any:
    """Labels of a dataset of any kind that are known without its items."""
    if hasattr(dataset, "column_names") and not isinstance(dataset, Mapping):
        from .class_counts import label_array

        column = next((name for name in LABEL_COLUMNS if name in dataset.column_names), None)
        return None if column is None else label_array(dataset, column)
    return labels_of_rows(dataset)


def _subset(dataset: Any) -> tuple[Any, Any]:
    """(the dataset below, the rows taken of it) of a torch `Subset`; a subclass with items of its own is none."""
    from torch.utils.data import Subset

    if isinstance(dataset, Subset) and type(dataset).__getitem__ is Subset.__getitem__:
        return dataset.dataset, dataset.indices
    return None, None


def _parts(dataset: Any) -> Sequence[Any] | None:
    from torch.utils.data import ConcatDataset

    if isinstance(dataset, ConcatDataset) and type(dataset).__getitem__ is ConcatDataset.__getitem__:
        return dataset.datasets
    return None
