"""Folders written by `hf-ltr prepare`: what their manifest says, when they are read again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...reading import read_json
from ..record import write_record

MANIFEST = "preparation.json"
MANIFEST_VERSION = 1


def is_prepared(folder: Path) -> bool:
    """Whether `folder` was written by `hf-ltr prepare`, finished or not."""
    return (folder / MANIFEST).is_file()


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a prepared folder; refused where it is none, or of a later version."""
    path = folder / MANIFEST
    try:
        content = read_json(path)
    except ValueError as error:
        raise ValueError(f"{error}; remove the folder and prepare it again") from None
    version = content.get("version") if isinstance(content, dict) else None
    if version != MANIFEST_VERSION:
        raise ValueError(f"{path} is of version {version}, but this hf_ltr reads version {MANIFEST_VERSION}")
    return content


def require_finished(folder: Path) -> None:
    """Refuse a prepared folder whose preparation was interrupted."""
    if is_prepared(folder) and not read_manifest(folder)["complete"]:
        raise ValueError(
            f"{folder} is not finished: run the same `hf-ltr prepare` again, it continues where it stopped"
        )


def with_records(folder: Path, splits: Mapping[str, Any]) -> dict[str, Any]:
    """
    The splits of a prepared folder with the records they had before: Parquet keeps the class names, but no record.
    Other rows than were written are refused.
    """
    manifest = read_manifest(folder)
    result = {}
    for split, part in splits.items():
        known = manifest["splits"].get(split, {})
        if known.get("rows") != len(part):
            raise ValueError(
                f"{folder} has {len(part):,} rows in {split}, but {MANIFEST} says {known.get('rows', 0):,}: files are "
                "missing or others were added"
            )
        result[split] = write_record(part, known["record"]) if known.get("record") else part
    return result
