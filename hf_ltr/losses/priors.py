"""The one place where losses add log priors to logits."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..data.class_counts import ClassCounts


def _counts_tensor(class_counts: ClassCounts | Sequence[int] | Tensor, who: str, may_be_empty: bool) -> Tensor:
    """Counts as a tensor. A tensor is taken as it is: reading its values would wait for the device in every step."""
    if isinstance(class_counts, Tensor):
        return class_counts
    counts = ClassCounts.of(class_counts)
    if not may_be_empty:
        counts.require_images(who)
    return torch.tensor(counts.counts, dtype=torch.int64)


def log_prior(
    class_counts: ClassCounts | Sequence[int] | Tensor, epsilon: float = 0.0, dtype: torch.dtype = torch.float64
) -> Tensor:
    """
    `log(n_c / sum n + epsilon)` of every class.

    Args:
        class_counts (`ClassCounts`, sequence of `int`, or `torch.Tensor`): Training images of every class. A tensor is
            not checked for classes without images.
        epsilon (`float`, defaults to 0.0): Added inside the logarithm. The papers have none; LADE's released code has
            1e-9.
        dtype (`torch.dtype`, defaults to `torch.float64`): Type of the result.

    Returns:
        `torch.Tensor` of shape `(classes,)`, on the device of `class_counts`.

    Raises:
        `ValueError`: for a class without training images when `epsilon` is 0.
    """
    counts = _counts_tensor(class_counts, "log_prior", may_be_empty=epsilon > 0).to(dtype)
    return (counts / counts.sum() + epsilon).log()


def log_prior_odds(class_counts: ClassCounts | Sequence[int] | Tensor, dtype: torch.dtype = torch.float64) -> Tensor:
    """
    `log(p_c / (1 - p_c))` of every class, with `p_c = n_c / sum n`: the prior of a one-vs-all classifier.

    Args:
        class_counts (`ClassCounts`, sequence of `int`, or `torch.Tensor`): As in [`log_prior`]; at least two classes.
        dtype (`torch.dtype`, defaults to `torch.float64`): Type of the result.

    Returns:
        `torch.Tensor` of shape `(classes,)`.
    """
    counts = _counts_tensor(class_counts, "log_prior_odds", may_be_empty=False)
    if counts.numel() < 2:
        raise ValueError("The prior odds of a single class are infinite; at least two classes are needed.")
    # The difference of integers: 1 - p would lose the digits of a class that holds nearly all images.
    return counts.to(dtype).log() - (counts.sum() - counts).to(dtype).log()


def add_log_prior(
    logits: Tensor, class_counts: ClassCounts | Sequence[int] | Tensor, tau: float = 1.0, epsilon: float = 0.0
) -> Tensor:
    """
    `z_c + tau * log(n_c / sum n + epsilon)`, in the type of the logits.

    Training on these adjusted logits makes the raw ones fit a uniform label distribution (Ren et al. 2020, Menon et
    al. 2021, Hong et al. 2021). Inference uses the raw logits: subtracting the prior there as well corrects twice.

    Args:
        logits (`torch.Tensor` of shape `(..., classes)`): In at least float32.
        class_counts (`ClassCounts`, sequence of `int`, or `torch.Tensor`): As in [`log_prior`].
        tau (`float`, defaults to 1.0): Strength of the prior.
        epsilon (`float`, defaults to 0.0): As in [`log_prior`].
    """
    return _shift(logits, log_prior(class_counts, epsilon=epsilon, dtype=logits.dtype), tau)


def add_log_prior_odds(logits: Tensor, class_counts: ClassCounts | Sequence[int] | Tensor, tau: float = 1.0) -> Tensor:
    """
    `z_c + tau * log(p_c / (1 - p_c))`, in the type of the logits: [`add_log_prior`] for one-vs-all classifiers (Xu et
    al. 2023).

    Args:
        logits (`torch.Tensor` of shape `(..., classes)`): In at least float32.
        class_counts (`ClassCounts`, sequence of `int`, or `torch.Tensor`): As in [`log_prior_odds`].
        tau (`float`, defaults to 1.0): Strength of the prior.
    """
    return _shift(logits, log_prior_odds(class_counts, dtype=logits.dtype), tau)


def _shift(logits: Tensor, prior: Tensor, tau: float) -> Tensor:
    if prior.shape != logits.shape[-1:]:
        raise ValueError(
            f"There are counts of {prior.shape[0]} classes, but the logits have {logits.shape[-1]} columns."
        )
    return logits + tau * prior.to(logits.device)
