"""LADE: prior-adjusted cross-entropy with a regulariser on the logits' distribution (Hong et al., 2021)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..data.class_counts import ClassCounts
from ..validation import number
from .base import ClassCountLoss, as_probabilities, at_least_float32, check_classification_shapes
from .cross_entropy import row_cross_entropy
from .priors import add_log_prior, log_prior

# Of the released code: inside its logarithms of priors, and on the class counts of the batch.
PRIOR_EPSILON = 1e-9
COUNT_EPSILON = 1e-8


def lade_regularizer(
    logits: Tensor,
    labels: Tensor,
    class_counts: ClassCounts | Sequence[int] | Tensor,
    lambda_: float = 0.01,
    weights: Tensor | None = None,
) -> Tensor:
    """
    LADER, a lower bound (with its sign turned) on how far each class's logit separates its own images from all images
    under a uniform label distribution:

        LADER = -sum_c p_c * (A_c - B_c - lambda_ * B_c^2)
        A_c   = mean of z_ic over the batch's rows of class c
        B_c   = log( mean over all rows i of exp(z_ic) * (1 / C) / p_c ),        p_c = n_c / sum n

    A class without rows in the batch has `A_c = 0` and keeps its `B_c`: the logits of absent classes are pushed down,
    by their share of the training images. The value therefore depends on the batch as a whole: hand it the rows of the
    global batch (`gather_rows`), and expect gradient accumulation to change it.

    Source: Hong et al., "Disentangling Label Distribution for Long-Tailed Visual Recognition", CVPR 2021; released
    code hyperconnect/LADE `loss/LADELoss.py`, with its epsilons (1e-9 in the logarithms, 1e-8 on the rows of a class).
    The code takes the importance weight of the column's class, as written here, where the paper's weight is that of
    the row's label. The code decides, since every published number comes from it.

    Args:
        logits (`torch.Tensor` of shape `(batch, classes)`): Computed in at least float32, under autocast too.
        labels (`torch.Tensor`): Integers of shape `(batch,)`, or probabilities of shape `(batch, classes)`, which then
            are the weights of the mean `A_c`.
        class_counts (`ClassCounts`, sequence of `int`, or `torch.Tensor`): Training images of every class.
        lambda_ (`float`, defaults to 0.01): Weight of the quadratic term.
        weights (`torch.Tensor` of shape `(batch,)`, *optional*): Weight of each row, 0 for padding; 1 by default.

    Returns:
        `torch.Tensor`: A scalar; 0 with its graph kept where no row has weight.
    """
    check_classification_shapes(logits, labels)
    if weights is not None and weights.shape != logits.shape[:1]:
        raise ValueError(f"`weights` must have shape ({logits.shape[0]},), got {tuple(weights.shape)}.")
    if not isinstance(class_counts, Tensor):
        counts = ClassCounts.of(class_counts)
        counts.require_images("lade_regularizer")
        class_counts = torch.tensor(counts.counts, device=logits.device)
    if class_counts.shape != logits.shape[1:]:
        raise ValueError(
            f"There are counts of {class_counts.shape[0]} classes, but the logits have {logits.shape[1]} columns."
        )
    with torch.autocast(device_type=logits.device.type, enabled=False):
        logits = at_least_float32(logits)
        if logits.shape[0] == 0:
            return logits.sum()
        labels = labels.to(logits.dtype) if labels.is_floating_point() else labels.long()
        return _regularizer(logits, as_probabilities(labels, logits), class_counts, lambda_, weights)


def _regularizer(logits: Tensor, targets: Tensor, counts: Tensor, lambda_: float, weights: Tensor | None) -> Tensor:
    rows, classes = logits.shape
    importance = math.log(1 / classes + PRIOR_EPSILON) - log_prior(counts, epsilon=PRIOR_EPSILON, dtype=logits.dtype)
    prior = counts.to(logits.dtype) / counts.sum()
    shifted = logits + importance
    any_weight: Tensor | float = 1.0
    log_total: Tensor | float = math.log(rows)
    if weights is not None:
        weights = weights.to(logits.dtype)
        is_any = weights.sum() > 0
        any_weight = is_any.to(logits.dtype)
        # Where nothing has weight every row counts, and the product with `any_weight` = 0 removes the result: no NaN.
        weights = torch.where(is_any, weights, torch.ones_like(weights))
        targets = targets * weights.unsqueeze(1)
        shifted = shifted + weights.log().unsqueeze(1)
        log_total = weights.sum().log()
    of_class = (targets * logits).sum(dim=0) / (targets.sum(dim=0) + COUNT_EPSILON)
    of_all = torch.logsumexp(shifted, dim=0) - log_total
    return -any_weight * (prior * (of_class - of_all - lambda_ * of_all.square())).sum()


class LADELoss(ClassCountLoss):
    """
    `CE(z_c + log p_c) + alpha * LADER(z)`, both on the same logits. At inference the raw logits `z` are the scores
    under a uniform label distribution, and `z_c + log q_c` those under another one, `q`.

    LADER ([`lade_regularizer`]) is one number of the whole batch. `reduction="none"` adds `alpha * LADER` to the
    cross-entropy of every row, so that the mean of the rows is the published loss; `"sum"` is the sum of those rows.

    Source: Hong et al., "Disentangling Label Distribution for Long-Tailed Visual Recognition", CVPR 2021; released
    code hyperconnect/LADE `loss/PriorCELoss.py` (1e-9 inside the logarithm), `loss/LADELoss.py`, `run_networks.py`.
    Its command line overrides `alpha` in the configuration files with 0.1 unless it is given.

    Args:
        class_counts (`ClassCounts` or sequence of `int`): Training images of every class, in label order. A class
            without images is refused: the epsilon would make its prior 1e-9 and leave its logit untrained.
        alpha (`float`, defaults to 0.1): Weight of LADER, at least 0. Published: 0.1 on CIFAR-100-LT, 0.05 on
            ImageNet-LT and iNaturalist, 0.005 on Places-LT.
        lambda_ (`float`, defaults to 0.01): Weight of its quadratic term, at least 0. Published: 0.01 on CIFAR-100-LT
            with imbalance factor 100, 0.5 on ImageNet-LT and iNaturalist, 0.1 on Places-LT.
    """

    def __init__(self, class_counts: ClassCounts | Sequence[int], alpha: float = 0.1, lambda_: float = 0.01) -> None:
        super().__init__(class_counts)
        for name, value in (("alpha", alpha), ("lambda_", lambda_)):
            number(f"`{name}`", value, minimum=0)
        self.alpha = float(alpha)
        self.lambda_ = float(lambda_)

    def prior_losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Only the cross-entropy with the prior, shape `(batch,)`; arguments as of `row_losses`."""
        return row_cross_entropy(add_log_prior(logits, self.counts_of(logits), epsilon=PRIOR_EPSILON), labels)

    def row_losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        rows = self.prior_losses(logits, labels)
        return rows + self.alpha * lade_regularizer(logits, labels, self.class_counts, self.lambda_)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, alpha={self.alpha}, lambda_={self.lambda_}"
