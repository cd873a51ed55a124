"""
Numbers to pages: figures (matplotlib is imported in this room alone), what is written beside a trained model, and the
report of a whole run. The room lies below the trainer, which writes the pages of every model that it saves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..files import write_metrics
from ..lazy import lazy_names
from ..markup import metrics_table

_MODULE_OF_NAME = {
    "RunReport": "run_report",
    "plot_per_class_accuracy": "figures",
    "plot_group_accuracy": "figures",
    "plot_group_intervals": "figures",
    "plot_group_confusion": "group_figures",
    "plot_group_errors": "group_figures",
    "plot_group_given": "group_figures",
    "plot_option_sweep": "figures",
}

__all__ = sorted((*_MODULE_OF_NAME, "metrics_table", "write_metrics"))

if TYPE_CHECKING:
    from .figures import plot_group_accuracy, plot_group_intervals, plot_option_sweep, plot_per_class_accuracy
    from .group_figures import plot_group_confusion, plot_group_errors, plot_group_given
    from .run_report import RunReport

__getattr__, __dir__ = lazy_names(__name__, _MODULE_OF_NAME)
