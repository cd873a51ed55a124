"""Weights per class from the training counts."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..data.class_counts import ClassCounts
from ..validation import number


def check_beta(beta: float) -> float:
    """`beta` as a float; refuses what does not lie in [0, 1]."""
    return float(number("`beta`", beta, minimum=0, maximum=1))


def weights_of_counts(counts: Tensor, beta: float) -> Tensor:
    """
    [`effective_number_weights`] of counts that are a floating-point tensor already, in its type and on its device;
    NaN where no class has an image, which the callers exclude.
    """
    present = counts > 0
    images = torch.where(present, counts, torch.ones_like(counts))
    if beta == 1:
        effective_number = images
    elif beta == 0:
        effective_number = torch.ones_like(images)
    else:
        # expm1(n log beta) keeps the digits that 1 - beta**n loses for beta close to 1 and few images.
        effective_number = -torch.expm1(images * math.log(beta))
    weights = present / effective_number
    return weights * (present.sum() / weights.sum())


def effective_number_weights(class_counts: ClassCounts | Sequence[int], beta: float) -> Tensor:
    """
    `w_c = (1 - beta) / (1 - beta^n_c)`, scaled so that the weights sum to the number of classes.

    Source: Cui et al., "Class-Balanced Loss Based on Effective Number of Samples", CVPR 2019, eq. 3, and their
    released normalisation. A class without images has no such weight (0 / 0): it gets 0 and is left out of the
    normalisation, so the other classes' weights are what they would be without it (they then sum to the number of
    classes with images).

    Args:
        class_counts (`ClassCounts` or sequence of `int`): Training images of every class, in label order.
        beta (`float`): In [0, 1]. 0 gives ones; 1, the limit, gives inverse frequencies.

    Returns:
        `torch.Tensor` of shape `(classes,)`, float64.
    """
    counts = torch.tensor(ClassCounts.of(class_counts).counts, dtype=torch.float64)
    if not counts.any():
        raise ValueError("No class has a training image, so there are no class weights.")
    return weights_of_counts(counts, check_beta(beta))


def inverse_frequency_weights(class_counts: ClassCounts | Sequence[int]) -> Tensor:
    """
    `w_c` proportional to `1 / n_c`, scaled so that the weights sum to the number of classes; a class without images
    gets 0 and is left out of the normalisation, as in [`effective_number_weights`].

    Args:
        class_counts (`ClassCounts` or sequence of `int`): Training images of every class, in label order.

    Returns:
        `torch.Tensor` of shape `(classes,)`, float64.
    """
    return effective_number_weights(class_counts, 1.0)
