"""LADE: the prior is added in the loss, and a regulariser keeps the logits comparable between classes."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ..losses import LADELoss, gather_rows, lade_regularizer
from ..losses.base import at_least_float32
from .base import Counts, PublishedRow
from .batch import Batch, batch_targets, sample_weights, sum_over_experts, weighted_mean
from .loss_method import LossMethod


class _PriorCrossEntropy(LADELoss):
    """The first term alone, whose rows are independent of each other."""

    def row_losses(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return self.prior_losses(logits, labels)


class LADE(LossMethod):
    """
    Label distribution disentangling (Hong et al. 2021; repository hyperconnect/LADE): cross-entropy of
    `logits + log p_c`, plus alpha times the regulariser LADER of the same logits. Raw logits are what inference uses
    for a uniform target distribution; for another one add its log prior (`config.logit_adjustment["add"]`), and never
    remove the training prior, which these logits do not hold.

    LADER is one number of a whole batch: means per class, and a mean over all rows of each class's exponentiated
    logit, in which classes without a row take part too. It is computed of the rows of all processes, so their number
    does not change it; gradient accumulation does, and is warned about. Large batches suit it: with many more classes
    than rows most classes are absent from a batch, and their logits are only pushed down.

    Args:
        class_counts ([`ClassCounts`] or sequence of `int`): Training images per class; none may be zero.
        alpha (`float`, *optional*, defaults to 0.1): Weight of LADER; published are 0.1 on CIFAR-100-LT, 0.05 on
            ImageNet-LT and iNaturalist 2018, 0.005 on Places-LT.
        lambda_ (`float`, *optional*, defaults to 0.01): Weight of its quadratic term; published are 0.01 on
            CIFAR-100-LT with imbalance factor 100, 0.5 on ImageNet-LT and iNaturalist 2018, 0.1 on Places-LT.
    """

    name = "lade"
    summary = (
        "Cross-entropy with the training prior added to the logits, and a regulariser that frees the logits of each "
        "class from the class frequencies."
    )
    when_to_use = (
        "When class frequencies at test time are known and change: one model then serves any of them by adding its "
        "log prior. Wants large batches."
    )
    published_names = ("lade",)
    adds_prior = True
    batch_coupled = True
    loss_class = _PriorCrossEntropy
    paper = {
        "title": "Disentangling Label Distribution for Long-tailed Visual Recognition",
        "authors": "Youngkyu Hong, Seungju Han, Kwanghee Choi, Seokjun Seo, Beomsu Kim, Buru Chang",
        "year": 2021,
        "url": "https://arxiv.org/abs/2012.00321",
    }

    loss: _PriorCrossEntropy
    alpha: float
    lambda_: float

    def __init__(self, class_counts: Counts, alpha: float = 0.1, lambda_: float = 0.01):
        super().__init__(class_counts, alpha=alpha, lambda_=lambda_)

    def published_options(self, row: PublishedRow) -> dict[str, Any] | None:
        return {
            "imagenet_lt": {"alpha": 0.05, "lambda_": 0.5},
            "inat18": {"alpha": 0.05, "lambda_": 0.5},
            "places_lt": {"alpha": 0.005, "lambda_": 0.1},
        }.get(row["dataset"], {})

    def training_loss(self, model: nn.Module, batch: Batch) -> tuple[dict[str, torch.Tensor], Any]:
        outputs = model(pixel_values=batch["pixel_values"])
        weights = sample_weights(batch)
        # Every process computes the same number of the same rows; those that only pad a process weigh nothing in it.
        all_targets, all_weights = gather_rows(batch_targets(batch)), gather_rows(weights)

        def regularizer_of(one: Any) -> torch.Tensor:
            logits = gather_rows(at_least_float32(one.raw_logits))
            return lade_regularizer(logits, all_targets, self.loss.class_counts, self.lambda_, weights=all_weights)

        # Before the other term: the order in which gradients are added decides their last bit.
        regularizer = self.alpha * sum_over_experts(regularizer_of, outputs)
        return {
            "supervised": weighted_mean(self.row_losses(outputs, batch), weights),
            "regularizer": regularizer,
        }, outputs
