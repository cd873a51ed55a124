"""Local copies: folders of parquet files, folders of images, and folders written by `save_to_disk`."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .columns import numeric_order

# Words in a file or folder name that stand for a split; the same that `datasets` knows, but for "eval".
SPLIT_WORDS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing"),
}
_METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
IMAGE_EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm")


def load_folder(path: Path) -> dict[str, Any]:
    """
    The splits of a local folder.

    Args:
        path (`Path`): A parquet file; a folder of parquet files, whose split is a word of their name or folder
            (`train-00000-of-00001.parquet`, `cifar_test.parquet`, `test/0.parquet`; without such a word: `train`); a
            folder of images, one folder per class, maybe under `train/`, `validation/` and `test/`, or with a
            `metadata.csv` as `imagefolder` reads it; or a folder written by `save_to_disk`.

    Returns:
        `dict[str, datasets.Dataset]`: `train` always.

    Raises:
        `FileNotFoundError`: if it holds none of these.
        `ValueError`: for a folder without training split, or whose class folders have no single reading.
    """
    from datasets import load_dataset

    if path.is_file():
        if path.suffix != ".parquet":
            raise ValueError(f"{path} is a file, but only a parquet file or a folder can be loaded")
        return {"train": load_dataset("parquet", data_files=str(path), split="train")}
    if (path / "dataset_dict.json").is_file() or (path / "state.json").is_file():
        from datasets import DatasetDict, load_from_disk

        loaded = load_from_disk(str(path))
        return _require_train(dict(loaded) if isinstance(loaded, DatasetDict) else {"train": loaded}, path)
    parquet = [
        file
        for file in sorted(path.rglob("*.parquet"))
        if file.name not in _METADATA and not any(part.startswith(".") for part in file.relative_to(path).parts)
    ]
    if parquet:
        files: dict[str, list[str]] = {}
        for file in parquet:
            files.setdefault(split_of(file.relative_to(path)), []).append(str(file))
        return dict(load_dataset("parquet", data_files=_require_train(files, path)))
    if any(True for name in _METADATA for _ in path.rglob(name)):
        return _require_train(dict(load_dataset("imagefolder", data_dir=str(path))), path)
    return _image_folders(path)


def split_of(file: Path) -> str:
    """
    The split that a relative path names, by its file name first and its folders after; `train` if it names none.

    Raises:
        `ValueError`: for a name with the words of two splits.
    """
    for part in (file.stem, *reversed(file.parts[:-1])):
        words = set(re.split(r"[^a-z]+", part.lower()))
        found = [split for split, spellings in SPLIT_WORDS.items() if words & set(spellings)]
        if len(found) > 1:
            raise ValueError(f"{file} could belong to the splits {' and '.join(found)}; rename it")
        if found:
            return found[0]
    return "train"


def _require_train(splits: dict[str, Any], path: Path) -> dict[str, Any]:
    if "train" not in splits:
        raise ValueError(f"{path} has the splits {', '.join(splits)}, but no training split")
    return splits


def _image_folders(path: Path) -> dict[str, Any]:
    splits = {}
    for name, spellings in SPLIT_WORDS.items():
        for folder in sorted(path.iterdir()):
            if folder.is_dir() and folder.name.lower() in spellings and _class_folders(folder):
                splits[name] = folder
    if not splits:
        splits = {"train": path}
    found = {name for folder in _require_train(splits, path).values() for name in _class_folders(folder)}
    if not found:
        raise FileNotFoundError(
            f"{path} holds neither parquet files nor class folders with images (expected {path}/<class>/<image> or "
            f"{path}/train/<class>/<image>)"
        )
    names = sorted(found)
    ordered = numeric_order(names)
    if ordered != names:
        warnings.warn(
            f"The class folders of {path} are numbers: they are put into numeric order ({', '.join(ordered[:4])}, "
            "...), where torchvision and the imagefolder of `datasets` sort them as strings "
            f"({', '.join(names[:4])}, ...). Lists and checkpoints made in that order do not fit.",
            stacklevel=5,
        )
    return {name: _image_folder(folder, ordered) for name, folder in splits.items()}


def _class_folders(path: Path) -> list[str]:
    """Names of the sub-folders that hold an image somewhere."""
    with os.scandir(path) as entries:
        folders = [entry for entry in entries if entry.is_dir() and not entry.name.startswith(".")]
    return [entry.name for entry in folders if next(_images(entry.path), None) is not None]


def _images(path: str) -> Iterator[str]:
    for folder, folders, files in os.walk(path, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for file in sorted(files):
            if not file.startswith(".") and file.lower().endswith(IMAGE_EXTENSIONS):
                yield os.path.join(folder, file)


def _image_folder(path: Path, names: list[str]) -> Any:
    """
    One split from class folders; rows by class, then by file name. `datasets`' own imagefolder reads every file at
    every start (0.9 ms each: minutes for a large set) and sorts numbers as strings.
    """
    from datasets import ClassLabel, Dataset, Features, Image

    paths: list[str] = []
    labels: list[int] = []
    for label, name in enumerate(names):
        folder = str(path / name)
        if not os.path.isdir(folder):
            continue
        files = list(_images(folder))
        nested = next((file for file in files if os.path.dirname(file) != folder), None)
        if nested is not None:
            raise ValueError(
                f"{nested} lies more than one folder below {path}, so its class could be {name!r} or "
                f"{os.path.basename(os.path.dirname(nested))!r}. Images must lie directly in the folder of their "
                "class."
            )
        paths += files
        labels += [label] * len(files)
    features = Features({"image": Image(), "label": ClassLabel(names=names)})
    return Dataset.from_dict({"image": paths, "label": labels}, features=features)
