"""Balanced softmax: the training prior is added to the logits in the loss and absent at test time."""

from __future__ import annotations

from typing import Any

from ..losses import BalancedSoftmaxLoss
from .base import PublishedRow
from .loss_method import LossMethod


class BalancedSoftmax(LossMethod):
    """
    Cross-entropy of `logits + log n_c` (Ren et al. 2020, equation 4); raw logits are what inference uses, so nothing
    is subtracted again afterwards.

    Args:
        class_counts ([`ClassCounts`] or sequence of `int`): Training images per class; none may be zero.
    """

    name = "balanced_softmax"
    summary = "Cross-entropy with the class prior inside the softmax of the loss, and raw logits at test time."
    when_to_use = (
        "The first thing to try, from scratch or when fine-tuning: one stage, no option, no extra cost. Keep instance "
        "sampling and subtract nothing from its logits, or the tail is corrected twice."
    )
    published_names = ("bsce",)
    adds_prior = True
    loss_class = BalancedSoftmaxLoss
    paper = {
        "title": "Balanced Meta-Softmax for Long-Tailed Visual Recognition",
        "authors": "Jiawei Ren, Cunjun Yu, Shunan Sheng, Xiao Ma, Haiyu Zhao, Shuai Yi, Hongsheng Li",
        "year": 2020,
        "url": "https://arxiv.org/abs/2007.10740",
    }

    def published_options(self, row: PublishedRow) -> dict[str, Any] | None:
        return None if "decoupled" in row["variant"] else {}  # there a second stage on a frozen backbone
