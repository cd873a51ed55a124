"""Focal loss on the softmax (Lin et al., 2017)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ..validation import flag, number
from .base import ClassificationLoss, expected_loss


def check_gamma(gamma: float) -> float:
    """`gamma` as a float; refuses what is not a finite number of at least 0."""
    return float(number("`gamma`", gamma, minimum=0))


def log_complement(log_probabilities: Tensor) -> Tensor:
    """
    `log(1 - p)` of every class, exact to the last digits and with finite gradients where `p` rounds to 1.

    Only the most probable class of a row can exceed 1/2: its complement is summed up from the other classes, and
    `log1p(-p)` is safe for the rest. Powers are then `exp(gamma * log(1 - p))`, which, unlike `(1 - p) ** gamma`, has
    no infinite derivative at 1 for `gamma` below 1.
    """
    top = log_probabilities.argmax(dim=1, keepdim=True)
    # A finite number in place of -inf keeps the gradient of a single class at 0 instead of NaN.
    others = log_probabilities.scatter(1, top, torch.finfo(log_probabilities.dtype).min)
    complement_of_top = torch.logsumexp(others, dim=1, keepdim=True)
    return torch.log1p(-others.exp()).scatter(1, top, complement_of_top)


class FocalLoss(ClassificationLoss):
    """
    `(1 - p_y)^gamma * (-log p_y)` with `p` the softmax: rows that are already right count less.

    Source: Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017, eq. 4, in the softmax form of long-tailed
    recognition (kaidic/LDAM-DRW `losses.py`). The gradient flows through both factors. Released code differs:
    hyperconnect/LADE and hitachi-rd-cv/CDB-loss detach `p` in the first factor, the same value with another gradient
    (`detach_modulator=True`); LDAM-DRW given class weights puts them inside the probability too, which then is none
    (not offered). The one-vs-all form of the class-balanced paper is `ClassBalancedLoss(..., form="focal")`.

    Soft labels give the expectation of the loss over the label.

    Args:
        gamma (`float`, defaults to 2.0): At least 0, which is cross-entropy. The paper and LADE use 2, LDAM-DRW 1.
        detach_modulator (`bool`, defaults to `False`): Treat `(1 - p_y)^gamma` as a constant weight.
    """

    def __init__(self, gamma: float = 2.0, detach_modulator: bool = False) -> None:
        super().__init__()
        self.gamma = check_gamma(gamma)
        self.detach_modulator = flag("`detach_modulator`", detach_modulator)

    def row_losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        log_probabilities = F.log_softmax(logits, dim=1)
        modulator = (self.gamma * log_complement(log_probabilities)).exp()
        if self.detach_modulator:
            modulator = modulator.detach()
        return expected_loss(-modulator * log_probabilities, labels)

    def extra_repr(self) -> str:
        return f"gamma={self.gamma}, detach_modulator={self.detach_modulator}"
