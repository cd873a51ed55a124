"""The images of a list on disk: in which layout they lie, and whether all of them are there."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from .list_rows import Rows
from .splits import stable_order

# Patterns and replacements of `re`, applied one after the other to the folders of a list (with `/` at their end).
Layout = Sequence[tuple[str, str]]
_PROBED = 16
_BLOCK = 16_384
_MOST_NAMED = 5


def rewrite(folders: Sequence[str], layout: Layout) -> list[str]:
    """The folders as they are in a layout."""
    for pattern, replacement in layout:
        folders = [re.sub(pattern, replacement, folder) for folder in folders]
    return list(folders)


def in_their_layout(root: Path, rows: Rows, layouts: Sequence[Layout]) -> Rows:
    """
    The rows with folders as they are under `root`: of the list's own layout and `layouts`, the one in which most of a
    few images are there; the list's own where none is.
    """
    probe = np.unique(np.linspace(0, len(rows) - 1, _PROBED).astype(np.int64)).tolist()
    best, found = rows, 0
    for layout in ((), *layouts):
        candidate = rows.in_folders(rewrite(rows.folders, layout))
        there = sum((root / candidate.path(row)).is_file() for row in probe)
        if there == len(probe):
            return candidate
        if there > found:
            best, found = candidate, there
    return best


def missing_images(root: Path, rows: Rows) -> np.ndarray:
    """
    Rows whose image is not there. Every folder is read once: asking for each file by itself takes minutes on a network
    file system. Names count, not contents.

    Args:
        root (`Path`): Folder that the paths are relative to.
        rows ([`Rows`])

    Returns:
        `np.ndarray`: int64, ascending.
    """
    import pyarrow as pa

    # Several folders of a list may be one on disk, such as the flat folder of ImageNet's validation images.
    folders = {folder: number for number, folder in enumerate(dict.fromkeys(rows.folders))}
    folder_of_row = np.asarray([folders[folder] for folder in rows.folders], dtype=np.int64)[rows.folder_of_row]
    order = stable_order(folder_of_row)
    ends = np.cumsum(np.bincount(folder_of_row, minlength=len(folders))).tolist()
    names = rows.names.take(pa.array(order))
    missing: list[np.ndarray] = []
    start = block_start = block_end = 0
    block: list[str] = []
    for folder, end in zip(folders, ends, strict=True):
        if end > block_end:
            # Python strings of some thousand rows at a time: of all rows they would take more room than the rest.
            block_start, block_end = start, min(max(end, start + _BLOCK), len(names))
            block = names.slice(block_start, block_end - block_start).to_pylist()
        wanted = block[start - block_start : end - block_start]
        absent = set(wanted).difference(_names_in(os.path.join(root, folder)))
        if absent:
            missing.append(order[start:end][[name in absent for name in wanted]])
        start = end
    return np.sort(np.concatenate(missing)) if missing else np.zeros(0, dtype=np.int64)


def _names_in(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []


def require_images(root: Path, splits: Mapping[str, Rows], hint: str) -> None:
    """
    Look for the images of all splits, and report together which are not there.

    Args:
        root (`Path`): Folder that the paths are relative to.
        splits (`dict[str, Rows]`): With folders as they are under `root`.
        hint (`str`): What the folder must hold.

    Raises:
        `FileNotFoundError`: with the number of missing images of each split and the first few names.
    """
    absent = {split: missing_images(root, rows) for split, rows in splits.items()}
    number = sum(map(len, absent.values()))
    if not number:
        return
    total = sum(map(len, splits.values()))
    parts = []
    for split, rows in splits.items():
        if len(absent[split]):
            first = [rows.path(row) for row in absent[split][:_MOST_NAMED].tolist()]
            more = ", ..." if len(absent[split]) > len(first) else ""
            parts.append(f"{split} lacks {len(absent[split]):,} of {len(rows):,}: {', '.join(first)}{more}")
    summary = f"{number:,} of {total:,} images are missing"
    if number == total:
        summary = f"none of the {total:,} images is there"
    raise FileNotFoundError(f"{root}: {summary}.\n  " + "\n  ".join(parts) + f"\n{hint}")
