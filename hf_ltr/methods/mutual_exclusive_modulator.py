"""MEM: weights for the groups of classes, computed per image, multiply the logits of a frozen classifier."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ..data.samplers import SAMPLERS
from ..losses import CrossEntropyLoss, regularizing_outlier_loss
from ..naming import unknown_name
from .base import Batch, LongTailMethod, Stage, row_mass, weighted_mean
from .cross_entropy import CrossEntropy
from .decoupled import BACKBONE, configure_network, make_sampler, single_stage
from .masked_autoencoding import MaskedAutoencoding, with_pretraining

CLASSIFIER_MODES = ("frozen", "finetune", "reinitialize")
CLASSIFIER = r"^classifier\."

# Options that describe the network and therefore live in the model's config (`config.modulator`).
_NETWORK_OPTIONS = ("width", "depth", "top_k", "activation", "logit_reference", "pooling", "detach_magnitude")


class MutualExclusiveModulation(LongTailMethod):
    """
    The last stage of MEM (Long et al., arXiv 2302.09498, section 3): three small networks, one per group of classes,
    whose output magnitude says how likely the image belongs to the group, a fusion network that turns magnitudes and
    the top logits of each group into group weights, and a data-aware classifier that multiplies each logit with the
    weight of its group.

    The loss is `L_DAC + regularization_weight * L_REO` (equations 5, 9 and 10). The paper leaves open the sampler, K,
    lambda, the width and the training recipe; the defaults here are the choices recorded in `recipes/notes/mem.md`.
    Positive and negative means of the regularisation are taken separately per group (equation 3); each of them is a
    term with its own mass, so an accumulated or distributed batch gives exactly the means over the whole batch, and a
    group without an image in the batch contributes 0.

    Args:
        class_counts ([`ClassCounts`] or sequence of `int`): Training images per class. The groups are
            many / medium / few of these counts, or even parts by cardinality if one of the three is empty.
        representation ([`LongTailMethod`], *optional*): Method of the fine-tuning stage; cross-entropy if not given.
        pretraining (`bool`, *optional*, defaults to `True`): Begin with masked autoencoding on the training images.
            `False` for convolutional networks, and where fine-tuning starts from pretrained weights.
        sampler (`str`, *optional*, defaults to `"class_balanced"`): A name in `SAMPLERS`.
        classifier (`str`, *optional*, defaults to `"frozen"`): `"frozen"`, `"finetune"` or `"reinitialize"`.
        num_groups (`int`, *optional*, defaults to 3): Number of even parts when the thresholds leave a group empty.
        regularization_weight (`float`, *optional*, defaults to 1.0): lambda.
        margin_positive (`float`, *optional*, defaults to 100.0): xi; magnitudes of positives below it are penalised.
        margin_negative (`float`, *optional*, defaults to 0.0): mu; magnitudes of negatives above it are penalised.
        normalize_margin (`bool`, *optional*, defaults to `False`): Divide magnitudes and margins by xi, which scales
            the regularisation down to the size of the cross-entropy.
        width (`int`, *optional*, defaults to 256): Embedding dimension of the group networks.
        depth (`int`, *optional*, defaults to 1): Transformer blocks of each group network.
        top_k (`int`, *optional*, defaults to 5): Logits per group that the fusion network sees.
        activation (`str`, *optional*, defaults to `"softplus"`): Of the group weights; `"none"` is the literal paper.
        logit_reference (`str`, *optional*, defaults to `"none"`): Subtracted from the logits before they are weighted.
        pooling (`str`, *optional*, defaults to `"mean"`): How a group network pools its tokens.
        detach_magnitude (`bool`, *optional*, defaults to `False`): Stop the gradient of L_DAC into the group networks.
    """

    name = "mem"
    summary = (
        "Three small networks on a frozen model judge whether an image belongs to the many, medium or few classes and "
        "weight the logits of each group by it."
    )
    when_to_use = (
        "For a vision transformer pretrained on the long-tailed images themselves. Compare it with crt and post-hoc "
        "logit adjustment on the same representation: the published gain over crt is 0.3 to 1.2 points."
    )
    published_names = ("mem",)
    # Group membership is a hard label: neither mixed images nor smoothed targets have one.
    accepts_soft_targets = False
    paper = {
        "title": "Mutual Exclusive Modulator for Long-Tailed Recognition",
        "authors": "Haixu Long, Xiaolin Zhang, Yanbin Liu, Zongtai Luo, Jianbo Liu",
        "year": 2023,
        "url": "https://arxiv.org/abs/2302.09498",
    }

    def __init__(
        self,
        class_counts,
        representation: LongTailMethod | None = None,
        pretraining: bool = True,
        sampler: str = "class_balanced",
        classifier: str = "frozen",
        num_groups: int = 3,
        regularization_weight: float = 1.0,
        margin_positive: float = 100.0,
        margin_negative: float = 0.0,
        normalize_margin: bool = False,
        width: int = 256,
        depth: int = 1,
        top_k: int = 5,
        activation: str = "softplus",
        logit_reference: str = "none",
        pooling: str = "mean",
        detach_magnitude: bool = False,
    ):
        super().__init__(class_counts)
        if sampler not in SAMPLERS:
            raise unknown_name("sampler", sampler, SAMPLERS)
        if classifier not in CLASSIFIER_MODES:
            raise unknown_name("classifier mode of mem", classifier, CLASSIFIER_MODES)
        if margin_positive <= margin_negative:
            raise ValueError(
                f"margin_positive ({margin_positive}) must exceed margin_negative ({margin_negative}): otherwise no "
                "magnitude satisfies both sides of the regularisation"
            )
        self.representation = single_stage(representation or CrossEntropy(self.class_counts), "mem")
        self.pretraining = pretraining
        self.sampler, self.classifier, self.num_groups = sampler, classifier, num_groups
        self.regularization_weight = regularization_weight
        self.margin_positive, self.margin_negative = margin_positive, margin_negative
        self.normalize_margin = normalize_margin
        self.width, self.depth, self.top_k = width, depth, top_k
        self.activation, self.logit_reference = activation, logit_reference
        self.pooling, self.detach_magnitude = pooling, detach_magnitude
        self.data_aware_loss = CrossEntropyLoss()
        groups = modulator_groups(self.class_counts, num_groups)
        self.register_buffer("group_of_class", torch.tensor(groups, dtype=torch.int64), persistent=False)
        self.group_count = max(groups) + 1

    def configure(self, config) -> None:
        configure_network(self.representation, config)
        wanted = {name: getattr(self, name) for name in _NETWORK_OPTIONS}
        wanted["group_of_class"] = self.group_of_class.tolist()
        given = dict(config.modulator or {})
        for key, value in wanted.items():
            if given.setdefault(key, value) != value:
                raise ValueError(
                    f"mem was asked for {key}={value!r} but config.modulator has {given[key]!r}; leave "
                    "config.modulator unset, or give the method the same value"
                )
        config.modulator = given

    def setup(self, trainer) -> None:
        if self.classifier == "reinitialize":
            trainer.model.reset_classifier()
        frozen = [BACKBONE] + ([CLASSIFIER] if self.classifier == "frozen" else [])
        trainer.model.freeze(frozen, norm="eval")

    def stages(self) -> list[Stage]:
        stages = [
            Stage("finetuning", self.representation),
            Stage("modulator", self, start="stage:finetuning"),
        ]
        return with_pretraining(stages, MaskedAutoencoding(self.class_counts)) if self.pretraining else stages

    def train_sampler(self, labels: torch.Tensor, *, seed: int, num_epochs: int):
        return make_sampler(self.sampler, labels, seed=seed, num_epochs=num_epochs)

    def sample_loss(self, outputs: Any, targets: torch.Tensor) -> torch.Tensor:
        return self.data_aware_loss(outputs.raw_logits, targets, reduction="none")

    def training_loss(self, model: nn.Module, batch: Batch) -> tuple[dict[str, torch.Tensor], Any]:
        outputs = model(pixel_values=batch["pixel_values"])
        losses = self.sample_loss(outputs, batch["labels"])
        terms = {"data_aware": weighted_mean(losses, row_mass(batch))}
        regularization = regularizing_outlier_loss(
            outputs.magnitudes,
            self.group_of_class[batch["labels"]],
            margin_positive=self.margin_positive,
            margin_negative=self.margin_negative,
            normalize_margin=self.normalize_margin,
            mass=row_mass(batch),
        )
        for group in range(self.group_count):
            terms[f"group_{group}_positive"] = self.regularization_weight * regularization.positive_mean[group]
            terms[f"group_{group}_negative"] = self.regularization_weight * regularization.negative_mean[group]
        return terms, outputs

    def term_mass(self, batch: Batch) -> dict[str, torch.Tensor]:
        mass = row_mass(batch)
        # Not one_hot: on the CPU it reads the smallest and the largest label back.
        groups = torch.arange(self.group_count, device=mass.device)
        belongs = (self.group_of_class[batch["labels"]].unsqueeze(1) == groups) * mass[:, None]
        positive = belongs.sum(dim=0)
        negative = mass.sum() - positive
        masses = {}
        for group in range(self.group_count):
            masses[f"group_{group}_positive"] = positive[group]
            masses[f"group_{group}_negative"] = negative[group]
        return masses


def modulator_groups(class_counts, num_groups: int = 3) -> list[int]:
    """
    Group of every class: many / medium / few by the thresholds of `class_counts`, or, where one of the three is empty,
    `num_groups` even parts by descending cardinality (ties by class index).

    Raises:
        `ValueError`: with fewer than two classes, or `num_groups` outside 2..number of classes.
    """
    groups = class_counts.groups
    if len(groups) == 3 and num_groups == 3:
        return class_counts.group_of_class.tolist()
    classes = len(class_counts)
    num_groups = min(num_groups, classes)
    if num_groups < 2:
        raise ValueError(
            f"mem needs at least two groups of classes, but there are {classes} classes and {num_groups} groups"
        )
    order = sorted(range(classes), key=lambda index: (-class_counts[index], index))
    group_of_class = [0] * classes
    for rank, index in enumerate(order):
        group_of_class[index] = rank * num_groups // classes
    return group_of_class
