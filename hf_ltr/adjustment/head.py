"""Find the linear layer that gives a classifier's logits, whatever the model calls it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Of the largest logit: a linear layer repeated on the same input differs by rounding only.
_TOLERANCE = 1e-5


class NotLinearError(ValueError):
    """The logits of a model are not the output of one linear layer."""


class LinearHead:
    """
    The last linear layer of a classifier.

    Args:
        model (`nn.Module`): The classifier.
        name (`str`): Of the layer in the model.

    Attributes:
        name (`str`)
        weight (`Tensor` of shape `(C, D)`), bias (`Tensor` of shape `(C,)`): float32 copies on the CPU; a layer
            without bias has zeros.
        has_bias (`bool`): Whether the layer can hold another bias than zero in a saved checkpoint.
    """

    def __init__(self, model: nn.Module, name: str):
        self.model, self.name = model, name
        weight, bias = _weight_and_bias(self.module)
        self.weight = weight.detach().cpu().float().clone()
        self.bias = torch.zeros(len(self.weight)) if bias is None else bias.detach().cpu().float().clone()
        # A class that builds its layer without a bias ignores one in the checkpoint; ours is told by its config.
        self.has_bias = bias is not None or _is_ours(model)

    @property
    def module(self) -> nn.Module:
        return self.model.get_submodule(self.name)

    @contextlib.contextmanager
    def inputs(self) -> Iterator[list[Tensor]]:
        """Collects what the layer is given: one tensor per forward pass of the model, until the caller clears it."""
        seen: list[Tensor] = []
        handle = self.module.register_forward_pre_hook(lambda module, arguments: seen.append(arguments[0].detach()))
        try:
            yield seen
        finally:
            handle.remove()

    @torch.no_grad()
    def store(self, weight: Tensor, bias: Tensor) -> None:
        """
        Put another linear classifier into the model.

        A model of this package gets a plain linear layer with bias, and its config says so: the factors of a scaled
        head are folded, and a head without bias gets one.

        Raises:
            `ValueError`: for a bias that the layer has no place for.
        """
        if bias.any() and not self.has_bias:
            raise no_bias(self)
        if _is_ours(self.model):
            like = self.module.weight
            layer = nn.Linear(weight.shape[1], weight.shape[0], device="meta").to_empty(device=like.device)
            self.model.classifier = layer.to(like.dtype)
            self.model.config.head, self.model.config.head_options = None, None
        layer = self.module
        layer.weight.copy_(weight)
        if layer.bias is not None:
            layer.bias.copy_(bias)
        self.weight, self.bias = weight.detach().cpu().float().clone(), bias.detach().cpu().float().clone()


def no_bias(head: LinearHead) -> ValueError:
    """The error for a change that needs a bias, on a layer whose class has none."""
    return ValueError(
        f"The linear layer {head.name!r} of {type(head.model).__name__} has no bias, and a checkpoint of this class "
        "cannot hold one; tau_norm and lws need none."
    )


def logits_of(output: Any) -> Tensor:
    """The logits that a head gives: those before a logit adjustment, where the model has one."""
    raw = getattr(output, "raw_logits", None)
    logits = output.logits if raw is None else raw
    if not isinstance(logits, Tensor):
        raise NotLinearError(f"The output of the model has no tensor of logits but a {type(logits).__name__}")
    return logits


@torch.no_grad()
def find_linear_head(model: nn.Module, pixel_values: Tensor) -> LinearHead:
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
        if _is_linear(module) and module.weight.shape[0] == classes
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
                    return LinearHead(model, name)
    found = ", ".join(f"{name} ({type(module).__name__})" for name, module in candidates.items())
    own = getattr(model, "classifier", None)
    described = f"their head is a {type(own).__name__}" if _is_ours(model) else f"candidates: {found or 'none'}"
    raise NotLinearError(
        f"The logits of {type(model).__name__} are not the output of one linear layer with {classes} outputs "
        f"({described})"
    )


def _same(first: Tensor, second: Tensor) -> bool:
    scale = second.abs().max().clamp(min=1.0)
    return bool(((first - second).abs().max() / scale) < _TOLERANCE)


def _is_ours(model: nn.Module) -> bool:
    from ..models import LongTailForImageClassification

    return isinstance(model, LongTailForImageClassification)


def _is_linear(module: nn.Module) -> bool:
    from ..models import ScaledHead

    return isinstance(module, nn.Linear | ScaledHead)


def _weight_and_bias(module: nn.Module) -> tuple[Tensor, Tensor | None]:
    """As one linear layer; the factors of a scaled head multiply both."""
    scale = getattr(module, "scale", None)
    if not isinstance(scale, Tensor):
        return module.weight, module.bias
    return module.weight * scale.unsqueeze(1), None if module.bias is None else module.bias * scale
