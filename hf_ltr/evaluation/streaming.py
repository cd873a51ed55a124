"""Metrics summed up batch by batch on the device: no logits kept, nothing read to the host until the end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ..data.class_counts import ClassCounts
from ..distributed import all_reduce_sum
from .groups import error_shares
from .metrics import accuracies, class_means, summarize

if TYPE_CHECKING:  # models need seconds to import
    from ..models.auxiliary_module import ModuleMetrics

CALIBRATION_BINS = 15
# Of float32 scores, a megabyte.
_CACHED_SCORES = 2**18
TOP_K = 5


class StreamingMetrics:
    """
    All metrics of an evaluation in `O(classes)` memory.

    The whole state is one tensor of sums, so that one all-reduce joins processes. Sums are float64 (float32 on devices
    without it) and hold whole numbers where they count, so their order does not matter.

    Args:
        class_counts (`ClassCounts` or sequence of `int`): Training images of every class, in label order.
        device (`torch.device` or `str`, *optional*): Where the logits will be; the CPU by default.
        module_metrics (iterable of [`~hf_ltr.models.auxiliary_module.ModuleMetrics`], *optional*): Further metrics, of
            what the model's auxiliary modules add to its output.

    Example:
        ```python
        >>> metrics = StreamingMetrics(class_counts, device)
        >>> for batch in loader:
        ...     metrics.update(model(batch["pixel_values"]).logits, batch["labels"])
        >>> metrics.all_reduce()
        >>> metrics.compute()
        {'accuracy': 0.91, 'balanced_accuracy': 0.9, 'many': 0.97, 'medium': 0.93, 'few': 0.8, 'loss': 0.31, ...}
        ```
    """

    def __init__(
        self,
        class_counts: ClassCounts | Sequence[int],
        device: torch.device | str | None = None,
        module_metrics: Iterable[ModuleMetrics] = (),
    ) -> None:
        self.class_counts = ClassCounts.of(class_counts)
        self.device = torch.device("cpu" if device is None else device)
        classes, groups = self.class_counts.num_classes, len(self.class_counts.groups)
        dtype = torch.float32 if self.device.type == "mps" else torch.float64
        # Parts of the one state tensor, by name; each is updated in place through its view.
        self._sizes = {
            "correct": classes,
            "total": classes,
            "loss": 1,
            "top_k": 1,
            "bin_total": CALIBRATION_BINS,
            "bin_correct": CALIBRATION_BINS,
            "bin_confidence": CALIBRATION_BINS,
            "confusion": groups**2,
            "errors": groups**2,
            "oracle_correct": classes,
            "not_finite": 1,
            "outside_classes": 1,
        }
        # Each with the parts of the state that are its sums.
        self._module_metrics: list[tuple[ModuleMetrics, dict[str, str]]] = []
        for place, metric in enumerate(module_metrics):
            parts = {name: f"module {place}: {name}" for name in metric.sizes}
            self._sizes |= {parts[name]: size for name, size in metric.sizes.items()}
            self._module_metrics.append((metric, parts))
        self.state = torch.zeros(sum(self._sizes.values()), dtype=dtype, device=self.device)
        self._views = dict(zip(self._sizes, self.state.split(list(self._sizes.values())), strict=True))
        self._group_of_class = torch.as_tensor(self.class_counts.group_of_class, device=self.device)
        numbers = torch.arange(groups, device=self.device)
        # By group, the classes that are not in it.
        self._outside_group = numbers.unsqueeze(1) != self._group_of_class

    @torch.no_grad()
    def update(
        self,
        logits: Tensor,
        labels: Tensor,
        loss: Tensor | None = None,
        weights: Tensor | None = None,
        extras: Mapping[str, Tensor] | None = None,
    ) -> None:
        """
        Add a batch. Reads nothing to the host: what is wrong in the values is counted here and refused by `compute`.

        Args:
            logits (`torch.Tensor` of shape `(batch, classes)`): What inference uses.
            labels (`torch.Tensor` of shape `(batch,)`, integer).
            loss (`torch.Tensor` of shape `(batch,)`, *optional*): The loss of each row; the cross-entropy of the
                logits by default.
            weights (`torch.Tensor` of shape `(batch,)`, *optional*): The weight of each row; 0 leaves a row out (the
                copies with which samplers fill up the last batch). 1 by default.
            extras (`dict[str, torch.Tensor]`, *optional*): What auxiliary modules added to the output, for
                `module_metrics`.
        """
        self._check_shapes(logits, labels, loss, weights)
        num_classes, state = self.class_counts.num_classes, self._views
        dtype = self.state.dtype
        logits = logits.detach().to(self.device)
        logits = logits if logits.dtype in (torch.float32, torch.float64) else logits.float()
        labels = labels.to(self.device).long()
        weight = torch.ones(len(logits), dtype=dtype, device=self.device)
        if weights is not None:
            weight = weights.to(self.device, dtype)

        # One pass each of argmax, logsumexp, minimum and top-k over the logits; everything after is O(batch).
        predicted = logits.argmax(dim=1)
        log_sum = logits.logsumexp(dim=1)
        # NaN and +inf show in the log-sum, -inf in the minimum.
        finite = torch.isfinite(log_sum) & torch.isfinite(logits.amin(dim=1))
        inside = (labels >= 0) & (labels < num_classes)
        counted = weight != 0
        state["not_finite"] += (counted & ~finite).sum()
        state["outside_classes"] += (counted & ~inside).sum()
        weight = torch.where(finite & inside, weight, 0)
        labels = labels.clamp(0, num_classes - 1)

        hit = predicted == labels
        correct = weight * hit
        state["total"].index_add_(0, labels, weight)
        state["correct"].index_add_(0, labels, correct)
        if loss is None:
            loss = log_sum - logits.gather(1, labels.unsqueeze(1)).squeeze(1)
        state["loss"] += _weighted_sum(loss.detach().to(self.device), weight)
        if num_classes > TOP_K:
            best = logits.topk(TOP_K, dim=1, sorted=False).indices
            # More than five equal best scores may push the predicted class out of the five.
            state["top_k"] += _weighted_sum((best == labels.unsqueeze(1)).any(dim=1) | hit, weight)

        confidence = (logits.gather(1, predicted.unsqueeze(1)).squeeze(1) - log_sum).exp().to(dtype)
        self._add_calibration(torch.where(finite, confidence, 0), correct, weight)
        self._add_groups(logits, predicted, labels, correct, weight)
        for metric, parts in self._module_metrics:
            metric.update({name: state[part] for name, part in parts.items()}, extras or {}, predicted, labels, weight)

    def _check_shapes(self, logits: Tensor, labels: Tensor, loss: Tensor | None, weights: Tensor | None) -> None:
        num_classes = self.class_counts.num_classes
        if logits.ndim != 2 or logits.shape[1] != num_classes:
            raise ValueError(
                f"`logits` must have shape (batch, {num_classes}), one column per entry of the class counts, "
                f"got {tuple(logits.shape)}."
            )
        for name, rows in (("labels", labels), ("loss", loss), ("weights", weights)):
            if rows is not None and rows.shape != logits.shape[:1]:
                raise ValueError(f"`{name}` must have shape ({logits.shape[0]},), got {tuple(rows.shape)}.")
        if labels.is_floating_point() or labels.dtype == torch.bool:
            raise ValueError(f"`labels` must be integer class ids, got {labels.dtype}.")

    def _add_calibration(self, confidence: Tensor, correct: Tensor, weight: Tensor) -> None:
        """Rows by their confidence, in equal bins."""
        state = self._views
        bins = ((confidence * CALIBRATION_BINS).ceil().long() - 1).clamp(0, CALIBRATION_BINS - 1)
        state["bin_total"].index_add_(0, bins, weight)
        state["bin_correct"].index_add_(0, bins, correct)
        state["bin_confidence"].index_add_(0, bins, weight * confidence)

    def _add_groups(self, logits: Tensor, predicted: Tensor, labels: Tensor, correct: Tensor, weight: Tensor) -> None:
        """Rows by true group and group of the predicted class, and by what knowing the group would make right."""
        state = self._views
        group = self._group_of_class
        pair = group[labels] * len(self.class_counts.groups) + group[predicted]
        state["confusion"].index_add_(0, pair, weight)
        state["errors"].index_add_(0, pair, weight - correct)
        if len(self.class_counts.groups) > 1:
            best_inside = self._best_inside(logits, labels)
            state["oracle_correct"].index_add_(0, labels, weight * (best_inside == labels))

    def _best_inside(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The best class of the group of each label, `(batch,)`."""
        outside = self._outside_group[self._group_of_class[labels]]
        # Piece by piece, so that the copy stays in a processor's cache.
        rows = max(1, _CACHED_SCORES // logits.shape[1])
        pieces = zip(logits.split(rows), outside.split(rows), strict=True)
        return torch.cat([piece.masked_fill(mask, -torch.inf).argmax(dim=1) for piece, mask in pieces])

    def all_reduce(self) -> None:
        """Sum the state over all processes; nothing to do in a single one. Call it once, before `compute`."""
        all_reduce_sum(self.state)

    def compute(self, per_class: bool = False) -> dict[str, Any]:
        """
        The metrics of everything seen, by one read to the host.

        Args:
            per_class (`bool`, defaults to `False`): Add what is not one number: `per_class_accuracy`, a list in label
                order with `None` for classes without test images, and `group_errors`, in percent as
                [`~hf_ltr.evaluation.group_errors`] returns it.

        Returns:
            `dict`: what [`long_tail_metrics`] returns, and `loss`; `top5_accuracy` (with more than five classes);
            `expected_calibration_error` over 15 equal bins of the highest probability (Guo et al., 2017);
            `worst_class_accuracy`. With more than one group also `group_accuracy`, the share of images predicted as
            some class of their own group, and `oracle_accuracy`, `oracle_many`, `oracle_medium`, `oracle_few`: the
            accuracies if the group of every image were known ([`~hf_ltr.evaluation.oracle_group_accuracy`]). Then
            the metrics of auxiliary modules.

        Raises:
            `ValueError`: if nothing was seen, or rows had logits that are not finite or labels outside the classes.
        """
        host = self._host()
        for part, problem, advice in (
            ("not_finite", "have logits that are not finite", "The model has diverged or its input is broken."),
            (
                "outside_classes",
                f"have a label outside 0..{self.class_counts.num_classes - 1}",
                "Are the class counts those of this dataset?",
            ),
        ):
            rows = int(host[part][0])
            if rows:
                raise ValueError(f"{rows} of the evaluated rows {problem}. {advice}")
        metrics: dict[str, Any] = summarize(host["correct"], host["total"], self.class_counts)
        without_test_images = metrics.pop("classes_without_test_images", None)
        images = host["total"].sum()
        per_class_accuracy = accuracies(host["correct"], host["total"])
        metrics["loss"] = float(host["loss"][0] / images)
        if self.class_counts.num_classes > TOP_K:
            metrics["top5_accuracy"] = float(host["top_k"][0] / images)
        # sum over bins of (images in bin / images) * |accuracy - mean confidence|, with the division cancelled.
        metrics["expected_calibration_error"] = float(
            np.abs(host["bin_correct"] - host["bin_confidence"]).sum() / images
        )
        metrics["worst_class_accuracy"] = min(value for value in per_class_accuracy if value is not None)
        metrics |= self._group_metrics(host)
        for metric, parts in self._module_metrics:
            metrics |= metric.compute({name: host[part] for name, part in parts.items()})
        if per_class:
            metrics["per_class_accuracy"] = per_class_accuracy
            if len(self.class_counts.groups) > 1:
                metrics["group_errors"] = error_shares(self._by_group(host["errors"]), list(self.class_counts.groups))
        if without_test_images is not None:
            metrics["classes_without_test_images"] = without_test_images
        return metrics

    def group_confusion(self) -> np.ndarray:
        """Images by true group (rows) and group of the predicted class (columns), in the order of the groups."""
        return self._by_group(self._host()["confusion"]).round().astype(np.int64)

    def _group_metrics(self, host: dict[str, np.ndarray]) -> dict[str, float]:
        """What knowing the group is worth, and how well it is known. With a single group there is nothing to know."""
        found = {}
        if len(self.class_counts.groups) > 1:
            confusion = self._by_group(host["confusion"])
            found["group_accuracy"] = float(confusion.trace() / confusion.sum())
            correct, total = host["oracle_correct"], host["total"]
            found["oracle_accuracy"] = float(correct.sum() / total.sum())
            means = class_means(correct, total, self.class_counts)
            found |= {f"oracle_{name}": means[name] for name in self.class_counts.groups if name in means}
        return found

    def _by_group(self, values: np.ndarray) -> np.ndarray:
        """A flat part of the state with true groups as rows and predicted groups as columns."""
        return values.reshape(len(self.class_counts.groups), -1)

    def _host(self) -> dict[str, np.ndarray]:
        parts = self.state.cpu().split(list(self._sizes.values()))
        return {name: part.double().numpy() for name, part in zip(self._sizes, parts, strict=True)}


def _weighted_sum(values: Tensor, weight: Tensor) -> Tensor:
    """`sum(values * weight)` in which rows of weight 0 may hold NaN."""
    return torch.where(weight != 0, values.to(weight.dtype) * weight, 0).sum()
