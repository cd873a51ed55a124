"""Classifier re-training (cRT): a new linear classifier on a frozen representation, with class-balanced sampling."""

from __future__ import annotations

from typing import Any

import torch

from ..data.samplers import SAMPLERS
from ..naming import unknown_name
from .base import LongTailMethod, Stage
from .cross_entropy import CrossEntropy

BACKBONE = r"^backbone\."


class ClassifierRetraining(LongTailMethod):
    """
    Decoupled training (Kang et al. 2020, section 4.1): stage 1 learns the representation, stage 2 re-initialises the
    classifier and trains it alone.

    The released code (facebookresearch/classifier-balancing) only stops the gradients of the backbone and still calls
    `model.train()`, so batch-norm statistics of the frozen backbone move with the class-balanced batches, and dropout
    and drop path stay on. That is what published numbers contain and is the default; `norm="eval"` freezes them.

    Args:
        class_counts ([`ClassCounts`] or sequence of `int`): Training images per class.
        representation ([`LongTailMethod`], *optional*): Method of stage 1; cross-entropy if not given.
        sampler (`str`, *optional*, defaults to `"class_aware"`): Sampler of stage 2, a name in `SAMPLERS`.
        norm (`str`, *optional*, defaults to `"train"`): Mode of the frozen backbone's layers in stage 2.
        reinitialize (`bool`, *optional*, defaults to `True`): Whether stage 2 starts from a new classifier.
    """

    name = "crt"
    paper = {
        "title": "Decoupling Representation and Classifier for Long-Tailed Recognition",
        "authors": "Bingyi Kang, Saining Xie, Marcus Rohrbach, Zhicheng Yan, Albert Gordo, Jiashi Feng, Yannis "
        "Kalantidis",
        "year": 2020,
        "url": "https://arxiv.org/abs/1910.09217",
    }

    def __init__(
        self,
        class_counts,
        representation: LongTailMethod | None = None,
        sampler: str = "class_aware",
        norm: str = "train",
        reinitialize: bool = True,
    ):
        super().__init__(class_counts)
        if sampler not in SAMPLERS:
            raise unknown_name("sampler", sampler, SAMPLERS)
        if norm not in ("train", "eval"):
            raise unknown_name("norm mode", norm, ("train", "eval"))
        self.representation = single_stage(representation or CrossEntropy(self.class_counts), "crt")
        self.sampler, self.norm, self.reinitialize = sampler, norm, reinitialize
        self.classifier_loss = CrossEntropy(self.class_counts)

    def configure(self, config) -> None:
        self.representation.configure(config)

    def setup(self, trainer) -> None:
        if self.reinitialize:
            trainer.model.reset_classifier()
        trainer.model.freeze([BACKBONE], norm=self.norm)

    def train_sampler(self, labels: torch.Tensor, *, seed: int, num_epochs: int):
        return make_sampler(self.sampler, labels, seed=seed, num_epochs=num_epochs)

    def sample_loss(self, outputs: Any, targets: torch.Tensor) -> torch.Tensor:
        return self.classifier_loss.sample_loss(outputs, targets)

    def stages(self) -> list[Stage]:
        return [
            Stage("representation", self.representation),
            Stage("classifier", self, start="stage:representation"),
        ]


def single_stage(method: LongTailMethod, who: str) -> LongTailMethod:
    """`method`, or a `ValueError` if it consists of several runs: its last one would be mistaken for the whole."""
    names = [stage.name for stage in method.stages()]
    if len(names) > 1:
        raise ValueError(
            f"The representation of {who} must be a method of one stage, but {method.name} has the stages "
            f"{', '.join(names)}"
        )
    return method


def make_sampler(name: str, labels: torch.Tensor, *, seed: int, num_epochs: int):
    """A sampler of `SAMPLERS` by name, with the number of epochs for the one that needs it."""
    options = {"num_epochs": num_epochs} if name == "progressively_balanced" else {}
    return SAMPLERS[name](labels, seed=seed, **options)
