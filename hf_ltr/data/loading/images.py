"""
From stored images to uint8 tensors.

`image_source` gives one face to the places where images live (a `datasets.Dataset`, any map-style dataset, an array).
`decode_resident` decodes all of them once into one uint8 tensor; `decode_rows` decodes some of them, for loader
workers.

Measured facts behind the design: `ds[i]` costs 73 us per 32x32 image, of which 45 us are the decoder; the arrow column
with the encoded bytes is read for 4 us. So the bytes are taken from arrow (which also works after `select` and
`shuffle`) and decoded by `decoding.py`, with Pillow. Two threads decode small images more slowly than one (the
interpreter lock), so threads are for photographs. `torchvision.io.decode_jpeg` is a third faster on photographs, but
deprecated since torchvision 0.29.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np
import torch

from ..map_style import is_arrow_dataset, require_column
from .decoding import decode_image, require_area

MAX_REPORTED = 5
_DECODE_CHUNK = 512
_SMALL_SIDE = 96


class ImageSource(Protocol):
    """Rows of undecoded images."""

    def __len__(self) -> int: ...

    def items(self, rows: Sequence[int]) -> list[Any]:
        """Undecoded images: `{"bytes", "path"}`, a PIL image, or an array. Must not fail for a bad image."""

    def name(self, row: int) -> str:
        """How an error should call this row's image: its file name where known, else an empty string."""


class ArrowImages:
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


class ItemImages:
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

    def name(self, row: int) -> str:
        return ""


class ArrayImages:
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

    def name(self, row: int) -> str:
        return ""


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


def resize_image(
    image: np.ndarray,
    size: tuple[int, int],
    interpolation: str = "bicubic",
    crop: str = "center",
    resize_ratio: float | None = None,
    box: tuple[int, int, int, int] | None = None,
) -> torch.Tensor:
    """
    Bring one decoded image to a size, antialiased.

    Args:
        image (`np.ndarray` uint8 `(H, W, C)`)
        size (`tuple[int, int]`): Height and width of the result.
        interpolation (`str`): `"bicubic"` or `"bilinear"`.
        crop (`str`): `"center"` keeps the proportions: resize until the image covers `size / resize_ratio`, then cut
            out the centre. `"none"` stretches the whole image to `size`.
        resize_ratio (`float`, *optional*): `224 / 256` is the usual evaluation at 224: shorter side to 256, centre
        crop.
        box (`tuple`, *optional*): (top, left, height, width): this part is stretched to `size`, `crop` is not used.

    Returns:
        `torch.Tensor` uint8 `(C, *size)`.
    """
    from torchvision.transforms.v2 import functional

    if crop not in ("center", "none"):
        raise ValueError(f"crop must be 'center' or 'none', got {crop!r}")
    tensor = as_tensors([image])[0]
    mode = functional.InterpolationMode(interpolation)
    if box is not None:
        top, left, height, width = box
        tensor = tensor[:, top : top + height, left : left + width]
    elif crop == "center":
        height, width = tensor.shape[1:]
        covering = list(covering_size(height, width, size, resize_ratio))
        if covering != [height, width]:
            tensor = functional.resize(tensor, covering, interpolation=mode, antialias=True)
        top, left = (covering[0] - size[0]) // 2, (covering[1] - size[1]) // 2
        return tensor[:, top : top + size[0], left : left + size[1]]
    if tuple(tensor.shape[1:]) == tuple(size):
        return tensor
    return functional.resize(tensor, list(size), interpolation=mode, antialias=True)


