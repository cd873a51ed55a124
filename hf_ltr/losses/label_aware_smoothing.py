"""Label smoothing that grows with the class's training images (Zhong et al., 2021)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from ..data.class_counts import ClassCounts
from ..validation import choice, flag, number
from .base import ClassCountLoss, expected_loss

SMOOTHING_SHAPES = ("concave", "linear", "convex", "exp")


class LabelAwareSmoothingLoss(ClassCountLoss):
    """
    Cross-entropy with smoothing `e_y` that depends on the label's class: most for the largest class, least for the
    smallest.

        loss = (1 - e_y) * (-log p_y) + e_y * mean_c(-log p_c)

    With `r_c = (n_c - min n) / (max n - min n)` the shapes are, all from `tail` at 0 to `head` at 1:

        concave  tail + (head - tail) * sin(pi/2 * r)
        linear   tail + (head - tail) * r
        convex   head + (head - tail) * sin(pi/2 * (3 + r))
        exp      tail + (head - tail) * r^power

    Equal counts, 0 / 0 in the released code, have `r = 0`: every class gets `tail`.

    Source: Zhong et al., "Improving Calibration for Long-Tailed Recognition" (MiSLAS), CVPR 2021; released
    code dvlab-research/MiSLAS `methods.py`. Paper and code differ: in the paper the smoothed mass goes to the other
    classes only, `e_y / (K - 1)` each; the code spreads it over all `K`, the label's included, and the authors said
    that they keep it so. Every published number comes from the code, so it is the default here; the paper's equation
    is `exclude_true_class=True`.

    It is the loss of MiSLAS's second stage, on a class-balanced sampler. Soft labels give the expectation of the loss
    over the label. A class without training images counts as `n_c = 0`.

    Args:
        class_counts (`ClassCounts` or sequence of `int`): Training images of every class, in label order.
        head (`float`, defaults to 0.4): Smoothing of the largest class, from 0 to 1.
        tail (`float`, defaults to 0.1): Smoothing of the smallest class, from 0 to 1, in publications below `head`.
        shape (`str`, defaults to `"concave"`): One of the shapes above.
        power (`float`, *optional*): Above 0; required by the shape `"exp"`, refused by the others.
        exclude_true_class (`bool`, defaults to `False`): Spread the smoothed mass as the paper writes.
    """

    needs_every_class = False

    def __init__(
        self,
        class_counts: ClassCounts | Sequence[int],
        head: float = 0.4,
        tail: float = 0.1,
        shape: str = "concave",
        power: float | None = None,
        exclude_true_class: bool = False,
    ) -> None:
        super().__init__(class_counts)
        for name, value in (("head", head), ("tail", tail)):
            number(f"`{name}` must lie in [0, 1]: it", value, minimum=0, maximum=1)
        choice("shape of the label-aware smoothing", shape, SMOOTHING_SHAPES)
        if shape == "exp":
            number("`power`, which the shape 'exp' needs,", power, above=0)
        if shape != "exp" and power is not None:
            raise ValueError(f"`power` belongs to the shape 'exp', but the shape is {shape!r}.")
        if exclude_true_class and len(self.class_counts) < 2:
            raise ValueError("`exclude_true_class` needs at least two classes: there is no other class to smooth to.")
        self.head = float(head)
        self.tail = float(tail)
        self.shape = shape
        self.power = None if power is None else float(power)
        self.exclude_true_class = flag("`exclude_true_class`", exclude_true_class)

    def smoothing(self, dtype: torch.dtype = torch.float64) -> Tensor:
        """The smoothing of every class, shape `(classes,)`."""
        counts = self.class_counts.to(dtype)
        smallest, largest = torch.aminmax(counts)
        ratio = (counts - smallest) / (largest - smallest).clamp(min=1)
        if self.shape == "convex":
            # sin(3/2 pi + x) = -cos(x), without the rounding of the larger angle.
            return self.head - (self.head - self.tail) * torch.cos(math.pi / 2 * ratio)
        if self.shape == "concave":
            ratio = torch.sin(math.pi / 2 * ratio)
        elif self.shape == "exp":
            assert self.power is not None
            ratio = ratio**self.power
        return self.tail + (self.head - self.tail) * ratio

    def row_losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        classes = len(self.counts_of(logits))
        smoothing = self.smoothing(logits.dtype)
        own = -F.log_softmax(logits, dim=1)
        others = own.sum(dim=1, keepdim=True)
        if self.exclude_true_class:
            others, classes = others - own, classes - 1
        return expected_loss((1 - smoothing) * own + smoothing / classes * others, labels)

    def extra_repr(self) -> str:
        return (
            f"{super().extra_repr()}, head={self.head}, tail={self.tail}, shape={self.shape!r}, power={self.power}, "
            f"exclude_true_class={self.exclude_true_class}"
        )
