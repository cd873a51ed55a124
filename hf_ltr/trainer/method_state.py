"""
What a run keeps beside the model and its optimizer, in every checkpoint: the METHOD's own state
(`method.safetensors`), and which method it is and how far it came (`method.json`).
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from ..files import write_json
from ..methods import LongTailMethod
from ..reading import json_form, read_json
from .attached import AttachedModules
from .checkpoint_files import METHOD_FACTS, METHOD_TENSORS
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