def covering_size(
    height: int, width: int, size: tuple[int, int], resize_ratio: float | None = None
) -> tuple[int, int]:
    """
    Height and width at which an image covers `size / resize_ratio`, its proportions kept.

    Raises:
        ValueError: for a strip so long that no memory holds it then.
    """
    scale = max(size[0] / height, size[1] / width) / (resize_ratio or 1.0)
    covering = max(round(height * scale), size[0]), max(round(width * scale), size[1])
    require_area(*covering, (height, width))
    return covering


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
    The error for images that could not be decoded.

    Args:
        problems: One line each.
        complete (`bool`): Whether there are no others.
        number (`int`, *optional*): How many there are, if only some are named.
    """
    number = number or len(problems)
    count = f"{number:,} images" if number > 1 else "an image"
    more = f"\n  and {number - len(problems):,} more" if number > len(problems) else ""
    return UnreadableImagesError(
        f"cannot read {'' if complete else 'at least '}{count}:\n  "
        + "\n  ".join(problems)
        + f"{more}\nRepair or remove them, for example with dataset.select(...); `hf-ltr check --full` lists all."
    )


def decode_rows(
    source: ImageSource,
    rows: Sequence[int],
    num_channels: int,
    transform: Callable[[np.ndarray], Any] | None = None,
) -> list[Any]:
    """
    Decode some rows, in their own sizes.

    Args:
        source: From `image_source`.
        rows: Row numbers.
        num_channels (`int`): See `decode_image`.
        transform (`Callable`, *optional*): Applied to each image; what it raises is reported with the row.

    Returns:
        `list[np.ndarray]`: uint8 `(H, W, num_channels)` each, or what `transform` makes of it.

    Raises:
        ValueError: naming the rows (and files) that cannot be read.
    """
    images, problems = [], []
    for row, item in zip(rows, source.items(rows), strict=True):
        try:
            image = decode_image(item, num_channels)
            images.append(image if transform is None else transform(image))
        except Exception as error:
            problems.append(describe_problem(source, row, error))
    if problems:
        raise unreadable_images(problems[:MAX_REPORTED], len(problems) <= MAX_REPORTED)
    return images


def as_tensors(images: Sequence[np.ndarray]) -> list[torch.Tensor]:
    """Decoded images as tensors uint8 `(C, H, W)`."""
    # torch warns about read-only memory (PIL's), and a resize reads it anyway.
    return [torch.from_numpy(image if image.flags.writeable else image.copy()).permute(2, 0, 1) for image in images]


def stack_resized(
    images: Sequence[np.ndarray], size: tuple[int, int], boxes: torch.Tensor | None = None, **options: Any
) -> torch.Tensor:
    """
    Bring decoded images to one size.

    Args:
        images: From `decode_rows`.
        size: Height and width.
        boxes (`torch.Tensor` int64 `(B, 4)`, *optional*): top, left, height, width of the part of each image to take.
        **options: `interpolation`, `crop`, `resize_ratio` of `resize_image`.

    Returns:
        `torch.Tensor` uint8 `(B, C, *size)`.
    """
    result = torch.empty((len(images), images[0].shape[2], *size), dtype=torch.uint8)
    for row, image in enumerate(images):
        box = None if boxes is None else boxes[row].tolist()
        result[row].copy_(resize_image(image, size, box=box, **options))
    return result


def decode_resident(
    dataset: Any,
    image_size: int | tuple[int, int],
    num_channels: int = 3,
    *,
    image_column: str = "image",
    interpolation: str = "bicubic",
    crop: str = "center",
    resize_ratio: float | None = None,
    num_threads: int | None = None,
    progress: bool = True,
) -> torch.Tensor:
    """
    Decode all images once.

    Args:
        dataset: Anything `image_source` takes.
        image_size (`int` or `tuple[int, int]`): Side, or height and width. Images of another size are resized.
        num_channels (`int`): See `decode_image`.
        image_column (`str`): Column of the image.
        interpolation, crop, resize_ratio: See `resize_image`.
        num_threads (`int`, *optional*): Decoding threads; default one for images up to 96 pixels, else one per core,
            up to 8 (Pillow releases the interpreter lock inside its decoders, which pays for photographs only).
        progress (`bool`): Show a bar when it takes longer than two seconds.

    Returns:
        `torch.Tensor` uint8 `(N, num_channels, H, W)` on the CPU.

    Raises:
        ValueError: naming the first few rows (and files) that cannot be read.
    """
    from tqdm.auto import tqdm

    size = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
    source = image_source(dataset, image_column)
    if num_threads is None:
        num_threads = 1 if max(size) <= _SMALL_SIDE else min(8, os.cpu_count() or 1)
    result = np.empty((len(source), num_channels, *size), dtype=np.uint8)

    def decode_chunk(rows: range, items: list[Any]) -> list[str]:
        problems = []
        for row, item in zip(rows, items, strict=True):
            try:
                image = decode_image(item, num_channels)
                if image.shape[:2] == size and not resize_ratio:
                    result[row] = image.transpose(2, 0, 1)
                else:
                    result[row] = resize_image(image, size, interpolation, crop, resize_ratio).numpy()
            except Exception as error:
                problems.append(describe_problem(source, row, error))
        return problems

    problems: list[str] = []
    chunks = [range(first, min(first + _DECODE_CHUNK, len(source))) for first in range(0, len(source), _DECODE_CHUNK)]
    bar = tqdm(total=len(source), desc="Decoding images", unit="image", delay=2.0, disable=not progress)
    with bar, ThreadPoolExecutor(num_threads) as pool:
        # Items are read here, a few chunks ahead of the decoders, so that encoded bytes never pile up.
        for first in range(0, len(chunks), 2 * num_threads):
            wave = chunks[first : first + 2 * num_threads]
            decoded = (map if num_threads == 1 else pool.map)(decode_chunk, wave, map(source.items, wave))
            for rows, found in zip(wave, decoded, strict=True):
                problems += found
                bar.update(len(rows))
            if len(problems) >= MAX_REPORTED:
                break
    if problems:
        raise unreadable_images(problems[:MAX_REPORTED], complete=len(problems) < MAX_REPORTED)
    return torch.from_numpy(result)
