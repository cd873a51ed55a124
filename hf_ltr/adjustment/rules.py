"""Closed forms: a linear classifier to a linear classifier. float64 in between, the type of the input at the end."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from ..data.class_counts import ClassCounts


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
    sums, counts = None, torch.zeros(class_counts.num_classes, dtype=torch.int64)
    for features, labels in batches:
        if sums is None:
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
