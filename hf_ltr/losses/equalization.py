"""Equalization losses (Tan et al., 2020): rare classes are not pushed down by the images of other classes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from ..data.class_counts import ClassCounts
from ..validation import number
from .base import ClassCountLoss, as_probabilities, expected_loss


class _RareClassLoss(ClassCountLoss):
    """Knows which classes are rare: those whose share of the training images is below `threshold`."""

    needs_every_class = False
    rare: Tensor

    def __init__(self, class_counts: ClassCounts | Sequence[int], threshold: float) -> None:
        super().__init__(class_counts)
        self.threshold = float(
            number("`threshold`, a share of the training images n_c / sum n,", threshold, minimum=0, maximum=1)
        )
        rare = torch.from_numpy(ClassCounts.of(class_counts).prior < self.threshold)
        self.register_buffer("rare", rare, persistent=False)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, threshold={self.threshold}"


class SoftmaxEqualizationLoss(_RareClassLoss):
    """
    Cross-entropy whose softmax leaves out rare classes at random:

        loss = -log( exp(z_y) / sum_c w_c exp(z_c) ),    w_c = 1 - coin_c * [n_c / sum n < threshold] * [c != y]

    with `coin_c` from Bernoulli(`gamma`). The label's own entry is never left out. A row all of whose other entries
    are left out has loss 0 and no gradient. At inference the plain logits are used.

    Source: Tan et al., "Equalization Loss for Long-Tailed Object Recognition", CVPR 2020. There is one coin
    per row and class, as the first author showed in issue 9 of tztztztztz/eql.detectron2 (no softmax code was
    released); zhangyongshun/BagofTricks-LT computes the same without guarding the exponential against overflow. A
    class with exactly the share `threshold` counts as frequent, as in the paper.

    The coins are an input, so that a training step can make them a function of seed, epoch and row. Without them they
    are drawn from torch's default generator of the logits' device in training mode, and in evaluation mode nothing is
    left out.

    Soft labels give the expectation of the loss over the label, each possible label with its own entry kept. A class
    without training images is rare.

    Args:
        class_counts (`ClassCounts` or sequence of `int`): Training images of every class, in label order.
        threshold (`float`): Share of all training images below which a class is rare. Published: 5e-3 on CIFAR-100-LT.
        gamma (`float`, defaults to 0.9): Probability in [0, 1] that a rare entry is left out.
    """

    def __init__(self, class_counts: ClassCounts | Sequence[int], threshold: float, gamma: float = 0.9) -> None:
        super().__init__(class_counts, threshold)
        self.gamma = float(number("`gamma`, a probability,", gamma, minimum=0, maximum=1))

    def forward(
        self, logits: Tensor, labels: Tensor, reduction: str = "mean", ignored: Tensor | None = None
    ) -> Tensor:
        """
        Args:
            logits, labels, reduction: As in [`ClassificationLoss.forward`].
            ignored (`torch.Tensor` of shape `(batch, classes)`, *optional*): The coins, boolean or 0 and 1; where True
                (probability `gamma`) the entry is left out if its class is rare and not the row's label.

        Returns:
            `torch.Tensor`: The loss.
        """
        if ignored is not None and ignored.shape != logits.shape:
            raise ValueError(
                f"`ignored` must have the shape of the logits, {tuple(logits.shape)}, got {tuple(ignored.shape)}."
            )
        return self._evaluate(logits, labels, reduction, ignored=ignored)

    def row_losses(self, logits: Tensor, labels: Tensor, ignored: Tensor | None = None) -> Tensor:
        self.counts_of(logits)  # refuses another number of classes
        if ignored is None:
            gamma = self.gamma if self.training else 0.0
            ignored = torch.rand(logits.shape, dtype=logits.dtype, device=logits.device) < gamma
        left_out = (ignored != 0) & self.rare
        # Finite instead of -inf: a row without any kept entry must not give NaN.
        hidden = torch.finfo(logits.dtype).min
        if not labels.is_floating_point():
            left_out = left_out.scatter(1, labels.unsqueeze(1), False)
            return expected_loss(-F.log_softmax(logits.masked_fill(left_out, hidden), dim=1), labels)
        normaliser = torch.logsumexp(logits.masked_fill(left_out, hidden), dim=1, keepdim=True)
        # Of each possible label: its own entry comes back into the sum if it was left out.
        own = torch.where(left_out, torch.logaddexp(normaliser, logits), normaliser)
        return expected_loss(own - logits, labels)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, gamma={self.gamma}"


class SigmoidEqualizationLoss(_RareClassLoss):
    """
    One-vs-all binary cross-entropy, summed over the classes, without the terms of rare classes that are not the label.

        loss = sum_c w_c BCE(z_c, [c = y]),    w_c = 1 - [n_c / sum n < threshold] * [c != y]

    Source: Tan et al., "Equalization Loss for Long-Tailed Object Recognition", CVPR 2020, without background
    regions; released code tztztztztz/eqlv2. For classification the paper uses [`SoftmaxEqualizationLoss`], but the
    "EQL" rows of the CDB and Difficulty-Net tables were made with this form. Soft labels give the expectation of the
    loss over the label. A class without training images is rare.

    Args:
        class_counts (`ClassCounts` or sequence of `int`): Training images of every class, in label order.
        threshold (`float`): Share of all training images below which a class is rare.
    """

    def row_losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        self.counts_of(logits)  # refuses another number of classes
        targets = as_probabilities(labels, logits)
        negatives = torch.where(self.rare, 0.0, targets.sum(dim=1, keepdim=True) - targets)
        return (targets * F.softplus(-logits) + negatives * F.softplus(logits)).sum(dim=1)
