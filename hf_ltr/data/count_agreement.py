"""Two statements about the training images per class, compared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def counts_difference(first: Sequence[int], second: Sequence[int], whose: tuple[str, str], name_of: Any = str) -> str:
    """
    Where two lists of counts of the same classes differ, for a message.

    Args:
        first, second (sequence of `int` or [`ClassCounts`]): Of equal length, and different.
        whose (pair of `str`): Where each stands, such as `("in the config", "in the training set")`.
        name_of (`Callable`): A class index in words.

    Returns:
        `str`: such as `class 3 (crab) has 120 images in the config and 4 in the training set (5 of 10 classes
        differ)`.
    """
    first, second = list(first), list(second)
    different = [index for index, (a, b) in enumerate(zip(first, second, strict=True)) if a != b]
    index = different[0]
    text = (
        f"class {name_of(index)} has {first[index]:,} images {whose[0]} and {second[index]:,} {whose[1]} "
        f"({len(different)} of {len(first)} classes differ"
    )
    if is_reordered(first, second):
        return f"{text}; they are the same numbers in another order, as if the classes were numbered differently)"
    return f"{text}; {sum(first):,} and {sum(second):,} images in all)"


def counts_by_map(counts: Sequence[int], class_map: Sequence[int] | None, num_classes: int) -> list[int]:
    """Counts in another class order: class `i` becomes class `class_map[i]`; classes that none becomes have 0."""
    if class_map is None:
        return list(counts)
    result = [0] * num_classes
    for index, count in zip(class_map, counts, strict=True):
        result[index] = count
    return result


def is_reordered(first: Sequence[float], second: Sequence[float]) -> bool:
    """Whether two lists hold the same numbers in another order."""
    first, second = list(first), list(second)
    return first != second and sorted(first) == sorted(second)
