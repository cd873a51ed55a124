"""
What loading leaves behind on the meta device, filled in.

`from_pretrained` builds a model on the meta device. Afterwards, tensors found in the checkpoint carry the flag
`_is_hf_initialized`; all others, non-persistent buffers included, hold garbage and are ours to fill. timm computes its
own initial values only at construction, so a freshly built twin is the one source that is right for all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain

import torch
from torch import Tensor, nn


def is_loaded(tensor: Tensor) -> bool:
    """Whether a parameter or buffer came from the checkpoint that is being loaded."""
    return bool(getattr(tensor, "_is_hf_initialized", False))


def building_on_meta() -> bool:
    """Whether tensors created now land on the meta device, that is, whether `from_pretrained` builds the model."""
    return torch.empty(0).is_meta


def missing_tensors(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers of `module` by name that loading did not fill."""
    return {name: tensor for name, tensor in _tensors(module) if not is_loaded(tensor)}


def needs_random_numbers(module: nn.Module, names: Iterable[str]) -> bool:
    """Whether one of the named tensors is a parameter (a buffer's value never depends on the random state)."""
    parameters = {name for name, _ in module.named_parameters()}
    return any(name in parameters for name in names)


@torch.no_grad()
def copy_tensors(target: dict[str, Tensor], source: nn.Module) -> None:
    """Copy the tensors of `source` with the names of `target` into `target`."""
    available = dict(_tensors(source))
    for name, tensor in target.items():
        tensor.copy_(available[name])


def _tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    return chain(module.named_parameters(), module.named_buffers())
