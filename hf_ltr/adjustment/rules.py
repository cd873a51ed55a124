"""What each adjustment makes of a head. float64 in between, the type of the head at the end."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from ..data.class_counts import ClassCounts
from ..evaluation import StreamingMetrics
from ..losses import tau_normalize
from ..models.prior_offset import prior_offset
from .linear_head import Head, LinearHead
from .options import RetrainingOptions
from .retraining import learn_scales, retrain_classifier

_ROWS_AT_A_TIME = 4096


def from_counts(
    method: str, head: Head, counts: ClassCounts, tau: float, prior: Sequence[float] | None = None
) -> Head:
    """
    What `logit_adjustment`, `pc_softmax` and `tau_norm` make of a head, of the training counts alone.

    Args:
        method (`str`)
        head ([`LinearHead`] or [`OtherHead`]): Of the model.
        counts ([`ClassCounts`]): Of the training set.
        tau (`float`): Strength, which `pc_softmax` has none of.
        prior (sequence of `float`, *optional*): For `pc_softmax`: of the images the model will see; uniform if not
            given.
    """
    if method == "logit_adjustment":
        return head.shifted(prior_offset(remove=counts.counts, tau=tau))
    if method == "pc_softmax":
        return head.shifted(prior_offset(remove=counts.counts, add=prior))
    assert isinstance(head, LinearHead)
    weight = tau_normalize(head.weight.double(), tau).float()
    return dataclasses.replace(head, weight=weight, bias=torch.zeros(len(counts)))


def from_images(
    method: str,
    head: LinearHead,
    batches: Iterable[tuple[Tensor, Tensor]],
    counts: ClassCounts,
    options: RetrainingOptions,
    device: torch.device,
    progress: bool,
) -> LinearHead:
    """
    What `ncm`, `crt` and `lws` make of a head, of the training images.

    Args:
        method (`str`)
        head ([`LinearHead`]): Of the model. A logit adjustment in its config is dropped: the result is for balanced
            classes.
        batches (iterable of `(features (B, D), labels (B,))`): All training images.
        counts ([`ClassCounts`]): Of the training set.
        options ([`RetrainingOptions`]), device, progress: Of `crt` and `lws`.
    """
    head = dataclasses.replace(head, offset=torch.zeros(len(counts)))
    if method == "ncm":
        weight, bias = nearest_centroid_classifier(class_means(batches, counts))
        return dataclasses.replace(head, weight=weight.float(), bias=bias.float())
    features, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
    if method == "crt":
        weight, bias = retrain_classifier(
            features, labels, len(counts), options, with_bias=head.has_bias, device=device, progress=progress
        )
        return dataclasses.replace(head, weight=weight, bias=bias)
    scale = learn_scales(features, labels, head.weight, head.bias, options, device=device, progress=progress)
    return dataclasses.replace(head, weight=head.weight * scale.unsqueeze(1), bias=head.bias * scale)


def class_means(batches: Iterable[tuple[Tensor, Tensor]], class_counts: ClassCounts) -> Tensor:
    """
    Mean feature of every class, summed up batch by batch.

    Args:
        batches (iterable of `(features (B, D), labels (B,))`).
        class_counts ([`ClassCounts`]): Number of classes, and their names for errors.

    Returns:
        `Tensor` of shape `(C, D)`, float64 on the CPU.

    Raises:
        `ValueError`: naming the classes without an image.
    """
    sums, counts = torch.zeros(0), torch.zeros(class_counts.num_classes, dtype=torch.int64)
    for features, labels in batches:
        if not sums.numel():
            sums = torch.zeros(class_counts.num_classes, features.shape[1], dtype=torch.float64)
        sums.index_add_(0, labels.cpu(), features.cpu().double())
        counts += torch.bincount(labels.cpu(), minlength=class_counts.num_classes)
    ClassCounts(counts.tolist(), class_counts.names).require_images("ncm")
    return sums / counts.unsqueeze(1)


def nearest_centroid_classifier(means: Tensor) -> tuple[Tensor, Tensor]:
    """
    The linear classifier that ranks classes by squared distance to their mean: `-||x - m_c||^2` is `2 m_c . x -
    ||m_c||^2` up to `||x||^2`, which is the same for all classes and which no softmax sees.

    The nearest class mean of Kang et al. 2020, section 4.2, on features as they are ("un" and "l2" in
    facebookresearch/classifier-balancing). Its other forms normalise the features, which no linear layer does; the
    method `ncm` of this package has them.

    Args:
        means (`Tensor` of shape `(C, D)`).

    Returns:
        `(weight (C, D), bias (C,))`.
    """
    return 2 * means, -means.square().sum(dim=1)


@torch.no_grad()
def measure(
    head: Callable[[Tensor], Tensor], rows: Tensor, labels: Tensor, class_counts: ClassCounts
) -> dict[str, Any]:
    """
    Metrics of [`StreamingMetrics`].

    Args:
        head (`Callable`): From rows to logits.
        rows (`Tensor` of shape `(N, D)` or `(N, C)`), labels (`Tensor` of shape `(N,)`): Of a split.
        class_counts ([`ClassCounts`]): Of the training set, for the groups.
    """
    metrics = StreamingMetrics(class_counts)
    for block, target in zip(rows.split(_ROWS_AT_A_TIME), labels.split(_ROWS_AT_A_TIME), strict=True):
        metrics.update(head(block), target)
    return metrics.compute()


def choose_tau(
    candidates: Sequence[float],
    head_of: Callable[[float], Callable[[Tensor], Tensor]],
    rows: Tensor,
    labels: Tensor,
    counts: ClassCounts,
) -> tuple[float, dict[float, float]]:
    """
    The tau with the best balanced accuracy; among equals the smallest, which changes the model least.

    Args:
        candidates (sequence of `float`): Tried in this order, ascending.
        head_of (`Callable`): The head that a tau makes.
        rows, labels: Of the validation split, never of the test split.
        counts ([`ClassCounts`]): Of the training set.

    Returns:
        `(tau, balanced accuracy by tau)`.
    """
    tried = {tau: measure(head_of(tau), rows, labels, counts)["balanced_accuracy"] for tau in candidates}
    return max(tried, key=lambda tau: (tried[tau], -tau)), tried
