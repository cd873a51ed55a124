"""Logit-adjusted cross-entropy: the training prior, to the power tau, is added to the logits in the loss."""

from __future__ import annotations

from ..losses import LogitAdjustedLoss
from .base import Counts
from .loss_method import LossMethod


class LogitAdjustment(LossMethod):
    """
    Cross-entropy of `logits + tau * log p_c` with the training prior `p_c` (Menon et al. 2021, equation 10). Raw
    logits are what inference uses, so nothing is subtracted again afterwards; with tau = 1 it is the balanced softmax.

    The paper's other form, subtracting the prior from a cross-entropy model, is [`PCSoftmax`] (`pc_softmax`), or
    `hf-ltr adjust` on a finished checkpoint. Using both corrects twice.

    Args:
        class_counts ([`ClassCounts`] or sequence of `int`): Training images per class; none may be zero.
        tau (`float`, *optional*, defaults to 1.0): Strength of the prior; 1 is the Fisher-consistent value and that of
            the authors' code, 0 is plain cross-entropy. Choose another on validation data.
    """

    name = "logit_adjustment"
    summary = "Adds tau times the log of the training prior to the logits in the loss; inference uses raw logits."
    when_to_use = (
        "The first thing to try against a long tail: no extra cost, no extra data, one option. Raise tau to favour "
        "rare classes more."
    )
    published_names = ("la",)
    adds_prior = True
    loss_class = LogitAdjustedLoss
    paper = {
        "title": "Long-tail learning via logit adjustment",
        "authors": "Aditya Krishna Menon, Sadeep Jayasumana, Ankit Singh Rawat, Himanshu Jain, Andreas Veit, Sanjiv "
        "Kumar",
        "year": 2021,
        "url": "https://arxiv.org/abs/2007.07314",
    }

    def __init__(self, class_counts: Counts, tau: float = 1.0):
        super().__init__(class_counts, tau=tau)
