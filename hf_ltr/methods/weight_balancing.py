"""Weight balancing: strong weight decay first, then a class-balanced loss, decay and MaxNorm for the classifier."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..losses import ClassBalancedLoss, max_norm, max_norm_radius
from ..validation import choice, number
from .base import Counts, LongTailMethod, PriorCorrection, PublishedRow
from .decoupled import BACKBONE, DecoupledMethod, configure_network
from .host import MethodHost
from .network import require_linear_head

if TYPE_CHECKING:
    from ..models import LongTailConfig

# Forms of [`ClassBalancedLoss`]: the paper's and the released code's.
FORMS = ("softmax", "softmax_bce")


class WeightBalancing(DecoupledMethod):
    """
    Weight balancing (Alshammari et al. 2022): stage 1 is cross-entropy with a strong weight decay; stage 2 trains the
    last layer alone, from where stage 1 left it, with the class-balanced loss, a much stronger weight decay and the
    MaxNorm constraint: after every epoch, rows longer than a radius are scaled down to it. The bias is decayed, but
    not constrained.

    The radius is computed once, when stage 2 begins: shortest row + threshold x (longest - shortest) of stage 1's
    weights (`utils/regularizers.py` of ShadeAlsha/LTR-weight-balancing); a resumed run keeps it. Evaluation between
    epochs sees the weights before the projection, the end of the run those after it.

    Where paper and released code differ, the paper is the default. The class-balanced loss of the paper is the
    weighted softmax cross-entropy of Cui et al. 2019, a mean over the batch; the released code has a port of it that
    is the binary cross-entropy between softmax probabilities and one-hot labels, averaged over rows and classes
    (`form="softmax_bce"`), and about a hundred times smaller for 100 classes. The paper says ResNet-32 and
    200 epochs; the code, by which its numbers were made (issues 3 and 16), has a ResNet-34 with a 3x3 stem and 320
    epochs. The released second stage calls `model.train()`, so batch-norm statistics of the frozen backbone move, with
    the training set's own class frequencies (`norm="train"`).

    Args:
        class_counts ([`ClassCounts`] or sequence of `int`): Training images per class.
        representation ([`LongTailMethod`], *optional*): Method of stage 1, with a linear head; cross-entropy if not
            given.
        representation_weight_decay (`float`, *optional*, defaults to 5e-3): Of stage 1 (its argument `weight_decay`).
        weight_decay (`float`, *optional*, defaults to 0.1): Of stage 2 (its argument `weight_decay`).
        threshold (`float`, *optional*, defaults to 0.1): Where the radius lies between the shortest row (0) and the
            longest (1).
        beta (`float`, *optional*, defaults to 0.9999): Of the effective number of samples in the class weights.
        form (`str`, *optional*, defaults to `"softmax"`): Of the class-balanced loss; `"softmax_bce"` is the released
            code's.
        sampler (`str`, *optional*, defaults to `"instance"`): Sampler of stage 2, a name in `SAMPLERS`.
        norm (`str`, *optional*, defaults to `"train"`): Mode of the frozen backbone's layers in stage 2.
    """

    name = "weight_balancing"
    # The rows of the classifier are projected outside the forward pass.
    sharded_parameters = False
    summary = (
        "Learns the representation with strong weight decay, then the last layer with a class-balanced loss, stronger "
        "decay and a bound on the norm of each class."
    )
    when_to_use = (
        "When a plain network is to stay plain: only regularisation changes. The weight decay of the first stage "
        "decides and should be tuned on validation images."
    )
    published_names = ("weight_balancing",)
    published_with = ("", "maxnorm")
    prior_correction = PriorCorrection("weights the loss by class in its second stage", "weights")
    paper = {
        "title": "Long-Tailed Recognition via Weight Balancing",
        "authors": "Shaden Alshammari, Yu-Xiong Wang, Deva Ramanan, Shu Kong",
        "year": 2022,
        "url": "https://arxiv.org/abs/2203.14197",
    }

    radius: Tensor

    def __init__(
        self,
        class_counts: Counts,
        representation: LongTailMethod | None = None,
        representation_weight_decay: float = 5e-3,
        weight_decay: float = 0.1,
        threshold: float = 0.1,
        beta: float = 0.9999,
        form: str = "softmax",
        sampler: str = "instance",
        norm: str = "train",
    ):
        super().__init__(class_counts, representation, sampler, norm)
        choice("form of the loss of weight_balancing", form, FORMS)
        number("representation_weight_decay of weight_balancing", representation_weight_decay, minimum=0)
        number("weight_decay of weight_balancing", weight_decay, minimum=0)
        max_norm_radius(torch.ones(1, 1), threshold)  # refuses what does not lie between 0 and 1
        self.representation_weight_decay, self.weight_decay = representation_weight_decay, weight_decay
        self.threshold, self.beta, self.form = threshold, beta, form
        # Its mean is over the rows, not over the sum of the weights, as published and as released.
        self.loss = ClassBalancedLoss(self.class_counts, beta=beta, form=form)
        # Of the weights that stage 2 began with: part of the state, because a resumed run cannot compute it again.
        self.register_buffer("radius", torch.zeros(1))

    def representation_arguments(self) -> dict[str, Any]:
        return {"weight_decay": self.representation_weight_decay}

    def classifier_arguments(self) -> dict[str, Any]:
        return {"weight_decay": self.weight_decay}

    def configure(self, config: LongTailConfig) -> None:
        configure_network(self.representation, config)
        require_linear_head(config, self.name, "bounds the norms of the rows of a linear classifier")

    def published_options(self, row: PublishedRow) -> dict[str, Any] | None:
        if row["combined_with"] == "maxnorm":
            return {"form": "softmax_bce"}  # the released code, whose notebook prints it
        return {} if not row["variant"] else None

    def setup(self, trainer: MethodHost) -> None:
        trainer.model.freeze([BACKBONE], norm=self.norm)
        self.radius.fill_(max_norm_radius(trainer.model.classifier.weight.detach(), self.threshold))
        if not self.radius > 0:
            raise ValueError(
                "weight_balancing would bound the classifier's rows by a norm of 0, because rows of the weights it "
                "starts from are zero. Train the representation first, or raise threshold."
            )

    def on_epoch(self, trainer: MethodHost, epoch: int) -> None:
        if epoch >= 1:
            self._project(trainer.model.classifier)

    def finalize(self, trainer: MethodHost) -> None:
        self._project(trainer.model.classifier)

    @torch.no_grad()
    def _project(self, classifier: nn.Linear) -> None:
        classifier.weight.copy_(max_norm(classifier.weight, self.radius))
