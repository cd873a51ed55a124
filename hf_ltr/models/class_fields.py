"""What a config says about its classes: their number, names and counts, in agreement with each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transformers.utils import logging

from ..naming import shown
from ..validation import mapping, plain, sequence, text, whole_number
from .class_order import counts_history, order_of, reorder_fields
from .modules import modules_for_other_classes
from .size_limits import MOST_CLASSES

logger = logging.get_logger(__name__)

# What is of no use to other classes.
_FOR_CLASSES = ("class_counts", "logit_adjustment", "num_labels")
# More images than any class has; sums stay exact in 64 bits.
_MOST_IMAGES = 2**53 // MOST_CLASSES


def check_num_labels(value: Any) -> int:
    """A number of classes that a model may have."""
    whole_number("num_labels", value, minimum=1)
    return whole_number("num_labels", value, maximum=MOST_CLASSES)


def count_list(value: Any) -> list[int] | None:
    """A list of integers from a `ClassCounts`, a sequence, an array or a tensor."""
    if value is None:
        return None
    counts = []
    for index, count in enumerate(sequence("class_counts", getattr(value, "counts", value))):
        try:
            whole = isinstance(count, int | float) and not isinstance(count, bool) and int(count) == count
        except (OverflowError, ValueError):  # infinity, NaN
            whole = False
        if not whole or not 0 <= count <= _MOST_IMAGES:
            raise ValueError(f"class_counts must be non-negative integers, but class {index} has {shown(count)}")
        counts.append(int(count))
    if not counts:
        raise ValueError("class_counts is empty; give one number of training images per class")
    return counts


def checked_names(value: Any) -> dict[int, str]:
    """
    `id2label` with integers for its keys, which are the classes `0, 1, ...`.

    Raises:
        `ValueError`: for a list, keys that are other numbers, or names that are no text.
    """
    if not hasattr(value, "items"):
        raise ValueError(
            f"id2label must be a dict of class index to name, such as {{0: 'ant', 1: 'bee'}}, not {shown(value)}; "
            "dict(enumerate(names)) makes one of a list of names"
        )
    if not 1 <= len(value) <= MOST_CLASSES:
        raise ValueError(f"id2label names {len(value):,} classes, but a model has from 1 to {MOST_CLASSES:,}")
    names: dict[int, str] = {}
    for key, name in value.items():
        # JSON has text for keys.
        key = plain(key)
        index = int(key) if isinstance(key, str) and key.isascii() and key.isdecimal() and len(key) < 10 else key
        if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < len(value) or index in names:
            raise ValueError(
                f"id2label must have the keys 0 to {len(value) - 1}, one for each class, but has {shown(key)}"
            )
        names[index] = text(f"id2label[{index}]", name)
    return names


def checked_indices(id2label: dict[int, str], given: Any) -> dict[str, int]:
    """
    `label2id`, which `id2label` decides: names that only an older `label2id` has are left out.

    Raises:
        `ValueError`: where both have a name, of different classes.
    """
    indices: dict[str, int] = {}
    for index, name in sorted(id2label.items()):
        indices.setdefault(name, index)
    for name, index in mapping("label2id", given or {}).items():
        if name in indices and id2label.get(int(index) if str(index).isdecimal() else -1) != name:
            raise ValueError(
                f"label2id says that {shown(name)} is class {shown(index)}, but id2label that it is class "
                f"{indices[name]}; leave label2id out"
            )
    return indices


def checked_history(value: Any) -> list[dict[str, Any]] | None:
    """`previous_class_counts`, or a `ValueError` for what is none."""
    if value is None:
        return None
    entries = []
    for entry in sequence("previous_class_counts", value):
        entry = mapping("an entry of previous_class_counts", entry)
        if not {"class_counts"} <= set(entry) <= {"class_counts", "class_names"}:
            raise ValueError(f"an entry of previous_class_counts has class_counts and class_names, not {shown(entry)}")
        counts = count_list(entry["class_counts"])
        entries.append({**entry, "class_counts": counts})
    return entries


def label_fields(
    num_labels: int | None, given: Any, counts: list[int] | None, fields: dict[str, Any]
) -> dict[str, Any]:
    """The keyword arguments of `PretrainedConfig` that describe the classes, agreeing with each other."""
    fields = dict(fields)
    names = _names_of(given)
    if fields.get("id2label") is None and names is not None:
        fields["id2label"] = dict(enumerate(names))
    id2label = fields.get("id2label")
    number = _number_of_labels(num_labels, counts, id2label)
    if id2label is not None:
        fields["id2label"] = checked_names(id2label)
        fields["label2id"] = checked_indices(fields["id2label"], fields.get("label2id"))
    elif number is not None:
        fields["num_labels"] = number
    return fields


def replace_classes(stored: Mapping[str, Any], replaced: Mapping[str, Any]) -> dict[str, Any]:
    """
    The fields of a stored config beside those that replace some of them. What is said about classes that are no more
    (names, counts, logit adjustment, and modules that were made for them) is dropped, with a warning.
    """
    fields = dict(stored)
    after = _number_in(replaced)
    if after is None:
        return fields
    # A config.json leaves `id2label` out when it is the library's default of two.
    before = _number_in(fields) or 2
    renamed = _names_of(replaced.get("class_counts")) is not None or "id2label" in replaced
    fields |= _stored_classes(fields, replaced, same_number=after == before)
    if after != before or renamed:
        for key in ("id2label", "label2id"):
            fields.pop(key, None)
    if after != before:
        dropped = [key for key in _FOR_CLASSES if fields.pop(key, None) is not None and key not in replaced]
        if fields.get("modules") and "modules" not in replaced:
            fields["modules"], without = modules_for_other_classes(fields["modules"])
            dropped += without
        for key in dropped:
            logger.warning(f"{key} of the stored config is for {before} classes and is dropped for {after}.")
    return fields


def _stored_classes(stored: dict[str, Any], replaced: Mapping[str, Any], same_number: bool) -> dict[str, Any]:
    """What a stored config says about its classes, in the order of those that replace them, and its counts as past."""
    names, own = (_names_of_fields(fields) for fields in (replaced, stored))
    order = order_of(names, own)
    changed = {} if order is None else reorder_fields(stored, order)
    counts = count_list(replaced.get("class_counts"))
    if counts is None and same_number:
        return changed
    # Without names of their own, as many classes are the old ones, and another number are others.
    names = names or (own if same_number else [])
    past = counts_history(stored.get("previous_class_counts"), stored.get("class_counts"), own, counts, names)
    return changed | {"previous_class_counts": past}


def _names_of(class_counts: Any) -> list[str] | None:
    """Class names of a `ClassCounts`; other objects may have a `names` that means something else (tensors do)."""
    return getattr(class_counts, "names", None) if hasattr(class_counts, "counts") else None


def _names_of_fields(fields: Mapping[str, Any]) -> list[str] | None:
    names, id2label = _names_of(fields.get("class_counts")), fields.get("id2label")
    if id2label is not None:
        names = [name for _, name in sorted(checked_names(id2label).items())]
    return None if not names or all(name == f"LABEL_{i}" for i, name in enumerate(names)) else list(names)


def _number_in(fields: Mapping[str, Any]) -> int | None:
    return _number_of_labels(fields.get("num_labels"), fields.get("class_counts"), fields.get("id2label"))


def _number_of_labels(num_labels: int | None, class_counts: Any, id2label: Any) -> int | None:
    """The number of classes on which all given fields agree; `None` if none is given."""
    given = {
        "num_labels": None if num_labels is None else check_num_labels(num_labels),
        "class_counts": None if class_counts is None else len(count_list(class_counts) or ()),
        "id2label": None if id2label is None else len(checked_names(id2label)),
    }
    given = {name: number for name, number in given.items() if number is not None}
    if len(set(given.values())) > 1:
        described = ", ".join(f"{name}: {number}" for name, number in given.items())
        raise ValueError(f"the number of classes is not clear ({described}); they must agree, in the same class order")
    return next(iter(given.values()), None)
