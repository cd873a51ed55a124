"""
List files of the long-tailed benchmarks: lines of `relative/path label`, plain or gzipped.

Which rows a benchmark has is what its lists say, so a list is identified by the checksum of its text before anything
is trained on it. The checksums ship with the package (`resources/split_lists.json`).
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import csv

from ....reading import decoded
from ...arrow import one_chunk
from ...class_counts import ClassCounts
from .list_rows import Rows

_SUFFIXES = (".txt", ".txt.gz")
_NEWLINE, _SPACE, _SLASH = b"\n /"
# An integer of 64 bits.
_LABEL = re.compile(r"-?[0-9]{1,18}")


@dataclass(frozen=True)
class OfficialList:
    """
    What is known of a published list.

    Args:
        name (`str`): `Places_LT_train`.
        lines (`int`): Rows.
        classes (`int`): Labels are 0 .. classes - 1.
        min, max (`int`): Fewest and most rows of a class.
        source (`str`): Where it is published, `github:owner/name:path`.
        sha256 (`str`): Of the uncompressed text; empty where only the other checksum is known.
        git_blob_sha1 (`str`): Git's name for a file of this text.
    """

    name: str
    lines: int
    classes: int
    min: int
    max: int
    source: str
    sha256: str = ""
    git_blob_sha1: str = ""

    @property
    def url(self) -> str:
        """Address of the public copy."""
        _, repository, path = self.source.split(":")
        return f"https://github.com/{repository}/blob/HEAD/{path}"

    @property
    def checksum(self) -> str:
        """The checksum with its kind, for a message."""
        return f"sha256 {self.sha256}" if self.sha256 else f"git blob sha1 {self.git_blob_sha1}"

    def checksum_of(self, text: bytes | bytearray) -> str:
        """The checksum of a text, of the kind this list has."""
        if self.sha256:
            return f"sha256 {hashlib.sha256(text).hexdigest()}"
        blob = hashlib.sha1(b"blob %d\0" % len(text))
        blob.update(text)
        return f"git blob sha1 {blob.hexdigest()}"


@cache
def official_lists() -> dict[str, OfficialList]:
    """All known lists by name."""
    content = json.loads((files("hf_ltr") / "resources" / "split_lists.json").read_text(encoding="utf-8"))
    return {name: OfficialList(name=name, **entry) for name, entry in content.items()}


@cache
def official_counts(dataset: str) -> ClassCounts:
    """Training images per class of `imagenet_lt`, `places_lt` or `inat18`, in label order."""
    path = files("hf_ltr") / "resources" / "class_counts" / f"{dataset}.json"
    return ClassCounts(json.loads(path.read_text(encoding="utf-8"))["counts"])


def find_list(folders: Sequence[Path], names: Sequence[str]) -> Path | None:
    """The first `<folder>/<name>.txt` or `.txt.gz` that exists; folders in order, then names, plain files first."""
    candidates = (folder / f"{name}{suffix}" for folder in folders for name in names for suffix in _SUFFIXES)
    return next((path for path in candidates if path.is_file()), None)


def read_text(path: Path) -> bytearray:
    """
    The text of a list, uncompressed; a `bytearray`, so that `parse_list` needs no copy of it. A damaged `.gz` is
    refused.
    """
    content = bytearray(path.stat().st_size)
    with path.open("rb") as stream:
        del content[stream.readinto(content) :]
    if content[:2] != b"\x1f\x8b":
        return content
    try:
        return bytearray(gzip.decompress(content))
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path} cannot be uncompressed ({error}); was the download cut short?") from error


def identify(text: bytes | bytearray, candidates: Sequence[OfficialList]) -> OfficialList | None:
    """
    The one of `candidates` that has this text; None if none has. Windows line ends make no difference.
    """
    for known in candidates:
        if known.checksum_of(text) == known.checksum:
            return known
    return identify(text.replace(b"\r\n", b"\n"), candidates) if b"\r\n" in text[:4096] else None


def not_official(path: Path, text: bytes | bytearray, candidates: Sequence[OfficialList]) -> str:
    """In words: the file, what was expected of it, what it is, and what that means."""
    expected = " or ".join(f"{known.checksum} ({known.name}, {known.lines:,} lines)" for known in candidates)
    return (
        f"{path} is not the official list: expected {expected}, found {candidates[0].checksum_of(text)} "
        f"({text.count(bytes([10])):,} lines; of the uncompressed text). Rows or labels are others than those of the "
        f"published results. The official one is {candidates[0].url}"
    )


def parse_list(text: bytearray, file: Path) -> Rows:
    """
    Read lines of `relative/path label`; the path may have spaces. The text is used up.

    Raises:
        `ValueError`: naming the file and the line that is not of this form.
    """
    # The last slash of every line becomes a space: Arrow then reads folder, name and label as columns, the folder as
    # a dictionary, and nothing needs to be split again.
    content = np.frombuffer(text, dtype=np.uint8)
    slashes = np.flatnonzero(content == _SLASH)
    last = np.searchsorted(slashes, np.flatnonzero(content == _NEWLINE)) - 1
    last = slashes[last[last >= 0]]
    del slashes
    content[last] = _SPACE
    try:
        table = csv.read_csv(
            pa.py_buffer(content),
            # Threads save little here, and each holds blocks.
            read_options=csv.ReadOptions(
                column_names=["folder", "name", "label"], block_size=1 << 20, use_threads=False
            ),
            parse_options=csv.ParseOptions(delimiter=" ", quote_char=False),
            convert_options=csv.ConvertOptions(
                column_types={
                    "folder": pa.dictionary(pa.int32(), pa.string()),
                    "name": pa.string(),
                    "label": pa.int64(),
                },
                null_values=[],
                strings_can_be_null=False,
            ),
        )
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        content[last] = _SLASH
        # Slower, but it knows the line, and where a path ends that has spaces.
        return _parse_lines(text, file)
    if not len(table):
        raise _empty(file)
    folder, name, label = (one_chunk(column) for column in table.unify_dictionaries().columns)
    return Rows(
        file, [f"{part}/" for part in folder.dictionary.to_pylist()], folder.indices.to_numpy(), name, label.to_numpy()
    )


def _parse_lines(text: bytearray, file: Path) -> Rows:
    paths, labels = [], []
    for number, line in enumerate(decoded(text, str(file)).split("\n"), start=1):
        if not line.strip():
            continue
        path, _, label = line.rstrip().rpartition(" ")
        if not path.strip() or not _LABEL.fullmatch(label):
            raise ValueError(f"{file}, line {number}: expected `relative/path label`, got {line[:120]!r}")
        paths.append(path.strip())
        labels.append(int(label))
    if not paths:
        raise _empty(file)
    return Rows.of_paths(file, pa.array(paths, pa.string()), np.asarray(labels, dtype=np.int64))


def _empty(file: Path) -> ValueError:
    return ValueError(f"{file} is empty; expected lines of `relative/path label`")
