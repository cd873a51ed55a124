"""A method that is one loss."""

from __future__ import annotations

from typing import Any, ClassVar

import torch

from ..losses import ClassificationLoss
from ..losses.base import ClassCountLoss
from .base import Counts, LongTailMethod


class LossMethod(LongTailMethod):
    """
    A method whose supervised loss is one of [`hf_ltr.losses`], on the raw logits.

    A subclass names the class of its loss and, where that has options, takes them in a constructor of its own, which
    is where their names, types and defaults are read:

    ```python
    class LogitAdjustment(LossMethod):
        loss_class = LogitAdjustedLoss

        def __init__(self, class_counts: Counts, tau: float = 1.0):
            super().__init__(class_counts, tau=tau)
    ```

    Class attributes:
        loss_class (`type`): A [`ClassificationLoss`].

    Args:
        class_counts ([`ClassCounts`] or sequence of `int`): Training images per class, in label order.
        options: Of the loss; each is kept as an attribute of its name, and the loss checks it.
    """

    loss_class: ClassVar[type[ClassificationLoss]]
    loss: ClassificationLoss

    def __init__(self, class_counts: Counts, **options: Any):
        super().__init__(class_counts)
        for name, value in options.items():
            setattr(self, name, value)
        counts = {"class_counts": self.class_counts} if issubclass(self.loss_class, ClassCountLoss) else {}
        self.loss = self.loss_class(**counts, **options)

    def sample_loss(self, outputs: Any, targets: torch.Tensor) -> torch.Tensor:
        return self.loss(outputs.raw_logits, targets, reduction="none")
