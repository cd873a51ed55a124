"""Test sets with another label distribution than the uniform one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..data.class_counts import ClassCounts


def shifted_test_distributions(
    test_class_counts: ClassCounts | Sequence[int],
    train_class_counts: ClassCounts | Sequence[int],
    factors: Sequence[float] = (2, 5, 10, 25, 50),
) -> dict[str, list[int]]:
    """
    How many test images of each class make a long-tailed test set, from "like training" over uniform to reversed.

    With classes ranked by training images (most first; equal counts keep label order) and `m` images per class at
    hand, the class of rank `r` of `C` keeps

        forward-R:  int(m * (1 / R) ** (r / (C - 1)))        the frequent classes stay frequent
        backward-R: int(m * (1 / R) ** ((C - 1 - r) / (C - 1)))

    Source: Hong et al., "Disentangling Label Distribution for Long-tailed Visual Recognition", CVPR 2021; notebooks of
    hyperconnect/LADE. Their test sets are balanced. On others `m` is the smallest count of a class that has test
    images, so that every distribution has exactly its shape and exists as a subset; a class without test images keeps
    0. The published protocol takes the *first* images of each class in file order: [`first_rows_per_class`].

    Args:
        test_class_counts (`ClassCounts` or sequence of `int`): Test images of every class, in label order.
        train_class_counts (`ClassCounts` or sequence of `int`): Training images of every class, in label order.
        factors (sequence of numbers above 1, defaults to `(2, 5, 10, 25, 50)`): Imbalance factors `R`.

    Returns:
        `dict`: `"forward-50"`, ..., `"forward-2"`, `"uniform"`, `"backward-2"`, ..., `"backward-50"`, each a list of
        counts *in label order*.
    """
    test, train = np.asarray(ClassCounts.of(test_class_counts).counts), ClassCounts.of(train_class_counts)
    if len(test) != train.num_classes:
        raise ValueError(f"Got test counts of {len(test)} classes and training counts of {train.num_classes}.")
    if not test.any():
        raise ValueError("There are no test images to draw a distribution from.")
    factors = sorted(factors)
    if any(not factor > 1 for factor in factors):
        raise ValueError(f"Every factor must be above 1, got {factors}.")

    available = int(test[test > 0].min())
    order = np.argsort(-np.asarray(train.counts), kind="stable")
    rank = np.empty(len(test), dtype=np.int64)
    rank[order] = np.arange(len(test))
    last = max(1, len(test) - 1)

    def distribution(factor: float, ranks: np.ndarray) -> list[int]:
        # In Python floats, term by term as published: the truncation is sensitive to the last digit.
        kept = [int(available * (1 / factor) ** (int(position) / last)) for position in ranks]
        return [count if images else 0 for count, images in zip(kept, test, strict=True)]

    result = {f"forward-{factor:g}": distribution(factor, rank) for factor in reversed(factors)}
    result["uniform"] = [available if images else 0 for images in test]
    result |= {f"backward-{factor:g}": distribution(factor, len(test) - 1 - rank) for factor in factors}
    return result


def first_rows_per_class(labels: Any, class_counts: Sequence[int]) -> np.ndarray:
    """
    The rows that hold the first `class_counts[c]` images of every class `c`, ascending.

    Args:
        labels (array of shape `(images,)`): Integer class ids in file order.
        class_counts (sequence of `int`): How many images to keep of every class.

    Returns:
        `np.ndarray`: int64 row numbers.

    Raises:
        `ValueError`: if a class has fewer images than asked for.
    """
    labels = np.asarray(labels)
    wanted = np.asarray(class_counts, dtype=np.int64)
    present = np.bincount(labels, minlength=len(wanted))
    if len(present) > len(wanted):
        raise ValueError(f"Labels go up to {len(present) - 1}, but counts are given for {len(wanted)} classes.")
    short = np.flatnonzero(present < wanted)
    if len(short):
        first = short[0]
        raise ValueError(
            f"Class {first} has {present[first]} images, {wanted[first]} were asked for "
            f"({len(short)} classes have too few)."
        )
    # Position of every row among the rows of its class, by a stable sort on the label.
    order = np.argsort(labels, kind="stable")
    start = np.cumsum(present) - present
    position = np.empty(len(labels), dtype=np.int64)
    position[order] = np.arange(len(labels)) - start[labels[order]]
    return np.flatnonzero(position < wanted[labels])
