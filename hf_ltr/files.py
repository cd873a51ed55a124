"""Files that are whole or not there."""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .storage import naming_storage_errors

_WRITTEN_WITHIN = 600.0  # seconds
_TEMPORARY = re.compile(r"^(\.tmp.+|\..+\.tmp|tmp-checkpoint-.*)$")


def write_json(path: str | Path, content: Any) -> Path:
    """
    Write JSON in one step: a reader, or a run that continues after a kill, finds the old file or the whole new one.

    Raises:
        `ValueError`: for NaN and infinity, before anything is written.
    """
    return write_text(path, json.dumps(content, indent=2, sort_keys=True, allow_nan=False) + "\n")


def write_metrics(path: str | Path, metrics: Mapping[str, Any]) -> Path:
    """
    [`write_json`] of numbers, strings, `None`, lists and mappings of them; NumPy and tensors become numbers.

    Raises:
        `ValueError`: for a value that is NaN or infinite, by its name; nothing is written then.
    """
    return write_json(path, _finite(metrics, ""))


def _finite(value: Any, name: str) -> Any:
    """`value` as JSON types, all numbers of it finite; `name` is where it stands, for errors."""
    if isinstance(value, Mapping):
        return {str(key): _finite(item, f"{name}.{key}" if name else str(key)) for key, item in value.items()}
    if isinstance(value, str) or value is None or isinstance(value, bool):
        return value
    if hasattr(value, "tolist"):  # NumPy scalars and arrays, tensors
        return _finite(value.tolist(), name)
    if isinstance(value, (list, tuple)):
        return [_finite(item, f"{name}[{index}]") for index, item in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"Metric {name!r} is {value}; a report holds finite numbers only.")
    if isinstance(value, (int, float)):
        return value
    raise TypeError(f"Metric {name!r} is of type {type(value).__name__}, which has no place in a JSON report.")


def write_text(path: str | Path, text: str) -> Path:
    """
    Write text as UTF-8, in one step as [`write_json`].

    Raises:
        [`~hf_ltr.storage.StorageError`]: if there is no room for it.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with naming_storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.write_text(text, encoding="utf-8")
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    return path


def clear_temporaries(folder: str | Path) -> list[Path]:
    """
    Remove what interrupted writes left in `folder` (not below it): `.tmp...` of safetensors, `.<name>.<pid>.tmp` of
    [`write_json`], `tmp-checkpoint-...`. A file that a living process writes stays.

    Args:
        folder (`str`): Of a run that the caller owns.

    Returns:
        `list[Path]`: what was removed.
    """
    folder = Path(folder)
    found = [path for path in folder.iterdir() if is_temporary(path.name)] if folder.is_dir() else []
    removed = []
    for path in found:
        if _in_use(path):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
        removed.append(path)
    return removed


def is_temporary(name: str) -> bool:
    """Whether a file or folder of this name is one that its writer had not finished."""
    return bool(_TEMPORARY.match(name))


def _in_use(path: Path) -> bool:
    """Whether another process, of those that can be seen from here, is writing a file."""
    writer = re.search(r"\.(\d+)\.tmp$", path.name)
    if writer is not None:
        # Numbers of processes are used again, in a container at once: what a living one writes is young.
        young = time.time() - path.lstat().st_mtime < _WRITTEN_WITHIN
        return young and int(writer[1]) != os.getpid() and Path(f"/proc/{writer[1]}").exists()
    try:
        identity = (path.stat().st_dev, path.stat().st_ino)
        handles = [handle for process in Path("/proc").glob("[0-9]*") for handle in _handles(process)]
    except OSError:
        return False
    for handle in handles:
        with contextlib.suppress(OSError):
            if (handle.stat().st_dev, handle.stat().st_ino) == identity:
                return True
    return False


def _handles(process: Path) -> list[Path]:
    try:
        return list((process / "fd").iterdir())
    except OSError:  # it has ended, or is somebody else's
        return []
