"""Which rows go where: validation before the tail is cut, the tail by its profile, a hold-out in place of a test."""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Sequence

import numpy as np

from ..naming import some
from ..validation import choice
from .class_counts import ClassCounts
from .randomness import stable_argsort

PROFILES = ("exponential", "step")
HOLD_OUT = 0.2
_MOST_NAMED = 50


def choose_rows(
    labels: np.ndarray,
    names: Sequence[str],
    what: str,
    *,
    seed: int,
    order: np.ndarray | None,
    imbalance_factor: float | None,
    imbalance_type: str,
    validation_per_class: int,
    needs_test: bool,
) -> dict[str, np.ndarray] | None:
    """
    The rows of the training split that stay there, and those that go into other splits; None where all stay.

    Args:
        labels (`np.ndarray`), names (sequence of `str`): Of the training split.
        what (`str`): How messages call the dataset.
        order (`np.ndarray`, *optional*): Of each row, in which they are chosen.
        needs_test (`bool`): Whether there is no test split yet.
        seed, imbalance_factor, imbalance_type, validation_per_class: See [`load_long_tailed`].
    """
    if not needs_test and imbalance_factor is None and not validation_per_class:
        # The order of choice of 8,142 classes takes longer than all the rest.
        return None
    pool = ClassCounts(np.bincount(labels, minlength=len(names)).tolist(), names)
    classes = rows_by_class(labels, len(names), seed=seed, order=order)
    found: dict[str, list[np.ndarray]] = {}
    # Rows that a column fixes are the same whatever is held out: the test set is what they leave.
    from_the_rest = imbalance_factor is not None and order is not None
    if needs_test and not from_the_rest:
        classes, found["test"] = hold_out(classes, pool)
    if validation_per_class and imbalance_factor is not None:
        classes, found["validation"] = take_from_pool(classes, validation_per_class, pool)
    elif validation_per_class:
        classes, found["validation"] = take_from_native(classes, validation_per_class, pool)
    found["train"] = classes
    if imbalance_factor is not None:
        found["train"] = cut_tail(classes, _profile(classes, imbalance_factor, imbalance_type), pool, what)
        if needs_test and from_the_rest:
            found["test"] = _from_the_rest(classes, found["train"], what)
    rows = {split: np.concatenate(own) for split, own in found.items()}
    return {split: own for split, own in rows.items() if split == "train" or len(own)}


def rows_by_class(
    labels: np.ndarray, num_classes: int, *, seed: int, order: np.ndarray | None = None
) -> list[np.ndarray]:
    """
    Rows of each class in the order in which they are chosen: ascending `order`, or a permutation drawn from `seed`.

    The draw of a class depends on the seed and the class only, so that subsets for different factors are nested.
    """
    by_label = stable_argsort(labels)
    ends = np.cumsum(np.bincount(labels, minlength=num_classes))
    classes = np.split(by_label, ends[:-1])
    if order is None:
        return [np.random.default_rng([seed, index]).permutation(rows) for index, rows in enumerate(classes)]
    return [rows[np.argsort(order[rows], kind="stable")] for rows in classes]


