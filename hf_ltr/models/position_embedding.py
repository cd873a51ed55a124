"""The fixed two-dimensional sine-cosine position embedding of masked autoencoders."""

from __future__ import annotations

import torch
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
