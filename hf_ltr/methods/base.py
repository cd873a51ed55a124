"""
The plug: what a long-tailed method is to the trainer.

A method is an `nn.Module` with one required function, [`LongTailMethod.sample_loss`], and a few optional ones. It
never owns the model, never calls `backward`, and never sees evaluation batches. Terms are means with a stated mass, so
that gradient accumulation, uneven batches and the number of processes change nothing.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn

from ..data.class_counts import ClassCounts
from ..reading import json_form
from ..validation import plain
from .batch import Batch, batch_targets, sample_weights, sum_over_experts, weighted_mean

if TYPE_CHECKING:
    from torch.utils.data import Sampler
    from transformers import PreTrainedModel

    from ..models import LongTailConfig
    from .host import MethodHost

# Training images per class, in label order, as every method takes them.
Counts = ClassCounts | Sequence[int]
# One of `hf_ltr.table.published_results`, by column.
PublishedRow = Mapping[str, Any]


@dataclass
class Stage:
    """
    One plain, resumable training run of a multi-stage method.

    Args:
        name (`str`): Name of the stage and of its sub-folder.
        method ([`LongTailMethod`]): What is trained in it.
        start (`str`, *optional*): Where the weights come from: a folder, a Hub id, or `"stage:<name>"`. Scratch if
            absent.
        teachers (`dict[str, str]`): Name to folder, Hub id or `"stage:<name>"` of frozen models the method reads.
        config (`dict`): Fields of [`LongTailConfig`] that differ in this stage.
        arguments (`dict`): Fields of [`LongTailTrainingArguments`] that differ in this stage.
        model_class (`type`, *optional*): Defaults to [`LongTailForImageClassification`].
        new_classifier (`bool`, defaults to `False`): Begin with a new head whatever classes the weights of `start`
            were trained for.
    """

    name: str
    method: LongTailMethod
    start: str | None = None
    teachers: dict[str, str] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    arguments: dict[str, Any] = field(default_factory=dict)
    model_class: type[PreTrainedModel] | None = None
    new_classifier: bool = False


@dataclass(frozen=True)
class PriorCorrection:
    """
    What a method does about the class prior beside a log prior in its loss (`adds_prior`) and a sampler of its own.

    Args:
        phrase (`str`): What follows the method's name in a sentence: `"weights the loss by class"`.
        kind (`str`): `"weights"` of the rows by their class, in whose place those of a wrapper stand; a change of the
            finished `"classifier"`; the field `logit_adjustment` of the `"config"`, which says so itself; or a change
            of the `"logits"` of the classifier it begins with, in training and at inference.
        option (`str`, *optional*): Name of the option that switches it on; where there is none it is always on.
    """

    phrase: str
    kind: Literal["weights", "classifier", "config", "logits"]
    option: str = ""

    def is_on(self, options: Mapping[str, Any]) -> bool:
        """Whether a method with these options does it."""
        return not self.option or bool(options.get(self.option))


class LongTailMethod(nn.Module):
    """
    Base class of every method. What a shared place has to know of one is a class attribute of it; one that follows
    from its options (as `needs_validation` may) is set on the object.

    Class attributes that say what it is:
        name (`str`): Name in `METHODS`.
        summary (`str`): What it does, in one or two sentences, for the generated page and the README table.
        when_to_use (`str`): For whom it is the right choice, in plain words.
        paper (`dict`): `title`, `authors`, `year`, `url`, `bibtex` of the source, for the card.
        without_paper (`str`): Why there is none, as a sentence.
        part_names (`tuple[str, ...]`): Arguments of the constructor that are methods, each kept as an attribute.
        options_from_checkpoint (`dict`): Options it takes where its run begins from an initial checkpoint.
        presets (`dict[str, dict]`): Sets of options (and methods inside it) by name, such as the formulas exactly as
            a paper writes them; see [`~hf_ltr.methods.with_preset`]. One names every option it is about, at its
            default or not, so that another default does not change it.

    Class attributes that say how it may be trained:
        accepts_soft_targets (`bool`): Whether mixed or smoothed targets are meaningful. If not, mixing is refused.
        batch_coupled (`bool`): The loss mixes samples of a batch, so accumulation changes it.
        sharded_parameters (`bool`): False when parameters are read outside forward (refused under FSDP and ZeRO-3).
        stage_name (`str`): Name of its stage, where it is one; known without making it.
        uses_labels (`bool`): False for self-supervised methods, which need no label column.
        reads_experts (`bool`): `sample_loss` reads `expert_logits` itself; otherwise each expert has the loss of a
            whole model, and they are summed.
        needs_validation (`bool`): Something is measured or chosen on the validation split, which must be given.
        without_validation (`str`): What to do where that split is not given, as the end of a sentence.
        views (`tuple[str, ...]`): Augmented views of each image that a batch carries.

    Class attributes about the class prior, which is to be corrected once:
        adds_prior (`bool`): The loss adds log priors to the logits, so the logits need no further correction.
        prior_correction ([`PriorCorrection`], *optional*): What it does about the prior in another way.

    Class attributes about published numbers, see [`~hf_ltr.table.published_results`]:
        published_names (`tuple[str, ...]`): Its names in the column `method`.
        published_with (`tuple[str, ...]`): Names in the column `combined_with` that mean a part of this method itself.
        published_inside (`tuple[str, ...]`): Names in the column `combined_with` that mean this method inside of
            another, where the row stands under the other's name; for the method that goes without saying.
        published_post_hoc (`tuple[str, ...]`): Its names in the column `method` where the prior was removed from its
            logits after training.

    Args:
        class_counts ([`ClassCounts`] or sequence of `int`): Training images per class, in label order.
    """

    name: str = ""
    summary: str = ""
    when_to_use: str = ""
    paper: Mapping[str, Any] = {}
    without_paper: str = ""
    part_names: tuple[str, ...] = ()
    options_from_checkpoint: Mapping[str, Any] = {}
    presets: Mapping[str, Mapping[str, Any]] = {}

    accepts_soft_targets: bool = True
    batch_coupled: bool = False
    sharded_parameters: bool = True
    stage_name: str = "train"
    uses_labels: bool = True
    reads_experts: bool = False
    needs_validation: bool = False
    without_validation: str = ""
    views: tuple[str, ...] = ("train",)

    adds_prior: bool = False
    prior_correction: PriorCorrection | None = None

    published_names: tuple[str, ...] = ()
    published_with: tuple[str, ...] = ("",)
    published_inside: tuple[str, ...] = ()
    published_post_hoc: tuple[str, ...] = ()

    def __init__(self, class_counts: Counts):
        super().__init__()
        self.class_counts = ClassCounts.of(class_counts)

    # ------------------------------------------------------------------ the loss
    def sample_loss(self, outputs: Any, targets: torch.Tensor) -> torch.Tensor:
        """
        Supervised loss of each sample, without any re-weighting between samples.

        Args:
            outputs ([`LongTailOutput`]): `raw_logits` of shape `(B, C)` and, where they exist, expert logits.
            targets (`torch.Tensor`): int64 `(B,)` or, if `accepts_soft_targets`, float `(B, C)`.

        Returns:
            `torch.Tensor` of shape `(B,)`.
        """
        raise TypeError(
            f"{type(self).__name__} gives neither sample_loss nor training_loss; a method needs one of the two"
        )

    def row_losses(self, outputs: Any, batch: Batch) -> torch.Tensor:
        """
        Supervised loss of each sample of a training batch, shape `(B,)`, without any re-weighting between samples:
        whoever wraps a method reads its losses here. Where the model has experts it is the sum over them, unless
        `reads_experts`. A method overrides it only if [`~LongTailMethod.sample_loss`] needs more of the batch than
        targets, such as the keys of its random draws (see [`sum_over_experts`]).
        """
        targets = batch_targets(batch)
        if self.reads_experts:
            return self.sample_loss(outputs, targets)
        return sum_over_experts(lambda one: self.sample_loss(one, targets), outputs)

    def training_loss(self, model: nn.Module, batch: Batch) -> tuple[dict[str, torch.Tensor], Any]:
        """
        All terms of the loss on one micro-batch, and the model's outputs.

        Args:
            model (`nn.Module`): The (wrapped) model; call it exactly once where DDP must see one forward.
            batch (`dict`): `pixel_values` `(B, channels, H, W)`, `labels` `(B,)`, `index` `(B,)`, `weight` `(B,)`,
                maybe `targets` `(B, C)` and `extra_views`.

        Returns:
            `(terms, outputs)`: scalar means by name, each over its own mass (see [`~LongTailMethod.term_mass`]); names
            that start with `log/` are logged, not summed. Outputs are row-aligned with `labels`.
        """
        outputs = model(pixel_values=batch["pixel_values"])
        return {"supervised": weighted_mean(self.row_losses(outputs, batch), sample_weights(batch))}, outputs

    def term_mass(self, batch: Batch) -> dict[str, torch.Tensor]:
        """
        The weight each term is the mean over, as scalar tensors on the batch's device. A term that is not named here
        is a mean over the samples.
        """
        return {}

    # ------------------------------------------------------------------ optional hooks
    def setup(self, trainer: MethodHost) -> None:
        """At the start of `train()`, before the optimizer exists: freeze, re-initialise. Never for evaluation."""

    def on_epoch(self, trainer: MethodHost, epoch: int) -> None:
        """Once per epoch on every process, before its first batch; not repeated when a run resumes in mid-epoch."""

    def finalize(self, trainer: MethodHost) -> None:
        """
        At the end of `train()`, on the unwrapped `trainer.model`, before the final save; not for evaluation. A run
        that is resumed behind its end calls it again on weights it has not touched (checkpoints are written before
        it), so it must be a function of those.
        """

    def train_sampler(self, labels: torch.Tensor, *, seed: int, num_epochs: int) -> Sampler | None:
        """The sampler this method needs, or None for the one of the training arguments."""
        return None

    def configure(self, config: LongTailConfig) -> None:
        """
        Fill the unset architecture fields this method needs, in place.

        Raises:
            `ValueError`: when a field is set to something the method cannot work with.
        """

    def stages(self) -> list[Stage]:
        """The runs this method consists of; one for a single-stage method."""
        return [Stage(name=self.stage_name, method=self)]

    def computes_model(self) -> bool:
        """Whether a run of no epochs makes something of the model: what `finalize` computes, without training."""
        return type(self).finalize is not LongTailMethod.finalize

    # ------------------------------------------------------------------ published numbers
    def published_options(self, row: PublishedRow) -> dict[str, Any] | None:
        """
        The options with which a published number was made, as far as they differ from the defaults of this class.

        Args:
            row (`dict`): A row of [`~hf_ltr.table.published_results`] whose `method` is one of `published_names`.

        Returns:
            `dict`, or None where another method, or an unknown form of this one, has that name. Where the source says
            nothing about an option and it is no part of the method, the value this method has.
        """
        return {}

    def is_published_as(self, row: PublishedRow) -> bool:
        """Whether a published number is one of this method with these options."""
        options = self.published_options(row)
        if options is None:
            return False
        # Built anew, since defaults may follow from the class counts; what is inside is compared by whoever asks.
        published = type(self)(self.class_counts, **self.parts(), **options)
        return published.describe()["options"] == self.describe()["options"]

    def published_part(self) -> LongTailMethod | None:
        """
        The method inside that stands beside this one where a published number is of both, in the column `method` or
        `combined_with`. None where it goes without saying: a teacher, for example.
        """
        return next(iter(self.parts().values()), None)

    # ------------------------------------------------------------------ identity
    def parts(self) -> dict[str, LongTailMethod]:
        """
        The methods inside this one by their argument: what is wrapped (`base`), or trained before. One that may be
        left out is kept as `None`, and is not among them.
        """
        parts = {name: getattr(self, name) for name in self.part_names}
        return {name: part for name, part in parts.items() if part is not None}

    @classmethod
    def option_names(cls) -> list[str]:
        """Names of the options `get_method` accepts for this class."""
        return [
            name
            for name, parameter in inspect.signature(cls).parameters.items()
            if name not in ("class_counts", *cls.part_names) and parameter.kind is not parameter.VAR_KEYWORD
        ]

    def describe(self) -> dict[str, Any]:
        """
        What rebuilds this method through `get_method`: its name, its options (every option is kept as an attribute of
        the same name) and the methods inside it. Stored in the model's config and in every checkpoint.
        """
        options = {name: getattr(self, name) for name in self.option_names()}
        inside = {name: part.describe() for name, part in self.parts().items()}
        return {"name": self.name, "options": json_form(plain(options)), **inside}

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in self.option_names())


def check_same_counts(class_counts: Counts, part: LongTailMethod, who: str) -> None:
    """Refuse a method inside the method `who` that was built for other training images."""
    counts = ClassCounts.of(class_counts)
    if list(counts.counts) != list(part.class_counts.counts):
        raise ValueError(
            f"{who} was given other class counts than the {part.name} inside it "
            f"({len(counts)} classes, {counts.total:,} images; {len(part.class_counts)} classes, "
            f"{part.class_counts.total:,} images); build both for the same training set"
        )
