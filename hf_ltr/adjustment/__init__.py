"""Changing a trained classifier without training its backbone: what `hf-ltr adjust` does, as functions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy import lazy_names

_MODULE_OF_NAME = {
    "ADJUSTMENTS": "options",
    "AdjustmentOptions": "options",
    "RetrainingOptions": "options",
    "AdjustmentReport": "report",
    "adjust_checkpoint": "adjust",
    "load_classifier": "checkpoint",
    "save_classifier": "checkpoint",
    "LinearHead": "linear_head",
    "find_linear_head": "linear_head",
    "read_class_counts": "class_counts",
    "read_prior": "class_counts",
    "nearest_centroid_classifier": "rules",
    "retrain_classifier": "retraining",
    "learn_scales": "retraining",
}

__all__ = sorted(_MODULE_OF_NAME)

if TYPE_CHECKING:
    from .adjust import adjust_checkpoint
    from .checkpoint import load_classifier, save_classifier
    from .class_counts import read_class_counts, read_prior
    from .linear_head import LinearHead, find_linear_head
    from .options import ADJUSTMENTS, AdjustmentOptions, RetrainingOptions
    from .report import AdjustmentReport
    from .retraining import learn_scales, retrain_classifier
    from .rules import nearest_centroid_classifier

__getattr__, __dir__ = lazy_names(__name__, _MODULE_OF_NAME)
