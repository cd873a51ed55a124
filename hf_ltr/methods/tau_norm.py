"""Tau-normalisation: a trained classifier whose rows are divided by a power of their norm."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import torch

from ..distributed import all_reduce_sum
from ..losses import tau_normalize
from .base import Counts, LongTailMethod, PriorCorrection, PublishedRow
from .decoupled import KANG_2020, DecoupledMethod, configure_network
from .host import MethodHost, validation_split
from .network import require_linear_head

if TYPE_CHECKING:
    from ..models import LongTailConfig

logger = logging.getLogger(__name__)

# The grid of `tau_norm.py` in facebookresearch/classifier-balancing.
TAU_GRID = tuple(round(0.1 * step, 1) for step in range(21))


class TauNormalization(DecoupledMethod):
    """
    Decoupled training with tau-normalisation (Kang et al. 2020, equation 5): after stage 1, `w_c / ||w_c||^tau`
    replaces the classifier's rows. Nothing is trained in stage 2 (it has no epochs), batch-norm statistics stay, and
    the bias is removed, as in the paper's "without bias" and in `tau_norm.py` of
    facebookresearch/classifier-balancing.

    Without a given tau, stage 2 reads the validation split once and takes the tau of 0, 0.1, ... 2 with the highest
    balanced accuracy there (the lower one of equals). It never looks at a test set; the released numbers for
    iNaturalist 2018, by the authors' own words (issue 5 of their repository), do. The tau that was used stands in the
    model's config (`head_options`), which is also how a model is known to be normalised already.

    Used in one stage, whatever was trained is normalised at the end of the run.

    Args:
        class_counts ([`ClassCounts`] or sequence of `int`): Training images per class.
        representation ([`LongTailMethod`], *optional*): Method of stage 1, with a linear head; cross-entropy if not
            given.
        tau (`float`, *optional*): Unset: chosen on the validation split.
        keep_bias (`bool`, *optional*, defaults to `False`): Keep the bias as stage 1 left it.
    """

    name = "tau_norm"
    # The classifier is read and replaced outside the forward pass.
    sharded_parameters = False
    trains_classifier = False
    needs_validation = True
    without_validation = "give tau (the option tau, such as tau=1.0)"
    summary = "Divides the rows of a trained classifier by a power of their norm, chosen on validation images."
    when_to_use = (
        "When there is a trained network and no time to train again: it costs one pass over the validation split, "
        "which it needs."
    )
    published_names = ("tau_norm",)
    prior_correction = PriorCorrection("divides the classifier's rows by their norms after training", "classifier")
    paper = KANG_2020

    def __init__(
        self,
        class_counts: Counts,
        representation: LongTailMethod | None = None,
        tau: float | None = None,
        keep_bias: bool = False,
    ):
        super().__init__(class_counts, representation)
        if tau is not None:
            tau_normalize(torch.ones(1, 1), tau)  # refuses what is no finite number
        self.tau, self.keep_bias = tau, keep_bias
        self.needs_validation = tau is None

    def configure(self, config: LongTailConfig) -> None:
        configure_network(self.representation, config)
        require_linear_head(config, self.name, "divides the rows of a linear classifier by their norms")

    def setup(self, trainer: MethodHost) -> None:
        tau = _recorded_tau(trainer.model)
        if tau is not None:
            raise ValueError(
                f"The classifier is already tau-normalised (tau={tau} in config.head_options); a second time would be "
                "another tau. Start from the checkpoint before."
            )
        if self.needs_validation:
            validation_split(trainer, "tau_norm chooses tau", self.without_validation)

    def published_options(self, row: PublishedRow) -> dict[str, Any] | None:
        # configs/cao_cifar/two_stage/classifier_balance/tau_norm of BagofTricks-LT has TAU 1.0; others choose it.
        return {"tau": 1.0, "keep_bias": self.keep_bias} if "BagofTricks" in row["source"] else {}

    def finalize(self, trainer: MethodHost) -> None:
        model = trainer.model
        if _recorded_tau(model) is not None:
            return
        tau = self.tau
        if tau is None:
            accuracies = sweep_tau(
                trainer,
                validation_split(trainer, "tau_norm chooses tau", self.without_validation),
                keep_bias=self.keep_bias,
            )
            tau = best_tau(accuracies)
            logger.info("tau_norm: tau = %s has the highest balanced accuracy of the validation split", tau)
        with torch.no_grad():
            model.classifier.weight.copy_(tau_normalize(model.classifier.weight, tau))
        options = {**(model.config.head_options or {}), "tau": float(tau)}
        if not self.keep_bias:
            model.classifier.bias = None
            options["bias"] = False
        model.config.head_options = options


def _recorded_tau(model: Any) -> float | None:
    return (model.config.head_options or {}).get("tau")


def sweep_tau(trainer: MethodHost, dataset: Any, *, keep_bias: bool = False) -> dict[float, float]:
    """
    Balanced accuracy of the model's linear classifier on `dataset` for every tau of [`TAU_GRID`], from one pass.

    Args:
        trainer ([`MethodHost`]): Its model is evaluated; nothing is changed.
        dataset (`datasets.Dataset`): The validation split.
        keep_bias (`bool`, *optional*, defaults to `False`): Whether logits contain the bias.

    Returns:
        `dict[float, float]`: tau to the mean over the classes that have images of their accuracy, in [0, 1]; the same
            on all processes.
    """
    classifier = trainer.model.classifier
    weight = classifier.weight.detach()
    weight = weight.to(torch.promote_types(weight.dtype, torch.float32))
    bias = classifier.bias.detach().to(weight.dtype) if keep_bias and classifier.bias is not None else None
    norms = torch.linalg.vector_norm(weight, dim=1)
    norms = torch.where(norms > 0, norms, torch.ones_like(norms))
    classes = len(weight)
    # Row t counts the hits of each class with the t-th tau; the last row its images.
    counts = torch.zeros(len(TAU_GRID) + 1, classes, dtype=torch.int64, device=weight.device)

    def count(outputs: Any, batch: dict[str, Any]) -> None:
        labels = batch["labels"]
        with torch.autocast(weight.device.type, enabled=False):
            products = outputs.features.to(weight.dtype) @ weight.T
            for row, tau in enumerate(TAU_GRID):
                # x . (w / ||w||^tau), without a matrix product for every tau
                logits = products * norms.pow(-tau)
                hits = (logits if bias is None else logits + bias).argmax(1) == labels
                counts[row].index_add_(0, labels, hits.long())
        counts[-1].index_add_(0, labels, torch.ones_like(labels))

    trainer.eval_pass(dataset, count)
    all_reduce_sum(counts)
    images, hits = counts[-1].cpu(), counts[:-1].cpu()
    present = images > 0
    if not present.any():
        raise ValueError("tau_norm: the validation split has no rows to choose tau on")
    accuracies = (hits[:, present].double() / images[present]).mean(dim=1)
    return dict(zip(TAU_GRID, accuracies.tolist(), strict=True))


def best_tau(accuracies: dict[float, float]) -> float:
    """The tau with the highest accuracy; of equals the lowest, which is closest to the classifier as trained."""
    return max(sorted(accuracies), key=accuracies.__getitem__)
