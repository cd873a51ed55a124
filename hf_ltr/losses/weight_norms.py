"""Norms of a classifier's rows: the MaxNorm constraint and tau-normalisation."""

from __future__ import annotations

import torch
from torch import Tensor

from ..validation import number
from .base import at_least_float32


def _row_norms(weight: Tensor) -> Tensor:
    """L2 norm of every row, shape `(classes, 1)`, in at least float32."""
    if not torch.is_floating_point(weight) or weight.ndim != 2:
        raise ValueError(
            "`weight` must be a floating-point matrix of shape (classes, features), "
            f"got {weight.dtype} of shape {tuple(weight.shape)}."
        )
    return torch.linalg.vector_norm(at_least_float32(weight), dim=1, keepdim=True)


def _scale_rows(weight: Tensor, scale: Tensor) -> Tensor:
    return (at_least_float32(weight) * scale).to(weight.dtype)


def max_norm_radius(weight: Tensor, threshold: float = 0.1) -> Tensor:
    """
    The radius of the MaxNorm constraint: `min_c ||w_c|| + threshold * (max_c ||w_c|| - min_c ||w_c||)`.

    The released code (ShadeAlsha/LTR-weight-balancing `utils/regularizers.py`) computes it once, when the second stage
    starts, and keeps it: compute it there, not at every projection.

    Args:
        weight (`torch.Tensor` of shape `(classes, features)`): The classifier's weight.
        threshold (`float`, defaults to 0.1): In [0, 1]: 0 is the smallest norm, 1 the largest (no constraint yet).

    Returns:
        `torch.Tensor`: A scalar, in at least float32.
    """
    number("`threshold`", threshold, minimum=0, maximum=1)
    norms = _row_norms(weight)
    smallest, largest = norms.min(), norms.max()
    return smallest + threshold * (largest - smallest)


def max_norm(weight: Tensor, radius: float | Tensor) -> Tensor:
    """
    Project every row onto the ball of `radius`: longer rows are scaled down to it, the others stay as they are.

    Source: Alshammari et al., "Long-Tailed Recognition via Weight Balancing", CVPR 2022. The released code
    projects after every epoch and leaves the bias alone.

    Args:
        weight (`torch.Tensor` of shape `(classes, features)`).
        radius (`float` or scalar `torch.Tensor`): Not negative.

    Returns:
        `torch.Tensor`: The projected copy, in the type of `weight`. A row of zeros stays zero.
    """
    norms = _row_norms(weight)
    radius = torch.as_tensor(radius, dtype=norms.dtype, device=norms.device)
    # The divisor is replaced before dividing: no 0 / 0 in value or gradient.
    above = norms > radius
    scale = torch.where(above, radius / torch.where(above, norms, torch.ones_like(norms)), torch.ones_like(norms))
    return _scale_rows(weight, scale)


def tau_normalize(weight: Tensor, tau: float = 1.0) -> Tensor:
    """
    `w_c / ||w_c||^tau` for every row: 0 changes nothing, 1 makes all norms 1.

    Source: Kang et al., "Decoupling Representation and Classifier for Long-Tailed Recognition", ICLR 2020. The
    bias is not part of it.

    Args:
        weight (`torch.Tensor` of shape `(classes, features)`).
        tau (`float`, defaults to 1.0): Any finite number; the paper uses [0, 1], weight balancing's baseline 1.9.

    Returns:
        `torch.Tensor`: The normalised copy, in the type of `weight`. A row of zeros, whose direction is undefined,
        stays zero.
    """
    number("`tau`", tau)
    norms = _row_norms(weight)
    return _scale_rows(weight, torch.where(norms > 0, norms, torch.ones_like(norms)) ** -tau)
