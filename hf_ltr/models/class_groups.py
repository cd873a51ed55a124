"""Partitions of the classes into groups, from the number of their training images."""

from __future__ import annotations

import random
from collections.abc import Sequence

from ..validation import choice, whole_number

GROUP_STRATEGIES = ("auto", "thresholds", "cardinality", "random")


def class_groups(
    class_counts: Sequence[int],
    strategy: str = "auto",
    num_groups: int = 3,
    thresholds: Sequence[int] = (100, 20),
    seed: int = 0,
) -> list[int]:
    """
    Group of every class, 0 for the largest classes.

    The strategies that section 4.3 of "Mutual Exclusive Modulator for Long-Tailed Recognition" compares are
    `"thresholds"` (1), `"random"` (2) and `"cardinality"` (3).

    Args:
        class_counts (sequence of `int`): Training images per class.
        strategy (`str`, *optional*, defaults to `"auto"`):

            - `"thresholds"`: many, medium, few;
            - `"cardinality"`: `num_groups` even parts by descending number of images (ties by class index);
            - `"random"`: `num_groups` even parts drawn by `seed`;
            - `"auto"`: thresholds where `num_groups` is 3 and each of the three has a class; cardinality otherwise
              (CIFAR-100-LT at imbalance factor 10 has no few-shot class), with fewer groups than asked for if there
              are fewer classes.
        num_groups (`int`, *optional*, defaults to 3): At least 2. Even parts differ by one class at most.
        thresholds (`tuple[int, int]`, *optional*, defaults to `(100, 20)`): More images than the first is many, fewer
            than the second is few; a class with exactly as many as one of them is medium.
        seed (`int`, *optional*, defaults to 0): Of the random partition, apart from every other seed.

    Returns:
        `list[int]`: one index per class; every group has a class.

    Raises:
        `ValueError`: for an unknown strategy, a number of groups that is not between 2 and the number of classes, or
            an empty group of `"thresholds"`.
    """
    classes = len(class_counts)
    choice("group strategy", strategy, GROUP_STRATEGIES)
    num_groups = whole_number("num_groups", num_groups)
    if strategy == "thresholds" and num_groups != 3:
        raise ValueError(
            f"the thresholds make three groups, but num_groups is {num_groups}; for another number use the strategy "
            "'cardinality' or 'random'"
        )
    if classes < 2 or num_groups < 2:
        raise ValueError(
            f"at least two groups of classes are needed, but {classes} classes and {num_groups} are given"
        )
    if strategy == "auto":
        num_groups = min(num_groups, classes)
    if num_groups > classes:
        raise ValueError(f"{classes} classes cannot be divided into {num_groups} groups with a class in each")
    if strategy in ("auto", "thresholds") and num_groups == 3:
        many, few = thresholds
        by_threshold = [0 if count > many else 2 if count < few else 1 for count in class_counts]
        empty = [name for group, name in enumerate(("many", "medium", "few")) if group not in by_threshold]
        if not empty:
            return by_threshold
        if strategy == "thresholds":
            raise ValueError(
                f"no class is in the group {' or '.join(empty)} by the thresholds {tuple(thresholds)}; use the "
                "strategy 'auto' or 'cardinality'"
            )
    if strategy == "random":
        # The generator of the standard library gives the same order on every platform and version of numpy or torch.
        order = list(range(classes))
        random.Random(seed).shuffle(order)
    else:
        order = sorted(range(classes), key=lambda index: (-class_counts[index], index))
    group_of_class = [0] * classes
    for rank, index in enumerate(order):
        group_of_class[index] = rank * num_groups // classes
    return group_of_class
