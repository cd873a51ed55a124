"""What an auxiliary network is: the one thing that classifier, config, trainer and evaluation know of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from ..validation import choice, mapping
from .backbone import BackboneFields
from .checkpoints.initialization import copy_tensors, missing_tensors, needs_random_numbers


class ClassifierFields(BackboneFields, Protocol):
    """What a [`LongTailConfig`] says that a module may depend on."""

    modules: dict[str, dict[str, Any]] | None
    class_counts: list[int] | None
    group_thresholds: list[Any]

    @property
    def num_labels(self) -> int:
        """Number of classes."""


class ModuleMetrics:
    """
    Metrics that need what a module adds to the output: sums over evaluated rows, and what follows from them.

    The evaluation owns the sums (zeros at first, joined over processes, read to the host once); an object of this kind
    only says what they are.

    Attributes:
        sizes (`dict[str, int]`): Length of each sum.
    """

    sizes: Mapping[str, int]

    def update(
        self,
        sums: Mapping[str, Tensor],
        extras: Mapping[str, Tensor],
        predicted: Tensor,
        labels: Tensor,
        weight: Tensor,
    ) -> None:
        """
        Add a batch to the sums, in place and without reading anything to the host.

        Args:
            sums (`dict[str, Tensor]`): One vector for each of `sizes`.
            extras (`dict[str, Tensor]`): Of the model's output.
            predicted, labels (`Tensor` of shape `(B,)`): Classes.
            weight (`Tensor` of shape `(B,)`): Of each row; 0 for rows that do not count.
        """
        raise NotImplementedError

    def compute(self, sums: Mapping[str, np.ndarray]) -> dict[str, float]:
        """The metrics, by the names of the module's `metric_names`, in [0, 1]."""
        raise NotImplementedError


class AuxiliaryModule(nn.Module):
    """
    A network beside backbone and head that `config.modules = {name: options}` asks for.

    A subclass and its line in `hf_ltr.models.modules.MODULES` are all there is to add: config and classifier check its
    options, build it, run it, save and load it. It is the model's attribute of its name, so that its parameters are
    `<name>.*` in checkpoints, for `model.freeze(r"^<name>\\.")` and for `parameter_options`.

    Its tensors are registered parameters and buffers; its constructor reads no value of a tensor, because
    `from_pretrained` builds models on the meta device.

    Args:
        config ([`LongTailConfig`]): Its options are in `config.modules[name]`.

    Attributes:
        name (`str`): Key in `MODULES` and in `config.modules`, and attribute of the model.
        defaults (`dict[str, Any]`): Of all its options: plain values, which are written to the config.
        options (`dict[str, Any]`): Those of this one, complete and checked.
        metric_names (`tuple[str, ...]`): Of the metrics that its `metrics()` compute.
        reads_tokens (`bool`): Whether `contribute` needs tokens, which cost something to hand over.
        training_only (`bool`): Whether inference does without it (a projection head): it contributes in training mode
            alone, and what training leaves behind does not have it.
    """

    name: ClassVar[str]
    defaults: ClassVar[Mapping[str, Any]] = {}
    metric_names: ClassVar[tuple[str, ...]] = ()
    reads_tokens: bool = False
    training_only: ClassVar[bool] = False

    def __init__(self, config: ClassifierFields):
        super().__init__()
        self.options = self.complete_options((config.modules or {}).get(self.name) or {}, config)

    @classmethod
    def complete_options(cls, options: Mapping[str, Any], config: ClassifierFields) -> dict[str, Any]:
        """
        Every option: those given, and defaults for the rest. To be extended by checks of the values.

        Raises:
            `ValueError`: for an unknown option or a wrong value.
        """
        for name in mapping(cls.name, options):
            choice(f"option of the {cls.name}", name, cls.defaults)
        return {**cls.defaults, **options}

    @classmethod
    def options_in_order(cls, options: dict[str, Any], order: Sequence[int]) -> dict[str, Any]:
        """The options after class `i` has become what was class `order[i]`, where they have a part per class."""
        return options

    @classmethod
    def options_for_other_classes(cls, options: dict[str, Any]) -> dict[str, Any] | None:
        """The options for a model of another number of classes; `None` where the module was made for the old ones."""
        return options

    def contribute(self, features: Tensor, tokens: Tensor | None, logits: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """
        What the module adds to the output of the classifier.

        Args:
            features (`Tensor` of shape `(B, D)`): What the head reads.
            tokens (`Tensor` of shape `(B, N, D')`, *optional*): After the last block; given if `reads_tokens`.
            logits (`Tensor` of shape `(B, C)`): Of the head, or of the module before this one.

        Returns:
            `tuple`: the logits, changed or as they are, and tensors for `LongTailOutput.extras`, each with one part
                per row and a name that no other module uses. What only training needs is left out in eval mode.
        """
        raise NotImplementedError

    def initialize(self, config: ClassifierFields) -> None:
        """
        Called by loading where the checkpoint does not have all tensors: the others, buffers that are never saved
        among them, become what they are in a new module. (To be overridden by a module whose constructor does not say
        it; inside loading, torch's initialisers leave alone what the checkpoint has.)
        """
        missing = missing_tensors(self)
        random = needs_random_numbers(self, missing)
        with torch.device("cpu"), torch.random.fork_rng(devices=[], enabled=not random):
            copy_tensors(missing, type(self)(config))

    def reorder_classes(self, options: Mapping[str, Any], order: Sequence[int]) -> None:
        """Class `i` has become what was class `order[i]`, and `options` are those of the new order."""
        self.options = dict(options)

    def metrics(self) -> list[ModuleMetrics]:
        """What evaluation measures beside accuracies."""
        return []


def declared_metrics(model: nn.Module) -> list[ModuleMetrics]:
    """The metrics that the auxiliary modules of a model declare."""
    return [metric for child in model.children() if isinstance(child, AuxiliaryModule) for metric in child.metrics()]
