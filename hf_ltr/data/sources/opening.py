"""From a name, a Hub id or a folder to the splits of a dataset, as they are there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets

from ..class_counts import class_counts
from .digits import load_digits_splits
from .folders.layouts import load_folder, standard_splits
from .lists.listed import open_listed, require_official
from .lists.listed_datasets import LISTED
from .prepared import is_prepared
from .source_names import BENCHMARKS, check_source, meant_dataset
from .source_options import SourceOptions


def open_source(
    name: str,
    options: SourceOptions,
    data_dir: str | Path | None = None,
    list_dir: str | Path | None = None,
    check_lists: bool = True,
    check_images: bool = True,
) -> tuple[dict[str, Any], Path | None]:
    """
    The splits of a dataset under the names train, validation and test, and the local folder they are from, if it is
    one. Arguments as in [`load_long_tailed`].
    """
    if name in LISTED or (name == "digits" and data_dir is None):
        options.refuse_folder_options(name)
        source, folder = _open_named(name, data_dir, list_dir, check_lists, check_images)
        return (standard_splits(source, name, options.splits) if options.splits else source), folder
    check_source(name, data_dir)
    if data_dir is not None:
        path = Path(data_dir).expanduser()
        source = load_folder(path, options)
        if name in BENCHMARKS and "test" not in source:
            whole = path.resolve().parent / name
            if whole.is_dir() and whole != path.resolve():
                source.update(load_folder(whole, only=("test",)))
        return source, path
    if name in BENCHMARKS:
        alternative = f"load_long_tailed({name!r}, data_dir=<folder with its parquet files>)"
        return _from_hub(BENCHMARKS[name].hub_id, alternative, options), None
    path = Path(name).expanduser()
    if path.exists():
        return load_folder(path, options), path
    alternative = f"load_long_tailed({name!r}, data_dir=<folder>)"
    try:
        return _from_hub(name, alternative, options), None
    except ConnectionError as error:
        raise FileNotFoundError(
            f"There is no folder {name!r} here.{meant_dataset(path.name)} As a Hub id: {error}"
        ) from error


def _open_named(
    name: str, data_dir: str | Path | None, list_dir: str | Path | None, check_lists: bool, check_images: bool
) -> tuple[dict[str, Any], Path | None]:
    if name == "digits":
        return load_digits_splits(), None
    path = Path(data_dir).expanduser() if data_dir is not None else None
    if path is not None and is_prepared(path) and list_dir is None:
        source = load_folder(path)
        if check_lists:
            require_official(name, {split: class_counts(part) for split, part in source.items()}, path)
        return source, path
    return open_listed(name, data_dir, list_dir, check_lists, check_images), None


def _from_hub(hub_id: str, alternative: str, options: SourceOptions) -> dict[str, Any]:
    options.refuse_labels_from(hub_id)
    repository, _, configuration = hub_id.partition(":")
    if configuration and options.dataset_config not in (None, configuration):
        raise ValueError(f"{hub_id} names a configuration, and dataset_config={options.dataset_config!r} another")
    try:
        loaded = dict(datasets.load_dataset(repository, configuration or options.dataset_config))
    except Exception as error:
        if isinstance(error, ValueError) and "onfig name is missing" in str(error):
            raise ValueError(
                f"{repository}: {error}. Choose it with dataset_config=<name>, or {repository}:<name>"
            ) from error
        # Not there, no network, no permission, a full disk; anything else says it better itself.
        if not isinstance(error, OSError) and not type(error).__module__.startswith(("httpx", "huggingface_hub")):
            raise
        raise ConnectionError(
            f"{repository} could not be loaded from the Hugging Face Hub ({type(error).__name__}: {error}). Without a "
            f"network, download it where there is one (`hf download --repo-type dataset {repository} --local-dir "
            f"<folder>`) and use the local copy: {alternative}."
        ) from error
    return standard_splits(loaded, repository, options.splits)
