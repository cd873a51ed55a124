"""Changing a trained classifier without training its backbone: what `hf-ltr adjust` does, as functions."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_MODULE_OF_NAME = {
    "ADJUSTMENTS": "options",
    "AdjustmentOptions": "options",
    "RetrainingOptions": "options",
    "AdjustmentReport": "report",
    "adjust_checkpoint": "adjust",
    "load_classifier": "checkpoint",
    "save_classifier": "checkpoint",
    "LinearHead": "head",
    "find_linear_head": "head",
    "read_class_counts": "classes",
    "read_prior": "classes",
    "tau_normalize": "rules",
    "nearest_centroid_classifier": "rules",
    "retrain_classifier": "retraining",
    "learn_scales": "retraining",
}

__all__ = sorted(_MODULE_OF_NAME)

if TYPE_CHECKING:
    from .adjust import adjust_checkpoint
    from .checkpoint import load_classifier, save_classifier
    from .classes import read_class_counts, read_prior
    from .head import LinearHead, find_linear_head
    from .options import ADJUSTMENTS, AdjustmentOptions, RetrainingOptions
    from .report import AdjustmentReport
    from .retraining import learn_scales, retrain_classifier
    from .rules import nearest_centroid_classifier, tau_normalize


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF_NAME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULE_OF_NAME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
