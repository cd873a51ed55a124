"""Options of the mutual exclusive modulator: defaults, checks, and the groups of classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .errors import unknown_name

ACTIVATIONS = ("softplus", "none", "exp", "sigmoid2")
LOGIT_REFERENCES = ("none", "min", "mean", "log_softmax")
POOLINGS = ("mean", "cls")

# What the paper leaves open is filled with the choices that the modulator's docstring explains.
MODULATOR_DEFAULTS: dict[str, Any] = {
    "width": 256,
    "depth": 1,
    "heads": None,
    "mlp_ratio": 4.0,
    "top_k": 5,
    "fusion_width": 64,
    "activation": "softplus",
    "logit_reference": "none",
    "pooling": "mean",
    "detach_magnitude": False,
    "group_of_class": None,
}


def modulator_options(
    options: dict[str, Any],
    num_labels: int,
    class_counts: Sequence[int] | None = None,
    thresholds: tuple[int, int] = (100, 20),
) -> dict[str, Any]:
    """
    Complete and check the options of a modulator.

    Args:
        options (`dict`): Some of `MODULATOR_DEFAULTS`. Groups are given as `group_of_class` (one group index per
            class) or `groups` (a list of class indices per group); without either, they follow from `class_counts`.
        num_labels (`int`): Number of classes.
        class_counts (sequence of `int`, *optional*): Training images per class.
        thresholds (`tuple[int, int]`, *optional*, defaults to `(100, 20)`): Of many and few.

    Returns:
        `dict`: every option, with `group_of_class` as a list of `num_labels` integers and without `groups`.

    Raises:
        `ValueError`: for an unknown option or value, and for groups that are not disjoint, complete and non-empty.
    """
    options = dict(options)
    groups = options.pop("groups", None)
    for name in options:
        if name not in MODULATOR_DEFAULTS:
            raise unknown_name("option of the modulator", name, [*MODULATOR_DEFAULTS, "groups"])
    complete = {**MODULATOR_DEFAULTS, **options}
    for name, valid in (("activation", ACTIVATIONS), ("logit_reference", LOGIT_REFERENCES), ("pooling", POOLINGS)):
        complete[name] = "none" if complete[name] is None else complete[name]
        if complete[name] not in valid:
            raise unknown_name(f"{name} of the modulator", complete[name], valid)
    for name in ("width", "depth", "top_k", "fusion_width"):
        if not isinstance(complete[name], int) or complete[name] < 1:
            raise ValueError(f"modulator option {name} must be a positive integer, not {complete[name]!r}")
    if complete["heads"] is None:
        complete["heads"] = max(1, complete["width"] // 64)
    if complete["width"] % complete["heads"]:
        raise ValueError(f"modulator width {complete['width']} is not divisible by its {complete['heads']} heads")
    if groups is not None:
        if complete["group_of_class"] is not None:
            raise ValueError("give the modulator's groups as `groups` or as `group_of_class`, not both")
        complete["group_of_class"] = _group_of_class(groups, num_labels)
    if complete["group_of_class"] is None:
        if class_counts is None:
            raise ValueError(
                "the modulator needs groups of classes: set class_counts in the config, or give `group_of_class` (one "
                "group index per class) among the modulator's options"
            )
        complete["group_of_class"] = groups_from_counts(class_counts, thresholds)
    complete["group_of_class"] = _checked_groups(complete["group_of_class"], num_labels)
    return complete


def groups_from_counts(class_counts: Sequence[int], thresholds: tuple[int, int] = (100, 20)) -> list[int]:
    """
    Group of every class: many / medium / few training images, or, where one of the three would be empty, even thirds
    by descending number of images (ties by class index; two groups if there are two classes).
    """
    many, few = thresholds
    by_threshold = [0 if count > many else 2 if count < few else 1 for count in class_counts]
    if len(set(by_threshold)) == 3:
        return by_threshold
    classes = len(class_counts)
    num_groups = min(3, classes)
    order = sorted(range(classes), key=lambda index: (-class_counts[index], index))
    group_of_class = [0] * classes
    for rank, index in enumerate(order):
        group_of_class[index] = rank * num_groups // classes
    return group_of_class


def _group_of_class(groups: Sequence[Sequence[int]], num_labels: int) -> list[int]:
    group_of_class = [-1] * num_labels
    for group, classes in enumerate(groups):
        if len(classes) == 0:
            raise ValueError(f"group {group} of the modulator has no class; leave it out")
        for index in classes:
            if not 0 <= index < num_labels:
                raise ValueError(
                    f"group {group} of the modulator names class {index}, but there are {num_labels} classes"
                )
            if group_of_class[index] >= 0:
                raise ValueError(
                    f"class {index} is in groups {group_of_class[index]} and {group}; groups must be disjoint"
                )
            group_of_class[index] = group
    return group_of_class


def _checked_groups(group_of_class: Sequence[int], num_labels: int) -> list[int]:
    group_of_class = [int(group) for group in group_of_class]
    if len(group_of_class) != num_labels:
        raise ValueError(f"group_of_class has {len(group_of_class)} entries for {num_labels} classes")
    without = [index for index, group in enumerate(group_of_class) if group < 0]
    if without:
        raise ValueError(f"classes {without[:20]} belong to no group of the modulator; every class needs one")
    num_groups = max(group_of_class) + 1
    empty = sorted(set(range(num_groups)) - set(group_of_class))
    if empty:
        raise ValueError(f"groups {empty} of the modulator have no class; number the groups 0, 1, ... without gaps")
    if num_groups < 2:
        raise ValueError("the modulator needs at least two groups of classes; give other groups or other thresholds")
    return group_of_class
