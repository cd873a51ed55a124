"""Class weights from class difficulty (Sinha et al., 2020)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..validation import choice, number

DIFFICULTY_FORMS = ("paper", "cifar_code")


def dynamic_tau(accuracies: Sequence[float] | Tensor, form: str = "paper") -> float:
    """
    The exponent that follows the spread of the accuracies, from `r = max_c A_c / (min_c A_c + 0.01)`.

    Args:
        accuracies (sequence of `float` or `torch.Tensor` of shape `(classes,)`): As in [`difficulty_weights`].
        form (`str`, defaults to `"paper"`): `"paper"` is `2 * sigmoid(r - 1)`, also in the released ImageNet code;
            `"cifar_code"` is `sigmoid(r)`, what the released CIFAR code computes.

    Returns:
        `float`: 1 where no accuracy is known.
    """
    choice("form of the dynamic tau", form, DIFFICULTY_FORMS)
    accuracies = _checked(accuracies)
    known = accuracies[~accuracies.isnan()]
    if known.numel() == 0:
        return 1.0
    ratio = known.max() / (known.min() + 0.01)
    return (2 * torch.sigmoid(ratio - 1) if form == "paper" else torch.sigmoid(ratio)).item()


def difficulty_weights(accuracies: Sequence[float] | Tensor, tau: float | str = 1.0, form: str = "paper") -> Tensor:
    """
    `w_c = (1 - A_c)^tau`, scaled so that the weights sum to the number of classes.

    Source: Sinha et al., "Class-Wise Difficulty-Balanced Loss for Solving Class-Imbalance", ACCV 2020; released code
    hitachi-rd-cv/CDB-loss. Before the first measurement all accuracies are 0, which gives ones. A class classified
    perfectly weighs 0; where all are perfect the formula is 0 / 0 and the weights are ones.

    Args:
        accuracies (sequence of `float` or `torch.Tensor` of shape `(classes,)`): Accuracy of every class on validation
            data, in [0, 1]; NaN where it is unknown because the class has no validation image. Such a class gets 1,
            the mean weight, and takes no part in the scaling.
        tau (`float` or `"dynamic"`, defaults to 1.0): Exponent, at least 0; `"dynamic"` computes it from the
            accuracies ([`dynamic_tau`]).
        form (`str`, defaults to `"paper"`): `"paper"` or `"cifar_code"`; they differ in the dynamic tau only.

    Returns:
        `torch.Tensor` of shape `(classes,)`, float64, on the CPU.

    Raises:
        `ValueError`: for an accuracy outside [0, 1], with its class, and for an unusable `tau`.
    """
    choice("form of the difficulty weights", form, DIFFICULTY_FORMS)
    accuracies = _checked(accuracies)
    if isinstance(tau, str):
        if tau != "dynamic":
            raise ValueError(f'`tau` must be a number of at least 0 or "dynamic", got {tau!r}.')
        tau = dynamic_tau(accuracies, form)
    number('`tau`, if not "dynamic",', tau, minimum=0)
    known = ~accuracies.isnan()
    difficulties = (1 - accuracies[known]) ** tau
    weights = torch.ones_like(accuracies)
    if difficulties.sum() > 0:
        weights[known] = difficulties * (len(difficulties) / difficulties.sum())
    return weights


def _checked(accuracies: Sequence[float] | Tensor) -> Tensor:
    """`accuracies` as float64 on the CPU: the sum of a thousand classes is not to be rounded."""
    values = torch.as_tensor(accuracies, dtype=torch.float64).detach().cpu()
    if values.ndim != 1 or values.numel() == 0:
        raise ValueError(f"`accuracies` must have shape (classes,), got {tuple(values.shape)}.")
    wrong = ((values < 0) | (values > 1)).nonzero().flatten().tolist()
    if wrong:
        raise ValueError(
            f"`accuracies` must lie in [0, 1], but class {wrong[0]} has {values[wrong[0]].item():g}. "
            "Divide percentages by 100."
        )
    return values
