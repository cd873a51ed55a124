"""
The plug: what a long-tailed method is to the trainer.

A method is an `nn.Module` with one required function, [`LongTailMethod.sample_loss`], and a few optional ones. It
never owns the model, never calls `backward`, and never sees evaluation batches. Terms are means with a stated mass, so
that gradient accumulation, uneven batches and the number of processes change nothing.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ..data.class_counts import ClassCounts

if TYPE_CHECKING:
    from torch.utils.data import Sampler

    from ..models import LongTailConfig
    from ..trainer import LongTailTrainer

Batch = dict[str, Any]

# Constructor arguments that are data or other methods, not options.
_NOT_OPTIONS = ("self", "class_counts", "base", "representation")


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
    model_class: type | None = None
    new_classifier: bool = False


def sample_weights(batch: Batch) -> torch.Tensor:
    """Weight of every row, shape `(B,)`, float32: one, or zero for a row that only pads an uneven process."""
    weights = batch.get("weight")
    if weights is None:
        pixel_values = batch["pixel_values"]
        weights = torch.ones(pixel_values.shape[0], device=pixel_values.device)
    return weights


def weighted_mean(values: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """
    `sum(weights * values) / sum(weights)`, and 0 with its graph kept where the weights sum to 0.

    Args:
        values (`torch.Tensor` of shape `(B,)`).
        weights (`torch.Tensor` of shape `(B,)`): Not negative.
    """
    weights = weights.to(values.dtype)
    total = weights.sum()
    return (values * weights).sum() / torch.where(total > 0, total, torch.ones_like(total))


def check_same_counts(class_counts: Any, part: LongTailMethod, who: str) -> None:
    """Refuse a method inside the method `who` that was built for other training images."""
    counts = ClassCounts.of(class_counts)
    if list(counts.counts) != list(part.class_counts.counts):
        raise ValueError(
            f"{who} was given other class counts than the {part.name} inside it "
            f"({len(counts)} classes, {counts.total:,} images; {len(part.class_counts)} classes, "
            f"{part.class_counts.total:,} images); build both for the same training set"
        )


def batch_targets(batch: Batch) -> torch.Tensor:
    """Soft targets `(B, C)` where the batch was mixed or smoothed, else the int64 labels `(B,)`."""
    targets = batch.get("targets")
    return batch["labels"] if targets is None else targets


class LongTailMethod(nn.Module):
    """
    Base class of every method.

    Class attributes:
        name (`str`): Name in `METHODS`.
        summary (`str`): What it does, in one or two sentences, for the generated page and the README table.
        when_to_use (`str`): For whom it is the right choice, in plain words.
        published_names (`tuple[str, ...]`): Its names in the column `method` of the published results.
        paper (`dict`): `title`, `authors`, `year`, `url`, `bibtex` of the source, for the card.
        without_paper (`str`): Why there is none, as a sentence.
        accepts_soft_targets (`bool`): Whether mixed or smoothed targets are meaningful. If not, mixing is refused.
        batch_coupled (`bool`): The loss mixes samples of a batch, so accumulation changes it.
        sharded_parameters (`bool`): False when parameters are read outside forward (refused under FSDP and ZeRO-3).
        uses_labels (`bool`): False for self-supervised methods, which need no label column.
        adds_prior (`bool`): The loss adds log priors to the logits, so the logits need no further correction.
        needs_validation (`bool`): Something is measured or chosen on the validation split, which must be given.
        without_validation (`str`): What to do where that split is not given, as the end of a sentence.
        published_with (`tuple[str, ...]`): Names in the column `combined_with` that mean a part of this method itself.
        views (`tuple[str, ...]`): Augmented views of each image that a batch carries.

    Args:
        class_counts ([`ClassCounts`] or sequence of `int`): Training images per class, in label order.
    """

    name: str = ""
    summary: str = ""
    when_to_use: str = ""
    published_names: tuple[str, ...] = ()
    paper: Mapping[str, Any] = {}
    without_paper: str = ""
    accepts_soft_targets: bool = True
    batch_coupled: bool = False
    sharded_parameters: bool = True
    uses_labels: bool = True
    adds_prior: bool = False
    needs_validation: bool = False
    without_validation: str = ""
    published_with: tuple[str, ...] = ("",)
    views: tuple[str, ...] = ("train",)

    def __init__(self, class_counts: ClassCounts | list[int]):
        super().__init__()
        self.class_counts = ClassCounts.of(class_counts)

    # ------------------------------------------------------------------ the loss
    def sample_loss(self, outputs: Any, targets: torch.Tensor) -> torch.Tensor:
        """
        Supervised loss of each row, without any re-weighting between rows.

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
        Supervised loss of each row of a training batch, shape `(B,)`, without any re-weighting between rows. A method
        overrides it only if [`~LongTailMethod.sample_loss`] needs more of the batch than targets, such as the keys of
        its random draws; whoever wraps a method reads its losses here.
        """
        return self.sample_loss(outputs, batch_targets(batch))

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
        is a mean over the rows.
        """
        return {}

    # ------------------------------------------------------------------ optional hooks
    def setup(self, trainer: LongTailTrainer) -> None:
        """At the start of `train()`, before the optimizer exists: freeze, re-initialise. Never for evaluation."""

    def on_epoch(self, trainer: LongTailTrainer, epoch: int) -> None:
        """Once per epoch on every process, before its first batch; not repeated when a run resumes in mid-epoch."""

    def finalize(self, trainer: LongTailTrainer) -> None:
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
        return [Stage(name="train", method=self)]

    # ------------------------------------------------------------------ published numbers
    def published_options(self, row: Mapping[str, Any]) -> dict[str, Any] | None:
        """
        The options with which a published number was made, as far as they differ from the defaults of this class.

        Args:
            row (`dict`): A row of [`~hf_ltr.table.published_results`] whose `method` is one of `published_names`.

        Returns:
            `dict`, or None where another method, or an unknown form of this one, has that name. Where the source says
            nothing about an option and it is no part of the method, the value this method has.
        """
        return {}

    def is_published_as(self, row: Mapping[str, Any]) -> bool:
        """Whether a published number is one of this method with these options."""
        options = self.published_options(row)
        if options is None:
            return False
        # Built anew, since defaults may follow from the class counts; what is inside is compared by whoever asks.
        accepted = inspect.signature(type(self).__init__).parameters
        parts = {role: getattr(self, role) for role in ("base", "representation") if role in accepted}
        published = type(self)(self.class_counts, **parts, **options)
        return published.describe()["options"] == self.describe()["options"]

    # ------------------------------------------------------------------ identity
    @classmethod
    def option_names(cls) -> list[str]:
        """Names of the options `get_method` accepts for this class."""
        return [name for name in inspect.signature(cls.__init__).parameters if name not in _NOT_OPTIONS]

    def describe(self) -> dict[str, Any]:
        """
        What rebuilds this method through `get_method`: its name, its options (every option is kept as an attribute of
        the same name) and the methods it wraps. Stored in the model's config and in every checkpoint.
        """
        description: dict[str, Any] = {
            "name": self.name,
            "options": {name: _plain(getattr(self, name)) for name in self.option_names()},
        }
        for role in ("base", "representation"):
            part = getattr(self, role, None)
            if isinstance(part, LongTailMethod):
                description[role] = part.describe()
        return description

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in self.option_names())


