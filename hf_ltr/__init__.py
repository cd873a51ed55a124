"""
Long-tailed image recognition for the Hugging Face stack.

Names are imported on first use, so that `import hf_ltr` and `hf-ltr --help` do not wait for torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .version import __version__

_HOMES = {
    "load_long_tailed": "data",
    "class_counts": "data",
    "ClassCounts": "data",
    "LongTailConfig": "models",
    "LongTailForImageClassification": "models",
    "LongTailImageProcessor": "models",
    "LongTailTrainer": "trainer",
    "LongTailTrainingArguments": "trainer",
    "LongTailMethod": "methods",
    "METHODS": "methods",
    "get_method": "methods",
}

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; public names: {', '.join(_HOMES)}")


def __dir__() -> list[str]:
    return sorted(__all__)


if TYPE_CHECKING:
    from .data import ClassCounts, class_counts, load_long_tailed
    from .methods import METHODS, LongTailMethod, get_method
    from .models import LongTailConfig, LongTailForImageClassification, LongTailImageProcessor
    from .trainer import LongTailTrainer, LongTailTrainingArguments
