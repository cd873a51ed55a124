"""Nearest class mean (NCM): a classifier that is computed from the features of the training images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from ..distributed import all_reduce_sum
from .base import Counts, LongTailMethod
from .decoupled import KANG_2020, DecoupledMethod, configure_network
from .host import MethodHost

if TYPE_CHECKING:
    from ..models import CentroidHead, LongTailConfig


class NearestClassMean(DecoupledMethod):
    """
    Decoupled training with a nearest-class-mean classifier (Kang et al. 2020, section 4.2): after stage 1, every class
    is represented by the mean feature of its training images, seen without augmentation, and an image belongs to the
    class whose mean is nearest. Nothing is trained in stage 2 (it has no epochs), and batch-norm statistics stay.

    Transform and metric are those of `models/KNNClassifier.py` in facebookresearch/classifier-balancing, see
    [`~hf_ltr.models.CentroidHead`]; the default, features minus their mean and scaled to length one, is the released
    one. The means are over float64 sums, exact over any number of processes; centring takes a second pass over the
    training images instead of keeping all features.

    Used in one stage, the classifier that was trained is replaced at the end of the run.

    Args:
        class_counts ([`ClassCounts`] or sequence of `int`): Training images per class; none may be zero.
        representation ([`LongTailMethod`], *optional*): Method of stage 1, with any head; cross-entropy if not given.
        transform (`str`, *optional*, defaults to `"cl2n"`): `"un"`, `"l2n"` or `"cl2n"`. Only `"un"` folds into a
            linear layer.
        metric (`str`, *optional*, defaults to `"l2"`): `"l2"` or `"cos"`.
    """

    name = "ncm"
    # The classifier is replaced by another module outside the forward pass.
    sharded_parameters = False
    trains_classifier = False
    summary = "Replaces a trained classifier by the mean training feature of each class; the nearest mean wins."
    when_to_use = (
        "When there is a trained network and no time to train again, and no validation images either: it costs two "
        "passes over the training images. Its scores are distances, so its probabilities are not calibrated."
    )
    published_names = ("ncm",)
    paper = KANG_2020

    def __init__(
        self,
        class_counts: Counts,
        representation: LongTailMethod | None = None,
        transform: str = "cl2n",
        metric: str = "l2",
    ):
        # Here, because importing models takes seconds that listing the methods need not.
        from ..models import CentroidHead

        super().__init__(class_counts, representation)
        self.class_counts.require_images(self.name)
        CentroidHead(1, 1, transform, metric)  # refuses unknown names
        self.transform, self.metric = transform, metric

    @property
    def head_options(self) -> dict[str, str]:
        """The `config.head_options` of the finished model."""
        return {"transform": self.transform, "metric": self.metric}

    def configure(self, config: LongTailConfig) -> None:
        if config.head != "centroid":
            configure_network(self.representation, config)
            return
        # A finished model: its other fields were filled when it was trained.
        found = config.complete_head_options()
        if found != self.head_options:
            raise ValueError(
                f"ncm was asked for {self.head_options}, but the model's centroids are for {found}; give the method "
                "the same options"
            )

    def finalize(self, trainer: MethodHost) -> None:
        from ..models import CentroidHead

        model = trainer.model
        like = model.classifier.weight
        head = CentroidHead(model.classifier.in_features, len(self.class_counts), self.transform, self.metric)
        head = head.to(device=like.device, dtype=like.dtype)
        if self.transform == "cl2n":
            head.mean.copy_(mean_feature(trainer, trainer.train_dataset))
        head.centroids.copy_(class_means(trainer, trainer.train_dataset, head))
        head.train(model.classifier.training)
        model.classifier = head
        config = model.config
        config.head, config.head_options = "centroid", self.head_options
        config.head_scale = config.head_init_std = None
        config.validate()


def mean_feature(trainer: MethodHost, dataset: Any) -> torch.Tensor:
    """Mean of the features of all rows, shape `(features,)`, float64 on the CPU; the same on all processes."""
    width = trainer.model.classifier.in_features
    # The last entry counts rows.
    sums = torch.zeros(width + 1, dtype=torch.float64)

    def add(outputs: Any, batch: dict[str, Any]) -> None:
        features = outputs.features.cpu().double()
        sums[:-1] += features.sum(dim=0)
        sums[-1] += len(features)

    trainer.eval_pass(dataset, add)
    sums = _reduced(sums, trainer)
    return sums[:-1] / sums[-1]


def class_means(trainer: MethodHost, dataset: Any, head: CentroidHead) -> torch.Tensor:
    """
    Mean transformed feature of each class, seen without augmentation.

    Args:
        trainer ([`MethodHost`]): Its model gives the features.
        dataset (`datasets.Dataset`): The training set.
        head ([`CentroidHead`]): Whose transform (and mean, for `"cl2n"`) is used.

    Returns:
        `torch.Tensor` of shape `(classes, features)`, float64 on the CPU; the same on all processes.

    Raises:
        `ValueError`: naming the classes without rows. `FloatingPointError`: if a feature is not finite.
    """
    # The last column counts rows.
    sums = torch.zeros(head.out_features, head.in_features + 1, dtype=torch.float64)

    def add(outputs: Any, batch: dict[str, Any]) -> None:
        dtype = torch.promote_types(outputs.features.dtype, head.centroids.dtype)
        features = head.transformed(outputs.features.to(dtype)).cpu().double()
        ones = torch.ones(len(features), 1, dtype=torch.float64)
        sums.index_add_(0, batch["labels"].cpu(), torch.cat([features, ones], dim=1))

    trainer.eval_pass(dataset, add)
    sums = _reduced(sums, trainer)
    counts = sums[:, -1:]
    empty = (counts[:, 0] == 0).nonzero()[:, 0].tolist()
    if empty:
        raise ValueError(
            "ncm needs a training image of every class, but there is none of class "
            f"{trainer.model.config.class_names(empty)}"
        )
    means = sums[:, :-1] / counts
    if not torch.isfinite(means).all():
        raise FloatingPointError(
            "The features of some training images are not finite, so there is no class mean; set "
            "mixed_precision_mode='no', or look at the training of the representation."
        )
    return means


def _reduced(sums: torch.Tensor, trainer: MethodHost) -> torch.Tensor:
    """Summed over processes, where the communication of GPUs needs the tensor there."""
    if trainer.args.world_size == 1:
        return sums
    return all_reduce_sum(sums.to(trainer.args.device)).cpu()
