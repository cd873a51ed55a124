"""Deferred re-weighting (DRW): train with equal weights first, with class-balanced ones at the end."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from ..losses import effective_number_weights
from ..validation import number
from .base import Counts, LongTailMethod, PriorCorrection, PublishedRow, check_same_counts
from .batch import Batch, sample_weights, weighted_mean
from .cross_entropy import CrossEntropy
from .host import MethodHost
from .ldam import LDAM
from .wrapper import MethodWrapper


class DeferredReweighting(MethodWrapper):
    """
    From a given epoch on, the base's loss is a mean weighted by class (Cao et al. 2019, section 3.3).

    The paper writes weights 1/n_c; the released code (kaidic/LDAM-DRW) uses the effective number of samples with
    beta = 0.9999, which every later comparison copied, so it is the default here. The mean divides by the sum of the
    weights, as `torch.nn.CrossEntropyLoss(weight=...)` does: dividing by the number of rows instead shrinks the loss
    several times on a long tail. The sum of the weights is the term's mass, so accumulation and processes do not
    change it.

    Any loss can be deferred: `get_method("deferred_reweighting", base="focal", class_counts=...)`. What is weighted is
    the loss of each row: weights that the base itself puts on rows (those of `class_balanced` or `cdb`) are replaced,
    further terms of its loss stay.

    Args:
        class_counts ([`ClassCounts`] or sequence of `int`): Training images per class.
        base ([`LongTailMethod`], *optional*): A single-stage method that can do with hard labels; cross-entropy if not
            given.
        beta (`float`, *optional*, defaults to 0.9999): Of the effective number; 0 gives equal weights.
        defer_until (`float`, *optional*, defaults to 0.8): Fraction of the epochs after which the weights apply (epoch
            160 of 200 in the released code). 0 weights from the start.
    """

    name = "deferred_reweighting"
    summary = (
        "Trains with equal weights first and with class-balanced weights for the last fifth of the epochs, around any "
        "loss."
    )
    when_to_use = (
        "When re-weighting from the start hurts the representation, which it usually does on a long tail; it costs "
        "nothing."
    )
    published_names = ("drw",)
    published_with = ("", "cb_ce")
    prior_correction = PriorCorrection("weights the loss by class at the end of the training", "weights")
    accepts_soft_targets = False
    paper = LDAM.paper

    balanced_weights: torch.Tensor
    class_weights: torch.Tensor

    def __init__(
        self,
        class_counts: Counts,
        base: LongTailMethod | None = None,
        beta: float = 0.9999,
        defer_until: float = 0.8,
    ):
        base = CrossEntropy(class_counts) if base is None else base
        check_same_counts(class_counts, base, "deferred_reweighting")
        if not base.uses_labels:
            raise ValueError(f"deferred_reweighting weights classes, but {base.name} does not use labels")
        super().__init__(base)
        if base.batch_coupled:
            raise ValueError(
                f"deferred_reweighting weights the loss of single rows, but {base.name} couples the rows of a batch; "
                "use another base"
            )
        number("defer_until, a fraction of the training,", defer_until, minimum=0, maximum=1)
        self.beta, self.defer_until = beta, defer_until
        weights = effective_number_weights(self.class_counts, beta)
        self.register_buffer("balanced_weights", torch.as_tensor(weights, dtype=torch.float32), persistent=False)
        # What changes during training is a buffer updated in place: saved with the checkpoint, and no new graph per
        # epoch.
        self.register_buffer("class_weights", torch.ones(len(self.class_counts)))

    def published_options(self, row: PublishedRow) -> dict[str, Any] | None:
        # BagofTricks-LT: inverse frequencies behind cross-entropy, beta 0.999 where the deferred loss is the
        # class-balanced one. It defers the prior of its balanced softmax; its other losses have their own forms.
        beta = {"cs_ce": 1.0, "cb_ce": 0.999}.get(row["combined_with"])
        return None if beta is None else {"beta": beta}

    def on_epoch(self, trainer: MethodHost, epoch: int) -> None:
        super().on_epoch(trainer, epoch)
        # Less rounding than any epoch is long: 0.29 * 100 is a little below 29 in floating point.
        started = epoch >= math.ceil(self.defer_until * trainer.state.num_train_epochs - 1e-9)
        self.class_weights.copy_(self.balanced_weights if started else torch.ones_like(self.class_weights))

    def _sample_weights(self, batch: Batch) -> torch.Tensor:
        return self.class_weights[batch["labels"]] * sample_weights(batch)

    def training_loss(self, model: nn.Module, batch: Batch) -> tuple[dict[str, torch.Tensor], Any]:
        terms, outputs = super().training_loss(model, batch)
        if "supervised" not in terms:
            raise ValueError(
                f"deferred_reweighting weights the term 'supervised' of its base, but {self.base.name} has "
                f"{', '.join(terms)}; use another base"
            )
        losses = self.row_losses(outputs, batch)
        return {**terms, "supervised": weighted_mean(losses, self._sample_weights(batch))}, outputs

    def term_mass(self, batch: Batch) -> dict[str, torch.Tensor]:
        return {**super().term_mass(batch), "supervised": self._sample_weights(batch).sum()}
