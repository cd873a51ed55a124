"""
One face for the places where images live undecoded (a `datasets.Dataset`, any map-style dataset, an array), and how
errors call them.

Measured facts behind the design: `ds[i]` costs 73 us per 32x32 image, of which 45 us are the decoder; the arrow column
with the encoded bytes is read for 4 us. So the bytes are taken from arrow (which also works after `select` and
`shuffle`) and decoded by `decoding.py`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from ..map_style import is_arrow_dataset, require_column

MAX_REPORTED = 5


class ImageSource(ABC):
    """Rows of undecoded images."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def items(self, rows: Sequence[int]) -> list[Any]:
        """Undecoded images: `{"bytes", "path"}`, a PIL image, or an array. Must not fail for a bad image."""

    def name(self, row: int) -> str:
        """How an error should call this row's image: its file name where known, else an empty string."""
        return ""


class ArrowImages(ImageSource):
    """The image column of a `datasets.Dataset`, read as encoded bytes; honours `select`, `shuffle` and `filter`."""

    def __init__(self, dataset: Any, image_column: str):
        self.image_column = image_column
        self._all_columns = dataset
        self._dataset = dataset.select_columns([image_column]).with_format("arrow")

    def __len__(self) -> int:
        return len(self._dataset)

    def items(self, rows: Sequence[int]) -> list[Any]:
        contiguous = len(rows) > 1 and rows[-1] - rows[0] == len(rows) - 1 and isinstance(rows, range)
        table = self._dataset[rows[0] : rows[-1] + 1] if contiguous else self._dataset[list(rows)]
        return table.column(0).to_pylist()

    def name(self, row: int) -> str:
        item = self.items([row])[0]
        if isinstance(item, Mapping) and item.get("path"):
            return str(item["path"])
        for column in ("file_name", "path", "file"):
            if column in self._all_columns.column_names:
                return str(self._all_columns.with_format("arrow")[[row]].column(column).to_pylist()[0])
        return ""


class ItemImages(ImageSource):
    """The images of a map-style dataset whose items are `{"image": ...}` or `(image, label)`."""

    def __init__(self, dataset: Any, image_column: str):
        self.image_column = image_column
        self._dataset = dataset

    def __len__(self) -> int:
        return len(self._dataset)

    def items(self, rows: Sequence[int]) -> list[Any]:
        items = []
        for row in rows:
            try:
                item = self._dataset[row]
                items.append(item[self.image_column] if isinstance(item, Mapping) else item[0])
            except Exception as error:  # a dataset that decodes by itself fails here; the row is named further up
                items.append(error)
        return items


class ArrayImages(ImageSource):
    """Images that are decoded already: `(N, H, W)`, `(N, H, W, C)` or, as a tensor, `(N, C, H, W)`; uint8."""

    def __init__(self, images: np.ndarray | torch.Tensor):
        if isinstance(images, torch.Tensor):
            images = images.permute(0, 2, 3, 1).numpy() if images.dim() == 4 else images.numpy()
        if images.dtype != np.uint8 or images.ndim not in (3, 4):
            raise ValueError(
                f"an array of images must be uint8 of shape (N, H, W), (N, H, W, C) or, as a tensor, (N, C, H, W); "
                f"got {images.dtype} of shape {tuple(images.shape)}"
            )
        self._images = images

    def __len__(self) -> int:
        return len(self._images)

    def items(self, rows: Sequence[int]) -> list[Any]:
        return [self._images[row] for row in rows]


def image_source(dataset: Any, image_column: str = "image") -> ImageSource:
    """
    The images of a dataset.

    Args:
        dataset: `datasets.Dataset`; a map-style dataset with items `{image_column: image}` or `(image, label)`;
            a dict of arrays `{image_column: uint8 array, ...}`; or the uint8 array itself.
        image_column (`str`): Column or key of the image.

    Raises:
        ValueError: if there is no such column (the columns found are listed).
    """
    if isinstance(dataset, np.ndarray | torch.Tensor):
        return ArrayImages(dataset)
    if isinstance(dataset, Mapping):
        require_column(image_column, dataset, "image")
        return ArrayImages(dataset[image_column])
    if is_arrow_dataset(dataset):
        require_column(image_column, dataset.column_names, "image")
        return ArrowImages(dataset, image_column)
    return ItemImages(dataset, image_column)


def describe_problem(source: ImageSource, row: int, error: Exception) -> str:
    """One line about an unreadable image: its row, its file where known, and what is wrong."""
    return f"{describe_row(row, source.name(row))}: {type(error).__name__}: {error}"


def describe_row(row: int, name: str) -> str:
    """`row 3 (photo.png)`, or `row 3` without a name."""
    return f"row {row} ({name})" if name else f"row {row}"


class UnreadableImagesError(ValueError):
    """Images that cannot be read, each with its row."""


def unreadable_images(
    problems: Sequence[str], complete: bool = True, number: int | None = None
) -> UnreadableImagesError:
    """
    The error for images that could not be decoded: one line each, `complete` if there are no others; `number` is how
    many there are, if only some are named.
    """
    number = number or len(problems)
    count = f"{number:,} images" if number > 1 else "an image"
    more = f"\n  and {number - len(problems):,} more" if number > len(problems) else ""
    return UnreadableImagesError(
        f"cannot read {'' if complete else 'at least '}{count}:\n  "
        + "\n  ".join(problems)
        + f"{more}\nRepair or remove them, for example with dataset.select(...); `hf-ltr check --full` lists all."
    )
