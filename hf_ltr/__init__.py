"""
Long-tailed image recognition for the Hugging Face stack.

Names are imported on first use, so that `import hf_ltr` and `hf-ltr --help` do not wait for torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .lazy import lazy_names
from .version import __version__

_MODULE_OF_NAME = {
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

__all__ = ["__version__", *_MODULE_OF_NAME]

if TYPE_CHECKING:
    from .data import ClassCounts, class_counts, load_long_tailed
    from .methods import METHODS, LongTailMethod, get_method
    from .models import LongTailConfig, LongTailForImageClassification, LongTailImageProcessor
    from .trainer import LongTailTrainer, LongTailTrainingArguments

__getattr__, __dir__ = lazy_names(__name__, _MODULE_OF_NAME)
