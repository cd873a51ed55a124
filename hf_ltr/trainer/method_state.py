"""The METHOD's own state beside every checkpoint: `method.safetensors` and `method.json`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from ..files import write_json
from ..methods import LongTailMethod
from .checkpoint_files import METHOD_TENSORS
from .checkpoints import FACTS, differences
from .defaults import method_default_paths


def save_method_state(method: LongTailMethod, folder: str | Path, facts: dict[str, Any]) -> None:
    """
    Args:
        method ([`LongTailMethod`]): Its persistent buffers and parameters are written.
        folder (`str`): A checkpoint folder.
        facts (`dict`): JSON values the trainer needs to continue.
    """
    folder = Path(folder)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in method.state_dict().items()}
    save_file(tensors, folder / METHOD_TENSORS, metadata={"format": "pt"})
    description = {"description": method.describe(), "at_default": method_default_paths(method)}
    write_json(folder / FACTS, {**description, **facts})


def load_method_state(method: LongTailMethod, folder: str | Path) -> dict[str, Any]:
    """
    Restore what [`save_method_state`] wrote and return the facts.

    Raises:
        `ValueError`: if the checkpoint was written by another method or with other options.
        `FileNotFoundError`: if it holds no method state.
    """
    facts = check_same_method(method, folder)
    state = load_file(Path(folder) / METHOD_TENSORS)
    own = method.state_dict()
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
    path = Path(folder) / FACTS
    if not path.is_file():
        raise FileNotFoundError(
            f"{folder} holds no {FACTS}: it was not written by LongTailTrainer (or with save_only_model), so training "
            "cannot continue from it exactly. Load it with from_pretrained and start a new run instead."
        )
    facts = json.loads(path.read_text(encoding="utf-8"))
    found = differences(
        facts["description"],
        json.loads(json.dumps(method.describe())),
        known_defaults=(facts.get("at_default"), method_default_paths(method)),
    )
    if found:
        raise ValueError(
            f"{folder} was trained by another method ({'; '.join(found)}). Resume with the same method and options, "
            "or use another output_dir."
        )
    return facts
