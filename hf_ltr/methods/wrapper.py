"""A method around another one."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

import torch
from torch import nn

from .base import LongTailMethod, Stage
from .batch import Batch
from .host import MethodHost

if TYPE_CHECKING:
    from torch.utils.data import Sampler

    from ..models import LongTailConfig

T = TypeVar("T")


class OfBase(Generic[T]):
    """
    A class fact that a wrapper has from the method it wraps. The class of a wrapper, which wraps nothing yet, has that
    of [`LongTailMethod`]; a wrapper that knows better sets its own.
    """

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, wrapper: MethodWrapper | None, owner: type) -> T:
        return cast(T, getattr(LongTailMethod if wrapper is None else wrapper.base, self.name))


class MethodWrapper(LongTailMethod):
    """
    A method around another one. Every hook is forwarded to the base, and facts about its loss are the base's; a
    subclass overrides what it changes, and calls `super()` first.

    Args:
        base ([`LongTailMethod`]): The wrapped method; its supervised loss is reached through `row_losses`.

    Raises:
        `ValueError`: if `base` has several stages: wrap the stage's method instead, for example
            `crt(representation=wrapper(...))`.
    """

    part_names: tuple[str, ...] = ("base",)
    accepts_soft_targets = OfBase[bool]()
    batch_coupled = OfBase[bool]()
    sharded_parameters = OfBase[bool]()
    stage_name = OfBase[str]()
    uses_labels = OfBase[bool]()
    adds_prior = OfBase[bool]()
    needs_validation = OfBase[bool]()
    without_validation = OfBase[str]()
    views = OfBase[tuple[str, ...]]()
    reads_experts = OfBase[bool]()

    base: LongTailMethod

    def __init__(self, base: LongTailMethod):
        super().__init__(base.class_counts)
        names = [stage.name for stage in base.stages()]
        if len(names) > 1:
            inside = next(iter(base.parts()), None)
            example = f", for example get_method({base.name!r}, {inside}=<wrapped method>)" if inside else ""
            raise ValueError(
                f"{self.name or type(self).__name__} cannot wrap {base.name!r}, which has the stages "
                f"{', '.join(names)}. Wrap the method of one stage instead{example}."
            )
        self.base = base

    def sample_loss(self, outputs: Any, targets: torch.Tensor) -> torch.Tensor:
        return self.base.sample_loss(outputs, targets)

    def row_losses(self, outputs: Any, batch: Batch) -> torch.Tensor:
        return self.base.row_losses(outputs, batch)

    def training_loss(self, model: nn.Module, batch: Batch) -> tuple[dict[str, torch.Tensor], Any]:
        return self.base.training_loss(model, batch)

    def term_mass(self, batch: Batch) -> dict[str, torch.Tensor]:
        return self.base.term_mass(batch)

    def setup(self, trainer: MethodHost) -> None:
        self.base.setup(trainer)

    def on_epoch(self, trainer: MethodHost, epoch: int) -> None:
        self.base.on_epoch(trainer, epoch)

    def finalize(self, trainer: MethodHost) -> None:
        self.base.finalize(trainer)

    def train_sampler(self, labels: torch.Tensor, *, seed: int, num_epochs: int) -> Sampler | None:
        return self.base.train_sampler(labels, seed=seed, num_epochs=num_epochs)

    def configure(self, config: LongTailConfig) -> None:
        self.base.configure(config)

    def computes_model(self) -> bool:
        return self.base.computes_model()

    def stages(self) -> list[Stage]:
        return [dataclasses.replace(stage, method=self) for stage in self.base.stages()]
