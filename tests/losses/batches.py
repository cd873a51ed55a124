"""Random batches and slow scalar arithmetic, written without the package."""

from __future__ import annotations

import math

import torch

# Not sorted, not a multiple of anything, and not the counts of the golden cases.
UNSORTED = [7, 120, 3, 900, 33]


def random_batch(rows: int = 9, classes: int = 5, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(rows, classes, dtype=torch.float64, generator=generator)
    labels = torch.randint(0, classes, (rows,), generator=generator)
    return logits.requires_grad_(), labels


def slow_softmax(row: list[float]) -> list[float]:
    peak = max(row)
    exponentials = [math.exp(value - peak) for value in row]
    return [value / sum(exponentials) for value in exponentials]


def slow_sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def close(result: torch.Tensor, expected, tolerance: float = 1e-11) -> None:
    torch.testing.assert_close(result, torch.as_tensor(expected, dtype=torch.float64), rtol=tolerance, atol=tolerance)
