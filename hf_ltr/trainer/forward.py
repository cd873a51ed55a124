"""The precision of a model's forward pass: put on for one call and taken off again."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from types import MethodType
from typing import Any

import torch
from accelerate.utils import convert_to_fp32
from torch import nn

HALF_PRECISIONS = {"bf16": torch.bfloat16, "fp16": torch.float16}
# What accelerate leaves on a module: its forward in mixed precision, the one before it, and a mark by which the next
# accelerator, whatever its precision, takes the module as prepared.
_PATCHES = ("forward", "_original_forward")
_PREPARED = "_is_accelerate_prepared"


def leave_forward_alone(accelerator: Any) -> None:
    """
    Keep an accelerator from patching the models that it prepares (device, DDP, FSDP): a patched forward outlives its
    trainer, gives one trainer's precision to the next one, and in a deep copy it calls the weights of the original.
    """
    prepare_one, prepare_all = accelerator.prepare_model, accelerator.prepare

    def prepare_model(model: nn.Module, *args: Any, **kwargs: Any) -> nn.Module:
        vars(model).pop(_PREPARED, None)
        before = {name: vars(model)[name] for name in _PATCHES if name in vars(model)}
        try:
            return prepare_one(model, *args, **kwargs)
        finally:
            vars(model).pop(_PREPARED, None)
            _restore(model, before)

    def prepare(*parts: Any, **kwargs: Any) -> Any:
        prepared = prepare_all(*parts, **kwargs)
        for part in parts:
            if isinstance(part, nn.Module):
                vars(part).pop(_PREPARED, None)
        return prepared

    accelerator.prepare_model, accelerator.prepare = prepare_model, prepare


def release(model: nn.Module) -> None:
    """Take off whatever an accelerator, of whichever trainer, has left on a model."""
    vars(model).pop(_PREPARED, None)
    if "_original_forward" in vars(model):
        forward = plain_forward(model)
        _restore(model, {} if _is_own(model, forward) else {"forward": forward})


def plain_forward(model: nn.Module) -> Callable:
    """The forward of a model without what accelerate has put around it."""
    forward = model.forward
    if "_original_forward" not in vars(model):
        return forward
    own, function = type(model).forward, getattr(forward, "__func__", forward)
    while function is not own and hasattr(function, "__wrapped__"):
        function = function.__wrapped__
    return function if hasattr(function, "__self__") else MethodType(function, model)


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
def forward_as(model: nn.Module, forward: Callable) -> Iterator[None]:
    """Let `model` compute with `forward` inside the context; afterwards it has what it had, also after an error."""
    before = {name: vars(model)[name] for name in _PATCHES if name in vars(model)}
    _restore(model, {} if _is_own(model, forward) else {"forward": forward})
    try:
        yield
    finally:
        _restore(model, before)


@contextlib.contextmanager
def weights_as(model: nn.Module, dtype: torch.dtype) -> Iterator[None]:
    """
    Let `model` compute with its weights and buffers rounded to `dtype`, and without autocast, inside the context.

    The parameters themselves are not touched: optimizers, DDP's hooks and the next step find them as they were.
    """
    if hasattr(model, "set_logit_adjustment"):
        # What forward would otherwise write into a buffer that is put away afterwards.
        model.set_logit_adjustment(model.config.logit_adjustment)
    rounded: dict[int, torch.Tensor] = {}
    places = []
    for module in model.modules():
        for tensors in (module._parameters, module._buffers):
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


def _is_own(model: nn.Module, forward: Callable) -> bool:
    return getattr(forward, "__func__", None) is type(model).forward and getattr(forward, "__self__", None) is model


def _restore(model: nn.Module, before: dict[str, Any]) -> None:
    for name in _PATCHES:
        vars(model).pop(name, None)
    vars(model).update(before)
