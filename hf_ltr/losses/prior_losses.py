"""Cross-entropy under a class prior: balanced softmax (Ren et al., 2020), logit adjustment (Menon et al., 2021)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ..data.class_counts import ClassCounts
from ..validation import number
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


class LogitAdjustedLoss(ClassCountLoss):
    """
    Cross-entropy of `z_c + tau * log p_c`, with `p_c = n_c / sum n`. At inference the raw logits are used.

    With `tau=1` it equals the balanced softmax (a constant shift of all logits changes no softmax), with `tau=0` plain
    cross-entropy. Not to be combined with post-hoc adjustment, which would correct twice.

    Source: Menon et al., "Long-tail learning via logit adjustment", ICLR 2021, eq. 10. The authors' TensorFlow code
    adds 1e-12 inside the logarithm; as in the PyTorch release FlamieZhu/Balanced-Contrastive-Learning, none is added
    here and a class without images is refused.

    Args:
        class_counts (`ClassCounts` or sequence of `int`): Training images of every class, in label order.
        tau (`float`, defaults to 1.0): Strength of the prior, at least 0.
    """

    def __init__(self, class_counts: ClassCounts | Sequence[int], tau: float = 1.0) -> None:
        super().__init__(class_counts)
        self.tau = float(number("`tau`", tau, minimum=0))

    def row_losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        return row_cross_entropy(add_log_prior(logits, self.counts_of(logits), tau=self.tau), labels)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, tau={self.tau}"
