"""Whether a checkpoint can be continued: all its files are there and hold what was written."""

from __future__ import annotations

import json
import os
import re
import shutil
import zipfile
import zlib
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from transformers import TrainerState

from ..files import write_json, write_text
from ..reading import read_json

MANIFEST = "checkpoint.json"
STATE = "trainer_state.json"
METHOD_TENSORS = "method.safetensors"
METHOD_FACTS = "method.json"
_MODEL = ("model.safetensors", "model.safetensors.index.json")
_TORCH = (".pt", ".pth")
_SUFFIXES = (*_TORCH, ".bin", ".json", ".safetensors")
# Of FSDP and DeepSpeed, which keep optimizer and model in folders.
_SHARDS = ("optimizer_", "pytorch_model_fsdp", "global_step")
_CHUNK = 2**20


def write_manifest(checkpoint: str | Path, names: list[str] | None = None) -> None:
    """
    Write size and checksum of the files of a checkpoint into its `checkpoint.json`.

    Args:
        checkpoint (`str`): Folder with everything but what is named later.
        names (`list[str]`, *optional*): Only these, added to what the manifest says of the others.
    """
    checkpoint = Path(checkpoint)
    files = {} if names is None else _read_manifest(checkpoint) or {}
    if names is None:
        found = (path for path in checkpoint.rglob("*") if path.is_file() and not path.name.startswith("."))
        names = [path.relative_to(checkpoint).as_posix() for path in found]
    for name in names:
        if name != MANIFEST:
            files[name] = {"bytes": (checkpoint / name).stat().st_size, "crc32": _checksum(checkpoint / name)}
    write_json(checkpoint / MANIFEST, {"version": 1, "files": files})


def begin_checkpoint(checkpoint: str | Path) -> None:
    """Forget that a folder which is about to be written into was complete, and what is in the way of its files."""
    checkpoint = Path(checkpoint)
    for path in checkpoint.iterdir() if checkpoint.is_dir() else ():
        if path.is_symlink() or (not path.is_dir() and path.name in (MANIFEST, STATE)):
            path.unlink()
        elif path.is_dir() and path.suffix in _SUFFIXES:  # a file by its name, and no part of a checkpoint
            shutil.rmtree(path)


def forget_places(checkpoint: str | Path) -> None:
    """Name the best checkpoint, in the state of this one, by its folder alone: a checkpoint may be published."""
    path = Path(checkpoint) / STATE
    state = read_json(path, strict=False)
    if state.get("best_model_checkpoint"):
        state["best_model_checkpoint"] = Path(state["best_model_checkpoint"]).name
        write_text(path, json.dumps(state, indent=2, sort_keys=True) + "\n")  # as transformers does, NaN included


def problems_of(checkpoint: str | Path) -> list[str]:
    """
    Why training cannot continue from a checkpoint exactly; empty if it can.

    The files are compared with the manifest that was written with them. A checkpoint without one (of an earlier
    version) is read: archives by their own checksums, safetensors by their header and length.
    """
    checkpoint = Path(checkpoint)
    try:
        if not checkpoint.is_dir():
            return ["it is no folder"]
        files = _read_manifest(checkpoint)
        if files is None:
            return _problems_without_manifest(checkpoint)
        problems = [
            text for name in (METHOD_FACTS, METHOD_TENSORS) if name not in files for text in [f"{name} is missing"]
        ]
        problems += [
            text for name, known in sorted(files.items()) if (text := _compare(checkpoint / name, name, known))
        ]
        if STATE not in files:
            problems += _read(checkpoint, STATE)
        return problems
    except OSError as error:
        return [f"{Path(error.filename or checkpoint).name} cannot be read ({error.strerror})"]


def is_unfinished(checkpoint: str | Path) -> bool:
    """Whether the writing of this checkpoint never came to its end, so that it never was one."""
    return not any((Path(checkpoint) / name).exists() for name in (MANIFEST, STATE))


def _read_manifest(checkpoint: Path) -> dict[str, Any] | None:
    """What the manifest says of each file; `None` where there is none that can be read."""
    try:
        files = read_json(checkpoint / MANIFEST)["files"]
        return files if all({"bytes", "crc32"} <= known.keys() for known in files.values()) else None
    except (FileNotFoundError, IsADirectoryError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _compare(path: Path, name: str, known: dict[str, Any]) -> str | None:
    if not path.is_file():
        return f"{name} is {'no file' if path.exists() else 'missing'}"
    size = path.stat().st_size
    if size != known["bytes"]:
        return f"{name} has {size:,} of {known['bytes']:,} bytes"
    return f"{name} does not hold what was written" if _checksum(path) != known["crc32"] else None


def _checksum(path: Path) -> str:
    value = 0
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            value = zlib.crc32(chunk, value)
    return f"{value:08x}"


def _problems_without_manifest(checkpoint: Path) -> list[str]:
    names = [STATE, "config.json", METHOD_FACTS, METHOD_TENSORS, "scheduler.pt"]
    present = {entry.name for entry in os.scandir(checkpoint)}
    sharded = any(name.startswith(_SHARDS) for name in present)
    if not sharded:
        names += ["optimizer.pt", _MODEL[1] if _MODEL[1] in present and _MODEL[0] not in present else _MODEL[0]]
    states = sorted(name for name in present if re.fullmatch(r"rng_state(_\d+)?\.pth", name))
    if "rng_state.pth" not in states:
        # Of several processes: as many as the highest number says.
        last = max((int(re.sub(r"\D", "", name)) for name in states), default=-1)
        states = [f"rng_state_{number}.pth" for number in range(last + 1)] or ["rng_state.pth"]
    names += [*states, *({"scaler.pt", "training_args.bin"} & present)]
    problems = [text for name in names for text in _read(checkpoint, name)]
    if _MODEL[1] in names and not problems:
        shards = read_json(checkpoint / _MODEL[1])["weight_map"].values()
        problems += [text for name in sorted(set(shards)) for text in _read(checkpoint, name)]
    return problems


def _read(checkpoint: Path, name: str) -> list[str]:
    """Why one file of a checkpoint cannot be read."""
    path = checkpoint / name
    if not path.is_file():
        return [f"{name} is {'no file' if path.exists() else 'missing'}"]
    try:
        if name.endswith(".json"):
            if not isinstance(read_json(path, "it", strict=False), dict):
                return [f"{name} holds no JSON object"]
            if name == STATE:
                TrainerState.load_from_json(str(path))
        elif name.endswith(".safetensors"):
            with safe_open(path, framework="pt") as file:
                file.keys()
        elif zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                if (damaged := archive.testzip()) is not None:
                    return [f"{name} is damaged ({damaged})"]
        elif name.endswith(_TORCH):
            torch.load(path, map_location="cpu", weights_only=True)  # of a form before zip, or damaged
        else:
            return [f"{name} is damaged"]
    except (OSError, PermissionError) as error:
        return [f"{name} cannot be read ({error.strerror or error})"]
    except (SafetensorError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        return [f"{name} is damaged ({_first_line(error)})"]
    except Exception as error:  # unpickling raises whatever the bytes say
        return [f"{name} is damaged ({type(error).__name__})"]
    return []


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:100]
