"""Runs that could not learn anything, found before they begin."""

from __future__ import annotations

import math
import warnings
from typing import Any

from ..data.class_counts import ClassCounts
from ..methods import LongTailMethod
from ..naming import some


def check_precision(args: Any) -> None:
    """
    Raises:
        `ValueError`: for fp16 on a CPU.
    """
    if getattr(args, "fp16", False) and args.device.type == "cpu":
        raise ValueError(
            "fp16 is for GPUs, and this run is on a CPU: set mixed_precision_mode to 'no' or 'auto' (and leave fp16 "
            "unset)"
        )


def check_length(method: LongTailMethod, args: Any) -> None:
    """
    Raises:
        `ValueError`: for a run of no steps with a method that has something to train.
    """
    if args.max_steps != -1 and args.max_steps < 1:
        raise ValueError(
            f"max_steps is {args.max_steps}: give a positive number of steps, or leave it at -1, where "
            "num_train_epochs decides"
        )
    if not (math.isfinite(args.num_train_epochs) and args.num_train_epochs >= 0):
        raise ValueError(f"num_train_epochs must be a number that is not negative, got {args.num_train_epochs}")
    if args.max_steps == -1 and args.num_train_epochs == 0 and not method.computes_model():
        raise ValueError(
            f"num_train_epochs is 0, but {method.name or type(method).__name__} has weights to train: the model would "
            "be saved as it began. Set num_train_epochs, or max_steps."
        )


def check_rows(args: Any, rows: int) -> None:
    """
    Raises:
        `ValueError`: for a training set smaller than a batch where such batches are dropped.
    """
    batch = args.per_device_train_batch_size * max(1, args.world_size)
    if args.dataloader_drop_last and rows < batch:
        raise ValueError(
            f"The training set has {rows} rows, fewer than a batch of {batch} "
            f"({args.per_device_train_batch_size} in each process), and "
            "dataloader_drop_last leaves smaller ones out, so there would be no step: set it to False, or lower "
            "per_device_train_batch_size"
        )


def check_classes(counts: ClassCounts, who: str) -> None:
    """
    Refuse training images of one class, and name classes without any.

    Args:
        counts ([`ClassCounts`]): Of the training set.
        who (`str`): The method, for messages.

    Raises:
        `ValueError`: for fewer than two classes that have images.

    Warns:
        `UserWarning`: naming the classes that have none.
    """
    present = [index for index, count in enumerate(counts) if count]
    if len(present) < 2:
        only = f"all {counts.total:,} training images are of class {counts.name_of(present[0])}" if present else "none"
        classes = f"{len(counts)} class{'es' if len(counts) != 1 else ''}"
        raise ValueError(
            f"There is nothing to tell apart: of {classes}, {only}. Is the label column the right one "
            "(label_column=), and is every class a folder of its own?"
        )
    empty = [index for index, count in enumerate(counts) if not count]
    if empty:
        warnings.warn(
            f"{len(empty)} of {len(counts)} classes have no training image, so {who} cannot learn them: "
            f"{some(counts.name_of(index) for index in empty)}.",
            UserWarning,
            stacklevel=4,
        )
