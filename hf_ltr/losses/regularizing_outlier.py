"""The regularisation of MEM's magnitudes ("REO"): large for images of the own group, small for all others."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .base import at_least_float32


def mutual_exclusive_regularization(
    magnitudes: Tensor, margin_positive: float = 100.0, margin_negative: float = 0.0, normalize_margin: bool = False
) -> tuple[Tensor, Tensor]:
    """
    What each image and group contributes, as a positive and as a negative; the labels say which of the two counts.

        positive = max(margin_positive - q, 0)^2        negative = max(q - margin_negative, 0)^2

    Source: "Mutual Exclusive Modulator for Long-Tailed Recognition", eq. 3-4.

    Args:
        magnitudes (`torch.Tensor` of shape `(batch, groups)`): Norms of the groups' sub-networks. Narrower types are
            computed in float32, under autocast too: values start near `margin_positive ** 2`.
        margin_positive (`float`, defaults to 100.0): The paper's xi; its best value is the largest it tried.
        margin_negative (`float`, defaults to 0.0): The paper's mu, below `margin_positive`.
        normalize_margin (`bool`, defaults to `False`): Divide magnitudes and both margins by `margin_positive`: the
            same values divided by `margin_positive ** 2`.

    Returns:
        `tuple` of two tensors of shape `(batch, groups)`: the penalties as positive and as negative.
    """
    if not margin_positive > margin_negative:
        raise ValueError(
            f"`margin_positive` must be above `margin_negative`, got {margin_positive!r} and {margin_negative!r}."
        )
    if normalize_margin and not margin_positive > 0:
        raise ValueError(f"`normalize_margin` needs a `margin_positive` above 0, got {margin_positive!r}.")
    with torch.autocast(device_type=magnitudes.device.type, enabled=False):
        magnitudes = at_least_float32(magnitudes)
        if normalize_margin:
            magnitudes = magnitudes / margin_positive
            margin_positive, margin_negative = 1.0, margin_negative / margin_positive
        positive = (margin_positive - magnitudes).clamp(min=0).square()
        negative = (magnitudes - margin_negative).clamp(min=0).square()
        return positive, negative


class RegularizingOutlierLoss(NamedTuple):
    """
    The parts of the loss, each of shape `(groups,)`. A mean over no row is 0, with its graph kept.

    `positive_mean[g]` is a mean over `positive_mass[g]` rows: with the masses, means of several micro-batches or
    processes combine into the mean over all their rows.
    """

    positive_mean: Tensor
    negative_mean: Tensor
    positive_mass: Tensor
    negative_mass: Tensor

    @property
    def total(self) -> Tensor:
        """`sum_g positive_mean[g] + negative_mean[g]`, eq. 5 of the paper for this batch."""
        return self.positive_mean.sum() + self.negative_mean.sum()


def regularizing_outlier_loss(
    magnitudes: Tensor,
    labels_group: Tensor,
    margin_positive: float = 100.0,
    margin_negative: float = 0.0,
    normalize_margin: bool = False,
    weights: Tensor | None = None,
) -> RegularizingOutlierLoss:
    """
    For each group the mean of [`mutual_exclusive_regularization`] over its own rows, as positives, and over all other
    rows, as negatives.

    The two means are taken apart on purpose, so that both sides weigh the same in group-imbalanced batches. A group
    without positives (or negatives) in the batch contributes 0, by masked sums and never by a branch, so every
    sub-network stays in the graph.

    Source: "Mutual Exclusive Modulator for Long-Tailed Recognition", eq. 3-5. The factor lambda of its eq. 1 has no
    value in the paper and is left to the caller.

    Args:
        magnitudes (`torch.Tensor` of shape `(batch, groups)`).
        labels_group (`torch.Tensor` of shape `(batch,)`, integer): The group of each row's class.
        margin_positive, margin_negative, normalize_margin: As in [`mutual_exclusive_regularization`].
        weights (`torch.Tensor` of shape `(batch,)`, *optional*): Weight of each row; 1 by default.

    Returns:
        [`RegularizingOutlierLoss`]
    """
    if magnitudes.ndim != 2 or labels_group.shape != magnitudes.shape[:1] or torch.is_floating_point(labels_group):
        raise ValueError(
            "`magnitudes` must have shape (batch, groups) and `labels_group` be integers of shape (batch,), "
            f"got {tuple(magnitudes.shape)} and {labels_group.dtype} of shape {tuple(labels_group.shape)}."
        )
    positive, negative = mutual_exclusive_regularization(
        magnitudes, margin_positive, margin_negative, normalize_margin
    )
    rows = torch.ones_like(positive[:, :1]) if weights is None else weights.to(positive.dtype).unsqueeze(1)
    belongs = labels_group.unsqueeze(1) == torch.arange(magnitudes.shape[1], device=magnitudes.device)
    positive_weight = belongs * rows
    negative_weight = rows - positive_weight
    positive_mass, negative_mass = positive_weight.sum(dim=0), negative_weight.sum(dim=0)
    return RegularizingOutlierLoss(
        (positive * positive_weight).sum(dim=0) / _or_one(positive_mass),
        (negative * negative_weight).sum(dim=0) / _or_one(negative_mass),
        positive_mass,
        negative_mass,
    )


def _or_one(mass: Tensor) -> Tensor:
    """`mass`, with 1 in place of 0: a safe divisor for a sum that is 0 there."""
    return torch.where(mass > 0, mass, torch.ones_like(mass))
