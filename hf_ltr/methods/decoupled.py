"""What the methods of two stages share: a representation first, a classifier second."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from ..data.samplers import SAMPLERS, make_sampler
from ..losses import CrossEntropyLoss
from ..validation import choice
from .base import Counts, LongTailMethod, PublishedRow, Stage, check_same_counts
from .cross_entropy import CrossEntropy
from .loss_method import LossMethod
from .network import require_linear_head

if TYPE_CHECKING:
    from torch.utils.data import Sampler

    from ..models import LongTailConfig

BACKBONE = r"^backbone\."
# The linear part of a classifier, without the factors of a scaled head.
LINEAR_PART = r"^classifier\.(weight|bias)$"

KANG_2020 = {
    "title": "Decoupling Representation and Classifier for Long-Tailed Recognition",
    "authors": "Bingyi Kang, Saining Xie, Marcus Rohrbach, Zhicheng Yan, Albert Gordo, Jiashi Feng, Yannis Kalantidis",
    "year": 2020,
    "url": "https://arxiv.org/abs/1910.09217",
}


class DecoupledMethod(LossMethod):
    """
    Base of the methods whose stage `"representation"` is another method's run, and whose stage `"classifier"` starts
    from its weights. The loss of stage 2 is cross-entropy unless a subclass puts another in its place.

    Training arguments that a stage needs come from `representation_arguments` and `classifier_arguments`. They win
    over the arguments common to all stages and lose against those a recipe's section sets for the stage.

    Args:
        class_counts ([`ClassCounts`] or sequence of `int`): Training images per class.
        representation ([`LongTailMethod`], *optional*): Method of stage 1, of one stage itself; cross-entropy if not
            given.
        sampler (`str`, *optional*): Sampler of stage 2, a name in `SAMPLERS`; unset: that of the training arguments.
        norm (`str`, *optional*, defaults to `"train"`): Mode of the frozen backbone's layers in stage 2, see
            [`~hf_ltr.models.freezing.FreezableMixin.freeze`].

    Class attributes:
        trains_classifier (`bool`): False where stage 2 has no epochs, because its classifier is computed.
        stage_beside (`str`): Name of stage 2 where it runs beside other methods; its own name if empty.
    """

    part_names: tuple[str, ...] = ("representation",)
    loss_class = CrossEntropyLoss
    trains_classifier: bool = True
    stage_beside: str = ""
    representation: LongTailMethod

    def __init__(
        self,
        class_counts: Counts,
        representation: LongTailMethod | None = None,
        sampler: str | None = None,
        norm: str = "train",
    ):
        super().__init__(class_counts)
        if sampler is not None:
            choice("sampler", sampler, SAMPLERS)
        self.representation = representation_of(self, representation)
        self.sampler, self.norm = sampler, choice("norm mode", norm, ("train", "eval"))

    def configure(self, config: LongTailConfig) -> None:
        configure_network(self.representation, config)

    def train_sampler(self, labels: torch.Tensor, *, seed: int, num_epochs: int) -> Sampler | None:
        if self.sampler is None:
            return None
        return make_sampler(self.sampler, labels, seed=seed, num_epochs=num_epochs)

    def representation_arguments(self) -> dict[str, Any]:
        """Training arguments of stage 1 that are part of the method."""
        return {}

    def classifier_arguments(self) -> dict[str, Any]:
        """Training arguments of stage 2 that are part of the method."""
        # max_steps too: where all stages are limited to some steps, a computed classifier still has none.
        return {} if self.trains_classifier else {"num_train_epochs": 0, "max_steps": -1}

    def computes_model(self) -> bool:
        return not self.trains_classifier

    def stages(self) -> list[Stage]:
        return [
            Stage("representation", self.representation, arguments=self.representation_arguments()),
            Stage("classifier", self, start="stage:representation", arguments=self.classifier_arguments()),
        ]


def retraining_options(method: DecoupledMethod, row: PublishedRow) -> dict[str, Any] | None:
    """
    How the second stage of a published cRT or LWS was trained; the class defaults are those of
    facebookresearch/classifier-balancing.
    """
    source = row["source"]
    # Sources say "class-balanced" of both samplers that draw every class equally often.
    sampler = method.sampler if method.sampler in ("class_aware", "class_balanced") else "class_aware"
    if "BagofTricks" in source:
        return {"sampler": sampler}
    if "Difficulty-Net" in source and row["dataset"].startswith("cifar"):
        return {"sampler": sampler, "norm": "eval"}  # the mode of the backbone in its code
    if "IKL" in source and row["dataset"].startswith("cifar"):
        return None  # the best of cRT, LWS and tau-norm (the row "Decouple" of RIDE's model zoo)
    return {}


def configure_network(representation: LongTailMethod, config: LongTailConfig) -> None:
    """
    What the method of an earlier stage demands of the network. How inference corrects the logits of its own classifier
    (`pc_softmax`) stays with its stage: the classifier of the next one would be corrected twice. So do auxiliary
    networks that only its training needed.
    """
    # Not above, because importing models takes seconds that listing the methods need not.
    from ..models.modules import modules_for_inference

    adjustment = config.logit_adjustment
    representation.configure(config)
    config.logit_adjustment = adjustment
    config.modules = modules_for_inference(config.modules)


def use_scaled_head(config: LongTailConfig, representation: LongTailMethod, who: str) -> None:
    """
    Give the model of stage 2 one learnable factor per class on the linear head of stage 1, on behalf of the method
    `who`.

    Raises:
        `ValueError`: if stage 1 trains another kind of head.
    """
    if config.head == "scaled":
        config.head = None  # what the representation is asked about is the head it trains
    configure_network(representation, config)
    require_linear_head(config, who, "multiplies the logits of a linear classifier")
    config.head = "scaled"


def representation_of(
    method: LongTailMethod, representation: LongTailMethod | None, with_classifier: bool = False
) -> LongTailMethod:
    """
    What the stage before the one of `method` is trained with: cross-entropy, or another method for the same images.

    Args:
        method ([`LongTailMethod`]): Whose representation it is.
        representation ([`LongTailMethod`], *optional*): Cross-entropy if not given.
        with_classifier (`bool`, *optional*, defaults to `False`): Whether it may also be a [`DecoupledMethod`], which
            trains a classifier on a representation of its own; see [`representation_stages`].

    Raises:
        `ValueError`: for a method of several runs, whose last one would be mistaken for the whole, and one that trains
            no classifier.
    """
    if representation is None:
        return CrossEntropy(method.class_counts)
    what, stages = f"The representation of {method.name} must", representation.stages()
    decoupled = isinstance(representation, DecoupledMethod)
    if len(stages) > 1 and not (with_classifier and decoupled):
        also = ", or one that trains a classifier behind a representation" if with_classifier else ""
        raise ValueError(
            f"{what} be a method of one stage{also}, but {representation.name} has the stages "
            f"{', '.join(stage.name for stage in stages)}"
        )
    if isinstance(representation, DecoupledMethod) and not representation.trains_classifier:
        raise ValueError(
            f"{what} train its classifier, but {representation.name} computes it at the end of its run, as another "
            "head than the one that was trained"
        )
    if not stages[0].method.uses_labels:
        raise ValueError(f"{what} train a classifier, but {representation.name} begins without labels")
    check_same_counts(method.class_counts, representation, method.name)
    return representation


def representation_stages(representation: LongTailMethod, name: str) -> list[Stage]:
    """
    The runs before the one of a method with this representation: that of a method of one stage, under `name`; those
    of a [`DecoupledMethod`], under their own names, of which the last has the classifier.
    """
    stages = representation.stages()
    return stages if len(stages) > 1 else [Stage(name, representation)]
