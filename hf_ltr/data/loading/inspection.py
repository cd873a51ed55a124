"""What kind of rows a dataset has, and of which sizes its images are: found out from a few of them."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ..map_style import is_arrow_dataset, require_column, require_map_style
from .decoding import image_dimensions, is_wide
from .image_sources import MAX_REPORTED, ImageSource, describe_problem, describe_row
from .ranges import RangeTally, used_range

_PROBED = 64
_DECODED_PROBES = 16
_LARGE = 1 << 18


def require_rows(dataset: Any) -> None:
    """Refuse what is not map-style, has no rows, or is arrays of different lengths."""
    require_map_style(dataset)
    rows = {len(column) for column in dataset.values()} if isinstance(dataset, Mapping) else {len(dataset)}
    if len(rows) > 1:
        raise ValueError(f"the arrays of the dataset have different lengths: {sorted(rows)}")
    if rows == {0}:
        raise ValueError("the dataset is empty")


def yields_pixel_values(dataset: Any, image_column: str) -> bool:
    """Whether the dataset yields `pixel_values` of its own making."""
    if isinstance(dataset, Mapping):
        if image_column not in dataset and "pixel_values" in dataset:
            raise ValueError(
                f"a dict of arrays holds images, uint8 under {image_column!r}; ready pixel_values are those of a "
                "dataset whose items are {'pixel_values', 'labels'}, such as datasets.Dataset.from_dict(...)"
            )
        require_column(image_column, dataset, "image")
        return False
    if is_arrow_dataset(dataset):
        return image_column not in dataset.column_names and "pixel_values" in dataset.column_names
    item = dataset[0]
    if isinstance(item, Mapping):
        if "pixel_values" not in item:
            require_column(image_column, item, "image")
        return "pixel_values" in item
    if isinstance(item, Sequence) and len(item) >= 1:
        return isinstance(item[0], torch.Tensor) and item[0].is_floating_point()
    raise TypeError(
        "the items of the dataset must be {'image', 'label'}, {'pixel_values', 'labels'} or (image, label), "
        f"got {type(item).__name__}"
    )


def probe_images(source: ImageSource) -> tuple[set[tuple[int, int]], list[str]]:
    """
    The sizes (height, width) of some images, the first and some evenly spaced ones, and which are unreadable. A few of
    them are decoded, to say it when they use far less than the range of their container.
    """
    step = max(len(source) // _PROBED, 1)
    rows = sorted({*range(min(_PROBED, len(source))), *range(0, len(source), step)})
    decoded = set(rows[:: max(len(rows) // _DECODED_PROBES, 1)])
    sizes: set[tuple[int, int]] = set()
    problems, tally = [], RangeTally()
    for row, item in zip(rows, source.items(rows), strict=True):
        try:
            height, width = image_dimensions(item)
            sizes.add((height, width))
        except Exception as error:
            problems.append(describe_problem(source, row, error))
            continue
        # A large photograph of 8 bits takes long and surprises nobody; what cannot be decoded is reported elsewhere.
        if row in decoded and (height * width <= _LARGE or is_wide(item)):
            with contextlib.suppress(Exception):
                tally.add(row, *used_range(item))
    for remark in tally.remarks(lambda row: describe_row(row, source.name(row))):
        warnings.warn(remark, stacklevel=4)
    return sizes, problems[:MAX_REPORTED]
