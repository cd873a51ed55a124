"""The precision of a model's forward pass: put on for one call and taken off again."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, cast

import torch
from accelerate.utils import convert_to_fp32
from torch import nn

from ..models import LongTailForImageClassification
from .arguments import LongTailTrainingArguments
from .parent import forward_as, plain_forward
from .precision import HALF_PRECISIONS


class RunPrecision:
    """
    Contexts in which a model computes in the precision of a run, inside them and nowhere else.

    Args:
        args ([`LongTailTrainingArguments`]): Of the run.
        own_precision (`bool`, defaults to `False`): Whether the model has a precision of its own, as under DeepSpeed.
    """

    def __init__(self, args: LongTailTrainingArguments, own_precision: bool = False):
        self.args, self.own_precision = args, own_precision
        self._forwards: tuple[Callable, Callable] | None = None

    def training(self, model: nn.Module) -> contextlib.AbstractContextManager:
        """That of training, and of evaluation unless it has one of its own."""
        plain = plain_forward(model)
        if self._forwards is None or self._forwards[0] != plain:
            # Made once: a compiled graph belongs to it.
            precision = "no" if self.own_precision else self.args.mixed_precision
            self._forwards = plain, mixed_forward(plain, self.args.device, precision)
        return forward_as(model, self._forwards[1])

    def evaluation(self, model: nn.Module) -> contextlib.AbstractContextManager:
        """As in training, or with weights of half precision where `bf16_full_eval` or `fp16_full_eval` says so."""
        wanted = "bf16" if self.args.bf16_full_eval else "fp16" if self.args.fp16_full_eval else None
        return self.training(model) if wanted is None else weights_as(model, HALF_PRECISIONS[wanted])


def mixed_forward(forward: Callable, device: torch.device, precision: str) -> Callable:
    """
    A forward that computes in `precision`.

    Args:
        forward (`Callable`): The plain one.
        device (`torch.device`): Where it computes.
        precision (`str`): `"bf16"` or `"fp16"` for autocast with outputs in float32, anything else for `forward`.
    """
    if precision not in HALF_PRECISIONS:
        return forward
    dtype = HALF_PRECISIONS[precision]

    def mixed(*args: Any, **kwargs: Any) -> Any:
        with torch.autocast(device_type=device.type, dtype=dtype):
            outputs = forward(*args, **kwargs)
        return convert_to_fp32(outputs)

    return mixed


@contextlib.contextmanager
def weights_as(model: nn.Module, dtype: torch.dtype) -> Iterator[None]:
    """
    Let `model` compute with its weights and buffers rounded to `dtype`, and without autocast, inside the context.

    The parameters themselves are not touched: optimizers, DDP's hooks and the next step find them as they were.
    """
    if isinstance(model, LongTailForImageClassification):
        # What forward would otherwise write into a buffer that is put away afterwards.
        model.set_logit_adjustment(model.config.logit_adjustment)
    rounded: dict[int, torch.Tensor] = {}
    places: list[tuple[dict[str, Any], str, torch.Tensor]] = []
    for module in model.modules():
        for tensors in cast(tuple[dict[str, Any], ...], (module._parameters, module._buffers)):
            for name, tensor in tensors.items():
                if tensor is not None and tensor.is_floating_point():
                    places.append((tensors, name, tensor))
                    if id(tensor) not in rounded:
                        copy = tensor.detach().to(dtype)
                        is_parameter = isinstance(tensor, nn.Parameter)
                        rounded[id(tensor)] = nn.Parameter(copy, requires_grad=False) if is_parameter else copy
    try:
        for tensors, name, tensor in places:
            tensors[name] = rounded[id(tensor)]
        with forward_as(model, plain_forward(model)):
            yield
    finally:
        for tensors, name, tensor in places:
            tensors[name] = tensor


@contextlib.contextmanager
def memory_format_kept(model: nn.Module) -> Iterator[None]:
    """What is evaluated inside, with whatever memory format, leaves the model in its own: it may be in training."""
    kernels = [parameter for parameter in model.parameters() if parameter.dim() == 4]
    last = any(not kernel.is_contiguous() for kernel in kernels)
    try:
        yield
    finally:
        if last != any(not kernel.is_contiguous() for kernel in kernels):
            model.to(memory_format=torch.channels_last if last else torch.contiguous_format)
