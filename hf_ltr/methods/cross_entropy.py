"""Plain cross-entropy: the baseline that gives up on the tail."""

from __future__ import annotations

from ..losses import CrossEntropyLoss
from .loss_method import LossMethod


class CrossEntropy(LossMethod):
    """
    Mean cross-entropy of the raw logits; prediction by argmax.

    Args:
        class_counts ([`ClassCounts`] or sequence of `int`): Training images per class.
    """

    name = "cross_entropy"
    summary = "Mean cross-entropy with every image counted once: the baseline, which gives up on the tail."
    when_to_use = (
        "As the number to beat, and as the first stage of decoupled methods. With post-hoc logit adjustment the same "
        "weights are already a strong classifier for balanced test sets."
    )
    without_paper = "The common baseline; it has no single source."
    published_names = ("ce",)
    published_inside = ("", "ce", "cs_ce")
    published_post_hoc = ("la_posthoc", "pc_softmax")
    loss_class = CrossEntropyLoss
