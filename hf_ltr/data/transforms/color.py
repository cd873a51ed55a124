"""Operations on the colours of a batch, drawn for each image by itself (see `augmentation.py`)."""

from __future__ import annotations

import torch


def color_jitter(
    images: torch.Tensor,
    uniforms: torch.Tensor,
    brightness: float = 0.4,
    contrast: float = 0.4,
    saturation: float = 0.4,
    hue: float = 0.0,
) -> torch.Tensor:
    """
    Brightness, contrast and saturation by factors uniform in max(0, 1 - x)..1 + x, and a turn of the hue uniform in
    -hue..hue, in random order per image (torchvision's ColorJitter; without hue the ImageNet-LT recipe of Kang et al.,
    ICLR 2020).

    The first three are blends with a base: black, the mean gray of the image, or the image in gray. A hue of 0.5 is
    half the colour circle; gray images have none.

    Args:
        uniforms: `(B, 8)`.
        hue (`float`): 0 .. 0.5.
    """
    if not 0 <= hue <= 0.5:
        raise ValueError(f"hue of color_jitter must lie in 0..0.5, got {hue}")
    values = images if images.is_floating_point() else images.to(torch.float32)
    lowest = [max(0.0, 1 - strength) for strength in (brightness, contrast, saturation)]
    widths = [1 + strength - low for strength, low in zip((brightness, contrast, saturation), lowest, strict=True)]
    # Column by column: a tensor of these constants would be copied to the device, with a wait, in every batch.
    columns = zip(uniforms[:, :3].to(values.dtype).unbind(1), lowest, widths, strict=True)
    factors = torch.stack([low + width * column for column, low, width in columns], dim=1)
    order = uniforms[:, 3:6].argsort(dim=1)
    if hue == 0 or values.shape[1] != 3:
        for position in range(3):
            which = order[:, position : position + 1]
            values = _blend(values, which, factors.gather(1, which))
    else:
        # Before the hue are turned 0..3 of the blends of each image, and the others after it; a factor of 1 is none.
        # (A turn at every place of the order, for the images that have it there, would cost three times as much.)
        before = (uniforms[:, 7:8] > uniforms[:, 3:6]).sum(dim=1, keepdim=True)
        for position in range(3):
            which = order[:, position : position + 1]
            values = _blend(values, which, torch.where(position < before, factors.gather(1, which), 1))
        values = _turn_hue(values, (uniforms[:, 6].to(values.dtype) * 2 - 1) * hue)
        for position in range(3):
            which = order[:, position : position + 1]
            values = _blend(values, which, torch.where(position < before, 1, factors.gather(1, which)))
    return values if images.is_floating_point() else values.round().to(images.dtype)


def _blend(values: torch.Tensor, which: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """Brightness (0), contrast (1) or saturation (2) of each image; `which` and `factor` are `(B, 1)`."""
    if values.shape[1] == 3:
        gray = 0.2989 * values[:, 0:1] + 0.587 * values[:, 1:2] + 0.114 * values[:, 2:3]
    else:
        gray = values.mean(dim=1, keepdim=True)
    to_mean = (which == 1)[:, :, None, None].to(values.dtype)
    to_gray = (which == 2)[:, :, None, None].to(values.dtype)
    base = to_mean * gray.mean(dim=(2, 3), keepdim=True) + to_gray * gray
    factor = factor[:, :, None, None]
    return (factor * values + (1 - factor) * base).clamp(0, 255)


def _turn_hue(values: torch.Tensor, turn: torch.Tensor) -> torch.Tensor:
    """
    Add `turn` (`(B,)`, 1 is the whole circle) to the hue of RGB images, saturation and value unchanged.

    HSV in hexagon coordinates (A. R. Smith, Color gamut transform pairs, 1978): hue in 0..6, and back by channel n in
    (5, 3, 1) as `max - chroma * clamp(min(k, 4 - k), 0, 1)` with `k = (n + hue) mod 6`.
    """
    red, green, blue = values.unbind(1)
    highest, lowest = values.amax(dim=1), values.amin(dim=1)
    chroma = highest - lowest
    safe = torch.where(chroma == 0, torch.ones_like(chroma), chroma)
    hue = torch.where(
        highest == red,
        (green - blue) / safe,
        torch.where(highest == green, (blue - red) / safe + 2, (red - green) / safe + 4),
    )
    hue = hue + 6 * turn[:, None, None]
    channels = []
    for number in (5, 3, 1):
        place = (number + hue).remainder(6)
        channels.append(highest - chroma * torch.minimum(place, 4 - place).clamp(0, 1))
    return torch.stack(channels, dim=1)
