"""Softmax equalization loss: rare classes are left out, at random, of the softmax of other classes' images."""

from __future__ import annotations

from typing import Any

import torch

from ..data.class_counts import ClassCounts
from ..data.randomness import STREAM_GATE, uniform
from ..losses import SoftmaxEqualizationLoss
from .base import Counts
from .batch import Batch, batch_targets, sum_over_experts
from .host import MethodHost
from .loss_method import LossMethod


class Equalization(LossMethod):
    """
    Softmax equalization loss (SEQL; Tan et al. 2020, equations 7 to 9): cross-entropy in which the entry of a rare
    class that is not the image's own is left out of the softmax with probability gamma, so that frequent classes do
    not push rare ones down. There is one coin per image and class, as the first author showed (issue 9 of
    tztztztztz/eql.detectron2). Inference uses the plain logits.

    In training the coins are a function of (seed, epoch, row, occurrence) and class: resuming, accumulating or
    splitting the batch over processes throws the same ones. `sample_loss`, which knows no rows, draws them from
    torch's generator.

    The rows called EQL in the tables of CDB and Difficulty-Net were made with the sigmoid form and one coin per batch
    (hitachi-rd-cv/Difficulty_Net); the sigmoid form is [`~hf_ltr.losses.SigmoidEqualizationLoss`].

    Args:
        class_counts ([`ClassCounts`] or sequence of `int`): Training images per class.
        threshold (`float`, *optional*): Share of all training images below which a class is rare. Half of an even
            share, `0.5 / number of classes`, if not given: that is the published value on CIFAR-100-LT (0.005) and
            BagofTricks-LT's on CIFAR-10-LT (0.05), and close to the 0.00043 of ImageNet-LT.
        gamma (`float`, *optional*, defaults to 0.9): Probability that such an entry is left out.
    """

    name = "equalization"
    summary = "Leaves rare classes, at random, out of the softmax of images of other classes."
    when_to_use = (
        "When rare classes are suppressed by the many images of frequent ones; a threshold decides which are rare."
    )
    published_names = ("seql",)  # `eql` in those tables is the sigmoid form with one coin per batch
    loss_class = SoftmaxEqualizationLoss
    paper = {
        "title": "Equalization Loss for Long-Tailed Object Recognition",
        "authors": "Jingru Tan, Changbao Wang, Buyu Li, Quanquan Li, Wanli Ouyang, Changqing Yin, Junjie Yan",
        "year": 2020,
        "url": "https://arxiv.org/abs/2003.05176",
    }

    loss: SoftmaxEqualizationLoss
    gamma: float

    def __init__(self, class_counts: Counts, threshold: float | None = None, gamma: float = 0.9):
        counts = ClassCounts.of(class_counts)
        threshold = 0.5 / len(counts) if threshold is None else threshold
        super().__init__(counts, threshold=threshold, gamma=gamma)
        self.seed = 0

    def setup(self, trainer: MethodHost) -> None:
        self.seed = trainer.args.seed

    def row_losses(self, outputs: Any, batch: Batch) -> torch.Tensor:
        coins = uniform(batch["keys"], self.seed, STREAM_GATE, len(self.class_counts)) < self.gamma
        targets = batch_targets(batch)
        return sum_over_experts(lambda one: self.loss(one.raw_logits, targets, "none", ignored=coins), outputs)
