"""
From undecoded images to uint8 tensors of one size: all of them once (`decode_resident`), or some rows, for loader
workers (`decode_rows`).

Two threads decode small images more slowly than one (the interpreter lock), so threads are for photographs.
`torchvision.io.decode_jpeg` is a third faster than Pillow on photographs, but deprecated since torchvision 0.29.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torchvision.transforms.v2 import functional
from tqdm.auto import tqdm

from .decoding import decode_image, require_area
from .image_sources import MAX_REPORTED, ImageSource, describe_problem, image_source, unreadable_images

_DECODE_CHUNK = 512
_SMALL_SIDE = 96


def resize_image(
    image: np.ndarray,
    size: tuple[int, int],
    interpolation: str = "bicubic",
    resize_ratio: float | None = None,
    box: Sequence[int] | None = None,
) -> torch.Tensor:
    """
    Bring one decoded image to a size, antialiased, its proportions kept: resize it until it covers `size /
    resize_ratio`, then cut out the centre.

    Args:
        image (`np.ndarray` uint8 `(H, W, C)`)
        size (`tuple[int, int]`): Height and width of the result.
        interpolation (`str`): `"bicubic"` or `"bilinear"`.
        resize_ratio (`float`, *optional*): `224 / 256` is the usual evaluation at 224: shorter side to 256, centre
            crop.
        box (sequence of `int`, *optional*): (top, left, height, width): this part is stretched to `size` instead.

    Returns:
        `torch.Tensor` uint8 `(C, *size)`.
    """
    tensor = as_tensors([image])[0]
    mode = functional.InterpolationMode(interpolation)
    if box is not None:
        top, left, height, width = box
        tensor, target = tensor[:, top : top + height, left : left + width], size
    else:
        target = covering_size(tensor.shape[1], tensor.shape[2], size, resize_ratio)
    if tuple(tensor.shape[1:]) != target:
        tensor = functional.resize(tensor, list(target), interpolation=mode, antialias=True)
    top, left = (target[0] - size[0]) // 2, (target[1] - size[1]) // 2
    return tensor[:, top : top + size[0], left : left + size[1]]


def covering_size(
    height: int, width: int, size: tuple[int, int], resize_ratio: float | None = None
) -> tuple[int, int]:
    """
    Height and width at which an image covers `size / resize_ratio`, its proportions kept; a strip so long that no
    memory holds it then is refused.
    """
    scale = max(size[0] / height, size[1] / width) / (resize_ratio or 1.0)
    covering = max(round(height * scale), size[0]), max(round(width * scale), size[1])
    require_area(*covering, (height, width))
    return covering


def as_tensors(images: Sequence[np.ndarray]) -> list[torch.Tensor]:
    """Decoded images as tensors uint8 `(C, H, W)`."""
    # torch warns about read-only memory (PIL's), and a resize reads it anyway.
    return [torch.from_numpy(image if image.flags.writeable else image.copy()).permute(2, 0, 1) for image in images]


def stack_resized(
    images: Sequence[np.ndarray],
    size: tuple[int, int],
    interpolation: str,
    resize_ratio: float | None = None,
    boxes: torch.Tensor | None = None,
) -> torch.Tensor:
    """
    Decoded images brought to one size by `resize_image`, uint8 `(B, C, *size)`; of `boxes` (int64 `(B, 4)`: top, left,
    height, width) each is the part of its image to take.
    """
    result = torch.empty((len(images), images[0].shape[2], *size), dtype=torch.uint8)
    for row, image in enumerate(images):
        box = None if boxes is None else boxes[row].tolist()
        result[row].copy_(resize_image(image, size, interpolation, resize_ratio, box))
    return result


def decode_rows(
    source: ImageSource,
    rows: Sequence[int],
    num_channels: int,
    transform: Callable[[np.ndarray], Any] | None = None,
) -> list[Any]:
    """
    Decode some rows, uint8 `(H, W, num_channels)` each, in their own sizes.

    Args:
        source: From `image_source`.
        rows: Row numbers.
        num_channels (`int`): See `decode_image`.
        transform (`Callable`, *optional*): Applied to each image; what it raises is reported with the row.

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


def decode_resident(
    dataset: Any,
    image_size: int | tuple[int, int],
    num_channels: int = 3,
    *,
    image_column: str = "image",
    interpolation: str = "bicubic",
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
        interpolation, resize_ratio: See `resize_image`.
        num_threads (`int`, *optional*): Decoding threads; default one for images up to 96 pixels, else one per core,
            up to 8 (Pillow releases the interpreter lock inside its decoders, which pays for photographs only).
        progress (`bool`): Show a bar when it takes longer than two seconds.

    Returns:
        `torch.Tensor` uint8 `(N, num_channels, H, W)` on the CPU.

    Raises:
        ValueError: naming the first few rows (and files) that cannot be read.
    """
    size = (image_size, image_size) if isinstance(image_size, int) else (image_size[0], image_size[1])
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
                    result[row] = resize_image(image, size, interpolation, resize_ratio).numpy()
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
