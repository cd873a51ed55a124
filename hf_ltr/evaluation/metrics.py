"""Accuracy over all, many, medium and few, from logits or predictions held in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..data.class_counts import ClassCounts

# Elements of the logits handled at a time: temporaries stay at a few MiB whatever the size of the test set.
_ELEMENTS_AT_A_TIME = 2**20

Metrics = dict[str, float | list[int]]


def long_tail_metrics(logits: Any, labels: Any, class_counts: ClassCounts | Sequence[int]) -> Metrics:
    """
    The accuracies of long-tailed recognition, all in [0, 1].

    `accuracy` is over images. Every other value is a mean, over classes, of per-class accuracy: `balanced_accuracy`
    over all classes, `many`, `medium` and `few` over those of a group. Groups come from the *training* counts: with
    plain counts many > 100, medium 20 to 100, few < 20 images (Liu et al., "Large-Scale Long-Tailed Recognition in an
    Open World", CVPR 2019; boundary classes as in their `shot_acc`); a [`ClassCounts`] may say otherwise.

    A class without test images has no accuracy: it is left out of every mean and listed under
    `classes_without_test_images` (a key that is there only then). A group of which no class has test images is absent.

    Args:
        logits (array or `torch.Tensor`): Scores of shape `(images, classes)`, or predicted class ids of shape
            `(images,)`. Among equal scores the first class wins.
        labels (array or `torch.Tensor` of shape `(images,)`): Integer class ids.
        class_counts (`ClassCounts` or sequence of `int`): Training images of every class, in label order.

    Returns:
        `dict`: `accuracy`, `balanced_accuracy`, then the groups that exist, then `classes_without_test_images` if any.

    Raises:
        `ValueError`: without images, with shapes that do not match, labels outside the classes or scores that are not
            finite (naming the rows).

    Example:
        ```python
        >>> long_tail_metrics([[2.0, 1.0], [0.3, 0.1], [0.0, 4.0]], [0, 0, 1], class_counts=[200, 5])
        {'accuracy': 1.0, 'balanced_accuracy': 1.0, 'many': 1.0, 'few': 1.0}
        ```
    """
    counts = ClassCounts.of(class_counts)
    correct, total = correct_and_total(logits, labels, counts.num_classes)
    return summarize(correct, total, counts)


def per_class_accuracy(logits: Any, labels: Any, class_counts: ClassCounts | Sequence[int]) -> list[float | None]:
    """
    The accuracy of every class in label order, `None` for a class without test images. Arguments and errors as in
    [`long_tail_metrics`].
    """
    correct, total = correct_and_total(logits, labels, ClassCounts.of(class_counts).num_classes)
    return accuracies(correct, total)


def summarize(correct: np.ndarray, total: np.ndarray, class_counts: ClassCounts) -> Metrics:
    """The metrics of [`long_tail_metrics`] from the correctly classified and all test images of every class."""
    if not total.sum() > 0:
        raise ValueError("There are no test images to compute metrics of.")
    metrics: Metrics = {"accuracy": float(correct.sum() / total.sum()), **class_means(correct, total, class_counts)}
    if not (total > 0).all():
        metrics["classes_without_test_images"] = np.flatnonzero(total == 0).tolist()
    return metrics


def class_means(sums: np.ndarray, total: np.ndarray, class_counts: ClassCounts) -> dict[str, float]:
    """
    Means over classes of the mean of each class (the sum of a value per test image over their number): over all
    (`balanced_accuracy`) and over those of each group. Classes without test images are left out, groups without tested
    classes are absent.
    """
    tested = total > 0
    mean = np.divide(sums, total, out=np.zeros(len(total)), where=tested)
    means = {"balanced_accuracy": float(mean[tested].mean())}
    for name, classes in class_counts.groups.items():
        members = [index for index in classes if tested[index]]
        if members:
            means[name] = float(mean[members].mean())
    return means


def accuracies(correct: np.ndarray, total: np.ndarray) -> list[float | None]:
    """`correct / total` of every class, `None` where there is nothing to divide by."""
    return [float(hits / images) if images > 0 else None for hits, images in zip(correct, total, strict=True)]


def correct_and_total(logits: Any, labels: Any, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Correctly classified and all test images per class, both int64 of shape `(classes,)`, from checked input."""
    predictions = predicted_classes(logits, num_classes)
    labels = checked_labels(labels, num_classes, len(predictions))
    total = np.bincount(labels, minlength=num_classes)
    correct = np.bincount(labels[predictions == labels], minlength=num_classes)
    return correct, total


def predicted_classes(logits: Any, num_classes: int) -> np.ndarray:
    """Predicted class ids, int64 of shape `(images,)`, from scores or from ids; refuses what is neither."""
    values = as_tensor(logits)
    if values.ndim == 1 and values.numel():
        return _checked_ids(values, num_classes, "predictions")
    check_scores(values, num_classes)
    chosen = []
    for rows, block in blocks_of_rows(values):
        chosen.append(block.argmax(dim=1))
        # A sum per row is the cheapest test: it is finite if all its terms are, short of overflow, which the exact
        # test then clears.
        if not torch.isfinite(block.sum(dim=1)).all():
            refuse_non_finite(block, rows.start)
    return torch.cat(chosen).cpu().numpy()


def checked_labels(labels: Any, num_classes: int, num_images: int) -> np.ndarray:
    """Labels as int64 of shape `(images,)`; refuses other shapes and ids outside the classes."""
    values = as_tensor(labels)
    if tuple(values.shape) != (num_images,):
        raise ValueError(f"`labels` must have shape ({num_images},) like the logits' rows, got {tuple(values.shape)}.")
    return _checked_ids(values, num_classes, "labels")


def _checked_ids(values: Tensor, num_classes: int, what: str) -> np.ndarray:
    if values.is_floating_point() or values.is_complex() or values.dtype == torch.bool:
        raise ValueError(f"`{what}` must be integer class ids, got {values.dtype}.")
    ids = values.cpu().numpy().astype(np.int64)
    outside = np.flatnonzero((ids < 0) | (ids >= num_classes))
    if len(outside):
        raise ValueError(
            f"`{what}` must lie in 0..{num_classes - 1}: {len(outside)} of {len(ids)} do not, the first is "
            f"{ids[outside[0]]} in row {outside[0]}. Are the class counts those of this dataset?"
        )
    return ids


def check_scores(scores: Tensor, num_classes: int) -> None:
    """Refuse anything but `(images, classes)` with at least one image."""
    if scores.shape[0] == 0:
        raise ValueError("There are no test images to compute metrics of.")
    if scores.ndim != 2 or scores.shape[1] != num_classes:
        raise ValueError(
            f"`logits` must have shape (images, {num_classes}), one column per entry of the class counts, "
            f"got {tuple(scores.shape)}."
        )


def refuse_non_finite(block: Tensor, first_row: int) -> None:
    """Raise if a row of `block` holds NaN or an infinity; `first_row` is the number of its first row."""
    bad = (~torch.isfinite(block).all(dim=1)).nonzero().flatten()
    if len(bad):
        raise ValueError(
            f"`logits` are not finite: the first such row is {first_row + int(bad[0])} ({len(bad)} of the "
            f"{len(block)} rows from {first_row} on). The model has diverged or its input is broken."
        )


def blocks_of_rows(scores: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """`scores` in blocks of rows of a few MiB, as floating point, with the rows they are."""
    step = max(1, _ELEMENTS_AT_A_TIME // max(1, scores.shape[1]))
    for start in range(0, scores.shape[0], step):
        rows = slice(start, min(start + step, scores.shape[0]))
        block = scores[rows]
        # float16 on CPU has slow reductions; integers have no isfinite.
        yield rows, block if block.dtype in (torch.float32, torch.float64) else block.float()


def as_tensor(values: Any) -> Tensor:
    """A detached tensor that shares memory with arrays and tensors where it can."""
    if isinstance(values, Tensor):
        return values.detach()
    array = np.asarray(values)
    if array.dtype == object or array.dtype.kind not in "biuf":
        raise ValueError(f"Expected numbers in a rectangular array, got an array of type {array.dtype}.")
    if array.ndim == 0:
        raise ValueError("Expected an array of rows, got a single number.")
    # torch warns about arrays it must not write to; nothing here writes, but only a copy keeps it quiet.
    return torch.from_numpy(array if array.flags.writeable else array.copy())
