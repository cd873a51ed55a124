"""
The METHOD in a run: what is attached to it and never trained, its hooks that draw random numbers, and what of it is in
every checkpoint: its own state (`method.safetensors`), which method it is and how far it came (`method.json`).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from weakref import WeakSet

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from ..files import write_json
from ..methods import LongTailMethod
from ..methods.host import MethodHost
from ..models import LongTailForImageClassification
from ..reading import json_form, read_json
from .checkpoint_files import METHOD_FACTS, METHOD_TENSORS
from .parent import release
from .run_facts import method_default_paths
from .run_folder import differences


@dataclass
class Progress:
    """
    How far a run came, where the parent's state does not say it.

    Args:
        epochs_begun (`int`): Whose `on_epoch` was called.
        seconds_before (`float`): Of training in sessions that were interrupted, up to their last checkpoint.
    """

    epochs_begun: int = 0
    seconds_before: float = 0.0
    _began: float = field(default_factory=time.perf_counter)

    @property
    def seconds(self) -> float:
        """Of training so far."""
        return self.seconds_before + time.perf_counter() - self._began

    def resume(self, facts: dict[str, Any]) -> None:
        """Go on from what a checkpoint says; the clock of this session goes on as it does."""
        self.epochs_begun, self.seconds_before = facts["epochs_begun"], facts["seconds"]

    def facts(self) -> dict[str, Any]:
        """JSON form."""
        return {"epochs_begun": self.epochs_begun, "seconds": round(self.seconds, 1)}


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


def begin_epoch(method: LongTailMethod, host: MethodHost, progress: Progress, epoch: int) -> None:
    """The method's `on_epoch`, once per epoch however often the run is interrupted in it."""
    if epoch >= progress.epochs_begun:
        # Of seed and epoch: the state of the generator differs in a run resumed between epochs.
        with _own_random_numbers(host.args.device, (host.args.seed * 1_000_003 + epoch) % 2**63):
            method.on_epoch(host, epoch)
        progress.epochs_begun = epoch + 1


def finalize(method: LongTailMethod, host: MethodHost) -> None:
    """The method's `finalize`; what only training needed is no part of the model any more."""
    with _own_random_numbers(host.args.device, host.args.seed):
        method.finalize(host)
    if isinstance(host.model, LongTailForImageClassification):
        host.model.drop_training_modules()


@contextlib.contextmanager
def _own_random_numbers(device: torch.device, seed: int) -> Iterator[None]:
    """
    Random numbers inside are a function of the seed, and the random state of the process, from which a resumed run
    would start, stays where it is.
    """
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def save_method_state(
    method: LongTailMethod, folder: str | Path, facts: dict[str, Any], attached: AttachedModules
) -> None:
    """
    Args:
        method ([`LongTailMethod`]): Its persistent buffers and parameters are written.
        folder (`str`): A checkpoint folder.
        facts (`dict`): JSON values the trainer needs to continue.
        attached ([`AttachedModules`]): What is not part of its state.
    """
    folder = Path(folder)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in attached.state_without(method).items()}
    save_file(tensors, folder / METHOD_TENSORS, metadata={"format": "pt"})
    description = {"description": method.describe(), "at_default": method_default_paths(method)}
    write_json(folder / METHOD_FACTS, {**description, **facts})


def load_method_state(method: LongTailMethod, folder: str | Path, attached: AttachedModules) -> dict[str, Any]:
    """
    Restore what [`save_method_state`] wrote and return the facts.

    Raises:
        `ValueError`: if the checkpoint was written by another method or with other options.
        `FileNotFoundError`: if it holds no method state.
    """
    facts = check_same_method(method, folder)
    state = load_file(Path(folder) / METHOD_TENSORS)
    own = attached.state_without(method)
    if set(state) != set(own):
        raise ValueError(f"{Path(folder) / METHOD_TENSORS} holds {sorted(state)} but the method keeps {sorted(own)}")
    with torch.no_grad():
        for name, tensor in state.items():
            own[name].copy_(tensor)
    return facts


def check_same_method(method: LongTailMethod, folder: str | Path) -> dict[str, Any]:
    """
    The facts of a checkpoint, if it belongs to `method`.

    Raises:
        `ValueError`: naming every option in which the two differ.
        `FileNotFoundError`: if the folder was not written by [`LongTailTrainer`].
    """
    path = Path(folder) / METHOD_FACTS
    if not path.is_file():
        raise FileNotFoundError(
            f"{folder} holds no {METHOD_FACTS}: it was not written by LongTailTrainer (or with save_only_model), so "
            "training cannot continue from it exactly. Load it with from_pretrained and start a new run instead."
        )
    facts = read_json(path)
    found = differences(
        facts["description"],
        json_form(method.describe()),
        known_defaults=(facts.get("at_default"), method_default_paths(method)),
    )
    if found:
        raise ValueError(
            f"{folder} was trained by another method ({'; '.join(found)}). Resume with the same method and options, "
            "or use another output_dir."
        )
    return facts
