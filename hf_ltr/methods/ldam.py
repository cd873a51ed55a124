"""LDAM: a margin per class that grows as the class gets rarer, on cosine logits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..losses import LDAMLoss
from .base import Counts, PublishedRow
from .loss_method import LossMethod

if TYPE_CHECKING:
    from ..models import LongTailConfig


class LDAM(LossMethod):
    """
    Label-distribution-aware margin loss (Cao et al. 2019, equation 13; repository kaidic/LDAM-DRW for the scale and
    the normalised head).

    The scale lives in the model (`config.head_scale`), so that a checkpoint's logits are the ones it was trained with;
    the loss therefore receives scaled logits. Margins need bounded logits: the head must be cosine.

    Args:
        class_counts ([`ClassCounts`] or sequence of `int`): Training images per class; none may be zero.
        max_margin (`float`, *optional*, defaults to 0.5): Margin of the rarest class, in units of the cosine. The
            authors advise 0.3 for iNaturalist 2018 (issue 2 of their repository).
        scale (`float`, *optional*, defaults to 30.0): Scale of the cosine head.
    """

    name = "ldam"
    summary = "A margin per class that grows as the class gets rarer, on the logits of a cosine head."
    when_to_use = (
        "Rarely alone, where it barely beats cross-entropy: take ldam_drw, which adds class weights at the end of "
        "training."
    )
    published_names = ("ldam",)
    accepts_soft_targets = False
    loss_class = LDAMLoss
    paper = {
        "title": "Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss",
        "authors": "Kaidi Cao, Colin Wei, Adrien Gaidon, Nikos Arechiga, Tengyu Ma",
        "year": 2019,
        "url": "https://arxiv.org/abs/1906.07413",
    }

    scale: float

    def __init__(self, class_counts: Counts, max_margin: float = 0.5, scale: float = 30.0):
        super().__init__(class_counts, max_margin=max_margin, scale=scale, logits_scaled=True)

    def configure(self, config: LongTailConfig) -> None:
        if config.head is None:
            config.head = "cosine"
        if config.head != "cosine":
            raise ValueError(
                f"ldam needs a cosine head (its margins are angles), but config.head is {config.head!r}. Leave head "
                "unset or set head='cosine'."
            )
        if config.head_scale is None:
            config.head_scale = self.scale
        if config.head_scale != self.scale:
            raise ValueError(
                f"ldam has scale {self.scale} but config.head_scale is {config.head_scale}: the loss and the head "
                "must use one scale. Set one of them to the other."
            )

    def published_options(self, row: PublishedRow) -> dict[str, Any] | None:
        # The authors' advice for iNaturalist (issue 2 of their repository).
        return {"max_margin": 0.3} if row["dataset"] == "inat18" else {}
