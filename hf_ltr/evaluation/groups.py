"""Where errors go between groups, and what a known group would be worth (figures 1a and 1b of the MEM paper)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ..data.class_counts import ClassCounts
from .metrics import (
    Metrics,
    as_tensor,
    blocks_of_rows,
    check_scores,
    checked_labels,
    predicted_classes,
    refuse_non_finite,
    summarize,
)


def group_confusion(
    predictions: Any, labels: Any, class_counts: ClassCounts | Sequence[int], errors_only: bool = False
) -> np.ndarray:
    """
    How many images of each true group were predicted as a class of each group.

    Args:
        predictions (array or `torch.Tensor`): Predicted class ids of shape `(images,)`, or logits of shape
            `(images, classes)`.
        labels (array or `torch.Tensor` of shape `(images,)`): Integer class ids.
        class_counts (`ClassCounts` or sequence of `int`): Training images of every class; its groups, in their order,
            are rows and columns.
        errors_only (`bool`, defaults to `False`): Count only images that were classified wrongly.

    Returns:
        `np.ndarray` of shape `(groups, groups)`, int64: rows are true groups, columns predicted ones.
    """
    counts = ClassCounts.of(class_counts)
    predicted = predicted_classes(predictions, counts.num_classes)
    labels = checked_labels(labels, counts.num_classes, len(predicted))
    if errors_only:
        wrong = predicted != labels
        predicted, labels = predicted[wrong], labels[wrong]
    group, number = counts.group_of_class, len(counts.groups)
    return np.bincount(group[labels] * number + group[predicted], minlength=number**2).reshape(number, number)


def group_errors(
    predictions: Any, labels: Any, class_counts: ClassCounts | Sequence[int]
) -> dict[str, dict[str, float]]:
    """
    Where the misclassified images of each group went: `d_ij` of figure 1a of Long et al., "MEM" (arXiv 2302.09498).

    Arguments and errors as in [`group_confusion`].

    Returns:
        `dict`: by true group, for every group the share of the true group's misclassified images that were predicted
            as one of its classes, in percent; a row adds up to 100. A group without misclassified images is absent.

    Example:
        ```python
        >>> group_errors([0, 0, 1, 1], [0, 1, 2, 2], class_counts=[200, 50, 5])
        {'medium': {'many': 100.0, 'medium': 0.0, 'few': 0.0}, 'few': {'many': 0.0, 'medium': 100.0, 'few': 0.0}}
        ```
    """
    counts = ClassCounts.of(class_counts)
    return error_shares(group_confusion(predictions, labels, counts, errors_only=True), list(counts.groups))


def error_shares(errors: np.ndarray, names: Sequence[str]) -> dict[str, dict[str, float]]:
    """The result of [`group_errors`] from numbers of misclassified images by true group (rows) and predicted one."""
    return {
        name: {other: float(100 * number / row.sum()) for other, number in zip(names, row, strict=True)}
        for name, row in zip(names, errors, strict=True)
        if row.sum() > 0
    }


def oracle_group_accuracy(logits: Any, labels: Any, class_counts: ClassCounts | Sequence[int]) -> Metrics:
    """
    The metrics of [`long_tail_metrics`] if the group of every test image were known: the prediction is the best class
    among those of the true group. The distance to the plain metrics is what confusing groups costs.

    Args:
        logits (array or `torch.Tensor` of shape `(images, classes)`)
        labels (array or `torch.Tensor` of shape `(images,)`): Integer class ids.
        class_counts (`ClassCounts` or sequence of `int`): Training images of every class, in label order.
    """
    counts = ClassCounts.of(class_counts)
    scores = as_tensor(logits)
    check_scores(scores, counts.num_classes)
    labels = checked_labels(labels, counts.num_classes, len(scores))
    group_of_class = torch.as_tensor(counts.group_of_class, device=scores.device)
    group_of_row = group_of_class[torch.from_numpy(labels).to(scores.device)]
    chosen = []
    for rows, block in blocks_of_rows(scores):
        refuse_non_finite(block, rows.start)
        other_group = group_of_row[rows].unsqueeze(1) != group_of_class
        chosen.append(block.masked_fill(other_group, -torch.inf).argmax(dim=1))
    correct = torch.cat(chosen).cpu().numpy() == labels
    return summarize(
        np.bincount(labels[correct], minlength=counts.num_classes),
        np.bincount(labels, minlength=counts.num_classes),
        counts,
    )
