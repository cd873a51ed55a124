"""The head of a classifier: the linear layer that gives its logits, whatever the model calls it, or another one."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel

from ..models import LongTailForImageClassification, ScaledHead
from ..models.prior_offset import prior_offset

# Of the largest logit: a linear layer repeated on the same input differs by rounding only.
_TOLERANCE = 1e-5


class NotLinearError(ValueError):
    """The logits of a model are not the output of one linear layer."""


@dataclass(frozen=True)
class LinearHead:
    """
    The last linear layer of a classifier: where it lies in the model, and values that it has or is to have.

    Called with rows (features) it gives the logits of inference.

    Args:
        model (`PreTrainedModel`): The classifier.
        name (`str`): Of the layer in the model.
        weight (`Tensor` of shape `(C, D)`), bias (`Tensor` of shape `(C,)`): float32 on the CPU; a layer without bias
            has zeros.
        offset (`Tensor` of shape `(C,)`): What the model's config adds to the layer's logits.
        has_bias (`bool`): Whether the layer can hold another bias than zero in a saved checkpoint.
    """

    model: PreTrainedModel
    name: str
    weight: Tensor
    bias: Tensor
    offset: Tensor
    has_bias: bool

    @classmethod
    def of(cls, model: PreTrainedModel, name: str) -> LinearHead:
        """The layer of a name with the values that it has."""
        weight, bias = _weight_and_bias(model.get_submodule(name))
        return cls(
            model,
            name,
            weight=weight.detach().cpu().float().clone(),
            bias=torch.zeros(len(weight)) if bias is None else bias.detach().cpu().float().clone(),
            offset=offset_of(model.config),
            # A class that builds its layer without a bias ignores one in the checkpoint; ours is told by its config.
            has_bias=bias is not None or isinstance(model, LongTailForImageClassification),
        )

    @torch.no_grad()
    def rows(self, pixel_values: Tensor) -> Tensor:
        """What the layer is given for images, `(B, D)`."""
        seen: list[Tensor] = []
        layer = self.model.get_submodule(self.name)
        handle = layer.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0].detach()))
        try:
            self.model(pixel_values=pixel_values)
        finally:
            handle.remove()
        return seen.pop()

    def __call__(self, rows: Tensor) -> Tensor:
        return F.linear(rows, self.weight, self.bias) + self.offset

    def shifted(self, offset: Tensor) -> LinearHead:
        """With `offset` more on the logits, in the bias."""
        return dataclasses.replace(self, bias=(self.bias.double() + offset).float())

    def rounded(self, dtype: torch.dtype) -> LinearHead:
        """As it is when weight and bias are stored in another type."""
        return dataclasses.replace(self, weight=self.weight.to(dtype).float(), bias=self.bias.to(dtype).float())

    def require_bias(self) -> None:
        """
        Raises:
            `ValueError`: for a layer whose class has no place for a bias.
        """
        if not self.has_bias:
            raise ValueError(
                f"The linear layer {self.name!r} of {type(self.model).__name__} has no bias, and a checkpoint of this "
                "class cannot hold one; tau_norm and lws need none."
            )

    @torch.no_grad()
    def store(self) -> None:
        """
        Put weight and bias into the model.

        A model of this package gets a plain linear layer with bias, and its config says so: the factors of a scaled
        head are folded, and a head without bias gets one.

        Raises:
            `ValueError`: for a bias that the layer has no place for.
        """
        if self.bias.any():
            self.require_bias()
        layer = self.model.get_submodule(self.name)
        if isinstance(self.model, LongTailForImageClassification):
            like = _weight_and_bias(layer)[0]
            layer = nn.utils.skip_init(
                nn.Linear, self.weight.shape[1], self.weight.shape[0], device=like.device, dtype=like.dtype
            )
            self.model.classifier = layer
            self.model.config.head, self.model.config.head_options = None, None
        assert isinstance(layer, nn.Linear)
        layer.weight.copy_(self.weight)
        if layer.bias is not None:
            layer.bias.copy_(self.bias)


@dataclass(frozen=True)
class OtherHead:
    """
    A head that is not linear (cosine, centroid, behind a modulator): all that can change is what the model's config
    adds to its logits.

    Called with rows (raw logits) it gives the logits of inference.

    Args:
        model ([`LongTailForImageClassification`]): The classifier.
        offset (`Tensor` of shape `(C,)`): What its config adds.
    """

    model: LongTailForImageClassification
    offset: Tensor

    @torch.no_grad()
    def rows(self, pixel_values: Tensor) -> Tensor:
        """The raw logits of images, `(B, C)`."""
        return logits_of(self.model(pixel_values=pixel_values))

    def __call__(self, rows: Tensor) -> Tensor:
        return rows + self.offset

    def shifted(self, offset: Tensor) -> OtherHead:
        """With `offset` more on the logits."""
        return dataclasses.replace(self, offset=(self.offset.double() + offset).float())


Head = LinearHead | OtherHead


def offset_of(config: Any) -> Tensor:
    """What a model's config adds to the raw logits, `(C,)` and float32; zeros where it has no such field."""
    adjustment = getattr(config, "logit_adjustment", None) or {}
    return prior_offset(**adjustment).expand(config.num_labels).float()


