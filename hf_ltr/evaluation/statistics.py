"""
How sure a difference is: bootstrap intervals, McNemar's test, and the spread over seeds.

The bootstrap and McNemar's test ask what another draw of test images would have shown for the *same* trained weights;
they say nothing about another training run. That is what the spread over seeds is for, and the reason why a table
shows both.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..data.class_counts import ClassCounts
from .metrics import checked_labels, class_means, predicted_classes

DEFAULT_RESAMPLES = 2000


def bootstrap_intervals(
    values: Any,
    labels: Any,
    class_counts: ClassCounts | Sequence[int],
    *,
    resamples: int = DEFAULT_RESAMPLES,
    confidence: float = 0.95,
    seed: int = 0,
) -> dict[str, tuple[float, float]]:
    """
    Percentile intervals of the means of a value per test image, by stratified bootstrap (Efron and Tibshirani, "An
    Introduction to the Bootstrap", 1993, chapters 8 and 13).

    Test images are drawn again with replacement within each class, so that every class keeps its number of images, as
    in a balanced test set. Images of one class that have equal values are exchangeable, so drawing them is drawing
    from a multinomial distribution: the cost is per class and distinct value, not per image. A class whose images all
    have one value adds no width, so on a handful of images per class the intervals are too short.

    With hits (1 or 0) for `values` the means are accuracies, with hits averaged over seeds they are mean accuracies,
    and with the difference of two runs' hits the intervals are paired.

    Args:
        values (array of shape `(images,)`): A finite number per test image.
        labels (array of shape `(images,)`): Its class.
        class_counts (`ClassCounts` or sequence of `int`): Training images of every class, for the groups.
        resamples (`int`, defaults to 2000).
        confidence (`float`, defaults to 0.95): Of the interval between the two percentiles.
        seed (`int`, defaults to 0): The intervals are a function of it.

    Returns:
        `dict`: `(low, high)` for `accuracy` (mean over images), `balanced_accuracy` (over classes) and each group
            (over its classes); classes without test images are left out, groups without tested classes are absent.

    Raises:
        `ValueError`: for values that are not finite, shapes that do not match, or no test images.
    """
    counts = ClassCounts.of(class_counts)
    values = _checked_values(values)
    labels = checked_labels(labels, counts.num_classes, len(values))
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, got {confidence}")
    if resamples < 1:
        raise ValueError(f"resamples must be positive, got {resamples}")
    generator = np.random.default_rng(seed)
    order = np.argsort(labels, kind="stable")
    bounds = np.searchsorted(labels[order], np.arange(counts.num_classes + 1))
    sums = {name: np.zeros(resamples) for name in ("accuracy", "balanced_accuracy", *counts.groups)}
    tested = dict.fromkeys(sums, 0)
    group_names = list(counts.groups)
    for index in range(counts.num_classes):
        own = values[order[bounds[index] : bounds[index + 1]]]
        if not len(own):
            continue
        distinct, number = np.unique(own, return_counts=True)
        drawn = generator.multinomial(len(own), number / len(own), size=resamples) @ distinct
        sums["accuracy"] += drawn
        tested["accuracy"] += len(own)
        for name in ("balanced_accuracy", group_names[counts.group_of_class[index]]):
            sums[name] += drawn / len(own)
            tested[name] += 1
    tails = [(1 - confidence) / 2, (1 + confidence) / 2]
    intervals = {}
    for name, total in sums.items():
        if tested[name]:
            low, high = np.quantile(total / tested[name], tails)
            intervals[name] = (float(low), float(high))
    return intervals


def group_means(values: Any, labels: Any, class_counts: ClassCounts | Sequence[int]) -> dict[str, float]:
    """
    The means whose intervals [`bootstrap_intervals`] gives: over images, over classes, and over the classes of each
    group. Arguments and errors as there.
    """
    counts = ClassCounts.of(class_counts)
    values = _checked_values(values)
    labels = checked_labels(labels, counts.num_classes, len(values))
    sums = np.bincount(labels, weights=values, minlength=counts.num_classes)
    total = np.bincount(labels, minlength=counts.num_classes)
    return {"accuracy": float(values.mean()), **class_means(sums, total, counts)}


def hits(predictions: Any, labels: Any, class_counts: ClassCounts | Sequence[int]) -> np.ndarray:
    """
    Whether each prediction is right, averaged over runs.

    Args:
        predictions (array of shape `(images,)` or `(runs, images)`): Predicted class ids, of one run or of several
            seeds on the same images.
        labels (array of shape `(images,)`): The true classes.
        class_counts (`ClassCounts` or sequence of `int`): Training images of every class.

    Returns:
        `np.ndarray` of shape `(images,)`, float64 in [0, 1].
    """
    counts = ClassCounts.of(class_counts)
    runs = np.asarray(predictions)
    runs = runs[None] if runs.ndim == 1 else runs
    if runs.ndim != 2 or not len(runs):
        raise ValueError(f"`predictions` must have shape (images,) or (runs, images), got {runs.shape}")
    labels = checked_labels(labels, counts.num_classes, runs.shape[1])
    return np.mean([predicted_classes(run, counts.num_classes) == labels for run in runs], axis=0)


def mcnemar_test(predictions: Any, baseline: Any, labels: Any, class_counts: Any) -> dict[str, dict[str, Any]]:
    """
    McNemar's test (1947) of two classifiers on the same test images, over all of them and inside each group; the mid-p
    form is that of Fagerland, Lydersen and Laake, "The McNemar test for binary matched-pairs data", 2013.

    What is tested is accuracy over *images*. A group's accuracy in a table is the mean over its classes: on a balanced
    test set the two are one, on another one the test speaks about the images of the group.

    Args:
        predictions (array of shape `(images,)`): Predicted class ids of the classifier.
        baseline (array of shape `(images,)`): Those of the one it is compared with.
        labels (array of shape `(images,)`): The true classes.
        class_counts (`ClassCounts` or sequence of `int`): Training images of every class, for the groups.

    Returns:
        `dict`: for `accuracy` (all images) and each group with test images: `only_baseline` and `only_this` (images
            that only one of the two gets right), two-sided `p_exact` and `p` (mid-p).
    """
    counts = ClassCounts.of(class_counts)
    this = predicted_classes(predictions, counts.num_classes)
    other = predicted_classes(baseline, counts.num_classes)
    labels = checked_labels(labels, counts.num_classes, len(this))
    if len(other) != len(this):
        raise ValueError(f"The two classifiers have {len(this)} and {len(other)} predictions")
    group = counts.group_of_class[labels]
    parts = {"accuracy": np.ones(len(labels), dtype=bool)}
    parts |= {name: group == position for position, name in enumerate(counts.groups)}
    results = {}
    for name, inside in parts.items():
        if not inside.any():
            continue
        only_this = int(((this == labels) & (other != labels) & inside).sum())
        only_baseline = int(((this != labels) & (other == labels) & inside).sum())
        p_exact, p = mcnemar_p(only_this, only_baseline)
        results[name] = {"only_this": only_this, "only_baseline": only_baseline, "p_exact": p_exact, "p": p}
    return results


def mcnemar_p(first: int, second: int) -> tuple[float, float]:
    """
    Two-sided exact and mid-p values of McNemar's test, from the numbers of images that only one classifier gets right.

    Under the hypothesis of equal accuracy the smaller number follows a binomial distribution with one half; integers
    are added exactly and divided once.
    """
    if first < 0 or second < 0:
        raise ValueError(f"Numbers of images cannot be negative, got {first} and {second}")
    number, smaller = first + second, min(first, second)
    term = total = 1
    for index in range(smaller):
        term = term * (number - index) // (index + 1)
        total += term
    # P(X <= smaller) and P(X = smaller), both times 2 ** number.
    whole = 2**number
    return min(1.0, 2 * total / whole), min(1.0, (2 * total - term) / whole)


def seed_spread(values: Sequence[float]) -> dict[str, float]:
    """
    Mean and spread of a number over seeds.

    Returns:
        `dict`: `mean`, `min`, `max`, `runs`, and from three runs on `std`, the sample standard deviation (of two runs
            it is their distance in other words, so their range is all that is said).
    """
    numbers = [float(value) for value in values]
    if not numbers or not all(math.isfinite(number) for number in numbers):
        raise ValueError(f"The spread needs finite numbers, got {numbers}")
    spread: dict[str, float] = {
        "mean": float(np.mean(numbers)),
        "min": min(numbers),
        "max": max(numbers),
        "runs": len(numbers),
    }
    if len(numbers) > 2:
        spread["std"] = float(np.std(numbers, ddof=1))
    return spread


def format_p(p: float) -> str:
    """A p-value for a table: three digits, never a bare zero."""
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def _checked_values(values: Any) -> np.ndarray:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not len(array):
        raise ValueError(f"`values` must hold one number per test image, got shape {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError("`values` must be finite")
    return array
