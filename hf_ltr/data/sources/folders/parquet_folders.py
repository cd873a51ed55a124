"""Folders of parquet files: their configurations and splits, by the dataset's card where it says so, else by names."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
from datasets.exceptions import DatasetGenerationError

from ....validation import choice
from ..source_options import SourceOptions
from ..split_names import SPLITS, assign_splits, given_name, is_split_word, meanings
from .card_configs import (
    card_configurations,
    choose_configuration,
    configuration_files,
    configuration_folder,
    several_configurations,
)

_TOP = "."


def parquet_splits(
    root: Path, files: Sequence[str], options: SourceOptions, only: Collection[str] | None = None
) -> dict[str, Any]:
    """
    The splits of a folder of parquet files, given relative to `root`.

    The dataset's card (`configs` in the front matter of README.md) says which files belong to which split; without it
    file and folder names do: `train-00000-of-00001.parquet`, `cifar_test.parquet`, `test/0.parquet`. A configuration
    is one of the card, or a folder with files of its own. Without `only`, the splits to load, there must be `train`.

    Raises:
        `ValueError`: for several configurations without a choice, splits that are not plain, a training split that is
            missing or empty, and files that cannot be read.
    """
    configurations = card_configurations(root)
    if configurations:
        configuration = choose_configuration(configurations, options.dataset_config, root)
        if configuration.get("data_files"):
            found = configuration_files(root, configuration)
            other = next((file for own in found.values() for file in own if not _is_parquet(file)), None)
            if other is not None:
                raise ValueError(
                    f"The card of {root} takes files that are no parquet, such as {other}. Give the folder of one "
                    "kind of files, or labels_from='folders' for images in class folders"
                )
            assigned = assign_splits(found, options.splits, root, needs_train=only is None)
            return load_parquet(_merged(assigned, found, only), root)
        below = configuration_folder(root, configuration)
        files = [file for file in files if (root / file).is_relative_to(below)]
        if not files:
            raise FileNotFoundError(f"The card of {root} names the folder {below}, which holds no parquet file")
    else:
        files = _of_configuration(files, options.dataset_config, root)
    found = {}
    for file in files:
        found.setdefault(given_name(Path(file)), []).append(file)
    if not any(meanings(name) for name in found) and "" in found and len(found) > 1:
        raise ValueError(
            f"{root} has parquet files whose names do not belong together: {', '.join(sorted(files)[:5])}. Keep those "
            "of one dataset in the folder, or name them by their splits"
        )
    # As `push_to_hub` writes them: the name is that of a split, and says more than a file's.
    declared = any(re.fullmatch(r"data/.+-\d{5}-of-\d{5}.*\.parquet", Path(file).as_posix()) for file in files)
    try:
        assigned = assign_splits(found, options.splits, root, needs_train=only is None, declared=declared)
    except ValueError as error:
        both = next((name for name in found if len(meanings(name)) > 1), None)
        if both is None or options.splits is not None:
            raise
        two = " and ".join(split for split in SPLITS if split in meanings(both))
        raise ValueError(f"{root / found[both][0]} could belong to the splits {two}: {error}") from None
    return load_parquet(_merged(assigned, found, only), root)


def _merged(
    assigned: Mapping[str, list[str]], files: Mapping[str, list[str]], only: Collection[str] | None
) -> dict[str, list[str]]:
    return {
        split: [file for name in names for file in sorted(files[name])]
        for split, names in assigned.items()
        if only is None or split in only
    }


def _is_parquet(file: str) -> bool:
    return file.lower().endswith(".parquet")


def _of_configuration(files: Sequence[str], dataset_config: str | None, root: Path) -> list[str]:
    """Files of one folder, apart from folders that are splits or `data`, are one dataset."""
    groups: dict[str, list[str]] = {}
    for file in files:
        folders = [part for part in Path(file).parts[:-1] if part != "data" and not is_split_word(part)]
        # A folder that gives a split its name (`birds_train/0.parquet`) is no configuration.
        if folders and folders[-1] == given_name(Path(file), pieces=False):
            folders.pop()
        groups.setdefault("/".join(folders) or _TOP, []).append(file)
    if dataset_config is not None:
        return groups[choice(f"dataset_config of {root}", dataset_config, groups)]
    if len(groups) > 1:
        raise several_configurations(sorted(groups), root)
    return list(files)


def holds_images(file: str | Path) -> bool:
    """Whether a parquet file has a column of bytes or of `{bytes, path}`, in which images may be; paths are none."""
    for field in footer(str(file)).schema.to_arrow_schema():
        kind = field.type
        if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
            return True
        if pa.types.is_struct(kind) and "bytes" in {kind.field(index).name for index in range(kind.num_fields)}:
            return True
    return False


def load_parquet(files_of_split: Mapping[str, list[str]], path: Path) -> dict[str, Any]:
    """
    Each split by a call of its own, so that they may have other columns; a split without rows is left out.

    Raises:
        `ValueError`: for a training split without rows, and for files that cannot be read or have other columns.
    """
    splits = {}
    for split, relative in files_of_split.items():
        files = [str(path / file) for file in relative]
        footers = {file: footer(file) for file in files}
        columns = {file: set(found.schema.to_arrow_schema().names) for file, found in footers.items()}
        first = next(iter(columns))
        for file, names in columns.items():
            if names != columns[first]:
                raise ValueError(
                    f"The {split} files of {path} have other columns: {', '.join(sorted(columns[first]))} in "
                    f"{os.path.relpath(first, path)}, but {', '.join(sorted(names))} in {os.path.relpath(file, path)}"
                )
        # `datasets` cannot read a file without rows.
        files = [file for file, found in footers.items() if found.num_rows]
        if not files and split == "train":
            raise ValueError(f"The training split of {path} has no rows")
        if files:
            try:
                splits[split] = datasets.load_dataset("parquet", data_files={split: files}, split=split)
            except DatasetGenerationError as error:
                cause = " ".join(str(error.__cause__ or error).split())
                raise ValueError(f"The {split} files of {path} cannot be read: {cause}") from error
    return splits


def footer(file: str) -> Any:
    """The metadata of a parquet file; what is none is refused."""
    try:
        return pq.read_metadata(file)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(
            f"{file} ({os.path.getsize(file):,} bytes) cannot be read as parquet: {error} A download that stopped, or "
            "a pointer of Git LFS (then `git lfs pull`)?"
        ) from error
