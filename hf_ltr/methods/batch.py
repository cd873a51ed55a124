"""What methods read of a batch and of a model's outputs, and the means they make of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import torch

Batch = dict[str, Any]


def sample_weights(batch: Batch) -> torch.Tensor:
    """Weight of every sample, shape `(B,)`, float32: one, or zero for one that only pads an uneven process."""
    weights = batch.get("weight")
    if weights is None:
        pixel_values = batch["pixel_values"]
        weights = torch.ones(pixel_values.shape[0], device=pixel_values.device)
    return weights


def weighted_mean(values: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """
    `sum(weights * values) / sum(weights)`, and 0 with its graph kept where the weights sum to 0.

    Args:
        values (`torch.Tensor` of shape `(B,)`).
        weights (`torch.Tensor` of shape `(B,)`): Not negative.
    """
    weights = weights.to(values.dtype)
    total = weights.sum()
    return (values * weights).sum() / torch.where(total > 0, total, torch.ones_like(total))


def batch_targets(batch: Batch) -> torch.Tensor:
    """Soft targets `(B, C)` where the batch was mixed or smoothed, else the int64 labels `(B,)`."""
    targets = batch.get("targets")
    return batch["labels"] if targets is None else targets


def sum_over_experts(loss: Callable[[Any], torch.Tensor], outputs: Any) -> torch.Tensor:
    """
    `loss(outputs)`; where the model has experts the sum of what it gives for each of them, as if that one were the
    whole model. A plain loss so trains every expert, never only their mean.

    Args:
        loss (`Callable`): Of outputs, read through their `raw_logits`.
        outputs ([`LongTailOutput`]): With `expert_logits` of shape `(B, experts, C)` where experts exist.
    """
    if getattr(outputs, "expert_logits", None) is None:
        return loss(outputs)
    experts = outputs.expert_logits.unbind(dim=1)
    losses = [loss(dataclasses.replace(outputs, raw_logits=logits, expert_logits=None)) for logits in experts]
    return torch.stack(losses).sum(dim=0)
