"""Weights per class from the training counts."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..data.class_counts import ClassCounts


def _normalised(weights: np.ndarray, present: np.ndarray) -> Tensor:
    """Scale to mean 1 over the classes with images; the others get 0."""
    if not present.any():
        raise ValueError("No class has a training image, so there are no class weights.")
    weights = np.where(present, weights, 0.0)
    return torch.from_numpy(weights * (present.sum() / weights.sum()))


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
    if not 0 <= beta <= 1:
        raise ValueError(f"`beta` must lie in [0, 1], got {beta!r}.")
    if beta == 1:
        return inverse_frequency_weights(class_counts)
    counts = np.asarray(ClassCounts.of(class_counts).counts, dtype=np.float64)
    present = counts > 0
    if beta == 0:
        return _normalised(np.ones_like(counts), present)
    # expm1(n log beta) keeps the digits that 1 - beta**n loses for beta close to 1 and few images.
    effective_number = -np.expm1(np.where(present, counts, 1.0) * math.log(beta))
    return _normalised((1.0 - beta) / effective_number, present)


def inverse_frequency_weights(class_counts: ClassCounts | Sequence[int]) -> Tensor:
    """
    `w_c` proportional to `1 / n_c`, scaled so that the weights sum to the number of classes; a class without images
    gets 0 and is left out of the normalisation, as in [`effective_number_weights`].

    Args:
        class_counts (`ClassCounts` or sequence of `int`): Training images of every class, in label order.

    Returns:
        `torch.Tensor` of shape `(classes,)`, float64.
    """
    counts = np.asarray(ClassCounts.of(class_counts).counts, dtype=np.float64)
    present = counts > 0
    return _normalised(1.0 / np.where(present, counts, 1.0), present)
