"""
Which image files were found readable before, so that no start of a training reads them again.

Kept in the user's cache (`HF_LTR_CACHE`, or `hf_ltr` beside the models and datasets of Hugging Face), never with the
images: 64-bit hashes of path, size and time of modification, so that a changed file is read again and another subset
of known files is not. Where nothing can be written, nothing is remembered.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from huggingface_hub import constants

HEADERS, WHOLE = "headers", "whole"
# So many files of hashes are joined into one.
_MOST_FILES = 16


def cache_folder() -> Path:
    """Where this package keeps what it may forget."""
    given = os.environ.get("HF_LTR_CACHE")
    if given:
        return Path(given).expanduser()
    return Path(constants.HF_HOME) / "hf_ltr"


def identity(*parts: object) -> int:
    """64 bits that stand for these parts."""
    text = "\0".join(map(str, parts)).encode("utf-8", errors="surrogateescape")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest())


def file_identity(path: str) -> int:
    """Of a file as it is now; `OSError` if it is not there."""
    status = os.stat(path)
    return identity(os.path.abspath(path), status.st_size, status.st_mtime_ns)


def table_identity(dataset: Any) -> int | None:
    """Of the rows of a `datasets.Dataset` whose images lie in its own files; None for one that is in memory."""
    files = [entry["filename"] for entry in dataset.cache_files]
    if not files:
        return None
    with contextlib.suppress(OSError):
        return identity(dataset._fingerprint, *map(file_identity, files))
    return None


class CheckedFiles:
    """
    Args:
        kind (`str`): `"headers"` or `"whole"`.
    """

    def __init__(self, kind: str):
        self._folder, self._kind = cache_folder() / "checked_images", kind
        found, self._files = [], []
        for file in sorted(self._folder.glob(f"{kind}-*.npy")) if self._folder.is_dir() else []:
            with contextlib.suppress(OSError, ValueError, EOFError):
                hashes = np.load(file, allow_pickle=False)
                if hashes.dtype == np.uint64 and hashes.ndim == 1:
                    found.append(hashes)
                self._files.append(file)
        self._known = np.unique(np.concatenate(found)) if found else np.zeros(0, dtype=np.uint64)

    def __len__(self) -> int:
        return len(self._known)

    def contains(self, identities: Iterable[int | None]) -> np.ndarray:
        """Which of them are known, bool; None is not."""
        values = np.fromiter((value or 0 for value in identities), dtype=np.uint64)
        return np.isin(values, self._known, kind="sort") & (values != 0)

    def add(self, identities: Iterable[int | None]) -> None:
        """Remember them, where something can be written."""
        new = np.unique(np.fromiter((value for value in identities if value), dtype=np.uint64))
        if not len(new):
            return
        everything = len(self._files) >= _MOST_FILES
        with contextlib.suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
            # A name of its own: several processes write at the same time.
            name = f"{self._kind}-{uuid.uuid4().hex}.npy"
            temporary = self._folder / f".{name}.tmp"
            try:
                with open(temporary, "wb") as stream:
                    np.save(stream, np.union1d(self._known, new) if everything else new)
                os.replace(temporary, self._folder / name)
            finally:
                temporary.unlink(missing_ok=True)
            for file in self._files if everything else ():
                file.unlink(missing_ok=True)
        self._known = np.union1d(self._known, new)