def _plain(value: Any) -> Any:
    """JSON form of an option."""
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    return value


class MethodWrapper(LongTailMethod):
    """
    A method around another one. Every hook is forwarded, the base first; a subclass overrides what it changes.

    Args:
        base ([`LongTailMethod`]): The wrapped method; its supervised loss is reached through `sample_loss`.

    Raises:
        `ValueError`: if `base` has several stages: wrap the stage's method instead, for example
            `crt(representation=wrapper(...))`.
    """

    def __init__(self, base: LongTailMethod):
        super().__init__(base.class_counts)
        if len(base.stages()) > 1:
            raise ValueError(
                f"{type(self).__name__} cannot wrap {base.name!r}, which has the stages "
                f"{', '.join(stage.name for stage in base.stages())}. Wrap the method of one stage instead, for "
                f"example get_method({base.name!r}, representation=<wrapped method>)."
            )
        self.base = base
        self.accepts_soft_targets = base.accepts_soft_targets
        self.batch_coupled = base.batch_coupled
        self.sharded_parameters = base.sharded_parameters
        self.uses_labels = base.uses_labels
        self.adds_prior = base.adds_prior
        self.needs_validation = base.needs_validation
        self.without_validation = base.without_validation
        self.views = base.views

    def sample_loss(self, outputs: Any, targets: torch.Tensor) -> torch.Tensor:
        return self.base.sample_loss(outputs, targets)

    def row_losses(self, outputs: Any, batch: Batch) -> torch.Tensor:
        return self.base.row_losses(outputs, batch)

    def training_loss(self, model: nn.Module, batch: Batch) -> tuple[dict[str, torch.Tensor], Any]:
        return self.base.training_loss(model, batch)

    def term_mass(self, batch: Batch) -> dict[str, torch.Tensor]:
        return self.base.term_mass(batch)

    def setup(self, trainer: LongTailTrainer) -> None:
        self.base.setup(trainer)

    def on_epoch(self, trainer: LongTailTrainer, epoch: int) -> None:
        self.base.on_epoch(trainer, epoch)

    def finalize(self, trainer: LongTailTrainer) -> None:
        self.base.finalize(trainer)

    def train_sampler(self, labels: torch.Tensor, *, seed: int, num_epochs: int) -> Sampler | None:
        return self.base.train_sampler(labels, seed=seed, num_epochs=num_epochs)

    def configure(self, config: LongTailConfig) -> None:
        self.base.configure(config)
