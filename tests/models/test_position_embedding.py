"""Position embeddings at another resolution against a slow bicubic interpolation."""

from __future__ import annotations

import math

import pytest
import torch

from hf_ltr.models.position_embedding import resample_position_embedding, sine_cosine_position_embedding


def cubic_weight(distance: float, sharpness: float = -0.75) -> float:
    """Keys' kernel with torch's parameter."""
    x = abs(distance)
    if x <= 1:
        return (sharpness + 2) * x**3 - (sharpness + 3) * x**2 + 1
    if x < 2:
        return sharpness * x**3 - 5 * sharpness * x**2 + 8 * sharpness * x - 4 * sharpness
    return 0.0


def slow_resampling(table: torch.Tensor, old: tuple[int, int], new: tuple[int, int], prefix: int = 0) -> torch.Tensor:
    """Entry by entry: 16 neighbours of the corresponding place, places beyond the border taken from the border."""
    values = table[0].double().tolist()
    result = values[:prefix]
    for row in range(new[0]):
        for column in range(new[1]):
            y = (row + 0.5) * old[0] / new[0] - 0.5
            x = (column + 0.5) * old[1] / new[1] - 0.5
            entry = [0.0] * table.shape[2]
            for i in range(math.floor(y) - 1, math.floor(y) + 3):
                for j in range(math.floor(x) - 1, math.floor(x) + 3):
                    weight = cubic_weight(y - i) * cubic_weight(x - j)
                    source = min(max(i, 0), old[0] - 1) * old[1] + min(max(j, 0), old[1] - 1)
                    for index, value in enumerate(values[prefix + source]):
                        entry[index] += weight * value
            result.append(entry)
    return torch.tensor(result)[None]


@pytest.mark.parametrize(
    "old, new, prefix",
    [((4, 4), (7, 7), 1), ((4, 4), (3, 3), 0), ((8, 4), (12, 6), 2), ((2, 4), (1, 2), 1), ((1, 1), (3, 3), 1)],
)
def test_resampling_equals_a_slow_bicubic_interpolation(old, new, prefix):
    table = torch.randn(1, prefix + old[0] * old[1], 3, generator=torch.Generator().manual_seed(0))
    resampled = resample_position_embedding(table, old, new, prefix)
    torch.testing.assert_close(resampled, slow_resampling(table, old, new, prefix), rtol=1e-5, atol=1e-5)
    assert torch.equal(resampled[:, :prefix], table[:, :prefix])


def test_no_antialiasing_where_the_grid_becomes_smaller():
    """The facts say torch's plain bicubic; timm's antialiased one gives another table."""
    from timm.layers import resample_abs_pos_embed

    table = torch.randn(1, 1 + 64, 4, generator=torch.Generator().manual_seed(0))
    own = resample_position_embedding(table, (8, 8), (4, 4), 1)
    plain = resample_abs_pos_embed(table, [4, 4], [8, 8], num_prefix_tokens=1, antialias=False)
    torch.testing.assert_close(own, plain)
    antialiased = resample_abs_pos_embed(table, [4, 4], [8, 8], num_prefix_tokens=1, antialias=True)
    assert (own - antialiased).abs().max() > 0.1


def test_half_precision_is_computed_in_float32_and_kept():
    table = torch.randn(1, 16, 4, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)
    resampled = resample_position_embedding(table, (4, 4), (6, 6))
    assert resampled.dtype == torch.bfloat16
    expected = resample_position_embedding(table.float(), (4, 4), (6, 6)).to(torch.bfloat16)
    assert torch.equal(resampled, expected)


def test_a_smooth_table_stays_near_its_finer_version():
    coarse, fine = (sine_cosine_position_embedding(8, size, size)[None] for size in (14, 28))
    resampled = resample_position_embedding(coarse, (14, 14), (28, 28))
    # Coordinates are in patches: the fine table's are twice as large, so compare with a table of half steps.
    step = (torch.arange(28) + 0.5) / 2 - 0.5
    inner = slice(4, 24)
    expected = step[inner].sin()
    actual = resampled.reshape(28, 28, 8)[14, inner, 0]
    torch.testing.assert_close(actual, expected, rtol=0, atol=0.05)
    assert fine.shape == resampled.shape


def test_a_table_that_is_not_the_grid_is_refused():
    with pytest.raises(ValueError, match="2 prefix tokens and a grid of 4 x 4"):
        resample_position_embedding(torch.zeros(1, 17, 3), (4, 4), (8, 8), 2)
