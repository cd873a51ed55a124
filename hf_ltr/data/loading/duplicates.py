"""Images that a dataset holds twice: between its splits, where a test set measures memory, and across classes."""

from __future__ import annotations

import hashlib
import itertools
import os
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..row_identity import content_digest
from .image_sources import image_source

_HEAD = 4096


@dataclass
class Duplicates:
    """
    Args:
        between (`dict[tuple[str, str], int]`): Images of the second split that are in the first too; pairs without
            any are left out.
        across_classes (`dict[str, int]`): Images of a split that it also has in another class.
        repeated (`dict[str, int]`): Images of a split that repeat an earlier one of the same class.
        groups (`list`): Every group of equal images as `(split, row)` pairs.
    """

    between: Counter[tuple[str, str]] = field(default_factory=Counter)
    across_classes: Counter[str] = field(default_factory=Counter)
    repeated: Counter[str] = field(default_factory=Counter)
    groups: list[list[tuple[str, int]]] = field(default_factory=list)


class DuplicateFinder:
    """
    Collects images one by one, as `visit` of [`~hf_ltr.data.loading.image_check.check_images`], and finds the equal
    ones.

    Files are compared by their bytes, by size and beginning first, so that few are read to their end; decoded images
    by their pixels, which finds copies in another format or with other metadata too.

    Args:
        splits (`dict`): The `datasets.Dataset`s that are visited.
    """

    def __init__(self, splits: Mapping[str, Any]):
        self._splits = splits
        self._keys: dict[tuple[str, int], int] = {}  # several threads: single assignments only
        self._exact = False

    def __call__(self, split: str, row: int, item: Any, pixels: np.ndarray | None) -> None:
        if pixels is not None:
            self._exact = True
            self._keys[split, row] = _digest(repr(pixels.shape).encode(), np.ascontiguousarray(pixels))
            return
        encoded, path = _content(item)
        if encoded is not None:
            self._keys[split, row] = _digest(str(len(encoded)).encode(), encoded[:_HEAD])
        elif path is not None:
            with open(path, "rb") as stream:
                size = os.fstat(stream.fileno()).st_size
                self._keys[split, row] = _digest(str(size).encode(), stream.read(_HEAD))

    def find(self, labels: Mapping[str, Any] | None = None) -> Duplicates:
        """Compare what was collected; `labels` are those of every row, by split."""
        groups = _equal(self._keys)
        if not self._exact:
            sources = {split: image_source(self._splits[split]) for split, _ in self._keys}
            candidates = sorted(place for group in groups for place in group)
            groups = _equal({place: content_digest(sources[place[0]].items([place[1]])[0]) for place in candidates})
        order = {split: number for number, split in enumerate(self._splits)}
        groups = [sorted(group, key=lambda place: (order[place[0]], place[1])) for group in groups]
        return _count(sorted(groups, key=lambda group: (order[group[0][0]], group[0][1])), list(order), labels or {})


def _equal(keys: Mapping[tuple[str, int], Any]) -> list[list[tuple[str, int]]]:
    places = defaultdict(list)
    for place, key in keys.items():
        places[key].append(place)
    return [group for group in places.values() if len(group) > 1]


def _count(groups: list, splits: list[str], labels: Mapping[str, Any]) -> Duplicates:
    result = Duplicates(groups=groups)
    for group in groups:
        by_split = {split: [row for part, row in group if part == split] for split in splits}
        for first, second in itertools.combinations(splits, 2):
            if by_split[first] and by_split[second]:
                result.between[first, second] += len(by_split[second])
        for split, rows in by_split.items():
            own = labels.get(split)
            classes = [None if own is None else own[row] for row in rows]
            if len(set(classes)) > 1:
                result.across_classes[split] += len(rows)
            if len(rows) > len(set(classes)):
                result.repeated[split] += len(rows) - len(set(classes))
    return result


def _digest(*parts: Any) -> int:
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        digest.update(part)
    return int.from_bytes(digest.digest())


def _content(item: Any) -> tuple[bytes | None, str | None]:
    if isinstance(item, bytes | bytearray):
        return bytes(item), None
    if isinstance(item, Mapping) and item.get("bytes") is not None:
        return item["bytes"], None
    path = item.get("path") if isinstance(item, Mapping) else item
    return None, path if isinstance(path, str) and os.path.isfile(path) else None
