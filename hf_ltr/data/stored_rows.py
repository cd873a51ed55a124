"""Where the rows of a dataset are stored: labels and encoded images, nothing decoded, no item asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from torch.utils.data import ConcatDataset, Subset, TensorDataset

from .labels import LABEL_COLUMNS, stored_labels

_IMAGES = ("image", "pixel_values")


class StoredRows(NamedTuple):
    """
    Args:
        number (`int`): Of rows.
        labels (sequence, *optional*): Of all rows.
        images (`Sequence`, *optional*): Per row a buffer, a path, an array or a PIL image.
    """

    number: int
    labels: Any
    images: Any


def stored_rows(dataset: Any) -> StoredRows:
    """Rows as they are stored; what is read of each kind of dataset is said at [`~hf_ltr.data.hash_rows`]."""
    if hasattr(dataset, "column_names") and hasattr(dataset, "data"):
        return _read_arrow(dataset)
    if isinstance(dataset, Mapping):
        images = next((dataset[name] for name in _IMAGES if name in dataset), None)
        labels = stored_labels(dataset)
        number = len(images if images is not None else labels if labels is not None else ())
        return StoredRows(number, labels, images)
    if isinstance(dataset, np.ndarray | torch.Tensor):
        return StoredRows(len(dataset), None, dataset)
    return _read_items(dataset)


def _read_arrow(dataset: Any) -> StoredRows:
    image = next((name for name in _IMAGES if name in dataset.column_names), None)
    images = None
    if image is not None:
        rows = None if dataset._indices is None else dataset._indices.column(0).to_numpy()
        images = _Picked(dataset.data.column(image), rows, _stored)
    return StoredRows(len(dataset), stored_labels(dataset), images)


def _read_items(dataset: Any) -> StoredRows:
    number = len(dataset)
    if isinstance(dataset, Subset):
        base, rows = stored_rows(dataset.dataset), [int(row) for row in dataset.indices]
        labels = None if base.labels is None else [base.labels[row] for row in rows]
        # Without the images nothing is known about them but their place.
        images = [str(row).encode() for row in rows] if base.images is None else _Picked(base.images, rows)
        return StoredRows(number, _plain(labels), images)
    if isinstance(dataset, ConcatDataset):
        parts = [stored_rows(part) for part in dataset.datasets]
        whole = [all(stored is not None for stored in column) for column in zip(*parts, strict=True)]
        return StoredRows(
            number,
            [label for part in parts for label in _plain(part.labels)] if whole[1] else None,
            [image for part in parts for image in part.images] if whole[2] else None,
        )
    if isinstance(dataset, TensorDataset) and len(dataset.tensors) > 1:
        return StoredRows(number, dataset.tensors[1], dataset.tensors[0])
    if isinstance(dataset, list | tuple):
        items = list(map(_of_item, dataset))
        return StoredRows(number, [label for _, label in items], [image for image, _ in items])
    for name in ("samples", "imgs"):
        stored = getattr(dataset, name, None)
        if isinstance(stored, list) and len(stored) == number and all(len(entry) == 2 for entry in stored):
            return StoredRows(number, [label for _, label in stored], [path for path, _ in stored])
    labels = next((v for n in ("labels", "targets") if _fits(v := getattr(dataset, n, None), number)), None)
    data = getattr(dataset, "data", None)
    return StoredRows(number, _plain(labels), data if _fits(data, number) else None)


def _fits(values: Any, number: int) -> bool:
    return isinstance(values, list | tuple | np.ndarray | torch.Tensor) and len(values) == number


def _plain(labels: Any) -> Any:
    if labels is None or isinstance(labels, np.ndarray):
        return labels
    if isinstance(labels, torch.Tensor):
        return labels.tolist()
    return [label.item() if hasattr(label, "item") else label for label in labels]


def _of_item(item: Any) -> tuple[Any, Any]:
    if not isinstance(item, Mapping):
        return item[0], (item[1] if len(item) > 1 else None)
    image = next((item[name] for name in _IMAGES if name in item), None)
    label: Any = next((item[name] for name in LABEL_COLUMNS if name in item), None)
    return image, label.item() if hasattr(label, "item") else label


class _Picked(Sequence[Any]):
    """Some rows of what is stored, or all of it, each read when it is asked for."""

    def __init__(self, stored: Any, rows: Any, read: Callable[[Any], Any] = lambda value: value):
        self._stored, self._rows, self._read = stored, rows, read

    def __len__(self) -> int:
        return len(self._stored if self._rows is None else self._rows)

    def __getitem__(self, place: Any) -> Any:
        return self._read(self._stored[place if self._rows is None else int(self._rows[place])])


def _stored(value: Any) -> Any:
    """What an Arrow value holds, without a copy where it is encoded bytes."""
    if not value.is_valid:
        return b""
    if isinstance(value, pa.StructScalar) and {"bytes", "path"} <= set(value):
        encoded = value["bytes"]
        return encoded.as_buffer() if encoded.is_valid else value["path"].as_py()
    if isinstance(value, pa.BinaryScalar | pa.LargeBinaryScalar):
        return value.as_buffer()
    if isinstance(value, pa.ExtensionScalar):
        value = value.value
    return value.as_py()
