"""Long-tailed datasets: named benchmarks, Hub ids, parquet folders and folders of images, by one function."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from datasets import DatasetDict

from ..validation import choice, number, whole_number
from . import splits as row_splits
from .arrow import arrow_column
from .class_counts import class_counts
from .labels import column_labels
from .record import POSITION_IDENTITY, SEEN, read_record, seen_rows, write_record
from .sources.columns import class_names, distinct_labels, find_columns, standardize
from .sources.folders.class_folders import unlabelled
from .sources.lists.listed_datasets import LISTED
from .sources.opening import open_source
from .sources.source_names import BENCHMARKS, DATASETS
from .sources.source_options import SourceOptions
from .sources.split_names import SPLITS, SplitChoice, leave_out, parse_splits

RECORD_VERSION = 1
# So many rows of one class are hardly a test set of several.
_MANY_ALIKE = 20
__all__ = ["DATASETS", "load_long_tailed"]


def load_long_tailed(
    name_or_path: str | Path,
    *,
    imbalance_factor: float | None = None,
    imbalance_type: str = "exponential",
    order_column: str | None = None,
    data_dir: str | Path | None = None,
    image_column: str | None = None,
    label_column: str | None = None,
    validation_per_class: int = 0,
    seed: int = 0,
    list_dir: str | Path | None = None,
    check_lists: bool = True,
    check_images: bool = True,
    labels_from: str | None = None,
    splits: str | Mapping[str, str | Sequence[str]] | None = None,
    dataset_config: str | None = None,
) -> DatasetDict:
    """
    Load a dataset at its native distribution, or cut a long tail out of it.

    The result has the columns `image` (an `Image`) and `label` (a `ClassLabel` in explicit order: the dataset's own,
    or sorted, numbers as numbers); other columns stay. Rows keep the order of the source. What was done is recorded
    in the info of every split (see [`~hf_ltr.data.long_tail_info`]), with a hash of the chosen rows.

    Args:
        name_or_path (`str` or `Path`): `"digits"` (8x8, embedded, offline), `"cifar10"`, `"cifar100"`,
            `"imagenet_lt"`, `"places_lt"`, `"inat18"` (from your own copy, see `data_dir`), a Hub id (`owner/name`, or
            `owner/name:configuration`), a folder of parquet files or of images (in class folders, or with a table of
            their labels: CSV, JSON lines or parquet), or a folder written by `save_to_disk` or by `hf-ltr prepare`.
        imbalance_factor (`float`, *optional*): Images of the first class over images of the last. Unset keeps all
            rows.
        imbalance_type (`str`, *optional*, defaults to `"exponential"`): Or `"step"`; see
            [`~hf_ltr.data.splits.long_tailed_counts`]. Classes are shortened in label order, class 0 being the head
            and keeping all its images. Where the pool is not quite balanced and a class has too few for that, every
            class is asked for a little less.
        order_column (`str`, *optional*): Keep the rows with the smallest values of this column (integers or strings)
            in each class, in the place of a seeded draw: the same rows from any copy of the data that has the column,
            the copies that are already cut included.
        data_dir (`str` or `Path`, *optional*): Local copy of a named dataset or of a Hub id. A copy of a named
            dataset may lack the test files where a folder of the dataset's own name stands beside it
            (`cifar100_if10/`, `cifar100/`).
        image_column, label_column (`str`, *optional*): Where they are not found by themselves.
        validation_per_class (`int`, *optional*, defaults to 0): Images per class for a `validation` split, taken from
            the balanced pool before the tail is cut (the last ones in the order of choice), so that it is balanced
            and training never sees it. At most half of a class where no tail is cut (natively long-tailed data), with
            a warning. Ignored where the source has a validation split (`digits`: 10 per class, always), with a
            warning if that differs. From a copy that is already cut the validation rows are others than from the
            whole, the training rows are not.
        seed (`int`, *optional*, defaults to 0): Of the draw, without replacement. Subsets of one seed are nested.
        list_dir (`str` or `Path`, *optional*): Where the list files of `imagenet_lt`, `places_lt` or `inat18` are
            (`ImageNet_LT_train.txt`, `Places_LT_val.txt.gz`, ..., or `train2018.json` and `val2018.json`). By default
            they are looked for in `data_dir`, in its `lists/`, and in a folder there such as `ImageNet_LT/`.
        check_lists (`bool`, *optional*, defaults to `True`): Refuse list files that are not the published ones, by
            their checksum (of the uncompressed text), and annotation files with other rows per class. If `False`, they
            are used with a warning. The class order is proved in any case.
        check_images (`bool`, *optional*, defaults to `True`): Look, folder by folder, whether all listed images are
            there.
        labels_from (`str`, *optional*): Where the labels of a folder of images are, if it has two readings:
            `"folders"` (each holds one class), or the name of a table (`"labels.csv"`; several with `+` between them).
            By default a table that names images is read where the folders say nothing else. Or `"parquet"`, for
            parquet files with images beside them.
        splits (`str` or `dict`, *optional*): Which of the source's own splits are which, where their names do not say
            it, and which are left out: `"train=train+extra,validation=dev,test=holdout"`. Those that are not named are
            left out, such as a test split without labels (`"train=train"`).
        dataset_config (`str`, *optional*): Configuration of a Hub id or a local copy of one; also `owner/name:config`.

    Returns:
        `DatasetDict`: `train`, `test` and maybe `validation`. A source without test split gives a stratified fifth of
        each class as test set, at least one image. If `order_column` fixes the training rows, the test set is taken
        from the rows that are left, since the same training rows are what the column promises.

    Raises:
        `ValueError`: unknown dataset, profile or column; a layout with two readings, or splits whose names do not say
            what they are for; a split without labels, a class without an image, a single class; labels outside the
            classes; classes too small for the profile.
        `FileNotFoundError`: a path that is not there; list files or images that are missing, all together.
        `ConnectionError`: a named dataset that cannot be had from the Hub.

    Example:

    ```python
    >>> from hf_ltr import class_counts, load_long_tailed
    >>> data = load_long_tailed("digits", imbalance_factor=50)
    >>> class_counts(data["train"]).counts
    [124, 80, 51, 33, 21, 14, 9, 5, 3, 2]
    ```
    """
    choice("imbalance_type", imbalance_type, row_splits.PROFILES)
    if imbalance_factor is not None:
        meaning = "imbalance_factor is head over tail and must be at least 1: it"
        imbalance_factor = number(meaning, imbalance_factor, minimum=1)
    validation_per_class = _not_negative("validation_per_class", validation_per_class)
    seed = _not_negative("seed", seed)
    name = os.fspath(name_or_path)
    if name in LISTED and imbalance_factor is not None:
        raise ValueError(f"{name} is long-tailed by itself; leave imbalance_factor unset")
    if name not in LISTED and (list_dir is not None or not check_lists or not check_images):
        raise ValueError(
            f"list_dir, check_lists and check_images are for {', '.join(LISTED)}, which are read by list files; "
            f"{name} is not"
        )
    options = SourceOptions(parse_splits(splits), dataset_config, labels_from, image_column, label_column)
    source, folder = open_source(name, options, data_dir, list_dir, check_lists, check_images)
    source = _standard_columns(source, name, folder, options)
    train = source["train"]
    names = train.features["label"].names
    labels = column_labels(train)
    order = _order_values(train, order_column) if order_column is not None else None
    if validation_per_class and "validation" in source:
        _warn_of_other_validation(source["validation"], validation_per_class, name)
    rows = row_splits.choose_rows(
        labels,
        names,
        name,
        seed=seed,
        order=order,
        imbalance_factor=imbalance_factor,
        imbalance_type=imbalance_type,
        validation_per_class=0 if "validation" in source else validation_per_class,
        needs_test="test" not in source,
    )
    parts = source if rows is None else source | {split: train.select(np.sort(own)) for split, own in rows.items()}
    record = {
        "version": RECORD_VERSION,
        # A folder's name, not its whole path: the record is published with models and datasets.
        "source": name if folder is None or data_dir is not None else folder.name,
        "imbalance_factor": imbalance_factor,
        "imbalance_type": imbalance_type if imbalance_factor is not None else None,
        "order_column": order_column,
        "seed": seed if order_column is None else None,
        "validation_per_class": validation_per_class,
        "class_names": list(names),
        "row_identity": f"(label, {order_column})" if order_column else POSITION_IDENTITY,
        **options.record(),
    }
    rows = {"train": np.arange(len(train))} if rows is None else rows
    hashes = {split: row_splits.row_hash(labels, own, order) for split, own in rows.items()}
    recorded = {}
    for split in SPLITS:
        if split in parts:
            untouched = split in source and len(parts[split]) == len(source[split])
            recorded[split] = _with_record(parts[split], split, record, hashes.get(split), name, untouched)
    return DatasetDict(recorded)


def _not_negative(name: str, value: Any) -> int:
    value = whole_number(name, value)
    if value < 0:
        raise ValueError(f"{name} must not be negative, got {value}")
    return value


def _with_record(
    part: Any, split: str, record: dict[str, Any], row_hash: str | None, name: str, untouched: bool
) -> Any:
    """
    A split with its record.

    Args:
        record (`dict`): What all splits have in common.
        row_hash (`str`, *optional*): Of the rows that were chosen; unset for a split of the source's own.
        untouched (`bool`): Whether the rows are those of the source, which may have a record already.
    """
    counts, earlier = class_counts(part).counts, read_record(part)
    if untouched and earlier and (earlier["counts"], earlier["class_names"]) == (counts, record["class_names"]):
        # Made by this function before, and saved: what it says about the rows still holds.
        return part if SEEN in earlier else write_record(part, {**earlier, **seen_rows(part)})
    own = {**record, "split": split, "counts": counts, **seen_rows(part), "row_hash": row_hash}
    if row_hash is None:
        own["row_hash"] = row_splits.row_hash(column_labels(part), np.arange(len(part)))
        own.update(order_column=None, seed=None, row_identity=POSITION_IDENTITY)
    if name not in DATASETS and own["row_identity"] == POSITION_IDENTITY:
        # Where a row lies in somebody's folder does not say what it is: its contents are hashed when asked for.
        own[SEEN]["position_hash"] = own["row_hash"]
        own.update(row_hash=None, row_identity=None)
    if split != "train":
        # No tail was cut there.
        own.update(imbalance_factor=None, imbalance_type=None)
    return write_record(part, own)


def _standard_columns(
    source: dict[str, Any], name: str, folder: Path | None, options: SourceOptions
) -> dict[str, Any]:
    # A split without rows is as good as absent.
    source = {split: source[split] for split in SPLITS if split in source and len(source[split])}
    if "train" not in source:
        raise ValueError(f"The training split of {name} has no rows")
    benchmark, label_column = BENCHMARKS.get(name), options.label_column
    if label_column is None and benchmark is not None and benchmark.label_column in source["train"].column_names:
        label_column = benchmark.label_column
    image_column, found = find_columns(source["train"], options.image_column, label_column)
    _check_splits(source, name, image_column, found, options.splits or {split: [split] for split in source})
    names = class_names(source, found)
    if len(names) < 2:
        remedy = (
            ". Images of each class need a folder of their own, or a table of labels beside them "
            "(labels_from=<file.csv>)"
        )
        raise ValueError(
            f"{name} has a single class, {names[0]!r}, so there is nothing to tell apart{remedy if folder else ''}"
        )
    expected = None
    if benchmark is not None and label_column in (None, benchmark.label_column):
        expected = benchmark.num_classes
    if expected not in (None, len(names)):
        raise ValueError(
            f"{name} has {expected} classes, but column {found!r} of {folder or 'the copy'} has {len(names)}"
        )
    root = folder.resolve() if folder is not None and folder.is_dir() else None
    return {split: standardize(part, image_column, found, names, split, root) for split, part in source.items()}


def _check_splits(
    source: Mapping[str, Any], name: str, image_column: str, label_column: str, chosen: SplitChoice
) -> None:
    """Refuse splits without the columns of training or without labels, and warn of one with a single label."""
    for split, part in source.items():
        missing = [column for column in (image_column, label_column) if column not in part.column_names]
        if missing:
            raise ValueError(
                f"The {split} split of {name} has no column {missing[0]!r}, unlike train; its columns are "
                f"{', '.join(part.column_names)}. Without it the split can be left out: {leave_out(chosen, split)}"
            )
        labels = distinct_labels(part, label_column)
        if not labels:
            if split == "train":
                raise ValueError(
                    f"The training split of {name} has no labels: column {label_column!r} holds none but -1 or null"
                )
            raise unlabelled(name, split, chosen, f"all {len(part):,} rows of column {label_column!r} are -1 or null")
        if len(labels) == 1 and split != "train" and len(part) >= _MANY_ALIKE:
            warnings.warn(
                f"All {len(part):,} rows of the {split} split of {name} have the label {labels.pop()!r}. If labels "
                f"were withheld, leave it out: {leave_out(chosen, split)}",
                stacklevel=4,
            )


def _order_values(train: Any, column: str) -> np.ndarray:
    if column not in train.column_names:
        raise ValueError(f"There is no order_column {column!r}; the columns are {', '.join(train.column_names)}")
    stored = arrow_column(train, column)
    if stored.null_count:
        raise ValueError(f"order_column {column!r} must have a value in every row, but {stored.null_count} have none")
    values = stored.to_numpy(zero_copy_only=False)
    if values.dtype.kind not in "iu" and not all(isinstance(value, str) for value in values):
        raise ValueError(f"order_column {column!r} must hold integers or strings, not {stored.type}")
    return values


def _warn_of_other_validation(validation: Any, per_class: int, name: str) -> None:
    counts = class_counts(validation)
    if set(counts.counts) != {per_class}:
        warnings.warn(
            f"{name} has a validation split of its own ({counts.total:,} images, {min(counts)} to {max(counts)} per "
            f"class), which is used in the place of validation_per_class={per_class}.",
            stacklevel=3,
        )
