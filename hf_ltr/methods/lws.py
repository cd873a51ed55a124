"""Learnable weight scaling (LWS): one factor per class, trained on a frozen classifier."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .base import Counts, LongTailMethod, PublishedRow
from .decoupled import BACKBONE, KANG_2020, LINEAR_PART, DecoupledMethod, retraining_options, use_scaled_head
from .host import MethodHost

if TYPE_CHECKING:
    from ..models import LongTailConfig


class LearnableWeightScaling(DecoupledMethod):
    """
    Decoupled training with learnable weight scaling (Kang et al. 2020, section 4.3): stage 2 keeps the backbone and
    the classifier of stage 1 and trains one factor per class, `logits_c = s_c (w_c x + b_c)`, from ones, with
    cross-entropy on class-balanced batches.

    The paper writes the factor on the weight only; the released code (facebookresearch/classifier-balancing,
    `models/TauNormClassifier.py`), which the published numbers come from and which is followed here, multiplies the
    bias too. As in its cRT, batch-norm statistics of the frozen backbone move (`norm="train"`).

    The factors fold exactly into a linear layer, see [`~hf_ltr.models.as_linear`].

    Args:
        class_counts ([`ClassCounts`] or sequence of `int`): Training images per class.
        representation ([`LongTailMethod`], *optional*): Method of stage 1, with a linear head; cross-entropy if not
            given.
        sampler (`str`, *optional*, defaults to `"class_aware"`): Sampler of stage 2, a name in `SAMPLERS`; the default
            draws 4 images of a class in a row, as released.
        norm (`str`, *optional*, defaults to `"train"`): Mode of the frozen backbone's layers in stage 2.
    """

    name = "lws"
    summary = "Learns the representation first, then one factor per class on the logits of its classifier."
    when_to_use = (
        "Like crt, when the classifier's directions are to stay as they are: only as many numbers as there are "
        "classes are trained, which cannot overfit the rare ones."
    )
    published_names = ("lws",)
    paper = KANG_2020

    def __init__(
        self,
        class_counts: Counts,
        representation: LongTailMethod | None = None,
        sampler: str = "class_aware",
        norm: str = "train",
    ):
        super().__init__(class_counts, representation, sampler, norm)

    def configure(self, config: LongTailConfig) -> None:
        use_scaled_head(config, self.representation, self.name)

    def published_options(self, row: PublishedRow) -> dict[str, Any] | None:
        return retraining_options(self, row)

    def setup(self, trainer: MethodHost) -> None:
        trainer.model.freeze([BACKBONE, LINEAR_PART], norm=self.norm)
