"""Options of the mutual exclusive modulator: defaults and checks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..naming import some
from ..validation import choice, flag, mapping, number, sequence, whole_number
from .class_groups import class_groups
from .size_limits import MOST_BLOCKS, WIDEST, check_parameters

_CHOICES = {
    "activation": ("softplus", "none", "exp", "sigmoid2", "softmax"),
    "logit_reference": ("none", "min", "mean", "log_softmax"),
    "tokens": ("all", "pooled"),
    "pooling": ("mean", "cls"),
    "fusion_normalization": ("layer", "none"),
}

# Logits with a stronger offset overflow.
_STRONGEST_TAU = 1e6

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
    "tokens": "all",
    "pooling": "mean",
    "fusion_normalization": "layer",
    "detach_magnitude": False,
    "within_group_tau": 0.0,
    "group_of_class": None,
    "class_counts": None,
}


def modulator_options(
    options: Mapping[str, Any],
    num_labels: int,
    class_counts: Sequence[int] | None = None,
    thresholds: tuple[int, int] = (100, 20),
) -> dict[str, Any]:
    """
    Complete and check some of `MODULATOR_DEFAULTS`. Groups are given as `group_of_class` (one group index per class)
    or `groups` (a list of class indices per group); without either, they follow from `class_counts` and thresholds.
    So do the counts that `within_group_tau` needs, unless the options have their own.

    Returns:
        `dict`: every option, with `group_of_class` as a list of `num_labels` integers and without `groups`.

    Raises:
        `ValueError`: for an unknown option or value, for groups that are not disjoint, complete and non-empty, and
            for `within_group_tau` without the training images of every class.
    """
    options = mapping("modulator", options)
    groups = options.pop("groups", None)
    for name in options:
        choice("option of the modulator", name, [*MODULATOR_DEFAULTS, "groups"])
    complete = {**MODULATOR_DEFAULTS, **options}
    for name, valid in _CHOICES.items():
        complete[name] = "none" if complete[name] is None and "none" in valid else complete[name]
        choice(f"{name} of the modulator", complete[name], valid)
    if complete["tokens"] == "pooled" and complete["pooling"] != "mean":
        raise ValueError(
            "modulator tokens 'pooled' are one vector: there is no class token to pool; leave pooling 'mean'"
        )
    sizes = {"width": WIDEST, "depth": MOST_BLOCKS, "top_k": WIDEST, "fusion_width": WIDEST}
    for name, most in sizes.items():
        whole_number(f"modulator option {name}", complete[name], minimum=1)
        whole_number(f"modulator option {name}", complete[name], maximum=most)
    if complete["heads"] is None:
        wanted = max(1, complete["width"] // 64)
        complete["heads"] = next(heads for heads in range(wanted, 0, -1) if complete["width"] % heads == 0)
    whole_number("modulator option heads", complete["heads"], minimum=1)
    flag("modulator option detach_magnitude", complete["detach_magnitude"])
    number("modulator option mlp_ratio must be a positive number: it", complete["mlp_ratio"], above=0, maximum=WIDEST)
    if complete["width"] % complete["heads"]:
        raise ValueError(
            f"modulator width {complete['width']} is not divisible by its {complete['heads']} heads: change the "
            "options width or heads"
        )
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
        complete["group_of_class"] = class_groups(class_counts, thresholds=thresholds)
    complete["group_of_class"] = _checked_groups(complete["group_of_class"], num_labels)
    complete["within_group_tau"] = 0.0 if complete["within_group_tau"] is None else complete["within_group_tau"]
    complete["class_counts"] = _counts_within_groups(complete, num_labels, class_counts)
    groups = max(complete["group_of_class"]) + 1
    block = (4 + 2 * complete["mlp_ratio"]) * complete["width"] ** 2
    check_parameters("the modulator", groups * (complete["depth"] * block + complete["width"] ** 2))
    return complete


def _counts_within_groups(
    complete: Mapping[str, Any], num_labels: int, class_counts: Sequence[int] | None
) -> list[int] | None:
    """The training images of each class that are kept beside `within_group_tau`; none where it is off."""
    tau = number("modulator option within_group_tau", complete["within_group_tau"], minimum=0, maximum=_STRONGEST_TAU)
    counts = complete["class_counts"]
    if counts is None and tau:
        counts = class_counts
    if counts is None:
        if not tau:
            return None
        raise ValueError(
            "within_group_tau of the modulator needs the training images of every class: set class_counts in the "
            "config, or among the modulator's options"
        )
    what = "class_counts of the modulator"
    counts = [whole_number(f"{what}[{index}]", count, minimum=0) for index, count in enumerate(sequence(what, counts))]
    if len(counts) != num_labels:
        raise ValueError(f"{what} has {len(counts)} entries for {num_labels} classes")
    empty = [index for index, count in enumerate(counts) if count == 0]
    if tau and empty:
        raise ValueError(
            f"within_group_tau of the modulator takes the logarithm of the training images of a class, but class "
            f"{some(empty)} has none: leave such classes out of the labels, or within_group_tau at 0"
        )
    return counts


def _group_of_class(groups: Sequence[Sequence[int]], num_labels: int) -> list[int]:
    group_of_class = [-1] * num_labels
    for group, classes in enumerate(sequence("groups of the modulator", groups)):
        classes = sequence(f"group {group} of the modulator", classes)
        if len(classes) == 0:
            raise ValueError(f"group {group} of the modulator has no class; leave it out")
        for index in classes:
            whole_number(f"a class in group {group} of the modulator", index)
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
    group_of_class = [
        whole_number(f"group_of_class[{index}]", group)
        for index, group in enumerate(sequence("group_of_class", group_of_class))
    ]
    if len(group_of_class) != num_labels:
        raise ValueError(f"group_of_class has {len(group_of_class)} entries for {num_labels} classes")
    without = [index for index, group in enumerate(group_of_class) if group < 0]
    if without:
        raise ValueError(f"classes {without[:20]} belong to no group of the modulator; every class needs one")
    num_groups = len(set(group_of_class))
    empty = sorted(set(range(num_groups)) - set(group_of_class))
    if empty:
        raise ValueError(
            f"groups {empty[:20]} of the modulator have no class; number the groups 0, 1, ... without gaps"
        )
    if num_groups < 2:
        raise ValueError("the modulator needs at least two groups of classes; give other groups or other thresholds")
    return group_of_class
