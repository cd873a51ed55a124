"""
Operations that move pixels: crops, flips and rotation of a batch, drawn for each image by itself (see
`augmentation.py`).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from .resampling import crop_and_resize, random_boxes, resize_shorter_side


def random_crop(images: torch.Tensor, uniforms: torch.Tensor, padding: int = 4, fill: float = 0) -> torch.Tensor:
    """
    Pad all sides and cut out a window of the original size at a uniform offset in 0..2 padding (the CIFAR crop).

    Args:
        uniforms: `(B, 2)`.
        padding (`int`): Pixels on each side.
        fill (`float`): Raw value of the padding; 0 is black, as torchvision's default.
    """
    padded = F.pad(images, (padding,) * 4, value=fill)
    offsets = (uniforms * (2 * padding + 1)).to(torch.int64)
    return _windows(padded, offsets[:, 0:1], offsets[:, 1:2], (images.shape[2], images.shape[3]))


def _windows(images: torch.Tensor, tops: torch.Tensor, lefts: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """A window of `size` (height, width) of each image, whose upper left corner is at `tops`, `lefts` `(B, 1)`."""
    batch, channels, _, stride = images.shape
    rows = tops + torch.arange(size[0], device=images.device)
    columns = lefts + torch.arange(size[1], device=images.device)
    window = (rows[:, :, None] * stride + columns[:, None, :]).view(batch, 1, size[0] * size[1])
    # One gather for all images; the index is shared by the channels through a stride of 0.
    return images.flatten(2).gather(2, window.expand(-1, channels, -1)).view(batch, channels, *size)


def horizontal_flip(images: torch.Tensor, uniforms: torch.Tensor, probability: float = 0.5) -> torch.Tensor:
    """
    Mirror each image with a probability.

    Args:
        uniforms: `(B, 1)`.
    """
    batch = len(images)
    chosen = torch.arange(batch, device=images.device) + batch * (uniforms[:, 0] < probability)
    # Selecting whole images is a block copy: five times faster than torch.where with a broadcast mask.
    return torch.cat((images, images.flip(3))).index_select(0, chosen)


def rotation(images: torch.Tensor, uniforms: torch.Tensor, degrees: float = 15.0) -> torch.Tensor:
    """
    Rotate about the centre by an angle uniform in -degrees..degrees; nearest pixel, zero outside (torchvision's
    RandomRotation; part of the CIFAR recipe of RIDE and SADE).

    Args:
        uniforms: `(B, 1)`.
    """
    height, width = images.shape[2:]
    angle = (uniforms[:, 0] * 2 - 1) * math.radians(degrees)
    cos, sin = torch.cos(angle), torch.sin(angle)
    # Rows of the matrix from output to input coordinates; both are in -1..1, hence the aspect ratios.
    matrix = torch.stack((cos, -sin * (height / width), torch.zeros_like(cos)), dim=1)
    matrix = torch.stack((matrix, torch.stack((sin * (width / height), cos, torch.zeros_like(cos)), dim=1)), dim=1)
    grid = F.affine_grid(matrix, list(images.shape), align_corners=False)
    values = images if images.is_floating_point() else images.to(torch.float32)
    return F.grid_sample(values, grid.to(values.dtype), "nearest", "zeros", align_corners=False).to(images.dtype)


def random_resized_crop(
    images: torch.Tensor,
    uniforms: torch.Tensor,
    image_size: tuple[int, int] | None = None,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
    interpolation: str = "bilinear",
) -> torch.Tensor:
    """
    Cut out a random box and stretch it to `image_size`, antialiased; see `resampling.py`.

    Args:
        uniforms: `(B, 22)`.
        image_size: Height and width of the result; default those of `images`.
        scale: Range of the box's share of the area: (0.08, 1) for supervised training, (0.2, 1) in MAE's pretraining.
        ratio: Range of width / height.
        interpolation: `"bicubic"` or `"bilinear"`.
    """
    height, width = images.shape[2:]
    everywhere = torch.ones(len(images), device=images.device)
    boxes = random_boxes(uniforms, everywhere * height, everywhere * width, scale, ratio)
    return crop_and_resize(images, boxes, image_size or (height, width), interpolation)


def random_window(
    images: torch.Tensor,
    uniforms: torch.Tensor,
    image_size: tuple[int, int] | None = None,
    shorter_side: int | None = None,
    interpolation: str = "bilinear",
) -> torch.Tensor:
    """
    Resize the shorter side, then cut out a window of `image_size` at a uniform place: "resize to 256, random 224 crop"
    (the ImageNet-LT recipe of DiVE, He et al., ICCV 2021; torchvision's Resize and RandomCrop).

    Args:
        uniforms: `(B, 2)`.
        image_size: Height and width of the result; default those of `images`.
        shorter_side (`int`, *optional*): Pixels; by default the larger side of `image_size` / 0.875, which is 256 for
            224.
        interpolation: `"bicubic"` or `"bilinear"`, antialiased.
    """
    size = image_size or (images.shape[2], images.shape[3])
    images = resize_shorter_side(images, shorter_side or round(max(size) / 0.875), interpolation)
    (height, width), (rows, columns) = size, images.shape[2:]
    if height > rows or width > columns:
        raise ValueError(f"shorter_side={shorter_side} of random_window is smaller than images of {size}")
    tops = (uniforms[:, 0:1] * (rows - height + 1)).to(torch.int64)
    lefts = (uniforms[:, 1:2] * (columns - width + 1)).to(torch.int64)
    return _windows(images, tops, lefts, size)
