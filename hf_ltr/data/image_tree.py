"""The images of a list on disk: in which layout they lie, and whether all of them are there."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .class_order import Rows, split_path

# Patterns and replacements (RE2), applied to the paths of a list one after the other.
Layout = Sequence[tuple[str, str]]
_PROBED = 16
_MOST_NAMED = 5


def rewrite(paths: Any, layout: Layout) -> Any:
    """The paths (`pyarrow.StringArray`) as they are in a layout."""
    import pyarrow.compute as pc

    for pattern, replacement in layout:
        paths = pc.replace_substring_regex(paths, pattern=pattern, replacement=replacement)
    return paths


def in_their_layout(root: Path, paths: Any, layouts: Sequence[Layout]) -> Any:
    """
    The paths as they are under `root`: of the list's own layout and `layouts`, the one in which most of a few images
    are there; the list's own where none is.
    """
    probe = paths.take(np.unique(np.linspace(0, len(paths) - 1, _PROBED).astype(np.int64)))
    best, found = (), 0
    for layout in ((), *layouts):
        there = sum((root / path).is_file() for path in rewrite(probe, layout).to_pylist())
        if there == len(probe):
            return rewrite(paths, layout)
        if there > found:
            best, found = layout, there
    return rewrite(paths, best)


def missing_images(root: Path, paths: Any) -> np.ndarray:
    """
    Rows whose image is not there. Every folder is read once: asking for each file by itself takes minutes on a network
    file system. Names count, not contents.

    Args:
        root (`Path`): Folder that the paths are relative to.
        paths (`pyarrow.StringArray`): With `/`.

    Returns:
        `np.ndarray`: int64, ascending.
    """
    folders, names = split_path(paths)
    folder_of_row = folders.indices.to_numpy()
    order = np.argsort(folder_of_row, kind="stable")
    ends = np.cumsum(np.bincount(folder_of_row, minlength=len(folders.dictionary)))
    grouped = names.take(order)
    missing: list[np.ndarray] = []
    start = 0
    for folder, end in zip(folders.dictionary.to_pylist(), ends.tolist(), strict=True):
        wanted = grouped.slice(start, end - start).to_pylist()
        there = _names_in(os.path.join(root, folder))
        if not there.issuperset(wanted):
            absent = np.fromiter((name not in there for name in wanted), dtype=bool, count=len(wanted))
            missing.append(order[start:end][absent])
        start = end
    return np.sort(np.concatenate(missing)) if missing else np.zeros(0, dtype=np.int64)


def _names_in(folder: str) -> set[str]:
    try:
        return set(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return set()


def require_images(root: Path, splits: Mapping[str, Rows], hint: str) -> None:
    """
    Look for the images of all splits, and report together which are not there.

    Args:
        root (`Path`): Folder that the paths are relative to.
        splits (`dict[str, Rows]`): With paths as they are under `root`.
        hint (`str`): What the folder must hold.

    Raises:
        `FileNotFoundError`: with the number of missing images of each split and the first few names.
    """
    absent = {split: missing_images(root, rows.paths) for split, rows in splits.items()}
    number = sum(map(len, absent.values()))
    if not number:
        return
    total = sum(map(len, splits.values()))
    parts = []
    for split, rows in splits.items():
        if len(absent[split]):
            first = rows.paths.take(absent[split][:_MOST_NAMED]).to_pylist()
            more = ", ..." if len(absent[split]) > len(first) else ""
            parts.append(f"{split} lacks {len(absent[split]):,} of {len(rows):,}: {', '.join(first)}{more}")
    none = (
        f"none of the {total:,} images is there" if number == total else f"{number:,} of {total:,} images are missing"
    )
    raise FileNotFoundError(f"{root}: {none}.\n  " + "\n  ".join(parts) + f"\n{hint}")
