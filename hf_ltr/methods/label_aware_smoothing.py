"""Label-aware smoothing: the more images a class has, the softer its targets."""

from __future__ import annotations

from typing import Any

from ..losses import LabelAwareSmoothingLoss
from .base import Counts, PublishedRow
from .loss_method import LossMethod


class LabelAwareSmoothing(LossMethod):
    """
    Cross-entropy with label smoothing that depends on the class: `head` for the largest class, `tail` for the
    smallest, `shape` in between (Zhong et al. 2021, equations 4 to 7; repository dvlab-research/MiSLAS).

    In its paper this is the loss of the second stage, on a frozen representation: that is `las_stage2`, and with mixup
    in the first stage `mislas`. In one stage it calibrates and hardly changes accuracy (BagofTricks-LT reports both).

    Args:
        class_counts ([`ClassCounts`] or sequence of `int`): Training images per class.
        head (`float`, *optional*, defaults to 0.4): Smoothing of the largest class; 0.4 for CIFAR-100-LT with
            imbalance factor 100 and for Places-LT, 0.3 for ImageNet-LT and iNaturalist 2018.
        tail (`float`, *optional*, defaults to 0.1): Smoothing of the smallest class; 0.1 there, and 0 for the others.
        shape (`str`, *optional*, defaults to `"concave"`): `"concave"`, `"linear"`, `"convex"` or `"exp"`.
        power (`float`, *optional*): Of the shape `"exp"`.
        exclude_true_class (`bool`, *optional*, defaults to `False`): Spread the smoothed mass over the other classes
            only, as the paper writes; the authors' code, and therefore every published number, spreads it over all.
    """

    name = "label_aware_smoothing"
    summary = "Cross-entropy with label smoothing that is strong for frequent classes and weak for rare ones."
    when_to_use = (
        "When the confidences of a network matter as well as its accuracy; for accuracy use it in a second stage "
        "(las_stage2, mislas)."
    )
    published_names = ("las",)
    loss_class = LabelAwareSmoothingLoss
    paper = {
        "title": "Improving Calibration for Long-Tailed Recognition",
        "authors": "Zhisheng Zhong, Jiequan Cui, Shu Liu, Jiaya Jia",
        "year": 2021,
        "url": "https://arxiv.org/abs/2104.00466",
    }

    def __init__(
        self,
        class_counts: Counts,
        head: float = 0.4,
        tail: float = 0.1,
        shape: str = "concave",
        power: float | None = None,
        exclude_true_class: bool = False,
    ):
        super().__init__(
            class_counts, head=head, tail=tail, shape=shape, power=power, exclude_true_class=exclude_true_class
        )

    def published_options(self, row: PublishedRow) -> dict[str, Any] | None:
        return {} if "single-stage" in row["variant"] else None
