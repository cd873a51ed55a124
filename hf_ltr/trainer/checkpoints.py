"""Which checkpoint to continue from, and whether a folder belongs to this run."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

from ..files import write_json

RUN_FILE = "run.json"
FACTS = "method.json"
_CHECKPOINT = re.compile(r"^checkpoint-(\d+)$")


def checkpoints(folder: str | Path) -> list[Path]:
    """The checkpoint folders in `folder`, newest first, complete or not."""
    folder = Path(folder)
    if not folder.is_dir():
        return []
    found = [(int(match.group(1)), path) for path in folder.iterdir() if (match := _CHECKPOINT.match(path.name))]
    return [path for _, path in sorted(found, reverse=True)]


def last_complete_checkpoint(folder: str | Path) -> str | None:
    """
    The newest checkpoint that was written to its end, or None.

    A killed process can leave a half-written folder behind; `trainer_state.json` is what the trainer writes last
    (after every process has written its random state), so a folder without a readable one is passed over for the one
    before.
    """
    for path in checkpoints(folder):
        try:
            json.loads((path / "trainer_state.json").read_text(encoding="utf-8"))
            json.loads((path / FACTS).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        return str(path)
    return None


def delete_checkpoints(folder: str | Path) -> None:
    """Remove the checkpoints of a run whose final model is saved."""
    for path in checkpoints(folder):
        shutil.rmtree(path, ignore_errors=True)


def check_folder(folder: str | Path, facts: dict[str, Any]) -> None:
    """
    Raises:
        `ValueError`: if the folder holds another run than `facts` describe; nothing in it is touched.
    """
    folder = Path(folder)
    path = folder / RUN_FILE
    if path.is_file():
        found = differences(json.loads(path.read_text(encoding="utf-8")), json.loads(json.dumps(facts)))
        if found:
            shown = "; ".join(found[:5]) + (f"; and {len(found) - 5} more" if len(found) > 5 else "")
            raise ValueError(
                f"{folder} holds another run ({shown}). Use another output_dir, or delete the folder if that run is "
                "no longer needed."
            )
        return
    if checkpoints(folder) or any((folder / name).exists() for name in ("model.safetensors", "config.json")):
        raise ValueError(
            f"{folder} already holds a model or checkpoints of a run that no {RUN_FILE} describes. Use another "
            "output_dir."
        )


def claim_folder(folder: str | Path, facts: dict[str, Any]) -> None:
    """
    [`check_folder`], then write `run.json` if it is not there.

    Args:
        folder (`str`): The output folder.
        facts (`dict`): JSON description of what makes this run this run: data, model, method, schedule, seed.
    """
    check_folder(folder, facts)
    if not (Path(folder) / RUN_FILE).is_file():
        write_json(Path(folder) / RUN_FILE, facts)


def differences(there: Any, here: Any, prefix: str = "") -> list[str]:
    """Every leaf in which two JSON values differ, as `path: old there, new here`."""
    if isinstance(there, dict) and isinstance(here, dict):
        found = []
        for key in sorted({*there, *here}):
            found += differences(there.get(key), here.get(key), f"{prefix}.{key}" if prefix else key)
        return found
    return [] if there == here else [f"{prefix}: {_short(there)} there, {_short(here)} here"]


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."
