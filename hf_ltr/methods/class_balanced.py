"""Class-balanced loss: classes are weighted by the inverse of their effective number of images."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from ..losses import ClassBalancedLoss
from .base import Counts, PriorCorrection, PublishedRow
from .batch import Batch, batch_targets, sample_weights, sum_over_experts, weighted_mean
from .host import MethodHost
from .loss_method import LossMethod

# Forms of one classifier per class, whose outputs begin far on the negative side: C - 1 of C answers are "no".
ONE_VS_ALL_FORMS = ("sigmoid", "focal")


class ClassBalanced(LossMethod):
    """
    Class-balanced loss (Cui et al. 2019): every row is weighted by `w_y`, with `w_c = (1 - beta) / (1 - beta^n_c)`
    scaled to sum to the number of classes, and the mean is taken over the rows of the batch, as published. (Dividing
    by the sum of the weights, as `torch.nn.CrossEntropyLoss(weight=...)` does, is [`DeferredReweighting`] with
    `defer_until=0`.) What wraps this method reads the rows' losses without their weights.

    The forms `"sigmoid"` and `"focal"` are one binary classifier per class. The released code
    (richardaecn/class-balanced-loss) starts their bias at `-log(C - 1)` and leaves it out of weight decay; here
    [`~ClassBalanced.setup`] does the first, and the training argument
    `parameter_options={"^classifier.bias$": {"weight_decay": 0}}` the second.

    Args:
        class_counts ([`ClassCounts`] or sequence of `int`): Training images per class.
        beta (`float`, *optional*, defaults to 0.9999): In [0, 1]; 0 gives equal weights, 1 inverse frequencies. The
            paper chose among 0.9, 0.99, 0.999 and 0.9999 for each dataset; BagofTricks-LT uses 0.999.
        form (`str`, *optional*, defaults to `"softmax"`): `"softmax"` (cross-entropy), `"sigmoid"` (binary
            cross-entropy summed over the classes), `"focal"` (the same with focal modulation), or `"softmax_bce"`, a
            misreading in a PyTorch port (see [`~hf_ltr.losses.ClassBalancedLoss`]).
        gamma (`float`, *optional*, defaults to 1.0): Of the form `"focal"`; 1 in the authors' scripts, 0.5 in
            BagofTricks-LT.
        initialize_bias (`bool`, *optional*): Whether training starts from a bias of `-log(C - 1)`. If not given: yes
            for the sigmoid forms, if the head has a bias and the model is a new one; a model that `from_pretrained`
            loaded keeps its head.
    """

    name = "class_balanced"
    summary = "Weights every image by the inverse of the effective number of training images of its class."
    when_to_use = (
        "The classical re-weighting baseline. Weights from the first epoch on help little under a long tail; the same "
        "weights deferred to the end (deferred_reweighting, ldam_drw) help more."
    )
    published_names = ("cb_ce", "cb_focal", "focal")
    prior_correction = PriorCorrection("weights the loss by class", "weights")
    loss_class = ClassBalancedLoss
    paper = {
        "title": "Class-Balanced Loss Based on Effective Number of Samples",
        "authors": "Yin Cui, Menglin Jia, Tsung-Yi Lin, Yang Song, Serge Belongie",
        "year": 2019,
        "url": "https://arxiv.org/abs/1901.05555",
    }

    form: str

    def __init__(
        self,
        class_counts: Counts,
        beta: float = 0.9999,
        form: str = "softmax",
        gamma: float = 1.0,
        initialize_bias: bool | None = None,
    ):
        super().__init__(class_counts, beta=beta, form=form, gamma=gamma)
        self.initialize_bias = initialize_bias
        self.unweighted_loss = ClassBalancedLoss(self.class_counts, beta=0.0, form=form, gamma=gamma)

    @torch.no_grad()
    def setup(self, trainer: MethodHost) -> None:
        # Before a resumed run loads its weights: a checkpoint's bias wins.
        bias = getattr(trainer.model.classifier, "bias", None)
        wanted = self.initialize_bias
        if wanted is None:
            is_new = not trainer.model.config.name_or_path
            wanted = self.form in ONE_VS_ALL_FORMS and bias is not None and is_new
        if not wanted:
            return
        if bias is None:
            raise ValueError(
                f"class_balanced was told initialize_bias=True, but the head ({trainer.model.config.head}) has no "
                "bias; leave initialize_bias unset or use a linear head"
            )
        bias.fill_(-math.log(max(len(self.class_counts) - 1, 1)))

    def published_options(self, row: PublishedRow) -> dict[str, Any] | None:
        # configs/cao_cifar of BagofTricks-LT, whose focal losses are sigmoid ones; how the bias starts is not said.
        if "BagofTricks" not in row["source"]:
            return None
        bias = {"initialize_bias": self.initialize_bias}
        published: dict[str, dict[str, Any]] = {
            "cb_ce": {"beta": 0.999, **bias},
            "cb_focal": {"form": "focal", "beta": 0.999, "gamma": 0.5, **bias},
            "focal": {"form": "focal", "beta": 0.0, "gamma": 2.0, **bias},
        }
        return published.get(row["method"])

    def sample_loss(self, outputs: Any, targets: torch.Tensor) -> torch.Tensor:
        return self.unweighted_loss(outputs.raw_logits, targets, reduction="none")

    def training_loss(self, model: nn.Module, batch: Batch) -> tuple[dict[str, torch.Tensor], Any]:
        outputs = model(pixel_values=batch["pixel_values"])
        targets = batch_targets(batch)
        weighted = sum_over_experts(lambda one: self.loss(one.raw_logits, targets, reduction="none"), outputs)
        return {"supervised": weighted_mean(weighted, sample_weights(batch))}, outputs
