"""The images of a list on disk: in which layout they lie, and whether all of them are there."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa

from ...randomness import stable_argsort
from .list_rows import Rows
from .listed_datasets import Layout

_PROBED = 16
_FOLDERS_AT_A_TIME = 64
_READERS = 8
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


def missing_images(root: Path, splits: Mapping[str, Rows]) -> dict[str, np.ndarray]:
    """
    Rows of each split whose image is not there, ascending. Every folder is read once, some at the same time: asking
    for each file by itself takes minutes on a network file system. Names count, not contents.
    """
    # Several folders of a list may be one on disk, such as the flat folder of ImageNet's validation images.
    numbers: dict[str, int] = {}
    columns = []
    for rows in splits.values():
        own = [numbers.setdefault(folder, len(numbers)) for folder in rows.folders]
        columns.append(np.asarray(own, dtype=np.int64)[rows.folder_of_row])
    folder_of_row = np.concatenate(columns)
    order = stable_argsort(folder_of_row)
    ends = np.cumsum(np.bincount(folder_of_row, minlength=len(numbers))).tolist()
    starts = [0, *ends[:-1]]
    names = pa.chunked_array([rows.names for rows in splits.values()]).take(pa.array(order))
    folders = [os.path.join(root, folder) for folder in numbers]

    def absent_in(part: slice) -> list[np.ndarray]:
        # Python strings of a few folders at a time: of all rows they would take more room than all the rest.
        first, found = starts[part][0], []
        wanted = names.slice(first, ends[part][-1] - first).to_pylist()
        for folder, start, end in zip(folders[part], starts[part], ends[part], strict=True):
            own = wanted[start - first : end - first]
            absent = set(own).difference(_names_in(folder))
            if absent:
                found.append(order[start:end][[name in absent for name in own]])
        return found

    parts = [slice(first, first + _FOLDERS_AT_A_TIME) for first in range(0, len(folders), _FOLDERS_AT_A_TIME)]
    with ThreadPoolExecutor(_READERS) as pool:
        missing = [rows for found in pool.map(absent_in, parts) for rows in found]
    all_missing = np.sort(np.concatenate(missing)) if missing else np.zeros(0, dtype=np.int64)
    result, first = {}, 0
    for split, rows in splits.items():
        inside = (all_missing >= first) & (all_missing < first + len(rows))
        result[split] = all_missing[inside] - first
        first += len(rows)
    return result


def _names_in(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []


def require_images(root: Path, splits: Mapping[str, Rows], hint: str) -> None:
    """
    Refuse splits of which images are not there, with the number of each split and the first few names.

    Args:
        root (`Path`): Folder that the paths are relative to.
        splits (`dict[str, Rows]`): With folders as they are under `root`.
        hint (`str`): What the folder must hold.
    """
    absent = missing_images(root, splits)
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
