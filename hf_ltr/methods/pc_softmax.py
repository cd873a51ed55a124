"""PC softmax: cross-entropy training; inference removes the training prior and may add the one of the target."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..losses import CrossEntropyLoss
from .base import Counts, PriorCorrection
from .host import MethodHost
from .lade import LADE
from .loss_method import LossMethod

if TYPE_CHECKING:
    from ..models import LongTailConfig


class PCSoftmax(LossMethod):
    """
    Post-compensated softmax (Hong et al. 2021; repository hyperconnect/LADE): training is plain cross-entropy, and
    predictions are `softmax(logits - log p_s + log p_t)` with the training prior `p_s` and the target prior `p_t`.

    Inference is configuration: [`~PCSoftmax.configure`] writes the compensation to `config.logit_adjustment`, so that
    evaluation, checkpoints and pipelines all apply it to `outputs.logits` without knowing the method. The loss takes
    `outputs.raw_logits`. With a uniform target this is post-hoc logit adjustment with tau = 1 (Menon et al. 2021).

    Args:
        class_counts ([`ClassCounts`] or sequence of `int`): Training images per class; none may be zero.
        target_prior (`list[float]`, *optional*): Expected share, or number, of images of every class where the model
            will be used, in label order, all positive. Uniform if not given.
    """

    name = "pc_softmax"
    summary = "Plain cross-entropy training; inference subtracts the log of the training prior from the logits."
    when_to_use = (
        "When training is plain cross-entropy anyway, or the class frequencies at test time are known and differ from "
        "the training ones: pass them as target_prior."
    )
    published_names = ("pc_softmax",)
    prior_correction = PriorCorrection("removes the prior from the logits at inference", "config")
    loss_class = CrossEntropyLoss
    paper = LADE.paper

    def __init__(self, class_counts: Counts, target_prior: Sequence[float] | None = None):
        super().__init__(class_counts)
        self.class_counts.require_images("pc_softmax")
        if target_prior is not None:
            target_prior = [float(value) for value in target_prior]
            if len(target_prior) != len(self.class_counts):
                raise ValueError(
                    f"target_prior has {len(target_prior)} values but there are {len(self.class_counts)} classes; "
                    "give one per class, in label order"
                )
            wrong = [index for index, value in enumerate(target_prior) if not (math.isfinite(value) and value > 0)]
            if wrong:
                raise ValueError(
                    f"target_prior must be positive for every class (its logarithm is added to the logits), but class "
                    f"{self.class_counts.name_of(wrong[0])} has {target_prior[wrong[0]]}"
                )
        self.target_prior = target_prior

    @property
    def adjustment(self) -> dict[str, Any]:
        """What `config.logit_adjustment` has to be."""
        return {"tau": 1.0, "remove": list(self.class_counts.counts), "add": self.target_prior}

    def configure(self, config: LongTailConfig) -> None:
        if config.logit_adjustment is None:
            config.logit_adjustment = self.adjustment
        elif not _same_adjustment(config.logit_adjustment, self.adjustment):
            raise ValueError(
                "pc_softmax removes the prior of its class_counts with tau=1"
                f"{'' if self.target_prior is None else ' and adds its target_prior'}, but config.logit_adjustment is "
                f"another one ({_shown(config.logit_adjustment)}). Leave it unset; `hf-ltr adjust` changes it after "
                "training."
            )

    def setup(self, trainer: MethodHost) -> None:
        # A model that was built without `configure` would be trained and evaluated as plain cross-entropy.
        if trainer.model.config.logit_adjustment is None:
            trainer.model.set_logit_adjustment(self.adjustment)


def _same_adjustment(first: dict[str, Any], second: dict[str, Any]) -> bool:
    """Whether two adjustments do the same, counts and shares being equal ways to write a prior."""
    # Here, because importing models takes seconds that listing the methods need not.
    from ..models.prior_offset import same_prior

    removes = first.get("remove") is not None or second.get("remove") is not None
    if removes and not math.isclose(first.get("tau", 1.0), second.get("tau", 1.0)):
        return False
    return all(same_prior(first.get(part), second.get(part)) for part in ("remove", "add"))


def _shown(adjustment: dict[str, Any]) -> str:
    """An adjustment for a message: long lists are cut."""
    parts = []
    for name, value in adjustment.items():
        text = str(value if not isinstance(value, list) or len(value) <= 5 else [*value[:5], "..."])
        parts.append(f"{name}: {text}")
    return ", ".join(parts)
