"""Balanced binary cross-entropy (Xu et al., 2023)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F

from ..data.class_counts import ClassCounts
from ..validation import number
from .base import ClassCountLoss, as_probabilities
from .priors import add_log_prior_odds


class BalancedBCELoss(ClassCountLoss):
    """
    One-vs-all binary cross-entropy of `z_c + tau * (log p_c - log(1 - p_c))`, with `p_c = n_c / sum n`, summed over
    the classes. At inference the raw logits are used.

    Source: Xu et al., "Learning Imbalanced Data with Vision Transformers" (LiVT), CVPR 2023; released code
    XuZhengzhuo/LiVT, which takes the mean over rows and classes times the number of classes: the sum over the classes
    here, and the mean over the rows by the reduction.

    Soft labels are the binary targets of the classes, as mixup, cutmix and label smoothing make them (LiVT trains with
    all three), and need not sum to 1.

    Args:
        class_counts (`ClassCounts` or sequence of `int`): Training images of every class, in label order; at least two
            classes, none of them empty.
        tau (`float`, defaults to 1.0): Strength of the prior, at least 0, which is plain binary cross-entropy. LiVT
            uses 1, on Places-LT 1.05.
    """

    def __init__(self, class_counts: ClassCounts | Sequence[int], tau: float = 1.0) -> None:
        super().__init__(class_counts)
        if len(self.class_counts) < 2:
            raise ValueError(
                "BalancedBCELoss needs at least two classes: the prior odds of a single one are infinite."
            )
        self.tau = float(number("`tau`", tau, minimum=0))

    def row_losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        adjusted = add_log_prior_odds(logits, self.counts_of(logits), tau=self.tau)
        targets = as_probabilities(labels, logits)
        return F.binary_cross_entropy_with_logits(adjusted, targets, reduction="none").sum(dim=1)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, tau={self.tau}"
