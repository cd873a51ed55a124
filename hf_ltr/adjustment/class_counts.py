"""Class counts and priors from files, and the proof that model, data and counts mean the same classes."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..data.class_counts import ClassCounts, counts_by_map, counts_difference, is_reordered
from ..data.class_counts import class_counts as count_classes
from ..models.class_order import names_in_config, order_of
from ..naming import some
from ..reading import read_json


def read_class_counts(
    source: str | Path | Sequence[int] | Mapping[str, int], names: Sequence[str] | None
) -> ClassCounts:
    """
    Training images per class.

    Args:
        source (path of a JSON file, list or `dict`): A list in label order, or counts by class name (or by class
            index, as text).
        names (sequence of `str`, *optional*): Of the model's classes in order, by which a `dict` is sorted.

    Returns:
        [`ClassCounts`]

    Raises:
        `ValueError`: for a file of another form, or names that are missing or unknown.
    """
    counts = _in_order(*_content(source, "class counts"), names, "class counts")
    return ClassCounts(counts, names if names is not None and len(names) == len(counts) else None)


def read_prior(
    source: str | Path | Sequence[float] | Mapping[str, float], names: Sequence[str] | None, num_labels: int
) -> list[float]:
    """
    A class prior: shares, or numbers proportional to them. Forms and errors as in [`read_class_counts`].

    Returns:
        `list[float]`: in label order, with sum 1.

    Raises:
        `ValueError`: also for another number of classes, and for shares that are not positive, which have no
            logarithm.
    """
    values = [float(value) for value in _in_order(*_content(source, "target prior"), names, "target prior")]
    if len(values) != num_labels:
        raise ValueError(f"The target prior has {len(values)} values but the model has {num_labels} classes")
    bad = [index for index, value in enumerate(values) if not (math.isfinite(value) and value > 0)]
    if bad:
        name = names[bad[0]] if names is not None else bad[0]
        raise ValueError(
            f"The target prior must be positive for every class, but class {name} has {values[bad[0]]} ({len(bad)} "
            "such classes): its logarithm is added to the logits"
        )
    total = math.fsum(values)
    return [value / total for value in values]


def counts_of_training(
    config: Any, data: Mapping[str, Any], given: Any, group_scheme: str, class_map: Sequence[int] | None = None
) -> ClassCounts:
    """
    The training counts in the model's class order, from the first place that has them, grouped as the model or the
    user wants.

    Args:
        config (`PretrainedConfig`): Of the model.
        data (`dict`): Splits by name.
        given: What the user says: [`ClassCounts`], list, `dict` by class name or path; wins.
        group_scheme (`str`): See [`ClassCounts`].
        class_map (sequence of `int`, *optional*): The model's class for each of the training split's.

    Raises:
        `ValueError`: where the places name the same numbers in another order.

    Warns:
        `UserWarning`: with both numbers, where the places differ otherwise.
    """
    own, names = getattr(config, "class_counts", None), names_in_config(config)
    found: dict[str, list[int]] = {}
    if given is not None:
        theirs = given if isinstance(given, ClassCounts) else read_class_counts(given, names)
        _check_number_of_classes(theirs.counts, config.num_labels, "The class counts")
        order = order_of(names, theirs.names)
        found["in the class counts"] = [theirs[index] for index in order or range(len(theirs))]
    if "train" in data:
        found["in the training split"] = counts_by_map(
            count_classes(data["train"]).counts, class_map, config.num_labels
        )
    if own:
        found["in the model's config"] = list(own)
    if not found:
        raise ValueError("Training counts are needed: give a dataset with a train split, or class_counts")
    (what, counts), *others = found.items()
    _check_number_of_classes(counts, config.num_labels, f"What stands {what}")
    thresholds = tuple(getattr(config, "group_thresholds", None) or (100, 20))
    result = ClassCounts(counts, names, thresholds, group_scheme)
    for where, other in others:
        if len(other) == len(counts) and other != counts:
            _compare(result, other, (what, where))
    return result


def _check_number_of_classes(counts: Sequence[int], num_labels: int, what: str) -> None:
    if len(counts) != num_labels:
        raise ValueError(
            f"{what}: there are {len(counts)} classes, but the model has {num_labels}. The counts of all classes of "
            "the model are needed, in the order of its labels."
        )


def _compare(counts: ClassCounts, other: Sequence[int], places: tuple[str, str]) -> None:
    text = counts_difference(counts.counts, other, places, counts.name_of)
    if is_reordered(counts.counts, other):
        text = f"{text[0].upper()}{text[1:]}"
        raise ValueError(f"{text}. Priors and groups would be those of other classes; give them in the model's order.")
    warnings.warn(
        f"There are other numbers of training images: {text}. The former are used. Give the options of the run that "
        "trained the model, or its validation images may be among those it was trained on.",
        UserWarning,
        stacklevel=5,
    )


def _content(source: Any, what: str) -> tuple[Any, str]:
    """(list or dict, how to call it)"""
    if not isinstance(source, str | Path):
        return (dict(source) if isinstance(source, Mapping) else list(source)), f"the {what}"
    path = Path(source).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {source} with the {what}")
    content = read_json(path)
    if not isinstance(content, list | dict):
        raise ValueError(f"{source} must hold a list or an object of numbers, not a {type(content).__name__}")
    return content, str(source)


def _in_order(content: Any, where: str, names: Sequence[str] | None, what: str) -> list[Any]:
    if isinstance(content, dict):
        keys = [str(key) for key in content]
        content = dict(zip(keys, content.values(), strict=True))
        if names is not None and set(names) & set(keys):
            order: list[str] = [str(name) for name in names]
            missing = [name for name in order if name not in content]
            unknown = [key for key in keys if key not in set(order)]
            if missing or unknown:
                raise ValueError(
                    f"The classes of {where} are not those of the model: "
                    + "; ".join(
                        f"{kind} {some(map(repr, found), 5)}"
                        for kind, found in (("missing", missing), ("unknown", unknown))
                        if found
                    )
                )
        elif set(keys) == {str(index) for index in range(len(keys))}:
            order = [str(index) for index in range(len(keys))]
        else:
            known = f"those of the model, such as {list(names[:3])}" if names is not None else "not known"
            raise ValueError(
                f"{where} gives the {what} by class name ({', '.join(map(repr, keys[:3]))}), but the names of the "
                f"model's classes are {known}; give a list in the order of its labels"
            )
        content = [content[key] for key in order]
    wrong = [value for value in content if isinstance(value, bool) or not isinstance(value, int | float)]
    if wrong or not content:
        raise ValueError(f"{where} must hold one number per class, got {wrong[0]!r}" if wrong else f"{where} is empty")
    return content
