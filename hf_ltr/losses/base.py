"""What every classification loss shares: checks, at least float32, class counts as a buffer, one reduction."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..data.class_counts import ClassCounts
from ..naming import unknown_name

REDUCTIONS = ("none", "mean", "sum")


def at_least_float32(values: Tensor) -> Tensor:
    """`values` in float32 when they come in a narrower floating type, unchanged otherwise (float64 stays float64)."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def check_classification_shapes(logits: Tensor, labels: Tensor) -> None:
    """
    Refuse shapes and types that broadcasting would turn into a wrong loss. Reads no values, so costs no sync.

    Args:
        logits (`torch.Tensor` of shape `(batch, classes)`, floating point).
        labels (`torch.Tensor`): Integers of shape `(batch,)`, or probabilities of shape `(batch, classes)`.
    """
    if not torch.is_floating_point(logits) or logits.ndim != 2:
        raise ValueError(
            "`logits` must be a floating-point tensor of shape (batch, classes), "
            f"got {logits.dtype} of shape {tuple(logits.shape)}."
        )
    if torch.is_floating_point(labels):
        if labels.shape != logits.shape:
            raise ValueError(
                f"Soft labels must have the shape of the logits, {tuple(logits.shape)}, got {tuple(labels.shape)}. "
                "Hard labels must be integers of shape (batch,)."
            )
    elif labels.dtype in (torch.bool, torch.complex64, torch.complex128):
        raise ValueError(f"`labels` must be integers or floating-point probabilities, got {labels.dtype}.")
    elif labels.shape != logits.shape[:1]:
        raise ValueError(
            f"Integer labels must have shape ({logits.shape[0]},) to match logits of shape {tuple(logits.shape)}, "
            f"got {tuple(labels.shape)}."
        )


def as_probabilities(labels: Tensor, logits: Tensor) -> Tensor:
    """Soft labels themselves; integer labels as one-hot rows in the type and shape of `logits`."""
    if labels.is_floating_point():
        return labels
    # Not torch's one_hot: it reads the largest label, which waits for the device.
    return torch.zeros_like(logits).scatter(1, labels.unsqueeze(1), 1.0)


def expected_loss(losses: Tensor, labels: Tensor) -> Tensor:
    """
    From the loss that each class would give as the label, `(batch, classes)`, those of the labels, `(batch,)`; the
    expectation where the labels are soft.
    """
    if labels.is_floating_point():
        return (labels * losses).sum(dim=1)
    return losses.gather(1, labels.unsqueeze(1)).squeeze(1)


def reduce_losses(losses: Tensor, reduction: str) -> Tensor:
    """
    Reduce per-row losses of shape `(batch,)`: `"none"` returns them, `"mean"` divides by the number of rows, `"sum"`
    adds. The mean over no rows is 0 with its graph kept (torch would give NaN).
    """
    if reduction == "none":
        return losses
    if reduction == "sum" or losses.numel() == 0:
        return losses.sum()
    return losses.mean()


class ClassificationLoss(nn.Module):
    """
    Base of the losses on `(batch, classes)` logits. A subclass writes `row_losses`; this class checks shapes, leaves
    autocast, lifts half precision to float32 and reduces.

    Class attributes:
        accepts_soft_targets (`bool`): Whether `labels` may be probabilities of shape `(batch, classes)`.
    """

    accepts_soft_targets = True

    def row_losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        """
        The loss of each row.

        Soft labels mean the expectation of the hard-label loss when the label is drawn from them, so that mixup's
        `lambda * loss(y_a) + (1 - lambda) * loss(y_b)` is one call. A loss that reads them otherwise says so.

        Args:
            logits (`torch.Tensor` of shape `(batch, classes)`): In float32 or float64, outside autocast.
            labels (`torch.Tensor`): int64 of shape `(batch,)`, or probabilities in the logits' type and shape.

        Returns:
            `torch.Tensor` of shape `(batch,)`.
        """
        raise TypeError(f"{type(self).__name__} must define `row_losses(logits, labels)`.")

    def forward(self, logits: Tensor, labels: Tensor, reduction: str = "mean") -> Tensor:
        """
        Args:
            logits (`torch.Tensor` of shape `(batch, classes)`): Raw scores of the network. float64 is computed in
                float64, everything narrower in float32, under autocast too.
            labels (`torch.Tensor`): Integer class ids of shape `(batch,)`, or, where the loss admits soft targets,
                floating-point probabilities of shape `(batch, classes)`.
            reduction (`str`, defaults to `"mean"`): `"none"` (shape `(batch,)`), `"mean"` over the rows or `"sum"`.

        Returns:
            `torch.Tensor`: The loss.

        Raises:
            `ValueError`: on an unknown reduction, on shapes that do not match, and on soft labels for a loss whose
                formula needs one label per row. A label outside the classes is an `IndexError` on CPU; no label value
                means "ignore".
        """
        return self._evaluate(logits, labels, reduction)

    def _evaluate(self, logits: Tensor, labels: Tensor, reduction: str, **inputs: Tensor | None) -> Tensor:
        """`forward`, with further inputs that a subclass's `forward` hands to its `row_losses`."""
        if reduction not in REDUCTIONS:
            raise unknown_name("reduction", reduction, REDUCTIONS)
        check_classification_shapes(logits, labels)
        soft = torch.is_floating_point(labels)
        if soft and not self.accepts_soft_targets:
            raise ValueError(
                f"{type(self).__name__} needs one integer label per row and got soft labels of shape "
                f"{tuple(labels.shape)}. Switch off mixup, cutmix and label smoothing, or use another loss."
            )
        with torch.autocast(device_type=logits.device.type, enabled=False):
            logits = at_least_float32(logits)
            labels = labels.to(logits.dtype) if soft else labels.long()
            return reduce_losses(self.row_losses(logits, labels, **inputs), reduction)


class ClassCountLoss(ClassificationLoss):
    """
    Base of the losses whose formula holds the training images per class.

    The counts are kept as an int64 buffer and everything that follows from them is computed in the type of the logits:
    exact in float64, untouched by `.half()`, movable to devices without float64. The buffer is a constant of the
    construction and is not saved.

    Class attributes:
        needs_every_class (`bool`): Whether a class without training images is refused, because the formula holds
            `log 0` or `1 / 0` for it. Where it is False the loss's docstring says what such a class does.

    Args:
        class_counts (`ClassCounts` or sequence of `int`): Training images of every class, in label order.

    Raises:
        `ValueError`: naming the classes without a training image, where every class needs one; and if no class has
            any.
    """

    needs_every_class = True
    class_counts: Tensor

    def __init__(self, class_counts: ClassCounts | Sequence[int]) -> None:
        super().__init__()
        counts = ClassCounts.of(class_counts)
        if self.needs_every_class:
            counts.require_images(type(self).__name__)
        elif counts.total == 0:
            raise ValueError(f"{type(self).__name__} was given class counts that are all zero.")
        self.register_buffer("class_counts", torch.tensor(counts.counts, dtype=torch.int64), persistent=False)

    def counts_of(self, logits: Tensor) -> Tensor:
        """The counts, int64 of shape `(classes,)`; refuses logits with another number of classes."""
        if logits.shape[-1] != self.class_counts.shape[0]:
            raise ValueError(
                f"{type(self).__name__} was given counts of {self.class_counts.shape[0]} classes, "
                f"but the logits have {logits.shape[-1]} columns."
            )
        return self.class_counts

    def extra_repr(self) -> str:
        return f"num_classes={self.class_counts.shape[0]}"
