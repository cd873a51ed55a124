"""
Decode and resize a dataset once, into Parquet shards that `load_long_tailed` opens.

Training that reads photographs of 500 x 375 pixels spends most of its input time on decoding pixels that the resize
throws away. With the shorter side at 256, which is all that the usual recipes for 224 see at full scale, a decode
takes a quarter of the time, and an epoch reads a few large files in place of a hundred thousand small ones.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import PIL.Image
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm.auto import tqdm

from ...files import clear_temporaries, write_text
from ...naming import some
from ...reading import json_form
from ...storage import naming_storage_errors
from ...validation import choice
from ..card import dataset_card
from ..loading.decoding import decode_image, open_image, with_bytes
from ..loading.image_sources import describe_problem, image_source
from ..provenance import long_tail_info
from .prepared import MANIFEST, MANIFEST_VERSION, is_prepared, read_manifest

FORMATS = {"jpeg": "JPEG", "webp": "WEBP", "png": "PNG"}
UNREADABLE = "unreadable.txt"
_INTERPOLATIONS = {"bicubic": PIL.Image.Resampling.BICUBIC, "bilinear": PIL.Image.Resampling.BILINEAR}
_MOST_NAMED = 10
_ROW_GROUP = 256


@dataclass(frozen=True)
class Preparation:
    """
    How images are stored.

    Args:
        size (`int`): Pixels of the shorter side; an image that is not larger keeps its bytes.
        format (`str`): `"jpeg"`, `"webp"` or `"png"` (lossless).
        quality (`int`): 1 to 100, of JPEG and WebP.
        interpolation (`str`): `"bicubic"` or `"bilinear"`, antialiased.
        shard_rows (`int`): Rows per file. What is lost when the work is interrupted is at most one file.
    """

    size: int = 256
    format: str = "jpeg"
    quality: int = 90
    interpolation: str = "bicubic"
    shard_rows: int = 4096

    def __post_init__(self) -> None:
        choice("format", self.format, FORMATS)
        choice("interpolation", self.interpolation, _INTERPOLATIONS)
        if self.size < 1 or self.shard_rows < 1 or not 1 <= self.quality <= 100:
            raise ValueError(
                f"size and shard_rows must be at least 1 and quality between 1 and 100, got {self.size}, "
                f"{self.shard_rows} and {self.quality}"
            )

    def encode(self, item: Any) -> bytes:
        """
        One image, given as `open_image` takes it: RGB, upright, shorter side at most `size`.

        Raises whatever the decoder raises for an image that cannot be read.
        """
        item = with_bytes(item)
        array = decode_image(item, num_channels=3)
        height, width = array.shape[:2]
        scale = self.size / min(height, width)
        if scale >= 1 and isinstance(item, Mapping) and item.get("bytes") is not None:
            # Nothing to gain, and a second lossy encoding to lose, but for formats that are slow or large.
            if getattr(open_image(item), "format", None) in FORMATS.values():
                return item["bytes"]
        image = PIL.Image.fromarray(array)
        if scale < 1:
            shape = (max(round(width * scale), self.size), max(round(height * scale), self.size))
            image = image.resize(shape, _INTERPOLATIONS[self.interpolation])
        buffer = io.BytesIO()
        options = {} if self.format == "png" else {"quality": self.quality}
        image.save(buffer, FORMATS[self.format], **options)
        return buffer.getvalue()


def prepare(
    data: Mapping[str, Any],
    output: str | Path,
    preparation: Preparation | None = None,
    *,
    workers: int | None = None,
    progress: bool = True,
) -> Path:
    """
    Write a dataset with small images: `<split>-00000-of-00029.parquet`, and a manifest.

    Shards appear under their names when they are whole, so the work can be stopped at any time; the same call again
    does what is left, and the result is the same. Class names, other columns, the order of the rows and the record of
    [`load_long_tailed`] stay. Open it with `load_long_tailed(output)`, or as `data_dir` of the named dataset.

    Args:
        data (`DatasetDict`): From [`load_long_tailed`]: columns `image` and `label`.
        output (`str` or `Path`): Folder, made if it is not there.
        preparation ([`Preparation`], *optional*): Size and format.
        workers (`int`, *optional*): Threads; by default one per core (Pillow releases the interpreter lock).
        progress (`bool`): Show a bar.

    Returns:
        `Path`: the folder.

    Raises:
        `ValueError`: for images that cannot be read, all together with their rows, after all others are done (the
            whole list is in `unreadable.txt`); for a folder that holds something else, or another preparation.
    """
    preparation = preparation or Preparation()
    workers = (os.cpu_count() or 1) if workers is None else workers
    if workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}")
    folder = Path(output).expanduser()
    manifest = _open_manifest(folder, data, preparation)
    pending = list(_pending(folder, data, preparation))
    total = sum(map(len, data.values()))
    left = sum(len(rows) for _, _, rows in pending)
    problems: list[str] = []
    bar = tqdm(total=total, initial=total - left, desc="Preparing images", unit="image", disable=not progress)
    with naming_storage_errors(folder), bar, ThreadPoolExecutor(workers) as pool:
        for split, path, rows in pending:
            found = _write_shard(data[split], rows, path, preparation, pool, bar)
            problems += [f"{split}, {problem}" for problem in found]
    unreadable = folder / UNREADABLE
    if problems:
        write_text(unreadable, "\n".join(problems) + "\n")
        raise ValueError(
            f"{len(problems)} of {total:,} images cannot be read (the list is in {unreadable}):\n  "
            + some(problems, _MOST_NAMED, "\n  ")
            + "\nRepair or replace these files, then run the same command again: all others are done."
        )
    unreadable.unlink(missing_ok=True)
    write_text(folder / "README.md", dataset_card(data))
    for split, part in data.items():
        manifest["splits"][split]["record"] = long_tail_info(part)
    write_text(folder / MANIFEST, json.dumps({**manifest, "complete": True}, indent=1) + "\n")
    return folder


def _open_manifest(folder: Path, data: Mapping[str, Any], preparation: Preparation) -> dict[str, Any]:
    """The manifest of this work, new or as it was left; refuses to mix two preparations in one folder."""
    records = {split: long_tail_info(part, hash_contents=False) for split, part in data.items()}
    options = asdict(preparation)
    manifest: dict[str, Any] = {
        "version": MANIFEST_VERSION,
        "complete": False,
        "preparation": options,
        "splits": {split: {"rows": len(part), "record": records[split]} for split, part in data.items()},
    }
    if is_prepared(folder):
        earlier = read_manifest(folder)
        different = [
            f"{name}={value!r} and not {earlier['preparation'].get(name)!r}"
            for name, value in options.items()
            if earlier["preparation"].get(name) != value
        ]
        if not _same_rows(earlier["splits"], json_form(manifest["splits"])):
            different.append("another dataset, or other rows of it")
        if different:
            raise ValueError(
                f"{folder} holds another preparation ({'; '.join(different)}). Give another output folder, or remove "
                "this one."
            )
        return manifest
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} is there already and was not written by `hf-ltr prepare`; give an empty folder")
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / MANIFEST, json.dumps(manifest, indent=1) + "\n")
    return manifest


def _same_rows(there: Mapping[str, Any], here: Mapping[str, Any]) -> bool:
    """
    Whether two manifests describe the same splits. Contents are hashed at the end only: an image that cannot be read
    may be replaced in between.
    """
    if there.keys() != here.keys():
        return False
    for split, ours in here.items():
        records = [dict(known["record"] or {}) for known in (there[split], ours)]
        if records[0].get("row_identity") != records[1].get("row_identity"):
            records = [{k: v for k, v in r.items() if k not in ("row_hash", "row_identity")} for r in records]
        if there[split]["rows"] != ours["rows"] or records[0] != records[1]:
            return False
    return True


def _pending(folder: Path, data: Mapping[str, Any], preparation: Preparation) -> Iterator[tuple[str, Path, range]]:
    """(split, file, rows) of the shards that are not there; what an interrupted write left is removed."""
    clear_temporaries(folder)
    for split, part in data.items():
        starts = range(0, len(part), preparation.shard_rows)
        for number, start in enumerate(starts):
            rows = range(start, min(start + preparation.shard_rows, len(part)))
            path = folder / f"{split}-{number:05}-of-{len(starts):05}.parquet"
            if not _is_whole(path, len(rows)):
                yield split, path, rows


def _is_whole(path: Path, rows: int) -> bool:
    try:
        return pq.read_metadata(path).num_rows == rows
    except (pa.ArrowException, OSError):
        return False


def _write_shard(
    part: Any, rows: range, path: Path, preparation: Preparation, pool: ThreadPoolExecutor, bar: Any
) -> list[str]:
    """Write one file, unless an image of it cannot be read; the problems."""
    source = image_source(part)
    items = source.items(rows)
    encoded, problems = [], []

    def attempt(item: Any) -> bytes | Exception:
        try:
            return preparation.encode(item)
        except Exception as error:  # decoders raise many kinds; each becomes a line of the report
            return error

    for row, result in zip(rows, pool.map(attempt, items), strict=True):
        if isinstance(result, Exception):
            problems.append(describe_problem(source, row, result))
        encoded.append(result)
        bar.update(1)
    if problems:
        return problems
    names = [os.path.basename(item.get("path") or "") or None for item in items]
    image = pa.StructArray.from_arrays(
        [pa.array(encoded, pa.binary()), pa.array(names, pa.string())], ["bytes", "path"]
    )
    table = part.with_format("arrow")[rows.start : rows.stop]
    table = table.set_column(table.column_names.index("image"), "image", image)
    table = table.cast(part.features.arrow_schema)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        # Encoded images do not get smaller by another compression.
        pq.write_table(table, temporary, row_group_size=_ROW_GROUP, compression="NONE")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return []
