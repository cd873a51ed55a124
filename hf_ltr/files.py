"""Files that are whole or not there."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


def write_json(path: str | Path, content: Any) -> Path:
    """
    Write JSON in one step: a reader, or a run that continues after a kill, finds the old file or the whole new one.

    Raises:
        `ValueError`: for NaN and infinity, before anything is written.
    """
    path = Path(path)
    text = json.dumps(content, indent=2, sort_keys=True, allow_nan=False) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path
