"""What the tests of the single-network methods share: unsorted counts, a model with fixed logits, a batch."""

from __future__ import annotations

from types import SimpleNamespace

import torch

COUNTS = [7, 300, 25, 60, 12]  # unsorted on purpose: nothing may assume a head-first order


def inference_logits(logits: torch.Tensor) -> torch.Tensor:
    """As if the prior were removed from them: another shift per class, so that no softmax is blind to their use."""
    return logits - 3.0 * torch.arange(logits.shape[-1], dtype=logits.dtype)


class FixedModel(torch.nn.Module):
    """Logits of row i of a batch are row i of the parameter; inference logits differ, so that their use would show."""

    def __init__(self, logits: torch.Tensor):
        super().__init__()
        self.logits = torch.nn.Parameter(logits.clone())

    def forward(self, pixel_values: torch.Tensor) -> SimpleNamespace:
        logits = self.logits[: len(pixel_values)]
        return SimpleNamespace(raw_logits=logits, logits=inference_logits(logits))


def some_logits(rows: int = 11, classes: int = len(COUNTS), seed: int = 0, scale: float = 2.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, classes, generator=generator, dtype=torch.float64) * scale


def some_labels(rows: int = 11, classes: int = len(COUNTS), seed: int = 1) -> torch.Tensor:
    return torch.randint(0, classes, (rows,), generator=torch.Generator().manual_seed(seed))


def outputs_of(logits: torch.Tensor) -> SimpleNamespace:
    return SimpleNamespace(raw_logits=logits, logits=inference_logits(logits))


def batch_of(labels: torch.Tensor, weight: list[float] | None = None, **more) -> dict:
    """A training batch of rows 0..B-1; keys are those of epoch 0."""
    return {
        "pixel_values": torch.zeros(len(labels), 1),
        "labels": labels,
        "index": torch.arange(len(labels)),
        "keys": torch.arange(len(labels)),
        "weight": torch.ones(len(labels)) if weight is None else torch.tensor(weight),
        **more,
    }


def slow_cross_entropy(row: torch.Tensor, label: int) -> torch.Tensor:
    return -(row[label] - torch.log(sum(torch.exp(value) for value in row)))
