"""Listed datasets from the user's own copies: list files and a folder of images."""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
from datasets import ClassLabel, Dataset, DatasetInfo, Features, Image
from datasets.table import InMemoryTable

from ...class_counts import ClassCounts
from ...labels import MOST_UNNAMED_CLASSES
from .class_order import class_names, require_counts, require_distinct, require_labels, require_sorted
from .coco_lists import named_categories, read_annotations, read_categories
from .image_tree import in_their_layout, require_images
from .list_rows import Rows
from .listed_datasets import LISTED, ListedDataset
from .split_lists import (
    OfficialList,
    find_list,
    identify,
    not_official,
    official_counts,
    official_lists,
    parse_list,
    read_text,
)


def open_listed(
    name: str,
    data_dir: str | Path | None,
    list_dir: str | Path | None = None,
    check_lists: bool = True,
    check_images: bool = True,
) -> dict[str, Any]:
    """
    The splits of a listed dataset, images in place: opened when they are decoded, not before. Columns `image` and
    `label`, rows in the order of the lists; arguments as in [`load_long_tailed`].

    Raises:
        `FileNotFoundError`: for missing lists or images, naming what is needed and where it is published.
        `ValueError`: for other lists than the published ones, for a class order that is not proved, and for paths that
            leave `data_dir` (also with `check_lists=False`).
    """
    spec = LISTED[name]
    if data_dir is None:
        raise FileNotFoundError(
            f"{name} is read from your own copy: give data_dir=<folder>. {spec.images} {_needed(spec)}"
        )
    root = Path(data_dir).expanduser()
    if not root.is_dir():
        raise FileNotFoundError(f"data_dir={str(data_dir)!r} is no folder. {spec.images} {_needed(spec)}")
    if list_dir is not None and not Path(list_dir).expanduser().is_dir():
        raise FileNotFoundError(f"list_dir={str(list_dir)!r} is no folder. {_needed(spec)}")
    places = [Path(list_dir).expanduser()] if list_dir is not None else [root, *_below(root, spec)]
    splits: dict[str, Rows] = {}
    species: dict[int, str] = {}
    for split in spec.lists:
        splits[split], found = _read_split(spec, split, places, root, check_lists)
        # Also of lists that are taken unchecked: whose paths they are is nobody's choice but the owner's.
        splits[split].require_inside()
        species.update(found)
    return _as_datasets(spec, splits, species, root, places, check_lists, check_images)


def _below(root: Path, spec: ListedDataset) -> Iterator[Path]:
    for folder in ("lists", *spec.folders, "annotations"):
        if (root / folder).is_dir():
            yield root / folder


def require_official(name: str, counts: Mapping[str, ClassCounts], where: Any) -> None:
    """Refuse a prepared copy, which has no lists any more, by its rows per class and the order of its class names."""
    spec = LISTED[name]
    for split in spec.lists:
        found, expected = counts.get(split), _expected_counts(spec, split)
        if found is None or found.counts != expected.counts:
            raise ValueError(
                f"{where} is no copy of {name}: its {split} split "
                + (
                    "is missing"
                    if found is None
                    else f"has {found.total:,} images of {len(found)} classes, not those of the published one "
                    f"({expected.total:,} of {len(expected)})"
                )
                + ". check_lists=False takes it all the same, as does giving the folder in the place of the name."
            )
        if spec.sorted_classes and found.names is not None:
            require_sorted(found.names, str(where))


def _published(spec: ListedDataset, split: str) -> list[OfficialList]:
    """The published lists of a split."""
    return [official_lists()[name] for name in spec.lists[split]]


def _expected_counts(spec: ListedDataset, split: str) -> ClassCounts:
    """Rows per class of a split."""
    if split == "train":
        return official_counts(spec.name)
    known = _published(spec, split)[0]
    return ClassCounts([known.max] * known.classes)


def _needed(spec: ListedDataset) -> str:
    lists = "; ".join(f"{names[0]}.txt or .txt.gz ({official_lists()[names[0]].url})" for names in spec.lists.values())
    other = f"; or in their place {' and '.join(spec.annotations.values())}" if spec.annotations else ""
    return f"Its lists, in data_dir, data_dir/lists or list_dir=<folder>: {lists}{other}."


def _read_split(
    spec: ListedDataset, split: str, places: list[Path], root: Path, check_lists: bool
) -> tuple[Rows, dict[int, str]]:
    """(rows, names of categories)"""
    candidates = _published(spec, split)
    path = find_list(places, spec.lists[split])
    if path is None:
        annotations = spec.annotations.get(split)
        file = next((place / annotations for place in places if annotations and (place / annotations).is_file()), None)
        if file is None:
            looked = ", ".join(map(str, places))
            raise FileNotFoundError(f"{spec.name} has no {split} list in {looked}. {_needed(spec)} {spec.images}")
        return read_annotations(file)
    text = read_text(path)
    known = identify(text, candidates)
    if known is None:
        problem = not_official(path, text, candidates)
        if check_lists:
            raise ValueError(f"{problem}. check_lists=False (`hf-ltr prepare --any_lists`) takes it.")
        warnings.warn(f"{problem}.", stacklevel=5)
    return replace(parse_list(text, path), official=known is not None), {}


def _as_datasets(
    spec: ListedDataset,
    splits: dict[str, Rows],
    species: dict[int, str],
    root: Path,
    places: list[Path],
    check_lists: bool,
    check_images: bool,
) -> dict[str, Any]:
    for rows in splits.values():
        require_labels(rows, len(official_counts(spec.name)) if check_lists else MOST_UNNAMED_CLASSES, spec.name)
    names = class_names(splits, spec.class_of_folder, spec.label_of_class)
    for split, rows in splits.items():
        if check_lists:
            require_counts(rows, _expected_counts(spec, split), f"the official {spec.name} {split} split")
    if spec.sorted_classes:
        require_sorted(names, str(splits["train"].file))
    if not all(rows.official for rows in splits.values()):
        require_distinct(splits)
    splits = {split: in_their_layout(root, rows, spec.layouts) for split, rows in splits.items()}
    if check_images:
        require_images(root, splits, spec.images)
    if spec.annotations:
        names = _species(names, species, places)
    return {split: _dataset(rows, root, names) for split, rows in splits.items()}


def _species(names: list[str], species: dict[int, str], places: list[Path]) -> list[str]:
    file = next((place / "categories.json" for place in places if (place / "categories.json").is_file()), None)
    return named_categories(names, species if file is None else read_categories(file))


def _dataset(rows: Rows, root: Path, names: list[str]) -> Any:
    """Built in Arrow; no file is touched."""
    prefix = os.path.join(os.path.abspath(root), "")
    paths = rows.paths(prefix)
    image = pa.StructArray.from_arrays([pa.nulls(len(rows), pa.binary()), paths], ["bytes", "path"])
    features = Features({"image": Image(), "label": ClassLabel(names=names)})
    table = pa.table({"image": image, "label": pa.array(rows.labels)})
    # What `datasets` would make of the table itself, by pickling all of it.
    fingerprint = hashlib.sha256(json.dumps(names).encode())
    for buffer in (*paths.buffers(), rows.labels):
        fingerprint.update(b"" if buffer is None else buffer)
    info = DatasetInfo(features=features)
    return Dataset(InMemoryTable(table), info=info, fingerprint=fingerprint.hexdigest()[:16])
