"""The METHOD's own state beside every checkpoint: `method.safetensors` and `method.json`."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from ..methods import LongTailMethod

TENSORS = "method.safetensors"
FACTS = "method.json"


def write_json(path: Path, content: Any) -> None:
    """Write atomically: a reader (or a resumed run) sees the old file or the whole new one."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(json.dumps(content, indent=2, sort_keys=True, allow_nan=False) + "\n", encoding="utf-8")
    os.replace(temporary, path)


def save_method_state(method: LongTailMethod, folder: str | Path, facts: dict[str, Any]) -> None:
    """
    Args:
        method ([`LongTailMethod`]): Its persistent buffers and parameters are written.
        folder (`str`): A checkpoint folder.
        facts (`dict`): JSON values the trainer needs to continue.
    """
    folder = Path(folder)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in method.state_dict().items()}
    save_file(tensors, folder / TENSORS, metadata={"format": "pt"})
    write_json(folder / FACTS, {"description": method.describe(), **facts})


def load_method_state(method: LongTailMethod, folder: str | Path) -> dict[str, Any]:
    """
    Restore what [`save_method_state`] wrote and return the facts.

    Raises:
        `ValueError`: if the checkpoint was written by another method or with other options.
        `FileNotFoundError`: if it holds no method state.
    """
    folder = Path(folder)
    if not (folder / FACTS).is_file():
        raise FileNotFoundError(
            f"{folder} holds no {FACTS}: it was not written by LongTailTrainer (or with save_only_model), so training "
            "cannot continue from it exactly. Load it with from_pretrained and start a new run instead."
        )
    facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
    check_same_method(facts["description"], method, folder)
    state = load_file(folder / TENSORS)
    own = method.state_dict()
    if set(state) != set(own):
        raise ValueError(f"{folder / TENSORS} holds {sorted(state)} but the method keeps {sorted(own)}")
    with torch.no_grad():
        for name, tensor in state.items():
            own[name].copy_(tensor)
    return facts


def check_same_method(description: dict[str, Any], method: LongTailMethod, where: str | Path) -> None:
    """Raise a `ValueError` that names the difference between a stored description and `method`."""
    current = json.loads(json.dumps(method.describe()))
    if description == current:
        return
    differences = []
    for key in sorted({*description, *current}):
        old, new = description.get(key), current.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            for option in sorted({*old, *new}):
                if old.get(option) != new.get(option):
                    differences.append(f"{option}: {old.get(option)!r} there, {new.get(option)!r} now")
        elif old != new:
            differences.append(f"{key}: {old!r} there, {new!r} now")
    raise ValueError(
        f"{where} was trained by another method ({'; '.join(differences)}). Resume with the same method and options, "
        f"or "
        "use another output_dir."
    )
