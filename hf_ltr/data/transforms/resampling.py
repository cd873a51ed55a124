"""
Cutting boxes out of a batch of images and stretching them, antialiased, each image with its own box.

Resizing is separable and linear: `out = rows @ image @ columns^T` with one small matrix per image and axis. This
equals cropping and then resizing with Pillow or torchvision (`antialias=True`) exactly, the renormalised filter at the
borders of the box included, which `grid_sample` on the whole image does not (it reads pixels outside the box, and
cannot antialias). On a GPU it is two batched matrix products.
"""

from __future__ import annotations

import math

import torch
from torchvision.transforms.v2 import functional

INTERPOLATIONS = ("bicubic", "bilinear")
_ATTEMPTS = 10
BOX_DRAWS = 2 * _ATTEMPTS + 2


def random_boxes(
    uniforms: torch.Tensor,
    heights: torch.Tensor,
    widths: torch.Tensor,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> torch.Tensor:
    """
    Boxes of RandomResizedCrop, with torchvision's distribution: area uniform in `scale`, aspect ratio log-uniform in
    `ratio`, the first of ten attempts that fits, else the largest central box of an allowed ratio.

    Args:
        uniforms (`torch.Tensor` float `(B, 22)`): in [0, 1).
        heights, widths (`torch.Tensor` `(B,)`): of the images.
        scale: Range of the box's share of the image's area.
        ratio: Range of width / height.

    Returns:
        `torch.Tensor` int64 `(B, 4)`: top, left, height, width.
    """
    draws = uniforms.to(torch.float64)
    heights, widths = heights.to(torch.float64)[:, None], widths.to(torch.float64)[:, None]
    area = heights * widths * (scale[0] + (scale[1] - scale[0]) * draws[:, :_ATTEMPTS])
    low, high = math.log(ratio[0]), math.log(ratio[1])
    aspect = torch.exp(low + (high - low) * draws[:, _ATTEMPTS : 2 * _ATTEMPTS])
    box_widths, box_heights = torch.round(torch.sqrt(area * aspect)), torch.round(torch.sqrt(area / aspect))
    fits = (box_widths > 0) & (box_widths <= widths) & (box_heights > 0) & (box_heights <= heights)

    aspect = widths / heights
    # Too wide an image keeps its height, too narrow a one its width, any other is taken whole.
    fallback_widths = torch.where(aspect > ratio[1], torch.round(heights * ratio[1]), widths)
    fallback_heights = torch.where(aspect < ratio[0], torch.round(widths / ratio[0]), heights)
    first = fits.to(torch.int8).argmax(dim=1, keepdim=True)
    found = fits.any(dim=1, keepdim=True)
    box_widths = torch.where(found, box_widths.gather(1, first), fallback_widths)
    box_heights = torch.where(found, box_heights.gather(1, first), fallback_heights)

    free_rows, free_columns = heights - box_heights, widths - box_widths
    tops = torch.where(found, torch.floor(draws[:, -2:-1] * (free_rows + 1)), torch.floor(free_rows / 2))
    lefts = torch.where(found, torch.floor(draws[:, -1:] * (free_columns + 1)), torch.floor(free_columns / 2))
    return torch.cat((tops, lefts, box_heights, box_widths), dim=1).to(torch.int64)


def _filter(distance: torch.Tensor, interpolation: str) -> torch.Tensor:
    """The resampling kernel at a distance in (stretched) pixels: triangle, or Keys' cubic with a = -1/2."""
    distance = distance.abs()
    if interpolation == "bilinear":
        return (1 - distance).clamp(min=0)
    if interpolation == "bicubic":
        near = (1.5 * distance - 2.5) * distance * distance + 1
        far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
        return torch.where(distance < 1, near, torch.where(distance < 2, far, torch.zeros_like(distance)))
    raise ValueError(f"interpolation must be one of {', '.join(INTERPOLATIONS)}, got {interpolation!r}")


def resampling_matrices(
    start: torch.Tensor, length: torch.Tensor, out_size: int, in_size: int, interpolation: str
) -> torch.Tensor:
    """
    Matrices that stretch the pixels `start .. start + length - 1` of a line of `in_size` pixels to `out_size` pixels.

    Args:
        start, length (`torch.Tensor` int64 `(B,)`)

    Returns:
        `torch.Tensor` float32 `(B, out_size, in_size)`; every row sums to 1.
    """
    start, length = (value.to(torch.float32)[:, None, None] for value in (start, length))
    pixels = torch.arange(in_size, dtype=torch.float32, device=start.device) - start
    step = length / out_size
    centers = step * (torch.arange(out_size, dtype=torch.float32, device=start.device)[:, None] + 0.5)
    weights = _filter((pixels + 0.5 - centers) / step.clamp(min=1), interpolation)
    weights = weights * ((pixels >= 0) & (pixels < length))
    return weights / weights.sum(dim=2, keepdim=True)


def crop_and_resize(
    images: torch.Tensor, boxes: torch.Tensor, size: tuple[int, int], interpolation: str = "bilinear"
) -> torch.Tensor:
    """
    Cut one box out of each image and stretch it to `size`.

    Args:
        images (`torch.Tensor` uint8 or float `(B, C, H, W)`)
        boxes (`torch.Tensor` int64 `(B, 4)`): top, left, height, width.
        size: Height and width of the result.
        interpolation: `"bicubic"` or `"bilinear"`.

    Returns:
        `torch.Tensor` `(B, C, *size)` of the dtype of `images`; uint8 is rounded and clipped.
    """
    height, width = images.shape[2:]
    rows = resampling_matrices(boxes[:, 0], boxes[:, 2], size[0], height, interpolation)
    columns = resampling_matrices(boxes[:, 1], boxes[:, 3], size[1], width, interpolation)
    values = images if images.is_floating_point() else images.to(torch.float32)
    result = torch.matmul(torch.matmul(rows[:, None].to(values.dtype), values), columns[:, None].mT.to(values.dtype))
    return result if images.is_floating_point() else result.round().clamp(0, 255).to(images.dtype)


def resize_shorter_side(images: torch.Tensor, shorter_side: int, interpolation: str = "bilinear") -> torch.Tensor:
    """
    Resize images so that their shorter side has this many pixels, antialiased; the longer side is rounded down, as
    torchvision's Resize does.

    Args:
        images (`torch.Tensor` uint8 or float `(..., H, W)`): All of one size.
        shorter_side (`int`)
        interpolation: `"bicubic"` or `"bilinear"`.
    """
    if interpolation not in INTERPOLATIONS:
        raise ValueError(f"interpolation must be one of {', '.join(INTERPOLATIONS)}, got {interpolation!r}")
    if min(images.shape[-2:]) == shorter_side:
        return images
    mode = functional.InterpolationMode(interpolation)
    return functional.resize(images, [shorter_side], interpolation=mode, antialias=True)
