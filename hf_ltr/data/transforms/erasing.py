"""Operations that hide a box of each normalised image of a batch (see `augmentation.py`)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

_ATTEMPTS = 10
ERASING_DRAWS = 4 + 2 * _ATTEMPTS
_NOISE_LENGTH = 1 << 20


def cutout(images: torch.Tensor, uniforms: torch.Tensor, size: int = 16) -> torch.Tensor:
    """
    Zero a square whose centre is uniform over the pixels; it is clipped at the border. On normalised images, so zero
    is the mean colour.

    Source: DeVries and Taylor, Improved regularization of CNNs with Cutout, 2017, and their code (16 for CIFAR-10, 8
    for CIFAR-100).

    Args:
        uniforms: `(B, 2)`.
        size (`int`): Side of the square.
    """
    height, width = images.shape[2:]
    inside = _box_masks(
        (uniforms[:, 0] * height).to(torch.int64) - size // 2,
        (uniforms[:, 1] * width).to(torch.int64) - size // 2,
        size // 2 * 2,
        size // 2 * 2,
        height,
        width,
    )
    return images * (~inside).to(images.dtype)  # several times faster than masked_fill with a broadcast mask


def random_erasing(
    images: torch.Tensor,
    uniforms: torch.Tensor,
    probability: float = 0.25,
    area: tuple[float, float] = (0.02, 1 / 3),
    min_aspect: float = 0.3,
    mode: str = "pixel",
) -> torch.Tensor:
    """
    With a probability, replace a random box of a normalised image by normal noise (`mode="pixel"`) or by zero
    (`mode="const"`).

    Source: Zhong et al., Random erasing, AAAI 2020; ranges and the per-pixel noise as in timm, which MAE's fine-tuning
    recipe uses with probability 0.25.

    Args:
        uniforms: `(B, 24)`.
        probability (`float`): Share of images with a box.
        area: Range of the box's share of the area.
        min_aspect (`float`): height / width is log-uniform in min_aspect .. 1 / min_aspect.
    """
    if mode not in ("pixel", "const"):
        raise ValueError(f"mode of random_erasing must be 'pixel' or 'const', got {mode!r}")
    height, width = images.shape[2:]
    draws = uniforms.to(torch.float64)
    areas = height * width * (area[0] + (area[1] - area[0]) * draws[:, 4 : 4 + _ATTEMPTS])
    aspects = torch.exp(-math.log(min_aspect) * (2 * draws[:, 4 + _ATTEMPTS :] - 1))
    heights, widths = torch.round(torch.sqrt(areas * aspects)), torch.round(torch.sqrt(areas / aspects))
    fits = (heights < height) & (widths < width)
    first = fits.to(torch.int8).argmax(dim=1, keepdim=True)
    heights, widths = heights.gather(1, first)[:, 0], widths.gather(1, first)[:, 0]
    erased = fits.any(dim=1) & (draws[:, 0] < probability)
    tops = torch.floor(draws[:, 1] * (height - heights + 1))
    lefts = torch.floor(draws[:, 2] * (width - widths + 1))
    inside = _box_masks(tops, lefts, heights, widths, height, width) & erased[:, None, None, None]
    if mode == "const":
        return images.masked_fill(inside, 0)
    return torch.where(inside, _noise(uniforms[:, 3], images.shape[1:], images.device).to(images.dtype), images)


def _box_masks(
    tops: torch.Tensor,
    lefts: torch.Tensor,
    heights: torch.Tensor | int,
    widths: torch.Tensor | int,
    height: int,
    width: int,
) -> torch.Tensor:
    """Boolean `(B, 1, H, W)`, true inside each image's box; boxes may reach over the border."""
    rows = torch.arange(height, device=tops.device) - tops[:, None]
    columns = torch.arange(width, device=tops.device) - lefts[:, None]
    heights, widths = (v[:, None] if isinstance(v, torch.Tensor) else v for v in (heights, widths))
    return ((rows >= 0) & (rows < heights))[:, None, :, None] & ((columns >= 0) & (columns < widths))[:, None, None, :]


_noise_banks: dict[tuple[torch.device, int], torch.Tensor] = {}


def _noise(offsets: torch.Tensor, shape: Sequence[int], device: torch.device) -> torch.Tensor:
    """
    Normal noise `(B, *shape)`: for each image a window, at its own offset, of one fixed long sequence. Within an image
    the values are independent; hashing every pixel of every image instead would cost more than the training step on a
    CPU.
    """
    length = math.prod(shape)
    if (device, length) not in _noise_banks:
        generator = torch.Generator().manual_seed(0)
        _noise_banks[device, length] = torch.randn(_NOISE_LENGTH + length, generator=generator).to(device)
    windows = _noise_banks[device, length].unfold(0, length, 1)
    return windows[(offsets * _NOISE_LENGTH).to(torch.int64)].view(len(offsets), *shape)