def take_from_pool(
    classes: Sequence[np.ndarray], per_class: int, counts: ClassCounts
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """
    Split off the last `per_class` rows of every class of a balanced pool.

    The last ones, so that the training rows of a class start with the same images with and without validation.

    Returns:
        `(rest, validation)`, rows by class.

    Raises:
        `ValueError`: where nothing would be left of a class.
    """
    short = [index for index, rows in enumerate(classes) if len(rows) <= per_class]
    if short and per_class:
        raise ValueError(
            f"validation_per_class={per_class} would leave nothing for training of {len(short)} classes, such as "
            f"{counts.name_of(short[0])} with {len(classes[short[0]])} images"
        )
    return _split_off(classes, [per_class] * len(classes))


def take_from_native(
    classes: Sequence[np.ndarray], per_class: int, counts: ClassCounts
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """
    Split off `min(per_class, n_c // 2)` rows of every class of natively long-tailed data, and say which classes are
    short.
    """
    takes = [min(per_class, len(rows) // 2) for rows in classes]
    short = [index for index, take in enumerate(takes) if take < per_class]
    if short:
        shown = some((f"{counts.name_of(index)}: {takes[index]}" for index in short), _MOST_NAMED)
        warnings.warn(
            f"{len(short)} classes give fewer than {per_class} validation images, so that at least half of each stays "
            f"for training: {shown}.",
            stacklevel=4,
        )
    return _split_off(classes, takes)


def hold_out(classes: Sequence[np.ndarray], counts: ClassCounts) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """
    A stratified test set for a folder without one: a fifth of every class, at least one image; a class with a single
    image keeps it for training, and a warning names it.
    """
    takes = [0 if len(rows) < 2 else max(1, round(HOLD_OUT * len(rows))) for rows in classes]
    alone = [index for index, rows in enumerate(classes) if len(rows) == 1]
    if alone:
        shown = some((counts.name_of(index) for index in alone), _MOST_NAMED)
        warnings.warn(
            f"{len(alone)} classes have a single image, which stays for training, so the test set has none of them: "
            f"{shown}.",
            stacklevel=4,
        )
    return _split_off(classes, takes)


def _split_off(classes: Sequence[np.ndarray], takes: Sequence[int]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The rest, and the last `takes[c]` rows, of every class."""
    rest = [rows[: len(rows) - take] for rows, take in zip(classes, takes, strict=True)]
    return rest, [rows[len(rows) - take :] for rows, take in zip(classes, takes, strict=True)]


def long_tailed_counts(
    num_classes: int, largest: int, imbalance_factor: float, imbalance_type: str = "exponential"
) -> list[int]:
    """
    Images per class of an artificial long tail, class 0 being the head (kaidic/LDAM-DRW).

    Args:
        num_classes (`int`).
        largest (`int`): Images of class 0.
        imbalance_factor (`float`): Images of the first class over images of the last; at least 1.
        imbalance_type (`str`, *optional*, defaults to `"exponential"`): `int(largest * factor ** (-j / (C - 1)))` for
            class j; or `"step"`: `largest` for the first half of the classes, `int(largest / factor)` for the others.

    Returns:
        `list[int]`

    Raises:
        `ValueError`: for a factor below 1, or one so large that a class would keep no image.
    """
    choice("imbalance_type", imbalance_type, PROFILES)
    if not imbalance_factor >= 1 or math.isinf(imbalance_factor):
        raise ValueError(f"imbalance_factor is head over tail and must be at least 1, got {imbalance_factor}")
    if imbalance_type == "step":
        half = num_classes // 2
        counts = [largest] * half + [int(largest / imbalance_factor)] * (num_classes - half)
    else:
        # Literally the published formula, rounding of the power included: everybody's subsets come from it.
        counts = [int(largest * imbalance_factor ** (-j / max(1, num_classes - 1))) for j in range(num_classes)]
    if min(counts) < 1:
        empty = sum(count < 1 for count in counts)
        raise ValueError(
            f"With {largest} images in the largest class, imbalance_factor={imbalance_factor:g} leaves {empty} of "
            f"{num_classes} classes without an image; the factor must stay below {largest}"
        )
    return counts


def cut_tail(classes: Sequence[np.ndarray], wanted: Sequence[int], counts: ClassCounts, what: str) -> list[np.ndarray]:
    """
    The first `wanted[c]` rows of every class.

    Raises:
        `ValueError`: naming the classes that have fewer images than their share.
    """
    short = [index for index, rows in enumerate(classes) if len(rows) < wanted[index]]
    if short:
        shown = ", ".join(f"{counts.name_of(i)} has {len(classes[i])} of {wanted[i]}" for i in short[:5])
        raise ValueError(
            f"{what} cannot be cut to this profile: {len(short)} classes have too few images ({shown}). Classes are "
            "shortened in label order, class 0 being the head; a natively long-tailed dataset is used as it is with "
            "imbalance_factor=None."
        )
    return [rows[:count] for rows, count in zip(classes, wanted, strict=True)]


def row_hash(labels: np.ndarray, rows: np.ndarray, order: np.ndarray | None = None) -> str:
    """
    sha256 of the chosen rows, whatever their order in the file: of (label, value of the order column), or, without
    one, of (label, position in the source split).
    """
    identity = rows if order is None else order[rows]
    if identity.dtype.kind not in "iu":
        text = "\n".join(sorted(f"{label}\t{value}" for label, value in zip(labels[rows], identity, strict=True)))
        return hashlib.sha256(text.encode()).hexdigest()
    pairs = np.stack([labels[rows], identity.astype(np.int64)], axis=1)
    if len(pairs) and (np.diff(pairs[:, 1]) > 0).all():
        pairs = pairs[stable_argsort(pairs[:, 0])]
    else:
        pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
    return hashlib.sha256(np.ascontiguousarray(pairs, dtype="<i8").tobytes()).hexdigest()


def _profile(classes: list[np.ndarray], imbalance_factor: float, imbalance_type: str) -> list[int]:
    """
    The profile that starts at the size of class 0, or a little below it where a class of a not quite balanced pool
    could not give its share.
    """
    available = [len(rows) for rows in classes]
    largest = available[0]
    if largest == 0:
        raise ValueError(
            "A tail is cut from class 0 on, which has no image; number the classes from 0, the head first"
        )

    def counts(size: int) -> list[int]:
        return long_tailed_counts(len(classes), size, imbalance_factor, imbalance_type)

    def fits(wanted: list[int]) -> bool:
        return all(number <= there for number, there in zip(wanted, available, strict=True))

    wanted, size = counts(largest), largest
    while not fits(wanted) and size - 1 > max(largest // 2, imbalance_factor):
        size -= 1
        wanted = counts(size)
    return wanted if fits(wanted) else counts(largest)


def _from_the_rest(classes: list[np.ndarray], chosen: list[np.ndarray], name: str) -> list[np.ndarray]:
    """A test set of the rows that the fixed training rows leave, the last fifth of each class at most."""
    takes = [
        min(len(rows) - len(kept), max(1, round(HOLD_OUT * len(rows))))
        for rows, kept in zip(classes, chosen, strict=True)
    ]
    without = sum(take == 0 for take in takes)
    warnings.warn(
        f"{name} has no test split, and order_column fixes the training rows; the test set is taken from the rows "
        f"left over, which {without} of {len(classes)} classes do not have. Results on it are not those of the "
        "benchmark.",
        stacklevel=4,
    )
    return [rows[len(rows) - take :] for rows, take in zip(classes, takes, strict=True)]
