"""Balanced binary cross-entropy: one classifier per class, with the log odds of its prior added in the loss."""

from __future__ import annotations

from typing import Any

from ..losses import BalancedBCELoss
from .base import Counts, PublishedRow
from .loss_method import LossMethod


class BalancedBCE(LossMethod):
    """
    Binary cross-entropy of `logits + tau * (log p_c - log(1 - p_c))`, summed over the classes (LiVT: Xu et al. 2023;
    repository XuZhengzhuo/LiVT). Raw logits are what inference uses, so nothing is subtracted afterwards.

    The authors fine-tune masked autoencoders with it, under mixup, cutmix and label smoothing: soft targets are the
    targets of the binary problems. The starting point, `stages` of masked autoencoding and fine-tuning, is
    `recipes/mem_vit.py`; this is the loss of the second stage.

    Args:
        class_counts ([`ClassCounts`] or sequence of `int`): Training images per class; at least two classes, none of
            them empty.
        tau (`float`, *optional*, defaults to 1.0): Strength of the prior; LiVT has 1, and 1.05 on Places-LT.
    """

    name = "balanced_bce"
    summary = "One binary classifier per class, each with the log odds of its training prior added to its logit."
    when_to_use = (
        "Fine-tuning a vision transformer with mixup, cutmix and label smoothing, where binary cross-entropy works "
        "better than softmax."
    )
    published_names = ("livt",)
    adds_prior = True
    loss_class = BalancedBCELoss
    paper = {
        "title": "Learning Imbalanced Data with Vision Transformers",
        "authors": "Zhengzhuo Xu, Ruikang Liu, Shuo Yang, Zenghao Chai, Chun Yuan",
        "year": 2023,
        "url": "https://arxiv.org/abs/2212.02015",
    }

    def __init__(self, class_counts: Counts, tau: float = 1.0):
        super().__init__(class_counts, tau=tau)

    def published_options(self, row: PublishedRow) -> dict[str, Any] | None:
        return {"tau": 1.05} if row["dataset"] == "places_lt" else {}
