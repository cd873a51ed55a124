"""Position embeddings on a grid of patches: the fixed sine-cosine table, and any table at another resolution."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def sine_cosine_position_embedding(
    dim: int, grid_height: int, grid_width: int, num_prefix_tokens: int = 0, temperature: float = 10_000.0
) -> Tensor:
    """
    One vector per position of a grid: sines and cosines of its column in the first half, of its row in the second.

    The order of the halves is the one of the released masked autoencoders (facebookresearch/mae), so that tables
    agree; a quarter of the dimensions holds `sin(column * temperature ** (-i / quarter))`, the next the cosines, and
    so on.

    Args:
        dim (`int`): Length of a vector, divisible by 4.
        grid_height, grid_width (`int`): Patches per column and per row.
        num_prefix_tokens (`int`, *optional*, defaults to 0): Zero vectors in front, for class tokens.
        temperature (`float`, *optional*, defaults to 10000.0): Ratio of the longest to the shortest wave, about.

    Returns:
        `Tensor` of shape `(num_prefix_tokens + grid_height * grid_width, dim)`, float32, row after row of the grid.

    Raises:
        `ValueError`: if `dim` is not divisible by 4.
    """
    if dim % 4:
        raise ValueError(f"a two-dimensional sine-cosine embedding needs a width divisible by 4, not {dim}")
    quarter = dim // 4
    with torch.device("cpu"):
        frequencies = temperature ** (-torch.arange(quarter, dtype=torch.float64) / quarter)
        rows, columns = torch.meshgrid(
            torch.arange(grid_height, dtype=torch.float64),
            torch.arange(grid_width, dtype=torch.float64),
            indexing="ij",
        )
        halves = []
        for coordinate in (columns, rows):
            angles = coordinate.reshape(-1, 1) * frequencies
            halves += [angles.sin(), angles.cos()]
        table = torch.cat(halves, dim=1)
        return torch.cat([torch.zeros(num_prefix_tokens, dim, dtype=table.dtype), table]).to(torch.float32)


def resample_position_embedding(
    table: Tensor, old_grid: tuple[int, int], new_grid: tuple[int, int], num_prefix_tokens: int = 0
) -> Tensor:
    """
    A learned or fixed table of position embeddings, interpolated to another number of patches.

    As MAE fine-tuning does it at a new resolution (facebookresearch/mae): bicubic on the grid of patches, corners not
    aligned, no antialiasing; what belongs to class and register tokens is kept. (timm's own loader antialiases, which
    differs where the grid becomes smaller.)

    Args:
        table (`Tensor` of shape `(1, P + H * W, D)`): Prefix tokens first, then the grid row after row.
        old_grid (`tuple[int, int]`): H and W, patches per column and per row of the table.
        new_grid (`tuple[int, int]`): Patches per column and per row of the result.
        num_prefix_tokens (`int`, *optional*, defaults to 0): P.

    Returns:
        `Tensor` of shape `(1, P + new rows * new columns, D)`, of the table's type; computed in float32 at least.

    Raises:
        `ValueError`: if the table does not have `P + H * W` entries.
    """
    rows, columns = old_grid
    if table.ndim != 3 or table.shape[1] != num_prefix_tokens + rows * columns:
        raise ValueError(
            f"a table of shape {tuple(table.shape)} does not hold {num_prefix_tokens} prefix tokens and a grid of "
            f"{rows} x {columns} patches"
        )
    prefix, patches = table[:, :num_prefix_tokens], table[:, num_prefix_tokens:]
    planes = patches.reshape(1, rows, columns, -1).permute(0, 3, 1, 2)
    planes = planes.to(torch.promote_types(planes.dtype, torch.float32))
    planes = F.interpolate(planes, size=tuple(new_grid), mode="bicubic", align_corners=False, antialias=False)
    return torch.cat([prefix, planes.flatten(2).transpose(1, 2).to(table.dtype)], dim=1)
