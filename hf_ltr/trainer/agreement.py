"""
The training images per class as data, method and config state them, compared before a run.

The labels are the truth. What follows from them (the counts of a config, the prior that inference removes) is brought
up to date; what contradicts them is refused, with both numbers.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ..data.class_counts import ClassCounts, class_counts, count_labels, counts_difference, is_reordered
from ..data.labels import LABEL_COLUMNS, class_names_of, read_labels
from ..methods import LongTailMethod
from ..models.class_order import counts_history, names_in_config, order_of
from ..models.prior_offset import same_prior


def training_counts(dataset: Any, config: Any) -> tuple[ClassCounts | None, torch.Tensor | None]:
    """
    The class counts of a training set, grouped as the config says, and its labels where the items had to be read.

    Args:
        dataset: Map-style. Without a label column: `(None, None)`.
        config ([`LongTailConfig`]): Of the model.
    """
    columns, labels = getattr(dataset, "column_names", None), None
    if columns is not None and not set(LABEL_COLUMNS) & set(columns):
        return None, None
    try:
        counts = class_counts(dataset)
    except TypeError:
        # Only the items know: they are read once, here, and the batch loader is given what was found.
        labels = read_labels(dataset, LABEL_COLUMNS, None, required=False)
        if labels is None:
            return None, None
        counts = count_labels(labels.numpy(), class_names_of(dataset))
    values = list(counts.counts)
    if counts.names is None:
        # Labels without names: those behind the last one that occurs are classes without images.
        values += [0] * (config.num_labels - len(values))
    return ClassCounts(values, counts.names, tuple(config.group_thresholds), config.group_scheme), labels


def follow_class_order(model: Any, dataset: Any) -> None:
    """
    Bring a model into the class order of the data it is trained on, where both name the same classes.

    Warns:
        `UserWarning`: saying so.
    """
    names, own = class_names_of(dataset), names_in_config(model.config)
    new = getattr(model, "has_new_classifier", False) and not getattr(model, "trained_here", False)
    if own is None and names is not None and is_trained(model) and not new:
        warnings.warn(
            f"The classes of the model, which was trained before, have no names: that they are in the order of the "
            f"training set (class 0 is {names[0]!r}, ...) could not be checked.",
            UserWarning,
            stacklevel=3,
        )
    if names is None or own is None or order_of(names, own) is None:
        return
    first = first_difference(names, own)
    warnings.warn(
        f"The training set numbers the model's classes differently (class {first} is {names[first]!r} there and "
        f"{own[first]!r} in the model): the model was brought into its order, by name.",
        UserWarning,
        stacklevel=3,
    )
    model.reorder_classes(names)


def first_difference(first: Sequence[Any], second: Sequence[Any]) -> int:
    """The first place in which two sequences of one length differ."""
    return next(place for place, (one, other) in enumerate(zip(first, second, strict=True)) if one != other)


def check_method_counts(method: LongTailMethod, counts: ClassCounts) -> None:
    """
    Raises:
        `ValueError`: if the method was built for other training images, or for classes in another order.
    """
    told = method.class_counts
    if len(told) != len(counts):
        raise ValueError(
            f"The method was built for {len(told)} classes, but the training set has {len(counts)}. Pass "
            "class_counts(train_dataset) to get_method."
        )
    if list(counts.counts) != list(told.counts):
        first = first_difference(counts.counts, told.counts)
        different = sum(a != b for a, b in zip(counts, told, strict=True))
        order = ", the same numbers in another order" if is_reordered(counts.counts, told.counts) else ""
        raise ValueError(
            f"The method was built for other class counts than the training set has: class {counts.name_of(first)} "
            f"has {counts[first]} images but the method was told {told[first]} ({different} of {len(counts)} classes "
            f"differ{order}). Pass class_counts(train_dataset) to get_method."
        )
    if told.names is not None and counts.names is not None and order_of(told.names, counts.names) is not None:
        first = first_difference(told.names, counts.names)
        raise ValueError(
            f"The method was built for the same counts of classes in another order: class {first} is "
            f"{told.names[first]!r} in its class_counts and {counts.names[first]!r} in the training set. Pass "
            "class_counts(train_dataset) to get_method."
        )


def agreed_config(config: Any, counts: ClassCounts, trained: bool, warn: bool = True) -> Any:
    """
    A copy of a config that says what will have been trained on.

    Args:
        config ([`LongTailConfig`]): Of the model, in the class order of the data.
        counts ([`ClassCounts`]): Of the training set.
        trained (`bool`): Whether the model's weights come from a training run, of which its counts then speak.
        warn (`bool`): Of what changed or stays different.

    Returns:
        [`LongTailConfig`]: `class_counts` those of the training set, `previous_class_counts` with those before; a
        prior in `logit_adjustment` that was that of the counts before is that of the new ones.

    Raises:
        `ValueError`: where the old numbers are the new ones in another order, which means other classes.

    Warns:
        `UserWarning`: naming both numbers where something changed or stays different.
    """
    agreed = copy.deepcopy(config)
    before, after = config.class_counts, list(counts.counts)
    names = names_in_config(config)
    if before is not None and before != after:
        text = counts_difference(before, after, ("in the model's config", "in the training set"), counts.name_of)
        if is_reordered(before, after) and not (trained and names is not None and names == counts.names):
            raise ValueError(
                f"{text[0].upper()}{text[1:]}. Build the config from class_counts(train_dataset); for a model that "
                "was really trained on the other numbers, in this order of the classes, set "
                "model.config.class_counts = None first."
            )
        remedy = "are taken over; those before are kept in config.previous_class_counts" if trained else "count"
        if warn:
            text = f"{text[0].upper()}{text[1:]}. Those of the training set {remedy}."
            warnings.warn(text, UserWarning, stacklevel=4)
        if trained:
            agreed.previous_class_counts = counts_history(config.previous_class_counts, before, names, after, names)
    agreed.class_counts = after
    _follow_prior(agreed, config, after, counts, warn)
    return agreed


def _follow_prior(agreed: Any, config: Any, after: list[int], counts: ClassCounts, warn: bool) -> None:
    """The prior of the training images that `logit_adjustment` removes."""
    adjustment = config.logit_adjustment or {}
    removed = adjustment.get("remove")
    if removed is None or same_prior(removed, after):
        return
    past = [config.class_counts, *(entry.get("class_counts") for entry in config.previous_class_counts or [])]
    if any(same_prior(removed, known) for known in past):
        agreed.logit_adjustment = {**adjustment, "remove": after}
        return
    shares = [np.asarray(values, dtype=np.float64) / np.sum(values) for values in (removed, after)]
    first = int(np.argmax(~np.isclose(*shares)))
    text = (
        f"config.logit_adjustment removes another prior than that of the training set: class {counts.name_of(first)} "
        f"has {shares[0][first]:.4g} there and {shares[1][first]:.4g} here ({removed[first]:g} and {after[first]})"
    )
    if sorted(np.round(shares[0], 9)) == sorted(np.round(shares[1], 9)):
        raise ValueError(
            f"{text}; they are the same numbers in another order, as if the classes were numbered differently. Set it "
            "to the counts of the training set, or leave it unset."
        )
    if warn:
        warnings.warn(f"{text}. It stays as it is.", UserWarning, stacklevel=5)


def is_trained(model: Any) -> bool:
    """Whether a model's weights come from a checkpoint or a run, and not from their initialisation."""
    return bool(getattr(model, "loaded_from", None)) or bool(getattr(model, "trained_here", False))


def follow_agreement(model: Any, agreed: Any) -> None:
    """Write into a model's config what [`agreed_config`] found."""
    config = model.config
    config.class_counts = agreed.class_counts
    config.previous_class_counts = agreed.previous_class_counts
    if config.logit_adjustment != agreed.logit_adjustment:
        model.set_logit_adjustment(agreed.logit_adjustment)


def follow_training(model: Any, counts: ClassCounts | None) -> None:
    """Let the config of a model that was trained before speak of the images it is about to be trained on."""
    if counts is not None and is_trained(model):
        follow_agreement(model, agreed_config(model.config, counts, trained=True, warn=False))
