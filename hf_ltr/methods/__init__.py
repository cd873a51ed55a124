"""
The methods. One file each, named as in the registry; the rest of this folder is what they share.
"""

from .base import LongTailMethod, PriorCorrection, Stage
from .deferred_reweighting import DeferredReweighting
from .host import MethodHost
from .loss_method import LossMethod
from .registry import (
    BASELINE,
    METHODS,
    PRETRAINING,
    all_options,
    all_papers,
    check_options,
    described_parts,
    get_method,
    with_preset,
)
from .wrapper import MethodWrapper

__all__ = [
    "BASELINE",
    "METHODS",
    "PRETRAINING",
    "DeferredReweighting",
    "LongTailMethod",
    "LossMethod",
    "MethodHost",
    "MethodWrapper",
    "PriorCorrection",
    "Stage",
    "check_options",
    "all_options",
    "all_papers",
    "described_parts",
    "get_method",
    "with_preset",
]
