"""Pixels that are numbers already: scale, layout and channels, by the rules of `decoding.py`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import PIL.Image
import torch

PIL_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
_CHANNEL_NUMBERS = (1, 2, 3, 4)


def eight_bits(values: np.ndarray, white: int | None = None) -> np.ndarray:
    """
    Integers as uint8.

    Args:
        values (`np.ndarray`): Integers of any shape and width.
        white (`int`, *optional*): The value that becomes 255; without one `scale_of` the highest.

    Raises:
        ValueError: for values that lie on none of the scales.
    """
    low, high = int(values.min()), int(values.max())
    white = scale_of(high) if white is None else white
    if low < 0 or high > white:
        raise ValueError(
            f"pixels must be integers in 0..255 (8 bits) or 0..65535 (16 bits), but these are {low} to {high}: "
            "rescale them"
        )
    if white == 255:
        return values.astype(np.uint8)
    return ((values.astype(np.uint32) * 255 + white // 2) // white).astype(np.uint8)


def scale_of(high: int) -> int:
    """White of integers without a range of their own."""
    return 255 if high <= 255 else 65535


def image_array(item: Any, num_channels: int | None) -> np.ndarray:
    """Any array or tensor as uint8 `(H, W, channels)`."""
    is_tensor = isinstance(item, torch.Tensor)
    if is_tensor:
        item = item.detach().cpu()
        item = item.float() if item.is_floating_point() else item  # NumPy has no bfloat16
    array = np.asarray(item)
    if array.size == 0:
        raise ValueError(f"an image array of shape {array.shape} holds no pixel")
    return channels_last(integers_to_eight_bits(array), first=is_tensor, more=num_channels)


def integers_to_eight_bits(array: np.ndarray) -> np.ndarray:
    """An array of truth values or integers as uint8: uint16 by its range, wider types by their values."""
    if array.dtype == np.uint8:
        return array
    if array.dtype == bool:
        return array * np.uint8(255)
    if not np.issubdtype(array.dtype, np.integer):
        raise ValueError(
            f"an image array must hold integers, 0..255 or 0..65535, got {array.dtype} of shape {array.shape}: "
            "multiply values of 0..1 by 255 and convert them to uint8"
        )
    return eight_bits(array, 65535 if array.dtype.kind == "u" and array.dtype.itemsize == 2 else None)


def channels_last(array: np.ndarray, first: bool = False, more: int | None = None) -> np.ndarray:
    """`(H, W, channels)` of an array `(H, W)` or of either layout that `channels_lead` tells apart."""
    if array.ndim == 2:
        return array[:, :, None]
    return array.transpose(1, 2, 0) if channels_lead(array.shape, first, more) else array


def channels_lead(shape: Sequence[int], first: bool, more: int | None = None) -> bool:
    """
    Whether an array is `(channels, H, W)`, and not `(H, W, channels)`.

    Args:
        shape: Of the array.
        first (`bool`): The answer where both are possible.
        more (`int`, *optional*): A number of channels besides 1 to 4.

    Raises:
        ValueError: if neither is possible.
    """
    numbers = (*_CHANNEL_NUMBERS, more)
    leading, trailing = (len(shape) == 3 and shape[axis] in numbers for axis in (0, -1))
    if not leading and not trailing:
        raise ValueError(
            "an image array must be (H, W), (H, W, channels) or (channels, H, W) with 1 to 4 channels, got shape "
            f"{tuple(shape)}"
        )
    if leading and trailing and (shape[0] == 2) != (shape[-1] == 2):
        return shape[-1] == 2  # two channels are rarer than two rows
    return leading and (first or not trailing)


def with_channels(array: np.ndarray, num_channels: int) -> np.ndarray:
    channels = array.shape[2]
    if channels == num_channels:
        return array
    if channels == 2:
        array, channels = array[:, :, :1], 1
    if channels in (1, 3, 4) and num_channels in PIL_MODES:
        image = PIL.Image.fromarray(array[:, :, 0] if channels == 1 else np.ascontiguousarray(array))
        converted = np.asarray(image.convert(PIL_MODES[num_channels]))
        return converted[:, :, None] if num_channels == 1 else converted
    raise ValueError(f"an image array of shape {array.shape} cannot be brought to {num_channels} channels")
