"""Networks that a method reads and never trains: teachers, copies that follow the model."""

from __future__ import annotations

from weakref import WeakSet

import torch
from torch import nn

from ..methods import LongTailMethod
from .parent import release


class AttachedModules:
    """
    Modules that are in nobody's state and no optimizer, whoever keeps them as an attribute; see
    [`~LongTailTrainer.attach_frozen`].
    """

    def __init__(self) -> None:
        self._modules: WeakSet[nn.Module] = WeakSet()

    def add(self, module: nn.Module, model: nn.Module, device: torch.device) -> None:
        """Freeze a module and put it on a device; refused for parameters of the `model` that is trained."""
        trained = {id(parameter) for parameter in model.parameters()}
        if any(id(parameter) in trained for parameter in module.parameters()):
            raise ValueError(
                f"attach_frozen was given a {type(module).__name__} with parameters of the model that is trained, "
                "which would be frozen with it: attach a copy (copy.deepcopy)"
            )
        release(module)
        module.to(device).requires_grad_(False)
        self._modules.add(module)
        self.eval()

    def eval(self) -> None:
        """Into evaluation mode, in which a method that contains them does not keep them."""
        for module in self._modules:
            module.eval()

    def state_without(self, method: LongTailMethod) -> dict[str, torch.Tensor]:
        """The tensors of a method that are its own, whichever way it keeps what is attached, or parts of that."""
        attached = {part for module in self._modules for part in module.modules()}
        named = method.named_modules(remove_duplicate=False)
        prefixes = tuple(f"{name}." for name, module in named if module in attached)
        return {name: tensor for name, tensor in method.state_dict().items() if not name.startswith(prefixes)}
