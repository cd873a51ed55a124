"""From what a table writes about an image (a path, a name, a name without ending) to the file that is meant."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..split_names import meanings
from .scan import IMAGE_EXTENSIONS, Folder, Tree, ending, normal

_SAME_ENDING = {".jpeg": ".jpg", ".jpe": ".jpg", ".jfif": ".jpg", ".tiff": ".tif"}


@dataclass
class NamedImages:
    """
    The rows of a column that name an image.

    Args:
        images (`list[int]`): Index of the image of each row, -1 where there is none.
        ambiguous (`dict[int, list[int]]`): The images of rows that could mean several.
    """

    images: list[int]
    ambiguous: dict[int, list[int]] = field(default_factory=dict)

    @property
    def distinct(self) -> int:
        """How many images are named."""
        return len(set(self.images) - {-1})


class ImageNames:
    """
    The images of a tree by their names. What a table says about folders must agree with where the image lies: each
    must be the end of the other (`images/a.jpg` or an absolute path of another machine for `images/a.jpg`, `a.jpg`
    for any); Windows' backslashes, upper case in endings and folders, and Unicode forms make no difference.
    """

    def __init__(self, tree: Tree):
        self.files: list[tuple[Folder, str]] = [
            (folder, name) for folder, names in tree.images.items() for name in names
        ]
        self._above = tuple(part.casefold() for part in Path(os.path.abspath(tree.root)).parts)
        self._by_stem: dict[str, list[int]] = {}
        self._by_folded: dict[str, list[int]] = {}
        # The image of a name that one file has; -1 for those of several.
        self._by_name: dict[str, int] = {}
        for index, (_, name) in enumerate(self.files):
            self._by_name[name] = -1 if name in self._by_name else index
            stem = normal(_stem(name))
            self._by_stem.setdefault(stem, []).append(index)
            self._by_folded.setdefault(stem.casefold(), []).append(index)

    def shown(self, index: int) -> str:
        """The path below the root."""
        folder, name = self.files[index]
        return "/".join((*folder, name))

    def find(self, values: Sequence[str | None], table: Path, root: Path) -> NamedImages:
        """
        The images that the values of one column name. Where several have one name, those in the folder of `table`, the
        file that the values are from, and of the split it is named after, come first.
        """
        here = table.parent.relative_to(root).parts if table.is_relative_to(root) else ()
        splits = meanings(table.stem)
        found = NamedImages([])
        cache: dict[str | None, list[int]] = {None: []}
        for row, value in enumerate(values):
            if value not in cache:
                cache[value] = self._candidates(value or "", here, splits)
            candidates = cache[value]
            found.images.append(candidates[0] if candidates else -1)
            if len(candidates) > 1:
                found.ambiguous[row] = candidates
        return found

    def alike(self, values: Sequence[str | None]) -> int:
        """How many values are paths that end in the name of an image, whatever their folders."""
        paths = (value.replace("\\", "/") for value in values if value is not None)
        return sum(_stem(normal(path.rpartition("/")[2])) in self._by_stem for path in paths if "/" in path)

    def _candidates(self, value: str, here: Folder, splits: Collection[str]) -> list[int]:
        value = normal(value)
        # What most tables write, without the search (300,000 rows: seconds).
        only = self._by_name.get(value.rpartition("/")[2], -1)
        if only >= 0 and ("/" not in value or value == self.shown(only)):
            return [only]
        parts = [part for part in value.replace("\\", "/").split("/") if part not in ("", ".", "..")]
        if not parts:
            return []
        stem = _stem(parts[-1])
        candidates = self._by_stem.get(stem) or self._by_folded.get(stem.casefold(), [])
        if not candidates:
            return []
        kind = _kind(parts[-1])
        above = tuple(part.casefold() for part in parts[:-1])
        candidates = [
            index
            for index in candidates
            if (not kind or _kind(self.files[index][1]) == kind) and self._agree(above, self.files[index][0])
        ]
        if len(candidates) < 2:
            return candidates
        exact = tuple(parts[:-1])
        tests = (
            lambda folder, name: name == parts[-1],
            lambda folder, name: folder == (*here, *exact),
            lambda folder, name: folder == exact,
            lambda folder, name: any(meanings(part) & set(splits) for part in folder),
        )
        for test in tests:
            narrowed = [index for index in candidates if test(*self.files[index])]
            candidates = narrowed or candidates
        return candidates

    def _agree(self, above: tuple[str, ...], folder: Folder) -> bool:
        own = tuple(part.casefold() for part in folder)
        whole = (*self._above, *own)
        return (
            above[len(above) - len(own) :] == own
            if len(above) >= len(own)
            else whole[len(whole) - len(above) :] == above
        )


def _stem(name: str) -> str:
    return os.path.splitext(name)[0] if name.lower().endswith(IMAGE_EXTENSIONS) else name


def _kind(name: str) -> str:
    """The ending of an image, in one spelling; empty for a name without."""
    own = ending(name)
    return _SAME_ENDING.get(own, own) if own in IMAGE_EXTENSIONS else ""
