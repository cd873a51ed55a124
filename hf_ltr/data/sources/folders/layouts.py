"""Local copies: folders of parquet files, folders of images, and folders written by `save_to_disk`."""

from __future__ import annotations

import os
import warnings
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from datasets import DatasetDict, concatenate_datasets, load_from_disk

from ...arrow import arrow_column
from ..prepared import is_prepared, require_finished, with_records
from ..source_options import AS_IT_IS, SourceOptions
from ..split_names import SplitChoice, assign_splits, words
from .card_configs import card_configurations, choose_configuration, configuration_files, configuration_folder
from .class_folders import class_folder_splits, find_class_folders
from .label_columns import LABEL_WORDS
from .label_tables import has_tables
from .labelled_images import labelled_splits
from .parquet_folders import holds_images, load_parquet, parquet_splits
from .scan import Tree, scan

FOLDERS, PARQUET = "folders", "parquet"
_METADATA = "metadata.parquet"
_UNREAD_TABLES = (".xlsx", ".xls", ".ods", ".json", ".txt", ".mat")


def load_folder(path: Path, options: SourceOptions = AS_IT_IS, only: Collection[str] | None = None) -> dict[str, Any]:
    """
    The splits of a local folder.

    Args:
        path (`Path`): A parquet file; a folder of parquet files, whose splits its dataset card or their names say
            (see [`~hf_ltr.data.sources.folders.parquet_folders.parquet_splits`]); a folder of images, one folder per
            class, maybe under `train/`, `validation/` and `test/`, or with a table of their labels (see
            [`~hf_ltr.data.sources.folders.labelled_images.labelled_splits`]); or a folder written by `save_to_disk` or
            `hf-ltr prepare`. Hidden files are left out everywhere.
        options ([`SourceOptions`], *optional*): What the user says.
        only (collection of `str`, *optional*): Splits to load; by default all of them, and `train` must be there.

    Returns:
        `dict[str, datasets.Dataset]`

    Raises:
        `FileNotFoundError`: if it holds none of these.
        `ValueError`: for a folder without training split or without a single reading, and for a file that cannot be
            read.
    """
    config, labels_from = options.dataset_config, options.labels_from
    if path.is_file():
        return _one_file(path)
    if (path / "dataset_dict.json").is_file() or (path / "state.json").is_file():
        _refuse(path, "was written by save_to_disk", dataset_config=config, labels_from=labels_from)
        return _saved(path, only, options.splits)
    require_finished(path)
    tree = scan(path)
    files = _parquet_files(tree)
    wants_parquet = labels_from == PARQUET or (labels_from is None and _are_the_data(tree, files))
    if wants_parquet and files:
        _check_images_beside(tree, files, labels_from)
        rows = parquet_splits(path, files, options, only)
        return with_records(path, rows) if is_prepared(path) else rows
    if labels_from == PARQUET:
        raise FileNotFoundError(f"labels_from='parquet', but {path} holds no parquet file")
    in_card: dict[str, str] = {}
    if labels_from is None and options.splits is None:
        tree, in_card = _as_the_card_says(tree, config, only is None)
    else:
        _refuse(path, "is read by splits= or labels_from=, not by its card", dataset_config=config)
    loaded: dict[str, Any] | None = None
    if labels_from not in (None, FOLDERS) or (labels_from is None and tree.images and has_tables(tree)):
        loaded = labelled_splits(tree, options, needs_train=only is None)
    if loaded is None:
        loaded = _class_folders(tree, only, options.splits, labels_from == FOLDERS)
    if in_card:
        _check_card(loaded, in_card, path, options.image_column or "image")
    return _only(loaded, only)


def _as_the_card_says(tree: Tree, dataset_config: str | None, needs_train: bool) -> tuple[Tree, dict[str, str]]:
    """The files of a folder of images that belong to the configuration, and the split of each, if a card says it."""
    configurations = card_configurations(tree.root)
    if not configurations:
        _refuse(tree.root, "has no card with configurations", dataset_config=dataset_config)
        return tree, {}
    configuration = choose_configuration(configurations, dataset_config, tree.root)
    if not configuration.get("data_files"):
        return scan(configuration_folder(tree.root, configuration)), {}
    found = configuration_files(tree.root, configuration)
    assigned = assign_splits(found, None, tree.root, needs_train=needs_train)
    split_of = {
        Path(file).as_posix(): split for split, own in assigned.items() for name in own for file in found[name]
    }
    return tree.only(split_of), split_of


