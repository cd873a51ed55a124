"""Classifier re-training (cRT): a new linear classifier on a frozen representation, with class-balanced sampling."""

from __future__ import annotations

from typing import Any

from .base import Counts, LongTailMethod, PublishedRow
from .decoupled import BACKBONE, KANG_2020, DecoupledMethod, retraining_options
from .host import MethodHost


class ClassifierRetraining(DecoupledMethod):
    """
    Decoupled training (Kang et al. 2020, section 4.1): stage 1 learns the representation, stage 2 re-initialises the
    classifier, bias included, and trains it alone with cross-entropy.

    The released code (facebookresearch/classifier-balancing) only stops the gradients of the backbone and still calls
    `model.train()`, so batch-norm statistics of the frozen backbone move with the class-balanced batches, and dropout
    and drop path stay on. That is what published numbers contain and is the default; `norm="eval"` freezes them.

    Args:
        class_counts ([`ClassCounts`] or sequence of `int`): Training images per class.
        representation ([`LongTailMethod`], *optional*): Method of stage 1; cross-entropy if not given.
        sampler (`str`, *optional*, defaults to `"class_aware"`): Sampler of stage 2, a name in `SAMPLERS`; the default
            draws 4 images of a class in a row, as released.
        norm (`str`, *optional*, defaults to `"train"`): Mode of the frozen backbone's layers in stage 2.
        reinitialize (`bool`, *optional*, defaults to `True`): Whether stage 2 starts from a new classifier.
    """

    name = "crt"
    summary = "Learns the representation first, then trains a new classifier on it with class-balanced batches."
    when_to_use = (
        "When there is a trained network whose rare classes are weak: the second stage is short and leaves the "
        "backbone alone."
    )
    published_names = ("crt",)
    paper = KANG_2020
    stage_beside = "classifier"

    def __init__(
        self,
        class_counts: Counts,
        representation: LongTailMethod | None = None,
        sampler: str = "class_aware",
        norm: str = "train",
        reinitialize: bool = True,
    ):
        super().__init__(class_counts, representation, sampler, norm)
        self.reinitialize = reinitialize

    def published_options(self, row: PublishedRow) -> dict[str, Any] | None:
        return retraining_options(self, row)

    def setup(self, trainer: MethodHost) -> None:
        if self.reinitialize:
            trainer.model.reset_classifier()
        trainer.model.freeze([BACKBONE], norm=self.norm)
