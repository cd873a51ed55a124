"""Long-tailed datasets, class counts, samplers and the way from a row to a batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy import lazy_names

# Imported at once (it needs NumPy only): the function has the name of its module, and Python would otherwise hand out
# the module under that name.
from .class_counts import ClassCounts, class_counts

_MODULE_OF_NAME = {
    "load_long_tailed": "datasets",
    "long_tail_info": "provenance",
    "dataset_card": "card",
    "check_class_order": "record",
    "explain_counts": "provenance",
    "hash_rows": "row_identity",
    "InstanceSampler": "samplers",
    "ClassBalancedSampler": "samplers",
    "SquareRootSampler": "samplers",
    "ProgressivelyBalancedSampler": "samplers",
    "ClassAwareSampler": "samplers",
    "ReverseSampler": "samplers",
    "SAMPLERS": "samplers",
    "BatchLoader": "loading.batch_loader",
    "to_map_style": "map_style",
}

__all__ = ["ClassCounts", "class_counts", *_MODULE_OF_NAME]

if TYPE_CHECKING:
    from .card import dataset_card
    from .datasets import load_long_tailed
    from .loading.batch_loader import BatchLoader
    from .map_style import to_map_style
    from .provenance import explain_counts, long_tail_info
    from .record import check_class_order
    from .row_identity import hash_rows
    from .samplers import (
        SAMPLERS,
        ClassAwareSampler,
        ClassBalancedSampler,
        InstanceSampler,
        ProgressivelyBalancedSampler,
        ReverseSampler,
        SquareRootSampler,
    )

__getattr__, __dir__ = lazy_names(__name__, _MODULE_OF_NAME)
