"""Balanced softmax (Ren et al., 2020)."""

from __future__ import annotations

from torch import Tensor

from .base import ClassCountLoss
from .cross_entropy import row_cross_entropy
from .priors import add_log_prior


class BalancedSoftmaxLoss(ClassCountLoss):
    """
    Cross-entropy of `z_c + log p_c`, with `p_c = n_c / sum n` (the paper's `z_c + log n_c`: a constant shift of all
    logits changes no softmax). At inference the raw logits `z` are used: they are the scores under a uniform
    label distribution.

    Source: Ren et al., "Balanced Meta-Softmax for Long-Tailed Visual Recognition", NeurIPS 2020, eq. 3-4; released
    code jiawei-ren/BalancedMetaSoftmax-Classification `loss/BalancedSoftmaxLoss.py` (no epsilon, so a class without
    images is refused here). Two uses correct twice and hurt: training on class-balanced batches, and subtracting the
    prior from a model trained with this loss. On cosine logits give the head a scale, or `log n_c` drowns them.

    Args:
        class_counts (`ClassCounts` or sequence of `int`): Training images of every class, in label order.

    Example:
        ```python
        >>> loss = BalancedSoftmaxLoss([500, 40, 5])(logits, labels)
        ```
    """

    def row_losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        return row_cross_entropy(add_log_prior(logits, self.counts_of(logits)), labels)
