"""CDB: classes are weighted by how badly the network does on them, measured again before every epoch."""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import nn

from ..distributed import all_reduce_sum
from ..losses import CrossEntropyLoss, difficulty_weights
from ..validation import choice
from .base import Counts, PublishedRow
from .batch import Batch, sample_weights, weighted_mean
from .host import MethodHost, validation_split
from .loss_method import LossMethod

logger = logging.getLogger(__name__)

REDUCTIONS = ("mean_batch", "mean_weight")
DIFFICULTY_SOURCES = ("validation", "train")


class ClassDifficultyBalance(LossMethod):
    """
    Class-wise difficulty-balanced cross-entropy, CDB-CE (Sinha, Ohashi and Nakamura 2020): before every epoch the
    accuracy `A_c` of each class is measured, and its images then weigh `(1 - A_c)^tau`, scaled so that the weights sum
    to the number of classes. In the first epoch all weights are 1.

    The measurement decides about training, so it must not be made on the test set: hold out validation images
    (`validation_per_class=...`; the paper and its code use a balanced split), or measure on the training images
    without their augmentation (`difficulty_from="train"`), on which a network that overfits makes few errors. A class
    of which the split has no image keeps weight 1, the mean weight.

    Args:
        class_counts ([`ClassCounts`] or sequence of `int`): Training images per class.
        tau (`float` or `str`, *optional*, defaults to 1.0): Power of the difficulty, or `"dynamic"`: computed from the
            best and the worst accuracy, larger where they lie apart (see [`~hf_ltr.losses.dynamic_tau`]).
        form (`str`, *optional*, defaults to `"paper"`): Formula of the dynamic tau, `"paper"` (also in the authors'
            ImageNet-LT code; from 0.54 to 2) or `"cifar_code"` (what their CIFAR code computes; from 0.5 to 1).
        difficulty_from (`str`, *optional*, defaults to `"validation"`): `"validation"` measures on the trainer's
            `eval_dataset` (of several, the one named `validation`), `"train"` on its `train_dataset`.
        reduction (`str`, *optional*, defaults to `"mean_batch"`): `"mean_batch"` divides the weighted losses by the
            number of rows (the paper's equation and the CIFAR code), `"mean_weight"` by the sum of their weights (the
            ImageNet-LT code, through `torch.nn.CrossEntropyLoss(weight=...)`).
    """

    name = "cdb"
    needs_validation = True
    without_validation = "measure on the training images (the option difficulty_from=train)"
    summary = (
        "Weights classes by their current difficulty, one minus their validation accuracy to the power tau, measured "
        "again before every epoch."
    )
    when_to_use = (
        "When some frequent classes are hard and some rare ones easy, so that counts are the wrong measure, and there "
        "are validation images of every class to spare."
    )
    published_names = ("cdb_ce",)
    # A difficulty belongs to one class; the paper defines no weight for a mixture of two.
    accepts_soft_targets = False
    loss_class = CrossEntropyLoss
    paper = {
        "title": "Class-Wise Difficulty-Balanced Loss for Solving Class-Imbalance",
        "authors": "Saptarshi Sinha, Hiroki Ohashi, Katsuyuki Nakamura",
        "year": 2020,
        "url": "https://arxiv.org/abs/2010.01824",
    }

    class_weights: torch.Tensor

    def __init__(
        self,
        class_counts: Counts,
        tau: float | str = 1.0,
        form: str = "paper",
        difficulty_from: str = "validation",
        reduction: str = "mean_batch",
    ):
        super().__init__(class_counts)
        difficulty_weights([0.0] * len(self.class_counts), tau, form)  # refuses a wrong tau or form here
        self.tau, self.form = tau, form
        self.difficulty_from = choice("difficulty_from", difficulty_from, DIFFICULTY_SOURCES)
        self.reduction = choice("reduction of cdb", reduction, REDUCTIONS)
        self.needs_validation = difficulty_from == "validation"
        # Part of the method's state: a run resumed in mid-epoch continues with the weights that epoch began with.
        self.register_buffer("class_weights", torch.ones(len(self.class_counts)))

    # ------------------------------------------------------------------ difficulty
    def setup(self, trainer: MethodHost) -> None:
        dataset = self._measured_dataset(trainer)
        labels = trainer.get_eval_dataloader(dataset).batch_loader.labels
        if labels is None:
            raise ValueError("cdb measures accuracy per class, but the evaluation set has no labels")
        images = torch.bincount(torch.as_tensor(labels).cpu(), minlength=len(self.class_counts))
        missing = (images == 0).nonzero().flatten().tolist()
        if missing and trainer.is_world_process_zero():
            names = ", ".join(self.class_counts.name_of(index) for index in missing[:10])
            logger.warning(
                "cdb: %d classes have no image to measure their difficulty on and keep weight 1: %s%s",
                len(missing),
                names,
                " and others" if len(missing) > 10 else "",
            )

    def on_epoch(self, trainer: MethodHost, epoch: int) -> None:
        if epoch == 0:
            self.class_weights.fill_(1.0)
            return
        correct, images = self._count(trainer)
        # A class without an image, 0 / 0, is one about which nothing is known.
        self.class_weights.copy_(difficulty_weights(correct / images, self.tau, self.form))

    def _count(self, trainer: MethodHost) -> tuple[torch.Tensor, torch.Tensor]:
        """Correct predictions and images of every class over all processes, float64 `(classes,)` on the CPU."""
        classes = len(self.class_counts)

        def count(outputs: Any, batch: Batch) -> torch.Tensor:
            labels = batch["labels"]
            correct = (outputs.logits.argmax(dim=-1) == labels).float()
            sums = torch.zeros(2, classes, device=labels.device)
            sums[0].index_add_(0, labels, correct)
            sums[1].index_add_(0, labels, torch.ones_like(correct))
            return sums

        parts = trainer.eval_pass(self._measured_dataset(trainer), count)
        total = torch.zeros(2, classes, device=self.class_weights.device)
        for part in parts:
            total += part
        correct, images = all_reduce_sum(total).to("cpu", torch.float64)
        return correct, images

    def _measured_dataset(self, trainer: MethodHost) -> Any:
        if self.difficulty_from == "train":
            return trainer.train_dataset
        return validation_split(trainer, "cdb measures the difficulty of classes", self.without_validation)

    def published_options(self, row: PublishedRow) -> dict[str, Any] | None:
        # hitachi-rd-cv/CDB-loss: the CIFAR script has a dynamic tau, by its own formula or the paper's; that of
        # ImageNet-LT has tau 1 through CrossEntropyLoss(weight=...).
        if row["dataset"].startswith("cifar"):
            return {"tau": "dynamic", "form": self.form}
        return {"reduction": "mean_weight"}

    # ------------------------------------------------------------------ the loss
    def training_loss(self, model: nn.Module, batch: Batch) -> tuple[dict[str, torch.Tensor], Any]:
        outputs = model(pixel_values=batch["pixel_values"])
        losses = self.row_losses(outputs, batch)
        weights = self.class_weights[batch["labels"]]
        if self.reduction == "mean_weight":
            loss = weighted_mean(losses, weights * sample_weights(batch))
        else:
            loss = weighted_mean(losses * weights.to(losses.dtype), sample_weights(batch))
        return {"supervised": loss}, outputs

    def term_mass(self, batch: Batch) -> dict[str, torch.Tensor]:
        if self.reduction == "mean_batch":
            return {}
        return {"supervised": (self.class_weights[batch["labels"]] * sample_weights(batch)).sum()}
