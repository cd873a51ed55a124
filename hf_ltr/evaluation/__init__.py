"""Metrics, shifted test distributions, figures and tables. Nothing heavier than torch until a name asks for it."""

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
    "plot_per_class_accuracy": "figures",
    "plot_group_accuracy": "figures",
    "plot_group_intervals": "figures",
    "plot_group_confusion": "group_figures",
    "plot_group_errors": "group_figures",
    "plot_group_given": "group_figures",
    "plot_option_sweep": "sweep_figure",
    "published_results": "published",
    "published_targets": "published",
    "bootstrap_intervals": "statistics",
    "group_means": "statistics",
    "hits": "statistics",
    "mcnemar_test": "statistics",
    "seed_spread": "statistics",
    "format_table": "report",
    "write_metrics": "report",
}

__all__ = sorted(_MODULE_OF_NAME)

if TYPE_CHECKING:
    from .figures import plot_group_accuracy, plot_group_intervals, plot_per_class_accuracy
    from .group_figures import plot_group_confusion, plot_group_errors, plot_group_given
    from .groups import group_confusion, group_errors, oracle_group_accuracy
    from .metric import LongTailMetric
    from .metrics import long_tail_metrics, per_class_accuracy
    from .published import published_results, published_targets
    from .report import format_table, write_metrics
    from .shift import first_rows_per_class, shifted_test_distributions
    from .statistics import bootstrap_intervals, group_means, hits, mcnemar_test, seed_spread
    from .streaming import StreamingMetrics
    from .sweep_figure import plot_option_sweep

__getattr__, __dir__ = lazy_names(__name__, _MODULE_OF_NAME)
