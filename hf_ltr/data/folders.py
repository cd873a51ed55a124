"""Local copies: folders of parquet files and folders of images."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

SPLIT_FOLDERS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing"),
}
_METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")


def load_folder(path: Path) -> dict[str, Any]:
    """
    The splits of a local folder.

    Args:
        path (`Path`): A parquet file, a folder of parquet files (`train-*.parquet`, ...), or a folder of images: one
            folder per class, maybe under `train/`, `validation/` and `test/`.

    Returns:
        `dict[str, datasets.Dataset]`

    Raises:
        `FileNotFoundError`: if it holds neither.
    """
    from datasets import load_dataset

    if path.is_file() and path.suffix == ".parquet":
        return {"train": load_dataset("parquet", data_files=str(path), split="train")}
    parquet = sorted(path.rglob("*.parquet"))
    if parquet and not any((path / name) in parquet for name in _METADATA):
        files = _files_by_split(parquet)
        return dict(
            load_dataset("parquet", data_files={name: [str(f) for f in found] for name, found in files.items()})
        )
    if (path / "dataset_dict.json").is_file() or (path / "dataset_info.json").is_file():
        from datasets import DatasetDict, load_from_disk

        loaded = load_from_disk(str(path))
        return dict(loaded) if isinstance(loaded, DatasetDict) else {"train": loaded}
    if any(True for name in _METADATA for _ in path.rglob(name)):
        return dict(load_dataset("imagefolder", data_dir=str(path)))
    splits = {
        name: folder
        for name, spellings in SPLIT_FOLDERS.items()
        for folder in (path / spelling for spelling in spellings)
        if folder.is_dir() and _class_folders(folder)
    }
    if "train" not in splits:
        splits = {"train": path}
    names = sorted({name for folder in splits.values() for name in _class_folders(folder)})
    if not names:
        raise FileNotFoundError(
            f"{path} holds neither parquet files nor class folders with images (expected {path}/<class>/<image> or "
            f"{path}/train/<class>/<image>)"
        )
    from .columns import numeric_order

    names = numeric_order(names)
    return {name: _image_folder(folder, names) for name, folder in splits.items()}


def _files_by_split(files: list[Path]) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for file in files:
        stem = file.stem.lower()
        split = next(
            (
                name
                for name, spellings in SPLIT_FOLDERS.items()
                for spelling in spellings
                if stem == spelling
                or stem.startswith((f"{spelling}-", f"{spelling}_"))
                or file.parent.name == spelling
            ),
            "train",
        )
        found.setdefault(split, []).append(file)
    if "train" not in found:
        raise FileNotFoundError(
            f"{files[0].parent} has the splits {', '.join(found)} but no training split (train-*.parquet)"
        )
    return found


def _class_folders(path: Path) -> list[str]:
    """Names of the sub-folders that hold an image somewhere."""
    with os.scandir(path) as entries:
        folders = [entry for entry in entries if entry.is_dir() and not entry.name.startswith(".")]
    return [entry.name for entry in folders if next(_images(entry.path), None) is not None]


def _images(path: str) -> Any:
    extensions = _extensions()
    for folder, folders, files in os.walk(path):
        folders.sort()
        for file in sorted(files):
            if not file.startswith(".") and os.path.splitext(file)[1].lower() in extensions:
                yield os.path.join(folder, file)


def _extensions() -> set[str]:
    from PIL import Image

    return set(Image.registered_extensions())


def _image_folder(path: Path, names: list[str]) -> Any:
    """
    One split from class folders. `datasets`' own imagefolder reads every file when it starts (0.9 ms each: minutes for
    a large set) and sorts numbers as strings.
    """
    from datasets import ClassLabel, Dataset, Features, Image

    paths: list[str] = []
    labels: list[int] = []
    for label, name in enumerate(names):
        if not (path / name).is_dir():
            continue
        before = len(paths)
        paths += _images(str(path / name))
        labels += [label] * (len(paths) - before)
    features = Features({"image": Image(), "label": ClassLabel(names=names)})
    return Dataset.from_dict({"image": paths, "label": labels}, features=features)
