"""Whether a folder belongs to this run: the facts in its `run.json`, and where those of two runs differ."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..files import write_json
from ..models.modules import gather_modules
from ..naming import some
from ..reading import json_form, read_json
from .checkpoints import checkpoints
from .run_facts import EXEMPT

RUN_FILE = "run.json"
# Arguments that runs did not write down before they wrote down what is at its default.
_LATER = frozenset(("dataloader_drop_last", "dataloader_in_order", "auto_find_batch_size"))


def check_folder(folder: str | Path, facts: dict[str, Any]) -> None:
    """
    Raises:
        `ValueError`: if the folder holds another run than `facts` describe; nothing in it is touched.
    """
    folder = Path(folder)
    path = folder / RUN_FILE
    if path.is_file():
        before = read_facts(path)
        found = fact_differences(before, json_form(facts))
        if found:
            raise ValueError(
                f"{folder} holds another run ({some(found, 5, '; ')}). {precision_hint(before, facts)}Use another "
                "output_dir, or delete the folder if that run is no longer needed."
            )
        return
    if checkpoints(folder) or any((folder / name).exists() for name in ("model.safetensors", "config.json")):
        raise ValueError(
            f"{folder} already holds a model or checkpoints of a run that no {RUN_FILE} describes. Use another "
            "output_dir."
        )


def precision_hint(before: dict[str, Any], facts: dict[str, Any]) -> str:
    """How a run that began in another precision, perhaps on another machine, is continued; empty for the same one."""
    was, now = _precision_of(before), _precision_of(facts)
    if was is None or now is None or was == now:
        return ""
    return (
        f"It computes in {_SPOKEN[was]}, and this machine and these arguments in {_SPOKEN[now]} "
        f"(mixed_precision_mode='auto' takes what is native): mixed_precision_mode={was!r} continues it. "
    )


_SPOKEN = {"no": "float32", "bf16": "bf16", "fp16": "fp16"}


def _precision_of(facts: dict[str, Any]) -> str | None:
    arguments = facts.get("arguments")
    if not isinstance(arguments, dict) or not {"bf16", "fp16"} <= set(arguments):
        return None
    return next((name for name in ("bf16", "fp16") if arguments[name]), "no")


def read_facts(path: Path) -> dict[str, Any]:
    """
    Raises:
        `ValueError`: for a file that is no JSON object.
    """
    try:
        facts = read_json(path, "it")
    except ValueError as error:
        facts = error
    if not isinstance(facts, dict):
        raise ValueError(
            f"{path} cannot be read ({facts if isinstance(facts, Exception) else 'it holds no JSON object'}), so "
            "nothing says which run the folder holds. Put the file back, or use another output_dir."
        )
    return facts


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


def recorded_sampler(folder: str | Path) -> str | None:
    """The training argument `sampler` of the run that wrote a folder, if it is one of this package's and says so."""
    try:
        facts = read_json(Path(folder) / RUN_FILE)
        return facts["arguments"]["sampler"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def fact_differences(there: dict[str, Any], here: dict[str, Any]) -> list[str]:
    """
    [`differences`] of the facts of two runs. What only one side knows, and has there at its default, is none; nor are
    arguments that an earlier version compared and this one does not, hashes that it made of other things, and modules
    that it wrote beside the other fields of the model.
    """
    there, here = ({**facts, "arguments": _compared(facts.get("arguments"))} for facts in (there, here))
    for facts in (there, here):
        if isinstance(facts.get("model"), dict):
            facts["model"] = gather_modules(facts["model"])
    known = there.pop("at_default", None), here.pop("at_default", None)
    if "start" not in there:
        # Written by an earlier version, or for a model that somebody built: nothing says what it started from.
        here = {key: value for key, value in here.items() if key not in ("start", "new_classifier")}
    data: tuple[Any, Any] = there.get("data"), here.get("data")
    if known[0] is None and isinstance(here.get("arguments"), dict):
        names = _LATER - there.get("arguments", {}).keys()
        here["arguments"] = {key: value for key, value in here["arguments"].items() if key not in names}
    if isinstance(data[0], dict) and isinstance(data[1], dict) and "row_identity" not in data[0]:
        # An earlier version, which hashed the places of the rows it had chosen once.
        there["data"], here["data"] = (
            {key: value for key, value in part.items() if key not in ("row_hash", "row_identity")} for part in data
        )
    return differences(there, here, known_defaults=known)


def differences(
    there: Any,
    here: Any,
    prefix: str = "",
    known_defaults: tuple[list[str] | None, list[str] | None] | None = None,
) -> list[str]:
    """
    Every leaf in which two JSON values differ, as `path: old there, new here`.

    Args:
        there, here (JSON values): Of the earlier run and of this one.
        prefix (`str`): Of the paths.
        known_defaults (pair of lists, *optional*): Paths at their default there and here; a key that only one side has
            is no difference if it is one of them, or if it was none, false, zero or empty in the earlier run.
    """
    if isinstance(there, dict) and isinstance(here, dict):
        found = []
        for key in sorted({*there, *here}):
            path = f"{prefix}.{key}" if prefix else key
            if known_defaults is not None and (key in there) != (key in here):
                side, value = (0, there[key]) if key in there else (1, here[key])
                off_there = side == 0 and not value  # whoever does not know it does without it
                if off_there or path in (known_defaults[side] or ()):
                    continue
                shown = [f"unknown {'there' if side else 'here'}", f"{_short(value)} {'here' if side else 'there'}"]
                found.append(f"{path}: {', '.join(shown if side else shown[::-1])}")
                continue
            found += differences(there.get(key), here.get(key), path, known_defaults)
        return found
    if isinstance(there, list) and isinstance(here, list) and len(there) == len(here) and _nested(there):
        pairs = enumerate(zip(there, here, strict=True))
        return [text for i, (a, b) in pairs for text in differences(a, b, f"{prefix}.{i}", known_defaults)]
    return [] if there == here else [f"{prefix}: {_short(there)} there, {_short(here)} here"]


def _compared(arguments: Any) -> Any:
    if not isinstance(arguments, dict):
        return arguments
    return {name: value for name, value in arguments.items() if name not in EXEMPT}


def _nested(values: list[Any]) -> bool:
    return any(isinstance(value, dict | list) for value in values)


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:20]}...{text[-37:]}"
