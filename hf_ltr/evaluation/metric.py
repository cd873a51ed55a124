"""The metrics behind the interface of `evaluate`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import datasets
import evaluate

from ..data.class_counts import ClassCounts
from .metrics import Metrics, long_tail_metrics


class LongTailMetric(evaluate.Metric):
    """
    [`long_tail_metrics`] as an `evaluate.Metric`, with `compute`, `add_batch` and `evaluate.combine`.

    Made directly and never by `evaluate.load(name)`, which downloads a script. Predictions added in batches are cached
    by `evaluate`; [`StreamingMetrics`] needs no cache and is what the trainer uses.

    Args:
        class_counts (`ClassCounts` or sequence of `int`): Training images of every class, in label order.
        kwargs: Passed to `evaluate.Metric` (`keep_in_memory`, `cache_dir`, `num_process`, ...).

    Example:
        ```python
        >>> metric = LongTailMetric([500, 40, 5], keep_in_memory=True)
        >>> metric.compute(predictions=logits, references=labels)
        ```
    """

    def __init__(self, class_counts: ClassCounts | Sequence[int], **kwargs: Any) -> None:
        self.class_counts = ClassCounts.of(class_counts)
        super().__init__(**kwargs)

    def _info(self) -> evaluate.MetricInfo:
        labels = datasets.Value("int64")
        return evaluate.MetricInfo(
            description="Accuracy over all images and over the classes with many, medium and few training images.",
            citation="",
            inputs_description="predictions: logits (images, classes) or class ids (images,); references: class ids.",
            # `evaluate` takes the first of these that the first batch fits.
            features=[
                datasets.Features({"predictions": labels, "references": labels}),
                datasets.Features({"predictions": datasets.Sequence(datasets.Value("float32")), "references": labels}),
            ],
        )

    def _compute(self, predictions: Any, references: Any) -> Metrics:
        return long_tail_metrics(predictions, references, self.class_counts)
