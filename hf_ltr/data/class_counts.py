"""Training images per class: the currency of every loss, sampler, group and metric."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from ..naming import some
from ..validation import choice, mapping, number, sequence, shown, texts, whole_number
from .labels import (
    LABEL_COLUMNS,
    class_names_of,
    column_labels,
    integer_labels,
    labels_of_rows,
    outside,
    require_classes,
)
from .map_style import require_map_style
from .record import check_class_order

GROUP_NAMES = ("many", "medium", "few")
GROUPINGS = ("thresholds", "auto")
# Images of a class; sums over a million classes stay exact in 64 bits.
_MOST_IMAGES = 2**53 // 1_000_000


class ClassCounts:
    """
    Number of training images of every class, in label order.

    Args:
        counts (sequence of `int`): One number per class, not negative.
        names (sequence of `str`, *optional*): Class names in the same order.
        thresholds (`tuple[int, int]`, *optional*, defaults to `(100, 20)`): Classes with more images than the first
            are "many", with fewer than the second "few", all others "medium" (Liu et al. 2019; exactly 100 and exactly
            20 are medium).
        grouping (`str`, *optional*, defaults to `"thresholds"`): `"auto"` falls back to even thirds by cardinality
            where a threshold group would be empty.

    Raises:
        `ValueError`: for an empty list, a count that is negative, no whole number or beyond any dataset, and for names
            that are no list of text, there twice, or of another number.
    """

    def __init__(
        self,
        counts: Sequence[int],
        names: Sequence[str] | None = None,
        thresholds: tuple[int, int] = (100, 20),
        grouping: str = "thresholds",
    ):
        self.counts: list[int] = _checked_counts(counts)
        self.names: list[str] | None = None if names is None else _checked_names(names, len(self.counts))
        borders = [whole_number("a threshold", border, minimum=0) for border in sequence("thresholds", thresholds)]
        if len(borders) != 2 or borders[0] < borders[1]:
            raise ValueError(f"thresholds are (many, few) with many >= few, got {tuple(borders)}")
        self.thresholds: tuple[int, int] = (borders[0], borders[1])
        self.grouping = choice("grouping", grouping, GROUPINGS)

    @classmethod
    def of(cls, value: Any) -> ClassCounts:
        """`value` itself if it is a `ClassCounts`, else one made of a list, array or tensor of integers."""
        if isinstance(value, cls):
            return value
        if hasattr(value, "column_names"):
            raise TypeError(f"class_counts must be counts, not a {type(value).__name__}: pass class_counts(dataset)")
        if isinstance(value, str | dict) or not hasattr(value, "__iter__"):
            raise TypeError(
                f"class_counts must be a ClassCounts or a sequence of integers, not {type(value).__name__}"
            )
        return cls(value)

    @property
    def num_classes(self) -> int:
        return len(self.counts)

    @property
    def total(self) -> int:
        """Training images."""
        return sum(self.counts)

    @cached_property
    def prior(self) -> np.ndarray:
        """Share of every class, float64 of shape `(classes,)`."""
        if self.total == 0:
            raise ValueError("No class has a training image, so there is no prior")
        return np.asarray(self.counts, dtype=np.float64) / self.total

    @property
    def imbalance_factor(self) -> float:
        """Largest over smallest count, among the classes that have images."""
        present = [count for count in self.counts if count]
        if not present:
            raise ValueError("No class has a training image, so there is no imbalance factor")
        return max(present) / min(present)

    @cached_property
    def groups(self) -> dict[str, list[int]]:
        """Class indices of `"many"`, `"medium"` and `"few"`, ascending; a group without classes is absent."""
        many, few = self.thresholds
        parts: dict[str, list[int]] = {name: [] for name in GROUP_NAMES}
        for index, count in enumerate(self.counts):
            parts["many" if count > many else "few" if count < few else "medium"].append(index)
        if self.grouping == "auto" and not all(parts.values()):
            order = sorted(range(self.num_classes), key=lambda index: (-self.counts[index], index))
            parts = {
                name: sorted(int(index) for index in part)
                for name, part in zip(GROUP_NAMES, np.array_split(order, 3), strict=True)
            }
        return {name: part for name, part in parts.items() if part}

    @cached_property
    def group_of_class(self) -> np.ndarray:
        """Position in `list(groups)` of every class, int64 of shape `(classes,)`."""
        group_of_class = np.zeros(self.num_classes, dtype=np.int64)
        for position, classes in enumerate(self.groups.values()):
            group_of_class[classes] = position
        return group_of_class

    def name_of(self, index: int) -> str:
        """The class for a message: `3 (crab)`, or `3` without names."""
        return f"{index} ({self.names[index]})" if self.names is not None else str(index)

    def require_images(self, who: str) -> None:
        """
        Refuse classes without training images, on behalf of `who`, which needs every class.

        Raises:
            `ValueError`: naming the empty classes, and what to do.
        """
        empty = [index for index, count in enumerate(self.counts) if count == 0]
        if empty:
            shown = some(self.name_of(index) for index in empty)
            raise ValueError(
                f"{who} needs at least one training image of every class, but {len(empty)} of {self.num_classes} "
                f"classes have none: {shown}. Add images, or remove these classes from the labels."
            )

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {
            "counts": list(self.counts),
            "names": None if self.names is None else list(self.names),
            "thresholds": list(self.thresholds),
            "grouping": self.grouping,
        }

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> ClassCounts:
        """The inverse of [`~ClassCounts.to_dict`]."""
        content = mapping("class counts", content)
        absent = [key for key in ("counts", "thresholds", "grouping") if key not in content]
        if absent:
            raise ValueError(f"class counts lack {' and '.join(absent)}; what to_dict() writes has them")
        return cls(content["counts"], content.get("names"), content["thresholds"], content["grouping"])

    def __len__(self) -> int:
        return len(self.counts)

    def __iter__(self) -> Iterator[int]:
        return iter(self.counts)

    def __getitem__(self, index: int) -> int:
        return self.counts[index]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ClassCounts) and self.to_dict() == other.to_dict()

    def __hash__(self) -> int:
        return hash((tuple(self.counts), self.thresholds, self.grouping))

    def __repr__(self) -> str:
        sizes = ", ".join(f"{name}={len(classes)}" for name, classes in self.groups.items())
        return f"ClassCounts({self.num_classes} classes, {self.total:,} images, {sizes})"


def _checked_counts(counts: Any) -> list[int]:
    counts = sequence("class_counts", counts)
    if not counts or isinstance(counts[0], list | tuple):
        raise ValueError("class_counts must be a non-empty list with one number of training images per class")
    checked = []
    for index, count in enumerate(counts):
        try:
            count = number("", count)
        except ValueError:
            count = None
        if count is None or count != int(count):
            raise ValueError(
                f"class_counts must be integers (images per class, not shares), got {shown(counts[:5])}; class "
                f"{index} has {shown(counts[index])}"
            )
        if count < 0:
            raise ValueError(f"class_counts must not be negative, but class {index} has {shown(counts[index])}")
        if count > _MOST_IMAGES:
            raise ValueError(f"class {index} has {shown(counts[index])} images, which is more than any dataset")
        checked.append(int(count))
    return checked


def _checked_names(names: Any, classes: int) -> list[str]:
    names = texts("class names", names.tolist() if hasattr(names, "tolist") else names)
    if len(names) != classes:
        raise ValueError(f"{len(names)} class names were given for {classes} class counts")
    if len(set(names)) != len(names):
        seen: dict[str, int] = {}
        second = next(index for index, name in enumerate(names) if seen.setdefault(name, index) != index)
        raise ValueError(
            f"Classes {seen[names[second]]} and {second} have the same name, {shown(names[second])}; names must tell "
            "classes apart"
        )
    return names


def class_counts(dataset: Any, label_column: str | None = None) -> ClassCounts:
    """
    Count the training images of every class, from the label column itself.

    This is the truth for training; the record that [`load_long_tailed`] leaves in the dataset's info is provenance:
    other counts are a subset (see [`~hf_ltr.data.explain_counts`]), another order of the classes is refused. Classes
    that are named but that no row has count as zero. 437,513 rows take milliseconds, shuffled or not.

    Args:
        dataset (`datasets.Dataset`, dict of arrays, or any map-style dataset with an attribute `labels`
            or `targets`; a torch `Subset` or `ConcatDataset` of such): One split.
        label_column (`str`, *optional*): Defaults to `label`, or `labels`.

    Returns:
        [`ClassCounts`]: with class names where the column (or, as in torchvision, an attribute `classes`) has them.

    Raises:
        `TypeError`: for a `DatasetDict`, a stream, or a dataset whose labels cannot be read without its items.
        `ValueError`: for a missing column, a label that is missing or outside the classes, with its row, or classes in
            another order than the dataset's record says.
    """
    require_map_style(dataset, "What class_counts was given", length=False)
    names: Sequence[str] | None = None
    if hasattr(dataset, "column_names") and not isinstance(dataset, Mapping):
        column = _label_column(dataset.column_names, label_column)
        names = getattr(dataset.features[column], "names", None) if dataset.features else None
        if column == "label":
            check_class_order(dataset)
        labels = column_labels(dataset, column)
    elif isinstance(dataset, Mapping):
        labels = integer_labels(dataset[_label_column(dataset, label_column)])
    else:
        values = labels_of_rows(dataset)
        if values is None:
            raise TypeError(
                f"The labels of a {type(dataset).__name__} cannot be read without loading its items; give it an "
                "attribute `labels` (one per row, as its items have them), or pass the counts yourself"
            )
        names = class_names_of(dataset)
        labels = integer_labels(values)
    return count_labels(labels, names)


def count_labels(labels: np.ndarray, names: Sequence[str] | None = None) -> ClassCounts:
    """
    Count class indices (int64), those outside the classes refused with their row; named classes without a row count as
    zero.
    """
    if labels.size == 0:
        raise ValueError("The dataset has no rows, so there is nothing to count")
    wrong = outside(labels, None if names is None else len(names))
    if wrong is not None:
        limit = f"0..{len(names) - 1}" if names is not None else "not negative"
        raise ValueError(
            f"Row {wrong.row} has label {wrong.label}, but labels must be {limit} ({wrong.number} such rows)"
        )
    if names is None:
        require_classes(labels)
    counts = np.bincount(labels, minlength=0 if names is None else len(names))
    return ClassCounts(counts.tolist(), names)


def _label_column(columns: Iterable[str], given: str | None) -> str:
    columns = list(columns)
    column = given or next((name for name in LABEL_COLUMNS if name in columns), None)
    if column is None or column not in columns:
        raise ValueError(
            f"No label column {given or 'label'!r}; the columns are {', '.join(map(str, columns))}. Name it with "
            "label_column=."
        )
    return column


def counts_difference(
    first: Iterable[int], second: Iterable[int], whose: tuple[str, str], name_of: Callable[[int], object] = str
) -> str:
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


def is_reordered(first: Iterable[float], second: Iterable[float]) -> bool:
    """Whether two lists hold the same numbers in another order."""
    first, second = list(first), list(second)
    return first != second and sorted(first) == sorted(second)


def counts_by_map(counts: Sequence[int], class_map: Sequence[int] | None, num_classes: int) -> list[int]:
    """Counts in another class order: class `i` becomes class `class_map[i]`; classes that none becomes have 0."""
    if class_map is None:
        return list(counts)
    result = [0] * num_classes
    for index, count in zip(class_map, counts, strict=True):
        result[index] = count
    return result
