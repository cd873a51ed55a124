"""
A method as somebody would add it, all in this one file: an option, an auxiliary network with an option of its own, and
a metric. Each image gets a temperature by which its logits are divided; temperatures are kept near one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from hf_ltr.losses import BalancedSoftmaxLoss
from hf_ltr.methods import LossMethod
from hf_ltr.methods.base import Counts
from hf_ltr.methods.batch import Batch, sample_weights, weighted_mean
from hf_ltr.methods.network import require_module
from hf_ltr.models.auxiliary_module import AuxiliaryModule, ModuleMetrics
from hf_ltr.models.backbone_sizes import backbone_shape
from hf_ltr.validation import number, whole_number


class HesitationRate(ModuleMetrics):
    """Share of the evaluated images with a temperature above one."""

    sizes = {"hesitant": 1, "images": 1}

    def update(self, sums: Any, extras: Any, predicted: Any, labels: Any, weight: torch.Tensor) -> None:
        sums["hesitant"].add_((weight * (extras["log_temperature"] > 0)).sum())
        sums["images"].add_(weight.sum())

    def compute(self, sums: Any) -> dict[str, float]:
        return {"hesitation_rate": float(sums["hesitant"][0] / sums["images"][0])}


class Hesitation(AuxiliaryModule):
    """Divides the logits of each image by a temperature that a small network reads off its features."""

    name = "hesitation"
    defaults = {"width": 8}
    metric_names = ("hesitation_rate",)

    def __init__(self, config: Any):
        super().__init__(config)
        width = self.options["width"]
        features = backbone_shape(config).feature_dim
        self.network = nn.Sequential(nn.Linear(features, width), nn.Tanh(), nn.Linear(width, 1))

    @classmethod
    def complete_options(cls, options: Mapping[str, Any], config: Any) -> dict[str, Any]:
        complete = super().complete_options(options, config)
        whole_number("width of hesitation", complete["width"], minimum=1)
        return complete

    def contribute(self, features: Any, tokens: Any, logits: torch.Tensor) -> tuple[torch.Tensor, dict[str, Any]]:
        log_temperature = self.network(features)
        return logits * torch.exp(-log_temperature), {"log_temperature": log_temperature.squeeze(1)}

    def metrics(self) -> list[ModuleMetrics]:
        return [HesitationRate()]


class Hesitant(LossMethod):
    """
    Balanced softmax on logits whose temperature differs between images.

    Args:
        class_counts ([`ClassCounts`] or sequence of `int`): Training images per class; none may be zero.
        strength (`float`, *optional*, defaults to 0.1): Weight of the squared logarithms of the temperatures.
        width (`int`, *optional*, defaults to 8): Hidden width of the network.
    """

    name = "hesitant"
    summary = "Balanced softmax with a temperature for every image."
    when_to_use = "In a test."
    published_names = ("hesitant",)
    adds_prior = True
    paper = {"title": "On Hesitation", "authors": "Nobody Special", "year": 2026, "url": "https://example.org/1"}
    loss_class = BalancedSoftmaxLoss

    def __init__(self, class_counts: Counts, strength: float = 0.1, width: int = 8):
        super().__init__(class_counts)
        self.strength, self.width = number("strength", strength, minimum=0), width

    def configure(self, config: Any) -> None:
        require_module(config, "hesitation", {"width": self.width}, self.name)

    def training_loss(self, model: nn.Module, batch: Batch) -> tuple[dict[str, torch.Tensor], Any]:
        terms, outputs = super().training_loss(model, batch)
        squares = outputs.extras["log_temperature"].square()
        return {**terms, "hesitation": self.strength * weighted_mean(squares, sample_weights(batch))}, outputs
