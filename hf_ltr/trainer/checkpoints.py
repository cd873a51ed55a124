"""Which checkpoint to continue from, and whether a folder belongs to this run."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from .method_state import FACTS, write_json

RUN_FILE = "run.json"
_CHECKPOINT = re.compile(r"^checkpoint-(\d+)$")


def last_complete_checkpoint(folder: str | Path) -> str | None:
    """
    The newest checkpoint that was written to its end, or None.

    A killed process can leave a half-written folder behind; `trainer_state.json` is what the trainer writes last, so a
    folder without a readable one is passed over in favour of the one before.
    """
    folder = Path(folder)
    if not folder.is_dir():
        return None
    found = sorted(
        ((int(match.group(1)), path) for path in folder.iterdir() if (match := _CHECKPOINT.match(path.name))),
        reverse=True,
    )
    for _, path in found:
        try:
            json.loads((path / "trainer_state.json").read_text(encoding="utf-8"))
            json.loads((path / FACTS).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        return str(path)
    return None


def claim_folder(folder: str | Path, facts: dict[str, Any]) -> None:
    """
    Write `run.json`, or compare with the one that is there.

    Args:
        folder (`str`): The output folder.
        facts (`dict`): JSON description of what makes this run this run: data, model, method, schedule, seed.

    Raises:
        `ValueError`: if the folder holds another run; nothing in it is touched.
    """
    folder = Path(folder)
    facts = json.loads(json.dumps(facts))
    path = folder / RUN_FILE
    if path.is_file():
        there = json.loads(path.read_text(encoding="utf-8"))
        found = differences(there, facts)
        if found:
            shown = "; ".join(found[:5]) + (f"; and {len(found) - 5} more" if len(found) > 5 else "")
            raise ValueError(
                f"{folder} holds another run ({shown}). Use another output_dir, or delete the folder if that run is "
                f"no "
                "longer needed."
            )
        return
    foreign = [name for name in ("model.safetensors", "config.json") if (folder / name).exists()]
    if foreign or (folder.is_dir() and any(_CHECKPOINT.match(entry.name) for entry in folder.iterdir())):
        raise ValueError(
            f"{folder} already holds a model or checkpoints of a run that is not described by a {RUN_FILE}. Use "
            f"another "
            "output_dir."
        )
    folder.mkdir(parents=True, exist_ok=True)
    write_json(path, facts)


def differences(there: Any, here: Any, prefix: str = "") -> list[str]:
    """Every leaf in which two JSON values differ, as `path: old there, new here`."""
    if isinstance(there, dict) and isinstance(here, dict):
        found = []
        for key in sorted({*there, *here}):
            found += differences(there.get(key), here.get(key), f"{prefix}.{key}" if prefix else key)
        return found
    if there == here:
        return []
    return [f"{prefix}: {_short(there)} there, {_short(here)} here"]


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."
