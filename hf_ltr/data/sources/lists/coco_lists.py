"""iNaturalist's own annotation files (`train2018.json`): COCO style, 437,513 images in one JSON object."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import json as arrow_json

from ....reading import read_json
from ....validation import text, whole_number
from .list_rows import Rows


def read_annotations(path: Path) -> tuple[Rows, dict[int, str]]:
    """
    Read images and their categories.

    Args:
        path (`Path`): A file with `images` (`id`, `file_name`), `annotations` (`image_id`, `category_id`) and maybe
            `categories` (`id`, `name`). Of another form, or with an image without annotation or with several, it is
            refused.

    Returns:
        `(rows, names)`: rows in the order of `images`, labels being category ids; the names of the categories, as far
        as the file gives them.
    """
    id_and = {"images": ("id", ("file_name", pa.string())), "annotations": ("image_id", ("category_id", pa.int64()))}
    fields = [pa.field(name, pa.list_(pa.struct([(key, pa.int64()), value]))) for name, (key, value) in id_and.items()]
    fields.append(pa.field("categories", pa.list_(pa.struct([("id", pa.int64()), ("name", pa.string())]))))
    _require_object(path)
    try:
        # One object is one row, and one block must hold it. Arrow leaves out what the schema does not name (licences,
        # sizes), and takes a third of the time and a tenth of the memory of Python's parser.
        # Mapped, so that the text of the file is the system's memory and not ours.
        table = arrow_json.read_json(
            pa.memory_map(str(path)),
            read_options=arrow_json.ReadOptions(use_threads=False, block_size=min(path.stat().st_size + 1, 2**31 - 2)),
            parse_options=arrow_json.ParseOptions(
                explicit_schema=pa.schema(fields), newlines_in_values=True, unexpected_field_behavior="ignore"
            ),
        )
        images, annotations, categories = (table.column(field.name).chunk(0).flatten() for field in fields)
        # Arrow does not look at what a string is made of.
        images.field("file_name").validate(full=True)
        categories.field("name").validate(full=True)
    except (pa.ArrowException, IndexError, KeyError, OverflowError, ValueError) as error:
        raise ValueError(
            f"{path} is no annotation file (a JSON object with images, annotations and categories): {error}"
        ) from error
    for what, values in (
        *(("image", images.field(name)) for name in ("id", "file_name")),
        *(("annotation", annotations.field(name)) for name in ("image_id", "category_id")),
    ):
        if values.null_count:
            raise ValueError(f"{path}: {values.null_count:,} entries for an {what} lack a value it needs")
    ids, owners = images.field("id").to_numpy(), annotations.field("image_id").to_numpy()
    if not len(ids):
        raise ValueError(f"{path} lists no images")
    if len(np.unique(ids)) != len(ids):
        raise ValueError(f"{path}: {len(ids) - len(np.unique(ids)):,} images share their id with another one")
    by_owner = np.argsort(owners, kind="stable")
    owners = owners[by_owner]
    first = np.searchsorted(owners, ids, side="left")
    per_image = np.searchsorted(owners, ids, side="right") - first
    if (per_image != 1).any():
        row = int(np.argmax(per_image != 1))
        raise ValueError(
            f"{path}: image {ids[row]} ({images.field('file_name')[row]}) has {per_image[row]} annotations, and every "
            f"image needs one ({int((per_image != 1).sum()):,} such images)"
        )
    labels = annotations.field("category_id").to_numpy()[by_owner[first]].astype(np.int64)
    return Rows.of_paths(path, images.field("file_name"), labels), _names(categories)


def _require_object(path: Path) -> None:
    """Arrow takes any JSON value for a row, and crashes the process over `null`."""
    with path.open("rb") as stream:
        start = stream.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()
    if not start.startswith(b"{"):
        raise ValueError(
            f"{path} is no annotation file (a JSON object with images, annotations and categories): it begins with "
            f"{start[:20].decode('utf-8', errors='replace')!r}"
        )


def _names(categories: Any) -> dict[int, str]:
    pairs = zip(categories.field("id").to_pylist(), categories.field("name").to_pylist(), strict=True)
    return {number: name for number, name in pairs if number is not None and name}


def read_categories(path: Path) -> dict[int, str]:
    """Names by id from iNaturalist's `categories.json`, a list of `{"id", "name", ...}`."""
    content = read_json(path)
    if not isinstance(content, list) or not all(isinstance(entry, dict) and "id" in entry for entry in content):
        raise ValueError(f'{path} must hold a list of {{"id": ..., "name": ...}}')
    return {
        whole_number(f"id of entry {place} in {path}", entry["id"]): text(
            f"name in entry {place} of {path}", entry["name"]
        )
        for place, entry in enumerate(content)
        if entry.get("name")
    }


def named_categories(names: list[str], known: dict[int, str]) -> list[str]:
    """
    The species in the place of the category numbers in label order, if every category has a name of its own; else the
    numbers.
    """
    found = [known.get(label, "") for label in range(len(names))]
    return found if all(found) and len(set(found)) == len(found) else names
