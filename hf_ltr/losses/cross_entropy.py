"""Cross-entropy per row, with hard or soft labels."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from .base import ClassificationLoss


def row_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """
    `-sum_c t_c log softmax(z)_c` of each row; arguments as of [`ClassificationLoss.row_losses`]. Not
    `torch.nn.functional.cross_entropy`: that one silently drops rows labelled -100.
    """
    log_probabilities = F.log_softmax(logits, dim=-1)
    if labels.is_floating_point():
        return -(labels * log_probabilities).sum(dim=-1)
    return -log_probabilities.gather(1, labels.unsqueeze(1)).squeeze(1)


class CrossEntropyLoss(ClassificationLoss):
    """
    Plain cross-entropy, the baseline of every table. Soft labels are accepted and need not sum to 1.

    Example:
        ```python
        >>> loss = CrossEntropyLoss()(logits, labels)
        ```
    """

    def row_losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        return row_cross_entropy(logits, labels)