def logits_of(output: Any) -> Tensor:
    """The logits that a head gives: those before a logit adjustment, where the model has one."""
    raw = getattr(output, "raw_logits", None)
    logits = output.logits if raw is None else raw
    if not isinstance(logits, Tensor):
        raise NotLinearError(f"The output of the model has no tensor of logits but a {type(logits).__name__}")
    return logits


@torch.no_grad()
def find_linear_head(model: PreTrainedModel, pixel_values: Tensor) -> LinearHead:
    """
    The linear layer whose output is the model's logits, proved on images.

    Every `nn.Linear` with one output per class is watched during a forward pass, the last one of the model first; the
    one whose input is one vector per image and whose output is the logits is it.

    Args:
        model (`PreTrainedModel`): An image classifier in evaluation mode, in float32.
        pixel_values (`Tensor` of shape `(B, channels, H, W)`): Some images for the proof.

    Returns:
        [`LinearHead`]

    Raises:
        [`NotLinearError`]: saying what the model has in its place.
    """
    classes = model.config.num_labels
    candidates = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | ScaledHead) and module.weight.shape[0] == classes
    }
    calls: dict[str, list[tuple[Tensor, Tensor]]] = {name: [] for name in candidates}
    handles = [
        module.register_forward_hook(
            lambda module, arguments, output, name=name: calls[name].append((arguments[0], output))
        )
        for name, module in candidates.items()
    ]
    try:
        logits = logits_of(model(pixel_values=pixel_values))
    finally:
        for handle in handles:
            handle.remove()
    if logits.shape != (len(pixel_values), classes):
        raise NotLinearError(
            f"{type(model).__name__} gives logits of shape {tuple(logits.shape)} for {len(pixel_values)} images and "
            f"{classes} classes"
        )
    for name in reversed(candidates):
        if len(calls[name]) == 1:
            features, output = calls[name][0]
            if features.ndim == 2 and output.shape == logits.shape and _same(output, logits):
                weight, bias = _weight_and_bias(candidates[name])
                if _same(F.linear(features, weight, bias), logits):
                    return LinearHead.of(model, name)
    found = ", ".join(f"{name} ({type(module).__name__})" for name, module in candidates.items())
    if isinstance(model, LongTailForImageClassification):
        described = f"their head is a {type(model.classifier).__name__}"
    else:
        described = f"candidates: {found or 'none'}"
    raise NotLinearError(
        f"The logits of {type(model).__name__} are not the output of one linear layer with {classes} outputs "
        f"({described})"
    )


def _same(first: Tensor, second: Tensor) -> bool:
    scale = second.abs().max().clamp(min=1.0)
    return bool(((first - second).abs().max() / scale) < _TOLERANCE)


def _weight_and_bias(layer: nn.Module) -> tuple[Tensor, Tensor | None]:
    """As one linear layer; the factors of a scaled head multiply both."""
    assert isinstance(layer, nn.Linear | ScaledHead)
    if isinstance(layer, nn.Linear):
        return layer.weight, layer.bias
    return layer.weight * layer.scale.unsqueeze(1), None if layer.bias is None else layer.bias * layer.scale
