"""Label-aware smoothing as a second stage: the "LAS" rows of the Difficulty-Net paper."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..losses import LabelAwareSmoothingLoss
from ..validation import choice
from .base import Counts, LongTailMethod, PublishedRow
from .decoupled import BACKBONE, LINEAR_PART, DecoupledMethod, use_scaled_head
from .host import MethodHost

if TYPE_CHECKING:
    from ..models import LongTailConfig

TRAINED_PARTS = ("classifier_and_scales", "scales")


class LabelAwareSmoothingStage2(DecoupledMethod):
    """
    A second stage with label-aware smoothing on a scaled classifier, as Sinha and Ohashi 2023 put it behind every
    first stage they compare ("+ LAS"); the loss is that of MiSLAS (Zhong et al. 2021), without its mixup.

    What the released code (hitachi-rd-cv/Difficulty_Net) trains differs between datasets. CIFAR
    (`cifar_train_exaugment_stage2.py`): classifier and factors at one learning rate, the backbone in evaluation mode;
    these are the defaults. ImageNet-LT (`train_stage2.py`): the factors only, the backbone in training mode, so that
    its batch-norm statistics move: `trained="scales", norm="train"`. Places-LT: the factors only, and of the backbone
    only the last, added block in training mode. The classifier is never re-initialised.

    Args:
        class_counts ([`ClassCounts`] or sequence of `int`): Training images per class.
        representation ([`LongTailMethod`], *optional*): Method of stage 1, with a linear head; cross-entropy if not
            given.
        head (`float`, *optional*): Smoothing of the most frequent class. If neither it nor `tail` is given, both
            follow the imbalance factor of `class_counts` as in the released CIFAR code: above 100 (0.4, 0), above 50
            (0.4, 0.1), above 20 (0.3, 0), else (0.2, 0). Images that are held out raise the factor (ten per class make
            122 of 100): give both options there to train as for the factor the data were cut with. The ImageNet-LT
            configs have (0.3, 0), the Places-LT config (0.4, 0.1).
        tail (`float`, *optional*): Smoothing of the rarest class; given together with `head`.
        shape (`str`, *optional*, defaults to `"concave"`): Between the two, see [`LabelAwareSmoothingLoss`].
        power (`float`, *optional*): Of the shape `"exp"`.
        exclude_true_class (`bool`, *optional*, defaults to `False`): Spread the smoothed mass over the other classes
            only, as the MiSLAS paper writes; its code, which made all published numbers, spreads it over all.
        trained (`str`, *optional*, defaults to `"classifier_and_scales"`): Or `"scales"`.
        sampler (`str`, *optional*, defaults to `"class_aware"`): Sampler of stage 2, a name in `SAMPLERS`; the default
            draws 4 images of a class in a row, as released.
        norm (`str`, *optional*, defaults to `"eval"`): Mode of the frozen backbone's layers in stage 2.
    """

    name = "las_stage2"
    summary = (
        "Learns the representation first, then the classifier and one factor per class with label smoothing that "
        "grows with a class's frequency, on class-balanced batches."
    )
    when_to_use = "Behind any first stage whose probabilities are over-confident, where lws or crt would be used too."
    published_names = ("las",)
    paper = {
        "title": "Difficulty-Net: Learning to Predict Difficulty for Long-Tailed Recognition",
        "authors": "Saptarshi Sinha, Hiroki Ohashi",
        "year": 2023,
        "url": "https://arxiv.org/abs/2209.02960",
    }

    def __init__(
        self,
        class_counts: Counts,
        representation: LongTailMethod | None = None,
        head: float | None = None,
        tail: float | None = None,
        shape: str = "concave",
        power: float | None = None,
        exclude_true_class: bool = False,
        trained: str = "classifier_and_scales",
        sampler: str = "class_aware",
        norm: str = "eval",
    ):
        super().__init__(class_counts, representation, sampler, norm)
        choice("trained part of las_stage2", trained, TRAINED_PARTS)
        if (head is None) != (tail is None):
            raise ValueError(f"las_stage2 needs head and tail together, or neither; got head={head}, tail={tail}")
        if head is None or tail is None:
            head, tail = default_smoothing(self.class_counts.imbalance_factor)
        self.head, self.tail = head, tail
        self.shape, self.power, self.trained = shape, power, trained
        self.exclude_true_class = exclude_true_class
        self.loss = LabelAwareSmoothingLoss(self.class_counts, head, tail, shape, power, exclude_true_class)

    def configure(self, config: LongTailConfig) -> None:
        use_scaled_head(config, self.representation, self.name)

    def setup(self, trainer: MethodHost) -> None:
        frozen = [BACKBONE] if self.trained == "classifier_and_scales" else [BACKBONE, LINEAR_PART]
        trainer.model.freeze(frozen, norm=self.norm)

    def published_options(self, row: PublishedRow) -> dict[str, Any] | None:
        return {} if "decoupled" in row["variant"] else None


def default_smoothing(imbalance_factor: float) -> tuple[float, float]:
    """
    Smoothing of the most frequent and of the rarest class, by the borders of hitachi-rd-cv/Difficulty_Net. Its code
    goes by the nominal factor (200, 100, 50, 20, 10) that the data were cut with.
    """
    for above, smoothing in ((100, (0.4, 0.0)), (50, (0.4, 0.1)), (20, (0.3, 0.0))):
        if imbalance_factor > above:
            return smoothing
    return 0.2, 0.0
