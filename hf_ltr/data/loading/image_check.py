"""
Whether all images of a dataset can be read, before anything is trained on them.

The header pass opens every file and takes format and size from it; it finds what is missing, empty or no image. The
full pass decodes everything, which also finds what was cut off further down, and what was overwritten as far as the
format can tell: PNG and GIF have checksums or codes that break, a few wrong bytes inside of a JPEG stay wrong pixels.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import PIL.Image
import pyarrow as pa
from tqdm.auto import tqdm

from ..labels import class_names_of, stored_labels
from ..map_style import is_arrow_dataset
from .checked_files import HEADERS, WHOLE, CheckedFiles, file_identity, table_identity
from .decoding import decode_image, image_dimensions, is_wide, open_image, with_bytes
from .image_sources import describe_row, image_source
from .ranges import RangeTally, used_range

_CHUNK = 256
# Headers are waited for, on network file systems; decoding takes a core.
_HEADER_THREADS = 8

# Called as `visit(split, row, item, pixels)` for every readable image, from threads; no pixels without decoding.
Visit = Callable[[str, int, Any, "np.ndarray | None"], None]


@dataclass(frozen=True)
class Damage:
    """An image that cannot be read; `class_name` is None where there are no labels, `path` empty without a file."""

    split: str
    row: int
    class_name: str | None
    path: str
    reason: str

    def __str__(self) -> str:
        of_class = f"class {self.class_name!r}, " if self.class_name is not None else ""
        return f"{self.split}, {of_class}{describe_row(self.row, self.path)}: {self.reason}"


@dataclass
class ImageCheck:
    """
    What was found.

    Args:
        images (`dict[str, int]`): Number of images by split.
        skipped (`list[str]`): Splits whose images decode by themselves: only reading their items would tell.
        damaged (`list[Damage]`): In the order of splits and rows.
        remembered (`int`): How many images an earlier check found in order.
        whole (`int`): How many were decoded, now or then; of the others the header was read.
        remarks (`list[str]`): What is odd about the values and no damage; of a full check.
    """

    images: dict[str, int] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    damaged: list[Damage] = field(default_factory=list)
    remembered: int = 0
    whole: int = 0
    remarks: list[str] = field(default_factory=list)
    _kind: str = HEADERS
    _readable: list[int | None] = field(default_factory=list)
    _tables: list[int | None] = field(default_factory=list)

    @property
    def total(self) -> int:
        """Number of images."""
        return sum(self.images.values())

    def remember(self, complete: bool = True) -> None:
        """
        Keep what is in order for later checks.

        Args:
            complete (`bool`): Whether the splits were read to their end, by all processes, and without damage as far
                as the others know: rows inside of a table are remembered together or not at all.
        """
        tables = self._tables if complete and not self.damaged else []
        CheckedFiles(self._kind).add([*self._readable, *tables])


def check_images(
    splits: Mapping[str, Any],
    *,
    full: bool = False,
    reuse: bool = False,
    workers: int | None = None,
    progress: bool = True,
    part: tuple[int, int] = (0, 1),
    visit: Visit | None = None,
) -> ImageCheck:
    """
    Read the header of every image, or all of it.

    Args:
        splits (`dict`): `datasets.Dataset`s by name; what else there is among them is skipped.
        full (`bool`): Decode.
        reuse (`bool`): Leave out what an earlier check found in order and is not changed since.
        workers (`int`, *optional*): Threads.
        progress (`bool`): Show a bar, once it takes longer than two seconds.
        part (`tuple[int, int]`): `(which, of how many)` parts of every split, for several processes.
        visit (`Visit`, *optional*): Given every readable image that is not left out.

    Returns:
        [`ImageCheck`], which remembers nothing before its method `remember` is called.
    """
    kind = WHOLE if full else HEADERS
    result = ImageCheck(_kind=kind)
    known = {name: CheckedFiles(name) for name in {kind, WHOLE}} if reuse else {}
    threads = workers or ((os.cpu_count() or 1) if full else _HEADER_THREADS)
    for split, dataset in splits.items():
        if has_files(dataset):
            result.images[split] = len(dataset)
        else:
            result.skipped.append(split)
    description = "Decoding images" if full else "Reading headers"
    bar = tqdm(total=result.total, desc=description, unit="image", delay=2.0, disable=not progress)
    with bar, ThreadPoolExecutor(threads) as pool:
        for split in result.images:
            reader = _Reader(split, splits[split], full, known, visit)
            table = reader.table
            first, last = (len(reader.source) * (part[0] + end) // part[1] for end in (0, 1))
            before = next((name for name, files in known.items() if files.contains([table])[0]), None)
            if before is not None:
                result.remembered += last - first
                result.whole += last - first if before == WHOLE else 0
                continue
            result._tables.append(table)
            for found in _in_waves(pool, reader.read, first, last, 2 * threads):
                result.damaged += found.damaged
                result.remembered += found.remembered
                result.whole += found.whole
                result._readable += found.readable
                bar.update(found.rows)
            result.remarks += [f"{split}: {remark}" for remark in reader.remarks()]
    return result


def has_files(dataset: Any) -> bool:
    """Whether the undecoded images of a dataset can be read: it is a `datasets.Dataset` with a column `image`."""
    return is_arrow_dataset(dataset) and "image" in dataset.column_names


def _in_waves(pool: ThreadPoolExecutor, read: Callable, first: int, last: int, width: int) -> Iterator[Any]:
    # A few chunks at a time: encoded images must not pile up.
    chunks = [range(start, min(start + _CHUNK, last)) for start in range(first, last, _CHUNK)]
    for start in range(0, len(chunks), width):
        yield from pool.map(read, chunks[start : start + width])


@dataclass
class _Found:
    rows: int
    damaged: list[Damage]
    readable: list[int | None]
    remembered: int
    whole: int


class _Reader:
    """Reads the images of one split, chunk by chunk."""

    def __init__(self, split: str, dataset: Any, full: bool, known: Mapping[str, CheckedFiles], visit: Visit | None):
        self.source = image_source(dataset)
        self._split, self._full, self._known, self._visit = split, full, known, visit
        self._labels, self._names = stored_labels(dataset), class_names_of(dataset)
        # How rows are remembered: each file by itself, or all that a table holds together.
        self._files, in_table = _whereabouts(dataset)
        self.table = table_identity(dataset) if in_table else None
        self._tally = RangeTally()

    def read(self, rows: range) -> _Found:
        items = self.source.items(rows)
        identities = [_identity(item) for item in items] if self._files else [None] * len(items)
        skip = np.zeros(len(items), dtype=bool)
        for kind in self._known:
            skip |= self._known[kind].contains(identities)
        whole = self._known[WHOLE].contains(identities).sum() if self._known else 0
        damaged: list[Damage] = []
        readable: list[int | None] = []
        for row, item, identity, left_out in zip(rows, items, identities, skip.tolist(), strict=True):
            if left_out:
                continue
            try:
                pixels = self._decode(row, item) if self._full else None
                if not self._full:
                    image_dimensions(item)
                readable.append(identity)
                if self._visit is not None:
                    self._visit(self._split, row, item, pixels)
            except Exception as error:  # decoders raise many kinds; each becomes a line of the report
                damaged.append(self._damage(row, error))
        whole = whole + len(readable) if self._full else whole
        return _Found(len(rows), damaged, readable, int(skip.sum()), int(whole))

    def _decode(self, row: int, item: Any) -> np.ndarray:
        item = with_bytes(item)
        encoded = item.get("bytes") if isinstance(item, Mapping) else None
        if encoded is not None:
            kind = getattr(open_image(item), "format", None)
            if kind == "PNG":
                PIL.Image.open(io.BytesIO(encoded)).verify()  # checksums, which decoding does not look at
            elif kind == "JPEG" and not _has_end(encoded):
                raise OSError("the JPEG has no end: zeros or other bytes are in its place")
        pixels = decode_image(item, 3)
        self._tally.add(row, *(used_range(item) if is_wide(item) else (int(pixels.max()), 255, True)))
        return pixels

    def _damage(self, row: int, error: Exception) -> Damage:
        name = None if self._labels is None else self._labels[row]
        if self._names and isinstance(name, int | np.integer) and 0 <= name < len(self._names):
            name = self._names[name]
        reason = f"{type(error).__name__}: {error}"
        return Damage(self._split, row, None if name is None else str(name), self.source.name(row), reason)

    def remarks(self) -> list[str]:
        """What is odd about the values."""
        return self._tally.remarks(lambda row: describe_row(row, self.source.name(row)))


def _has_end(encoded: bytes) -> bool:
    """Whether an end marker follows the first scan of a JPEG; thumbnails in the segments before have their own."""
    place = 2
    while encoded[place : place + 1] == b"\xff" and encoded[place + 1 : place + 2] != b"\xda":
        place += 2 + int.from_bytes(encoded[place + 2 : place + 4]) if encoded[place + 1] != 0xFF else 1
    return encoded.find(b"\xff\xd9", place) >= 0


def _identity(item: Any) -> int | None:
    try:
        return file_identity(item["path"] if isinstance(item, Mapping) else item)
    except (OSError, TypeError, ValueError):
        return None  # not there, and said so when it is read


def _whereabouts(dataset: Any) -> tuple[bool, bool]:
    """(whether all images are files of their own, whether all are inside of the table)."""
    column = dataset.data.column("image")
    if not pa.types.is_struct(column.type):
        return pa.types.is_string(column.type), not pa.types.is_string(column.type)
    embedded = [chunk.field("bytes") for chunk in column.chunks]
    missing, rows = sum(chunk.null_count for chunk in embedded), sum(map(len, embedded))
    return missing == rows, missing == 0
