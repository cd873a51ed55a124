"""LDAM with deferred re-weighting (LDAM-DRW)."""

from __future__ import annotations

from typing import Any

from .base import Counts, PublishedRow
from .deferred_reweighting import DeferredReweighting
from .ldam import LDAM


class LDAMWithDeferredReweighting(DeferredReweighting):
    """
    LDAM trained with deferred re-weighting, the combination its paper reports as LDAM-DRW.

    Args:
        class_counts ([`ClassCounts`] or sequence of `int`): Training images per class; none may be zero.
        max_margin (`float`, *optional*, defaults to 0.5): See [`LDAM`].
        scale (`float`, *optional*, defaults to 30.0): See [`LDAM`].
        beta (`float`, *optional*, defaults to 0.9999): See [`DeferredReweighting`].
        defer_until (`float`, *optional*, defaults to 0.8): See [`DeferredReweighting`].
    """

    name = "ldam_drw"
    summary = (
        "LDAM's margins per class on cosine logits, with class-balanced weights for the last fifth of the epochs."
    )
    when_to_use = (
        "A strong single network trained in one stage from scratch; needs a schedule whose learning rate has dropped "
        "by the time the weights come."
    )
    published_names = ("ldam_drw",)
    part_names = ()  # the base is made of the options

    def __init__(
        self,
        class_counts: Counts,
        max_margin: float = 0.5,
        scale: float = 30.0,
        beta: float = 0.9999,
        defer_until: float = 0.8,
    ):
        base = LDAM(class_counts, max_margin=max_margin, scale=scale)
        super().__init__(class_counts, base, beta=beta, defer_until=defer_until)
        self.max_margin, self.scale = max_margin, scale

    def published_options(self, row: PublishedRow) -> dict[str, Any] | None:
        return self.base.published_options(row)