def _check_card(loaded: Mapping[str, Any], split_of: Mapping[str, str], root: Path, column: str) -> None:
    for split, part in loaded.items():
        for item in arrow_column(part, column).to_pylist():
            file = Path(os.path.relpath(item["path"], root)).as_posix()
            if split_of.get(file) != split:
                raise ValueError(
                    f"The card of {root} puts {file} into {split_of.get(file)}, but its folder or table says {split}. "
                    "Say which are train, validation and test with splits=, or give labels_from='folders' to read the "
                    "folders without the card"
                )


def standard_splits(loaded: Mapping[str, Any], where: Any, splits: SplitChoice | None = None) -> dict[str, Any]:
    """
    The splits of a dataset as train, validation and test, joined where the user says so.

    Raises:
        `ValueError`: see [`~hf_ltr.data.sources.split_names.assign_splits`].
    """
    assigned = assign_splits(list(loaded), splits, where)
    return {
        split: loaded[own[0]] if len(own) == 1 else concatenate_datasets([loaded[name] for name in own])
        for split, own in assigned.items()
    }


def _one_file(path: Path) -> dict[str, Any]:
    if path.suffix.lower() != ".parquet":
        raise ValueError(
            f"{path} is a file, but only a parquet file or a folder can be loaded. For a table of labels give the "
            "folder of the images, and labels_from=<the table>"
        )
    return load_parquet({"train": [path.name]}, path.parent)


def _saved(path: Path, only: Collection[str] | None, splits: SplitChoice | None) -> dict[str, Any]:
    loaded = load_from_disk(str(path))
    if not isinstance(loaded, DatasetDict):
        return _only({"train": loaded}, only)
    return _only(standard_splits(loaded, path, splits), only)


def _only(splits: Mapping[str, Any], only: Collection[str] | None) -> dict[str, Any]:
    return {name: split for name, split in splits.items() if only is None or name in only}


def _refuse(path: Path, what: str, **options: str | None) -> None:
    for name, value in options.items():
        if value is not None:
            raise ValueError(f"{name}={value!r} does not fit: {path} {what}")


def _parquet_files(tree: Tree) -> list[str]:
    """Relative paths; tables of labels among them, but for `metadata.parquet`."""
    return [
        os.path.join(*folder, name)
        for folder, names in tree.others.items()
        for name in names
        if name.lower().endswith(".parquet") and name.lower() != _METADATA
    ]


def _are_the_data(tree: Tree, files: list[str]) -> bool:
    """Whether parquet files are the dataset, and not tables about the images beside them."""
    return bool(files) and (not tree.images or any(holds_images(tree.root / file) for file in files))


def _check_images_beside(tree: Tree, files: list[str], labels_from: str | None) -> None:
    """Pictures of a dataset's card are no images of the dataset; class folders could be."""
    if not tree.images or labels_from == PARQUET:
        return
    number = sum(map(len, tree.images.values()))
    folders = {folder for folder in tree.images if folder}
    if len(folders) > 1:
        raise ValueError(
            f"{tree.root} holds parquet files with images, such as {files[0]}, and {number} images in {len(folders)} "
            "folders. Say which are the dataset with labels_from='parquet' or labels_from='folders'"
        )
    folder, names = next(iter(tree.images.items()))
    example = "/".join((*folder, names[0]))
    warnings.warn(
        f"{number} images of {tree.root} lie beside its parquet files and are left out, such as {example}.",
        stacklevel=4,
    )


def _class_folders(
    tree: Tree, only: Collection[str] | None, splits: SplitChoice | None, forced: bool
) -> dict[str, Any]:
    unread = [
        name
        for name in tree.others.get((), [])
        if name.lower().endswith(_UNREAD_TABLES) and set(words(name)) & LABEL_WORDS
    ]
    if unread and not forced:
        warnings.warn(
            f"{', '.join(unread)} beside the images of {tree.root} {'is' if len(unread) == 1 else 'are'} not read. If "
            "the labels stand there, save a table as CSV (labels_from= reads .txt and .json too); if not, "
            "labels_from='folders' says so.",
            stacklevel=4,
        )
    found = find_class_folders(tree, splits, forced=forced, needs_train=only is None)
    return class_folder_splits(found, only)
