"""Rows of a list: relative path and label of every image, in columns (a Python object per row would take seconds)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

# What leads out of a folder, on any system: `..` as a part of a path; a path from the root, or from that of a drive; a
# drive; an address; what ends a path in C. With backslashes, which separate parts on Windows, as with slashes.
_LEAVES = r"(^|[/\\])\.\.([/\\]|$)|^[/\\]|^[A-Za-z]:|^[A-Za-z][A-Za-z0-9+.-]+://|\x00"


@dataclass(frozen=True)
class Rows:
    """
    Rows of one split.

    Args:
        file (`Path`): Where they are from.
        folders (`list[str]`): The different folders of the images, relative, with `/` at the end; an empty string for
            images in no folder.
        folder_of_row (`np.ndarray`): int32 `(N,)`, index into `folders`.
        names (`pyarrow.StringArray`): `(N,)`, file names.
        labels (`np.ndarray`): int64 `(N,)`.
        official (`bool`): The file is the published one, by its checksum.
    """

    file: Path
    folders: list[str]
    folder_of_row: np.ndarray
    names: Any
    labels: np.ndarray
    official: bool = False

    @classmethod
    def of_paths(cls, file: Path, paths: Any, labels: np.ndarray) -> Rows:
        """The rows of relative paths (a `pyarrow.StringArray`, with `/`), split into folder and name."""
        parts = pc.split_pattern(paths, "/", max_splits=1, reverse=True)
        starts, ends = parts.offsets.to_numpy()[:-1], parts.offsets.to_numpy()[1:]
        without = pa.array(starts, mask=ends - starts < 2)
        folders = parts.values.take(without).dictionary_encode(null_encoding="encode")
        spelled = ["" if folder is None else f"{folder}/" for folder in folders.dictionary.to_pylist()]
        return cls(file, spelled, folders.indices.to_numpy(), parts.values.take(pa.array(ends - 1)), labels)

    def __len__(self) -> int:
        return len(self.labels)

    def path(self, row: int) -> str:
        """The path of one row."""
        return f"{self.folders[self.folder_of_row[row]]}{self.names[row]}"

    def paths(self, root: str = "") -> Any:
        """All paths behind a prefix, as a `pyarrow.StringArray`."""
        folders = pa.array([root + folder for folder in self.folders]).take(pa.array(self.folder_of_row))
        return pc.binary_join_element_wise(folders, self.names, "")

    def require_inside(self) -> None:
        """
        Refuse paths that lead out of `data_dir`, for which they are: `../x`, `/x`, `C:\\x`, `file:///x`.

        Only the path as it is written is judged. A link inside the folder that leads out of it is the owner's own
        doing, and the usual way to keep a large dataset on another disk.

        Raises:
            `ValueError`: with the first of them.
        """
        used = pa.array([self.folders[index] for index in np.unique(self.folder_of_row)], pa.string())
        for paths in (used, self.names):
            bad = pc.index(pc.match_substring_regex(paths, _LEAVES), True).as_py()
            if bad >= 0:
                raise ValueError(
                    f"{self.file} names {paths[bad].as_py()[:120]!r}, which is outside of data_dir: paths must be "
                    "relative to it and without '..'. A file from somebody else must not choose which files of this "
                    "machine are read."
                )

    def in_folders(self, folders: list[str]) -> Rows:
        """The same with other names of the folders."""
        return replace(self, folders=folders)
