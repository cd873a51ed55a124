"""From features to logits, before and after an adjustment, and how good they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..data.class_counts import ClassCounts
from ..evaluation import StreamingMetrics

_ROWS_AT_A_TIME = 4096


@dataclass(frozen=True)
class Decision:
    """
    What turns cached rows into the logits of inference.

    Args:
        weight (`Tensor` of shape `(C, D)`), bias (`Tensor` of shape `(C,)`): Of the linear head; `None` where rows are
            raw logits already.
        offset (`Tensor` of shape `(C,)`): What the model's config adds to the raw logits.
    """

    weight: Tensor | None
    bias: Tensor | None
    offset: Tensor

    def __call__(self, rows: Tensor) -> Tensor:
        logits = rows if self.weight is None else F.linear(rows, self.weight, self.bias)
        return logits + self.offset

    def shifted(self, offset: Tensor) -> Decision:
        """With `offset` more on the logits: in the bias, where there is one."""
        if self.bias is None:
            return replace(self, offset=(self.offset.double() + offset).float())
        return replace(self, bias=(self.bias.double() + offset).float())

    def rounded(self, dtype: torch.dtype) -> Decision:
        """As it is when weight and bias are stored in another type."""
        if self.weight is None:
            return self
        return replace(self, weight=self.weight.to(dtype).float(), bias=self.bias.to(dtype).float())


@torch.no_grad()
def measure(decision: Decision, rows: Tensor, labels: Tensor, class_counts: ClassCounts) -> dict[str, Any]:
    """
    Metrics of [`StreamingMetrics`].

    Args:
        decision ([`Decision`])
        rows (`Tensor` of shape `(N, D)` or `(N, C)`), labels (`Tensor` of shape `(N,)`): Of a split.
        class_counts ([`ClassCounts`]): Of the training set, for the groups.
    """
    metrics = StreamingMetrics(class_counts)
    for block, target in zip(rows.split(_ROWS_AT_A_TIME), labels.split(_ROWS_AT_A_TIME), strict=True):
        metrics.update(decision(block), target)
    return metrics.compute()


def choose_tau(
    candidates: Sequence[float], decide: Callable[[float], Decision], rows: Tensor, labels: Tensor, counts: ClassCounts
) -> tuple[float, dict[float, float]]:
    """
    The tau with the best balanced accuracy; among equals the smallest, which changes the model least.

    Args:
        candidates (sequence of `float`): Tried in this order, ascending.
        decide (`Callable`): The decision for a tau.
        rows, labels: Of the validation split, never of the test split.
        counts ([`ClassCounts`]): Of the training set.

    Returns:
        `(tau, balanced accuracy by tau)`.
    """
    tried = {tau: measure(decide(tau), rows, labels, counts)["balanced_accuracy"] for tau in candidates}
    return max(tried, key=lambda tau: (tried[tau], -tau)), tried
