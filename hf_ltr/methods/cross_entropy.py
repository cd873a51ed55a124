"""Plain cross-entropy: the baseline that gives up on the tail."""

from __future__ import annotations

from typing import Any

import torch

from ..losses import CrossEntropyLoss
from .base import LongTailMethod


class CrossEntropy(LongTailMethod):
    """
    Mean cross-entropy of the raw logits; prediction by argmax.

    Args:
        class_counts ([`ClassCounts`] or sequence of `int`): Training images per class.
    """

    name = "cross_entropy"
    summary = "Mean cross-entropy with every image counted once: the baseline, which gives up on the tail."
    when_to_use = (
        "As the number to beat, and as the first stage of decoupled methods. With post-hoc logit adjustment the same "
        "weights are already a strong classifier for balanced test sets."
    )
    without_paper = "The common baseline; it has no single source."
    published_names = ("ce",)

    def __init__(self, class_counts):
        super().__init__(class_counts)
        self.loss = CrossEntropyLoss()

    def sample_loss(self, outputs: Any, targets: torch.Tensor) -> torch.Tensor:
        return self.loss(outputs.raw_logits, targets, reduction="none")
