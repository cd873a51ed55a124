"""Local copies: folders of parquet files, folders of images, and folders written by `save_to_disk`."""

from __future__ import annotations

import os
import re
import unicodedata
import warnings
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from .columns import numeric_order
from .prepared import is_prepared, require_finished, with_records

# Words in a file or folder name that stand for a split; the same that `datasets` knows, but for "eval".
SPLIT_WORDS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing"),
}
IMAGE_EXTENSIONS = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm", ".jp2", ".avif"),
)
_METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")

# File names by folder; a folder is the tuple of its parts below the root.
Listing = Mapping[tuple[str, ...], list[str]]


def load_folder(path: Path, only: Collection[str] | None = None) -> dict[str, Any]:
    """
    The splits of a local folder.

    Args:
        path (`Path`): A parquet file; a folder of parquet files, whose split is a word of their name or folder
            (`train-00000-of-00001.parquet`, `cifar_test.parquet`, `test/0.parquet`; without such a word: `train`); a
            folder of images, one folder per class, maybe under `train/`, `validation/` and `test/`, or with a
            `metadata.csv` as `imagefolder` reads it; or a folder written by `save_to_disk` or `hf-ltr prepare`. Hidden
            files are left out everywhere.
        only (collection of `str`, *optional*): Splits to load; by default all of them, and `train` must be there.

    Returns:
        `dict[str, datasets.Dataset]`

    Raises:
        `FileNotFoundError`: if it holds none of these.
        `ValueError`: for a folder without training split, or whose class folders have no single reading, and for a
            parquet file that cannot be read.
    """
    from datasets import DatasetDict, load_dataset, load_from_disk

    if path.is_file():
        if path.suffix.lower() != ".parquet":
            raise ValueError(f"{path} is a file, but only a parquet file or a folder can be loaded")
        return _load_parquet({"train": [str(path)]}, path)
    if (path / "dataset_dict.json").is_file() or (path / "state.json").is_file():
        loaded = load_from_disk(str(path))
        splits = standard_splits(loaded, path) if isinstance(loaded, DatasetDict) else {"train": loaded}
        return _wanted(splits, only, path)
    require_finished(path)
    listing = _list_files(path)
    parquet: dict[str, list[str]] = {}
    for folder, names in listing.items():
        for name in names:
            if name.lower().endswith(".parquet") and name not in _METADATA:
                parquet.setdefault(split_of(Path(*folder, name)), []).append(str(path.joinpath(*folder, name)))
    if parquet:
        splits = _load_parquet(_wanted(parquet, only, path), path)
        return with_records(path, splits) if is_prepared(path) else splits
    if any(name in _METADATA for names in listing.values() for name in names):
        return _wanted(dict(load_dataset("imagefolder", data_dir=str(path))), only, path)
    return _image_folders(path, listing, only)


def standard_splits(splits: Mapping[str, Any], where: Any) -> dict[str, Any]:
    """
    `splits` under the names train, validation and test; any others stay as they are.

    Raises:
        `ValueError`: if two of them mean the same.
    """
    standard: dict[str, Any] = {}
    for given, split in splits.items():
        name = next((name for name, spellings in SPLIT_WORDS.items() if given.lower() in spellings), given)
        if name in standard:
            raise ValueError(f"{where} has the splits {', '.join(splits)}, of which two mean {name}")
        standard[name] = split
    return standard


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


def _load_parquet(files_of_split: Mapping[str, list[str]], path: Path) -> dict[str, Any]:
    """Each split by a call of its own, so that they may have other columns; a split without rows is left out."""
    from datasets import load_dataset
    from datasets.exceptions import DatasetGenerationError

    splits = {}
    for split, files in files_of_split.items():
        footers = {file: _footer(file) for file in sorted(files)}
        columns = {file: set(footer.schema.to_arrow_schema().names) for file, footer in footers.items()}
        first = next(iter(columns))
        for file, names in columns.items():
            if names != columns[first]:
                raise ValueError(
                    f"The {split} files of {path} have other columns: {', '.join(sorted(columns[first]))} in "
                    f"{os.path.relpath(first, path)}, but {', '.join(sorted(names))} in {os.path.relpath(file, path)}"
                )
        # `datasets` cannot read a file without rows.
        files = [file for file, footer in footers.items() if footer.num_rows]
        if not files and split == "train":
            raise ValueError(f"The training split of {path} has no rows")
        if files:
            try:
                splits[split] = load_dataset("parquet", data_files={split: files}, split=split)
            except DatasetGenerationError as error:
                cause = " ".join(str(error.__cause__ or error).split())
                raise ValueError(f"The {split} files of {path} cannot be read: {cause}") from error
    return splits


def _footer(file: str) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_metadata(file)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(
            f"{file} ({os.path.getsize(file):,} bytes) cannot be read as parquet: {error} A download that stopped, or "
            "a pointer of Git LFS (then `git lfs pull`)?"
        ) from error


def _wanted(splits: Mapping[str, Any], only: Collection[str] | None, path: Path) -> dict[str, Any]:
    if only is not None:
        return {name: split for name, split in splits.items() if name in only}
    if "train" not in splits:
        raise ValueError(f"{path} has the splits {', '.join(splits)}, but no training split")
    return dict(splits)


def _list_files(root: Path) -> dict[tuple[str, ...], list[str]]:
    """All files but hidden ones, through links to folders; a link to a folder above itself is not followed."""
    listing: dict[tuple[str, ...], list[str]] = {}
    for folder, folders, files in os.walk(root, followlinks=True):
        here = os.path.realpath(folder)
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".")
            and not (os.path.islink(link := os.path.join(folder, name)) and _contains(os.path.realpath(link), here))
        )
        parts = Path(folder).relative_to(root).parts
        listing[parts] = sorted(name for name in files if not name.startswith("."))
    return listing


