"""MEM: weights for the groups of classes, computed per image, multiply the logits of a frozen classifier."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ..data.samplers import SAMPLERS, make_sampler
from ..losses import CrossEntropyLoss, regularizing_outlier_loss
from ..validation import choice, flag, number
from .base import Counts, LongTailMethod, PriorCorrection, PublishedRow, Stage
from .batch import Batch, sample_weights, weighted_mean
from .decoupled import BACKBONE, configure_network, representation_of, representation_stages
from .host import MethodHost
from .loss_method import LossMethod
from .masked_autoencoding import MaskedAutoencoding
from .network import require_module
from .pretraining import with_pretraining

if TYPE_CHECKING:
    from torch.utils.data import Sampler

    from ..models import LongTailConfig

CLASSIFIER_MODES = ("frozen", "finetune", "reinitialize")
CLASSIFIER = r"^classifier\."

# Formulas as the paper writes them, and the first reading of what it does not say: all that decides what is computed
# on a network, and not how large it is (width, heads) or whether its images come first (pretraining).
_LITERAL = {
    "representation": "cross_entropy",
    "classifier": "frozen",
    "sampler": "class_balanced",
    "groups": "auto",
    "num_groups": 3,
    "group_seed": 0,
    "regularization_weight": 1.0,
    "margin_positive": 100.0,
    "margin_negative": 0.0,
    "normalize_margin": False,
    "depth": 1,
    "mlp_ratio": 4.0,
    "top_k": 5,
    "fusion_width": 64,
    "fusion_normalization": "none",
    "activation": "none",
    "logit_reference": "none",
    "tokens": "all",
    "pooling": "mean",
    "detach_magnitude": False,
    "within_group_tau": None,
}
# The same on the logits of the stage before as they are, with what makes it trainable: weights that are 1 at first and
# stay positive, and inputs of the fusion network on one scale. The defaults until validation decided.
_ORIGINAL_LOGITS = {**_LITERAL, "activation": "softplus", "fusion_normalization": "layer"}


class MutualExclusiveModulation(LossMethod):
    """
    The last stage of MEM (Long et al., arXiv 2302.09498, section 3): three small networks, one per group of classes,
    whose output magnitude says how likely the image belongs to the group, a fusion network that turns magnitudes and
    the top logits of each group into group weights, and a data-aware classifier that multiplies each logit with the
    weight of its group.

    The loss is `L_DAC + regularization_weight * L_REO` (equations 5, 9 and 10). The paper leaves open the sampler, K,
    lambda, the width and the training recipe; the defaults here are the choices recorded in `recipes/mem_vit.md`.
    Positive and negative means of the regularisation are taken separately per group (equation 3); each of them is a
    term with its own mass, so an accumulated or distributed batch gives exactly the means over the whole batch, and a
    group without an image in the batch contributes 0.

    The preset `"literal"` (`preset="literal"` among the options) is the formulas as they are written: group weights as
    the fusion network gives them, of any sign, from inputs that are not normalised, margins of 100 and 0 in the unit
    of the magnitudes, the logits of a frozen classifier. What the paper does not say (sampler, K, lambda) is the
    reading of it in `recipes/mem_vit.md`. It leaves `pretraining`, `width` and `heads` to the network.

    Args:
        class_counts ([`ClassCounts`] or sequence of `int`): Training images per class.
        representation ([`LongTailMethod`], *optional*): Method of the fine-tuning stage; cross-entropy if not given.
            One that trains a classifier behind its own representation (`crt`, `lws`) stands before the modulator with
            both of its stages, `representation` and `classifier`: group weights on that classifier, factors per class
            included, instead of one beside it.
        pretraining (`bool`, *optional*, defaults to `True`): Begin with masked autoencoding on the training images.
            `False` for convolutional networks, and where fine-tuning starts from pretrained weights.
        sampler (`str`, *optional*, defaults to `"class_balanced"`): A name in `SAMPLERS`.
        classifier (`str`, *optional*, defaults to `"frozen"`): `"frozen"`, `"finetune"` or `"reinitialize"`.
        groups (`str`, *optional*, defaults to `"auto"`): How classes are divided: `"thresholds"` (many, medium, few),
            `"cardinality"`, `"random"` or `"auto"`; see [`~hf_ltr.models.class_groups.class_groups`].
        num_groups (`int`, *optional*, defaults to 3): Number of groups, at least 2.
        group_seed (`int`, *optional*, defaults to 0): Of `groups="random"`; the training seed does not change groups.
        regularization_weight (`float`, *optional*, defaults to 1.0): lambda; 0 switches the regularisation off.
        margin_positive (`float`, *optional*, defaults to 100.0): xi; magnitudes of positives below it are penalised.
        margin_negative (`float`, *optional*, defaults to 0.0): mu; magnitudes of negatives above it are penalised.
        normalize_margin (`bool`, *optional*, defaults to `False`): Divide magnitudes and margins by xi, which scales
            the regularisation down to the size of the cross-entropy.
        width (`int`, *optional*, defaults to 256): Embedding dimension of the group networks.
        depth (`int`, *optional*, defaults to 1): Transformer blocks of each group network.
        heads (`int`, *optional*): Attention heads of each block; if not given the largest number up to
            `width // 64` that divides the width.
        mlp_ratio (`float`, *optional*, defaults to 4.0): Hidden width of a block's perceptron over `width`.
        top_k (`int`, *optional*, defaults to 5): K, logits per group that the fusion network sees; at most the size of
            the group.
        fusion_width (`int`, *optional*, defaults to 64): Hidden width of the fusion network.
        fusion_normalization (`str`, *optional*, defaults to `"layer"`): Of its inputs; `"none"` leaves them alone.
        activation (`str`, *optional*, defaults to `"softplus"`): Of the group weights; `"none"` is the literal paper,
            `"exp"`, `"sigmoid2"` (twice the sigmoid) and `"softmax"` are the others. Softmax over the groups, times
            their number, is our own: the weights of an image have mean 1, so that they say nothing but which group,
            where the others may also raise all of them, which sharpens the logits and fits the training images.
        logit_reference (`str`, *optional*, defaults to `"none"`): Subtracted from the logits before they are weighted:
            `"min"`, `"mean"` or `"log_softmax"` (their log-sum-exp).
        tokens (`str`, *optional*, defaults to `"all"`): What the group networks read: `"all"` tokens after the last
            block (positions of the last map of a CNN), or the `"pooled"` feature vector as one token.
        pooling (`str`, *optional*, defaults to `"mean"`): How a group network pools its tokens; `"cls"` takes the
            class token.
        detach_magnitude (`bool`, *optional*, defaults to `False`): Stop the gradient of L_DAC into the group networks.
        within_group_tau (`float`, *optional*): Strength with which the class prior inside each group is removed from
            the logits before anything reads them: `l_j - within_group_tau * log(n_j / N_g(j))`, with `n_j` training
            images of class j and `N_g(j)` of its group. Unset is 0: the logits as they are. Group weights are
            positive and never change the order of classes inside a group, so the imbalance there (5 to 1 and more)
            stays; 1 removes what a classifier trained by cross-entropy on the rows as they are has of it, and leaves
            the prior between the groups to the weights. Not of the paper and, to our knowledge, published nowhere.
            The loss reads the same logits, so a classifier that is trained too (`classifier`) may undo it. Needs an
            image of every class.

    Logged beside the terms of the loss, as means over an epoch's batches: `log/group_weight_<g>`,
    `log/magnitude_<g>_positive` and `..._negative` (over images of the group and over all others),
    `log/magnitude_group_accuracy` (the largest magnitude is that of the image's group) and `log/group_accuracy` (the
    predicted class is in it).
    """

    name = "mem"
    summary = (
        "Three small networks on a frozen model judge whether an image belongs to the many, medium or few classes and "
        "weight the logits of each group by it."
    )
    when_to_use = (
        "For a vision transformer pretrained on the long-tailed images themselves. Compare it with crt and post-hoc "
        "logit adjustment on the same representation: the published gain over crt is 0.2 to 1.2 points."
    )
    published_names = ("mem",)
    # Group membership is a hard label: neither mixed images nor smoothed targets have one.
    accepts_soft_targets = False
    part_names = ("representation",)
    loss_class = CrossEntropyLoss
    options_from_checkpoint = {"pretraining": False}
    presets = {"literal": _LITERAL, "original_logits": _ORIGINAL_LOGITS}
    prior_correction: PriorCorrection | None = PriorCorrection(
        "removes the class prior inside each group from the logits (within_group_tau)", "logits", "within_group_tau"
    )
    paper = {
        "title": "Mutual Exclusive Modulator for Long-Tailed Recognition",
        "authors": "Haixu Long, Xiaolin Zhang, Yanbin Liu, Zongtai Luo, Jianbo Liu",
        "year": 2023,
        "url": "https://arxiv.org/abs/2302.09498",
    }

    group_of_class: torch.Tensor
    representation: LongTailMethod

    def __init__(
        self,
        class_counts: Counts,
        representation: LongTailMethod | None = None,
        pretraining: bool = True,
        sampler: str = "class_balanced",
        classifier: str = "frozen",
        groups: str = "auto",
        num_groups: int = 3,
        group_seed: int = 0,
        regularization_weight: float = 1.0,
        margin_positive: float = 100.0,
        margin_negative: float = 0.0,
        normalize_margin: bool = False,
        width: int = 256,
        depth: int = 1,
        heads: int | None = None,
        mlp_ratio: float = 4.0,
        top_k: int = 5,
        fusion_width: int = 64,
        fusion_normalization: str | None = "layer",
        activation: str | None = "softplus",
        logit_reference: str | None = "none",
        tokens: str = "all",
        pooling: str = "mean",
        detach_magnitude: bool = False,
        within_group_tau: float | None = None,
    ):
        super().__init__(class_counts)
        choice("sampler", sampler, SAMPLERS)
        choice("classifier mode of mem", classifier, CLASSIFIER_MODES)
        _check_regularization(regularization_weight, margin_positive, margin_negative, detach_magnitude)
        self.representation = representation_of(self, representation, with_classifier=True)
        self.pretraining, self.sampler, self.classifier = flag("pretraining", pretraining), sampler, classifier
        self.groups, self.num_groups, self.group_seed = groups, num_groups, group_seed
        self.regularization_weight = regularization_weight
        self.margin_positive, self.margin_negative = margin_positive, margin_negative
        self.normalize_margin = flag("normalize_margin", normalize_margin)
        self.width, self.depth, self.heads, self.mlp_ratio = width, depth, heads, mlp_ratio
        self.top_k, self.fusion_width = top_k, fusion_width
        # "none" is read as the absence of a value by YAML, JSON and the rows of a table.
        self.fusion_normalization = fusion_normalization or "none"
        self.activation, self.logit_reference = activation or "none", logit_reference or "none"
        self.tokens, self.pooling, self.detach_magnitude = tokens, pooling, detach_magnitude
        # Unset where it is off: results of versions that did not know it describe the same method.
        self.within_group_tau = within_group_tau
        if within_group_tau:
            self.class_counts.require_images(f"within_group_tau of {self.name}")
        removes = within_group_tau and classifier == "frozen"
        self.prior_correction = type(self).prior_correction if removes else None
        self._divide_classes()

    def _divide_classes(self) -> None:
        """The groups, and whether the network's options fit them: here, not after hours of the stages before."""
        # Not above, because importing models takes seconds that listing the methods need not.
        from ..models.class_groups import class_groups
        from ..models.modulator_options import modulator_options

        counts = self.class_counts
        groups = class_groups(counts.counts, self.groups, self.num_groups, counts.thresholds, self.group_seed)
        self.register_buffer("group_of_class", torch.tensor(groups), persistent=False)
        self.group_count = max(groups) + 1
        modulator_options(self._network_options(), len(counts))

    def configure(self, config: LongTailConfig) -> None:
        configure_network(self.representation, config)
        require_module(config, "modulator", self._network_options(), self.name)

    def _network_options(self) -> dict[str, Any]:
        """What `config.modules["modulator"]` is to say."""
        from ..models.modulator_options import MODULATOR_DEFAULTS

        own = {name: getattr(self, name) for name in self.option_names() if name in MODULATOR_DEFAULTS}
        own |= {"group_of_class": self.group_of_class.tolist()}
        # Kept with the network, whose config may come to be asked about other counts.
        return own | {"class_counts": list(self.class_counts.counts)} if self.within_group_tau else own

    def published_options(self, row: PublishedRow) -> dict[str, Any] | None:
        return {"pretraining": row["init"] == "mae_own"}

    def setup(self, trainer: MethodHost) -> None:
        if self.classifier == "reinitialize":
            trainer.model.reset_classifier()
        frozen = [BACKBONE] + ([CLASSIFIER] if self.classifier == "frozen" else [])
        trainer.model.freeze(frozen, norm="eval")

    def stages(self) -> list[Stage]:
        stages = representation_stages(self.representation, "finetuning")
        stages.append(Stage("modulator", self, start=f"stage:{stages[-1].name}"))
        return with_pretraining(stages, MaskedAutoencoding(self.class_counts)) if self.pretraining else stages

    def train_sampler(self, labels: torch.Tensor, *, seed: int, num_epochs: int) -> Sampler | None:
        return make_sampler(
            self.sampler, labels, seed=seed, num_epochs=num_epochs, group_of_class=self.group_of_class.tolist()
        )

    def training_loss(self, model: nn.Module, batch: Batch) -> tuple[dict[str, torch.Tensor], Any]:
        outputs = model(pixel_values=batch["pixel_values"])
        terms = {"data_aware": weighted_mean(self.row_losses(outputs, batch), sample_weights(batch))}
        regularization = regularizing_outlier_loss(
            outputs.extras["magnitudes"],
            self.group_of_class[batch["labels"]],
            margin_positive=self.margin_positive,
            margin_negative=self.margin_negative,
            normalize_margin=self.normalize_margin,
            weights=sample_weights(batch),
        )
        prefix, weight = self._regularization_terms()
        for group in range(self.group_count):
            terms[f"{prefix}_{group}_positive"] = weight * regularization.positive_mean[group]
            terms[f"{prefix}_{group}_negative"] = weight * regularization.negative_mean[group]
        return terms | self._observations(outputs, batch), outputs

    def _regularization_terms(self) -> tuple[str, float]:
        """First part of the terms' names, and their weight: what is switched off is still logged, as it is."""
        return ("group", self.regularization_weight) if self.regularization_weight else ("log/group", 1.0)

    @torch.no_grad()
    def _observations(self, outputs: Any, batch: Batch) -> dict[str, torch.Tensor]:
        """What tells how the modulator is doing: means over the rows, not part of the loss."""
        weights = sample_weights(batch)
        group = self.group_of_class[batch["labels"]]
        by_magnitude = outputs.extras["magnitudes"].argmax(dim=1)
        by_class = self.group_of_class[outputs.raw_logits.argmax(dim=1)]
        observations = {
            "log/magnitude_group_accuracy": weighted_mean((by_magnitude == group).to(weights.dtype), weights),
            "log/group_accuracy": weighted_mean((by_class == group).to(weights.dtype), weights),
        }
        for place in range(self.group_count):
            magnitude, positive = outputs.extras["magnitudes"][:, place], (group == place) * weights
            observations[f"log/group_weight_{place}"] = weighted_mean(
                outputs.extras["group_weights"][:, place], weights
            )
            observations[f"log/magnitude_{place}_positive"] = weighted_mean(magnitude, positive)
            observations[f"log/magnitude_{place}_negative"] = weighted_mean(magnitude, weights - positive)
        return observations

    def term_mass(self, batch: Batch) -> dict[str, torch.Tensor]:
        weights = sample_weights(batch)
        # Not one_hot: on the CPU it reads the smallest and the largest label back.
        groups = torch.arange(self.group_count, device=weights.device)
        belongs = (self.group_of_class[batch["labels"]].unsqueeze(1) == groups) * weights[:, None]
        positive = belongs.sum(dim=0)
        negative = weights.sum() - positive
        masses = {}
        for group in range(self.group_count):
            for name in (self._regularization_terms()[0], "log/magnitude"):
                masses[f"{name}_{group}_positive"] = positive[group]
                masses[f"{name}_{group}_negative"] = negative[group]
        return masses


def _check_regularization(weight: float, positive: float, negative: float, detached: bool) -> None:
    number("margin_positive", positive)
    number("margin_negative", negative)
    if not positive > 0:
        raise ValueError(f"margin_positive must be above 0, where magnitudes begin, got {positive}")
    if detached and not weight:
        raise ValueError(
            "with detach_magnitude and regularization_weight 0, nothing would train the group networks: leave one of "
            "the two out"
        )
    if positive <= negative:
        raise ValueError(
            f"margin_positive ({positive}) must exceed margin_negative ({negative}): otherwise no magnitude satisfies "
            "both sides of the regularisation"
        )
    number("regularization_weight", weight, minimum=0)
