"""Label-distribution-aware margins (Cao et al., 2019)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..data.class_counts import ClassCounts
from ..validation import flag, number
from .base import ClassCountLoss
from .cross_entropy import row_cross_entropy


class LDAMLoss(ClassCountLoss):
    """
    Cross-entropy after lowering the true class by a margin that grows as the class gets rarer:

        m_c  = max_margin * n_c^(-1/4) / max_k n_k^(-1/4)
        loss = CE( scale * (z - m_y * [c = y]), y )

    The rarest class has exactly `max_margin`; scaling all counts leaves the margins unchanged. `z` must be cosines (a
    normalised head); inference uses them without margin.

    Source: Cao et al., "Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss", NeurIPS 2019,
    eq. 10-13; released code kaidic/LDAM-DRW `losses.py`. There the scale is in the loss; where the head already
    multiplies its cosines by `scale` (RIDE, SADE, and the cosine head of this package), set `logits_scaled=True`: the
    margin taken from the logits is then `scale * m_y`, and nothing is scaled twice.

    Deferred re-weighting is not part of the loss: weigh the rows of `reduction="none"` by
    [`effective_number_weights`] and divide by the sum of the weights.

    Args:
        class_counts (`ClassCounts` or sequence of `int`): Training images of every class, in label order.
        max_margin (`float`, defaults to 0.5): Margin of the rarest class, in units of the cosine; at least 0. The
            authors advise 0.3 for iNaturalist.
        scale (`float`, defaults to 30.0): The factor on the cosines, above 0. With `logits_scaled=True` it must be the
            head's.
        logits_scaled (`bool`, defaults to `False`): Whether the logits already carry `scale`.
    """

    # The margin is that of the one true class; the paper defines none for a mixture.
    accepts_soft_targets = False

    def __init__(
        self,
        class_counts: ClassCounts | Sequence[int],
        max_margin: float = 0.5,
        scale: float = 30.0,
        logits_scaled: bool = False,
    ) -> None:
        super().__init__(class_counts)
        self.max_margin = float(number("`max_margin`", max_margin, minimum=0))
        self.scale = float(number("`scale`", scale, above=0))
        self.logits_scaled = flag("`logits_scaled`", logits_scaled)

    def margins(self, dtype: torch.dtype = torch.float64) -> Tensor:
        """The margin of every class, shape `(classes,)`, in units of the cosine."""
        counts = self.class_counts.to(dtype)
        return self.max_margin * (counts.min() / counts) ** 0.25

    def row_losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        self.counts_of(logits)  # refuses another number of classes
        cosines_scale, margin_scale = (1.0, self.scale) if self.logits_scaled else (self.scale, 1.0)
        margins = margin_scale * self.margins(logits.dtype)[labels]
        # A scatter instead of a one-hot product: the gradient to the logits is the identity either way.
        lowered = logits.scatter_add(1, labels.unsqueeze(1), -margins.unsqueeze(1))
        return row_cross_entropy(cosines_scale * lowered, labels)

    def extra_repr(self) -> str:
        return (
            f"{super().extra_repr()}, max_margin={self.max_margin}, scale={self.scale}, "
            f"logits_scaled={self.logits_scaled}"
        )