def _contains(outer: str, inner: str) -> bool:
    return os.path.commonpath([outer, inner]) == outer


def _image_folders(root: Path, listing: Listing, only: Collection[str] | None) -> dict[str, Any]:
    images = {
        folder: found
        for folder, names in listing.items()
        if (found := [name for name in names if name.lower().endswith(IMAGE_EXTENSIONS)])
    }
    tops = sorted({folder[0] for folder in images if len(folder) > 1})
    spelled = {top: (top,) for top in tops if _is_split_word(top)}
    bases = standard_splits(spelled, root) if spelled else {"train": ()}
    wanted = _wanted(bases, only, root)
    # The classes are those of all splits, whichever are wanted.
    classes = {split: _classes_below(root, base, images) for split, base in bases.items()}
    names = sorted(set().union(*classes.values()))
    if not names:
        raise FileNotFoundError(_nothing_found(root, listing, images))
    if not spelled:
        _check_split_words(root, names)
    _warn_of_the_rest(root, listing, images, bases, names)
    without = sorted(set(names) - set(classes.get("train", names)))
    if without:
        warnings.warn(
            f"{root} has no training image of {len(without)} classes that its other splits have: {_some(without)}.",
            stacklevel=5,
        )
    ordered = numeric_order(names)
    if ordered != names:
        warnings.warn(
            f"The class folders of {root} are numbers: they are put into numeric order ({', '.join(ordered[:4])}, "
            "...), where torchvision and the imagefolder of `datasets` sort them as strings "
            f"({', '.join(names[:4])}, ...). Lists and checkpoints made in that order do not fit.",
            stacklevel=5,
        )
    return {split: _image_split(classes[split], ordered) for split in wanted}


def _is_split_word(name: str) -> bool:
    return any(name.lower() in spellings for spellings in SPLIT_WORDS.values())


def _check_split_words(root: Path, names: list[str]) -> None:
    """`train/<image>` without classes must not become a class "train"; but vehicles are bus, car and train."""
    words = [name for name in names if _is_split_word(name)]
    if words == names:
        raise ValueError(
            f"{root} has images directly in {', '.join(f'{name}/' for name in names)}, so they have no classes "
            f"(expected {root}/{names[-1]}/<class>/<image>)"
        )
    if words:
        warnings.warn(f"The folders {', '.join(words)} of {root} are taken for classes, not for splits.", stacklevel=6)


def _classes_below(root: Path, base: tuple[str, ...], images: Listing) -> dict[str, list[str]]:
    """Image files by class name. The names are normalised, since macOS decomposes accents and Linux does not."""
    classes: dict[str, list[str]] = {}
    for folder, names in images.items():
        if folder[: len(base)] != base or len(folder) == len(base):
            continue
        if len(folder) > len(base) + 1:
            raise ValueError(
                f"{root.joinpath(*folder, names[0])} lies more than one folder below {root.joinpath(*base)}, so its "
                f"class could be {folder[len(base)]!r} or {folder[-1]!r}. Images must lie directly in the folder of "
                "their class."
            )
        name = unicodedata.normalize("NFC", folder[-1])
        classes.setdefault(name, []).extend(os.path.join(root, *folder, file) for file in names)
    return classes


def _nothing_found(root: Path, listing: Listing, images: Listing) -> str:
    expected = f"expected {root}/<class>/<image> or {root}/train/<class>/<image>"
    if images:
        folder, names = next(iter(images.items()))
        example = root.joinpath(*folder, names[0])
        return f"{root} has images but no classes: {example} lies in no class folder ({expected})"
    kinds = sorted({os.path.splitext(name)[1].lower() or name for names in listing.values() for name in names})
    return (
        f"{root} holds neither parquet files nor class folders with images ({expected}; images end in "
        f"{', '.join(IMAGE_EXTENSIONS)}). It holds {'files ending in ' + _some(kinds) if kinds else 'no files'}."
    )


def _warn_of_the_rest(
    root: Path, listing: Listing, images: Listing, bases: Mapping[str, tuple[str, ...]], names: Collection[str]
) -> None:
    """Say what was left out: class folders without an image, and images that lie in no class folder."""
    of_a_class = {folder for folder in listing if folder and folder[:-1] in bases.values()}
    filled = {folder[:size] for folder in images for size in range(len(folder) + 1)}
    empty = sorted(
        {"/".join(folder) for folder in of_a_class - filled if unicodedata.normalize("NFC", folder[-1]) not in names}
        - set(bases.values())
    )
    if empty:
        warnings.warn(f"{root} has folders without an image, which become no class: {_some(empty)}.", stacklevel=6)
    outside = [os.path.join(*folder, files[0]) for folder, files in images.items() if folder not in of_a_class]
    number = sum(len(files) for folder, files in images.items() if folder not in of_a_class)
    if outside:
        warnings.warn(
            f"{number} images of {root} lie in no class folder and are left out, such as {outside[0]}.", stacklevel=6
        )


def _some(names: list[str]) -> str:
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")


def _image_split(classes: Mapping[str, list[str]], names: list[str]) -> Any:
    """
    One split; rows by class, then by file name. `datasets`' own imagefolder reads every file at every start (0.9 ms
    each: minutes for a large set) and sorts numbers as strings.
    """
    from datasets import ClassLabel, Dataset, Features, Image

    paths: list[str] = []
    labels: list[int] = []
    for label, name in enumerate(names):
        paths += classes.get(name, [])
        labels += [label] * len(classes.get(name, []))
    features = Features({"image": Image(), "label": ClassLabel(names=names)})
    return Dataset.from_dict({"image": paths, "label": labels}, features=features)
