"""Focal loss: rows that are already classified with confidence count less."""

from __future__ import annotations

from typing import Any

from ..losses import FocalLoss
from .base import Counts, PublishedRow
from .loss_method import LossMethod


class Focal(LossMethod):
    """
    Focal loss on the softmax: `(1 - p_y)^gamma * (-log p_y)` (Lin et al. 2017, equation 4, which is for detection, in
    the multi-class form that long-tailed papers compare with). It knows nothing of class counts.

    What papers call focal loss differs. The published CIFAR-LT numbers of the LDAM line come from kaidic/LDAM-DRW:
    this form with gamma 1. hyperconnect/LADE uses gamma 2 and a detached modulator. BagofTricks-LT and the
    class-balanced paper use the sigmoid form, one class against all others: `class_balanced` with `form="focal"`, and
    `beta=0` for no weights.

    Args:
        class_counts ([`ClassCounts`] or sequence of `int`): Training images per class; not used by the loss.
        gamma (`float`, *optional*, defaults to 2.0): How fast confident rows lose weight; 2 is the value of the paper
            that proposed it, 0 is cross-entropy.
        detach_modulator (`bool`, *optional*, defaults to `False`): Treat `(1 - p_y)^gamma` as a constant weight, as
            hyperconnect/LADE, CDB-loss and Difficulty_Net do: the same value, another gradient.
    """

    name = "focal"
    summary = "Cross-entropy in which images that are already classified with confidence count less."
    when_to_use = (
        "A baseline of many tables; it targets hard images rather than rare classes and seldom helps a long tail."
    )
    published_names = ("focal",)
    loss_class = FocalLoss
    paper = {
        "title": "Focal Loss for Dense Object Detection",
        "authors": "Tsung-Yi Lin, Priya Goyal, Ross Girshick, Kaiming He, Piotr Dollar",
        "year": 2017,
        "url": "https://arxiv.org/abs/1708.02002",
    }

    def __init__(self, class_counts: Counts, gamma: float = 2.0, detach_modulator: bool = False):
        super().__init__(class_counts, gamma=gamma, detach_modulator=detach_modulator)

    def published_options(self, row: PublishedRow) -> dict[str, Any] | None:
        # BagofTricks-LT prints the sigmoid form (that is class_balanced with form="focal" and beta=0); the tables of
        # others copy numbers without saying which form.
        return None
