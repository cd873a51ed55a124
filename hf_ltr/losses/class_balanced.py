"""Class-balanced loss: weights from the effective number of samples (Cui et al., 2019)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from ..data.class_counts import ClassCounts
from ..validation import choice
from .base import ClassCountLoss, as_probabilities, expected_loss
from .class_weights import check_beta, weights_of_counts
from .focal import check_gamma, log_complement

CLASS_BALANCED_FORMS = ("softmax", "focal", "sigmoid", "softmax_bce")


class ClassBalancedLoss(ClassCountLoss):
    """
    `w_y * L(z, y)`, with `w_c = (1 - beta) / (1 - beta^n_c)` scaled to sum to the number of classes.

    `"mean"` divides by the number of rows, as published (`sum_i w_{y_i} L_i / N`). `torch.nn.CrossEntropyLoss(weight=
    ...)` divides by the sum of the weights instead, which cancels them in a batch of one class.

    Source: Cui et al., "Class-Balanced Loss Based on Effective Number of Samples", CVPR 2019; released code
    richardaecn/class-balanced-loss `src/cifar_main.py`. The forms:

    - `"softmax"`: cross-entropy.
    - `"sigmoid"`: one-vs-all binary cross-entropy, summed over the classes, the whole row weighted by its label.
    - `"focal"`: the same with each term times `(1 - p_t)^gamma`, the modulator in its stable form (the power of the
      released code's ports gives NaN gradients for `gamma` below 1).
    - `"softmax_bce"`: not in the paper. The PyTorch port vandit15/Class-balanced-loss-pytorch calls this "softmax",
      and the second stage of ShadeAlsha/LTR-weight-balancing trains with it: binary cross-entropy between the softmax
      probabilities and the one-hot label, averaged over the classes.

    For the sigmoid forms the released code starts the classifier's bias at `-log(classes - 1)` and excludes it from
    weight decay.

    Soft labels give the expectation of the loss over the label, weight included: `sum_k t_k w_k L(z, k)`. A class
    without training images weighs 0 and is left out of the scaling.

    Args:
        class_counts (`ClassCounts` or sequence of `int`): Training images of every class, in label order.
        beta (`float`, defaults to 0.9999): In [0, 1]; 0 gives equal weights, 1 inverse frequencies. The paper chooses
            among 0.9, 0.99, 0.999 and 0.9999 for each dataset.
        form (`str`, defaults to `"softmax"`): One of the forms above.
        gamma (`float`, defaults to 1.0): At least 0; of the form `"focal"` only.
    """

    needs_every_class = False

    def __init__(
        self,
        class_counts: ClassCounts | Sequence[int],
        beta: float = 0.9999,
        form: str = "softmax",
        gamma: float = 1.0,
    ) -> None:
        super().__init__(class_counts)
        choice("form of the class-balanced loss", form, CLASS_BALANCED_FORMS)
        self.beta = check_beta(beta)
        self.form = form
        self.gamma = check_gamma(gamma)

    def class_weights(self, dtype: torch.dtype = torch.float64) -> Tensor:
        """The weight of every class, shape `(classes,)`."""
        return weights_of_counts(self.class_counts.to(dtype), self.beta)

    def _positive_and_negative(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """The one-vs-all terms of every class as the label and as another class, each of shape `(batch, classes)`."""
        if self.form == "softmax_bce":
            log_probabilities = F.log_softmax(logits, dim=1)
            classes = logits.shape[1]
            return -log_probabilities / classes, -log_complement(log_probabilities) / classes
        positive, negative = F.softplus(-logits), F.softplus(logits)
        if self.form == "sigmoid":
            return positive, negative
        # (1 - p_t)^gamma is sigmoid(-z)^gamma = exp(-gamma * softplus(z)) for the label, the mirror for the others.
        return positive * (-self.gamma * negative).exp(), negative * (-self.gamma * positive).exp()

    def row_losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        self.counts_of(logits)  # refuses another number of classes
        weights = self.class_weights(logits.dtype)
        if self.form == "softmax":
            return expected_loss(-weights * F.log_softmax(logits, dim=1), labels)
        weighted = weights * as_probabilities(labels, logits)
        positive, negative = self._positive_and_negative(logits)
        # With one label per row the second factor is its weight on every other class, and exactly 0 on its own.
        return (weighted * positive + (weighted.sum(dim=1, keepdim=True) - weighted) * negative).sum(dim=1)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, beta={self.beta}, form={self.form!r}, gamma={self.gamma}"
