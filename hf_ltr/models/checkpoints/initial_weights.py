"""Where a model's initial weights come from and under which licence, as `config.initial_weights` records it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from torch import nn

from ...naming import is_hub_id

# Meta released the weights of facebookresearch/mae under CC-BY-NC 4.0. Some copies on the Hub name another licence,
# which only the owner could have given.
_MAE_RELEASE = "facebook/vit-mae-"
_MAE_LICENSE = "cc-by-nc-4.0"

# A folder of the Hub's cache says which repository it is a copy of.
_CACHED = re.compile(r"models--([\w.-]+?)--([\w.-]+)[/\\]snapshots[/\\]")


def weights_of_timm(backbone: nn.Module) -> dict[str, Any]:
    """
    Name (the Hub id where there is one) and licence (as the Hub names it, or `None`) of the published weights that
    timm loaded into a backbone, as it records them.
    """
    record = getattr(backbone, "pretrained_cfg", None) or {}
    parts = [record.get("architecture") or type(backbone).__name__, record.get("tag")]
    return {
        "name": record.get("hf_hub_id") or ".".join(part for part in parts if part),
        "license": record.get("license") or None,
    }


def weights_of_checkpoint(source: str, stored: dict[str, Any]) -> dict[str, Any]:
    """
    Name and licence of a checkpoint of transformers at a Hub id or folder, whose `config.json` holds `stored`. The
    licence is known for the released masked autoencoders (`facebook/vit-mae-*`, and what says that it was made from
    them); for everybody else's checkpoints it is `None`.
    """
    name, made_from = _name_of(source), str(stored.get("_name_or_path") or "")
    if not is_hub_id(name) and is_hub_id(made_from):
        name = made_from
    released = name.startswith(_MAE_RELEASE) or made_from.startswith(_MAE_RELEASE)
    return {"name": name, "license": _MAE_LICENSE if released else None}


def check_initial_weights(value: Any) -> None:
    """Refuse what is neither `None` nor a `dict` with a `name` and a `license` that may be `None`."""
    if value is None:
        return
    fits = isinstance(value, dict) and set(value) == {"name", "license"} and isinstance(value["name"], str)
    if not fits or not isinstance(value["license"], str | None):
        raise ValueError(
            'initial_weights must be None or {"name": Hub id or name, "license": as the Hub names it, or None}, not '
            f"{value!r}"
        )


def _name_of(source: str) -> str:
    """The Hub id of a source; of a folder that is no copy of the Hub's cache its last part."""
    cached = _CACHED.search(f"{source}/")
    if cached:
        return "/".join(cached.groups())
    path = Path(source)
    if not path.exists():
        return source
    path = path.resolve()
    return path.name if path.is_dir() else path.parent.name
