"""Metrics, groups, shifted test distributions, statistics: tensors to numbers. Nothing heavier than torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy import lazy_names

_MODULE_OF_NAME = {
    "long_tail_metrics": "metrics",
    "per_class_accuracy": "metrics",
    "StreamingMetrics": "streaming",
    "group_confusion": "groups",
    "group_errors": "groups",
    "oracle_group_accuracy": "groups",
    "shifted_test_distributions": "shift",
    "first_rows_per_class": "shift",
    "LongTailMetric": "metric",
    "bootstrap_intervals": "statistics",
    "group_means": "statistics",
    "hits": "statistics",
    "mcnemar_test": "statistics",
    "seed_spread": "statistics",
}

__all__ = sorted(_MODULE_OF_NAME)

if TYPE_CHECKING:
    from .groups import group_confusion, group_errors, oracle_group_accuracy
    from .metric import LongTailMetric
    from .metrics import long_tail_metrics, per_class_accuracy
    from .shift import first_rows_per_class, shifted_test_distributions
    from .statistics import bootstrap_intervals, group_means, hits, mcnemar_test, seed_spread
    from .streaming import StreamingMetrics

__getattr__, __dir__ = lazy_names(__name__, _MODULE_OF_NAME)
