"""Training: arguments, the trainer, stages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy import lazy_names

_MODULE_OF_NAME = {
    "LongTailTrainer": "trainer",
    "LongTailTrainingArguments": "arguments",
    "StageResult": "stages",
    "last_complete_checkpoint": "checkpoints",
    "run_stages": "stages",
}

__all__ = ["LongTailTrainer", "LongTailTrainingArguments", "StageResult", "last_complete_checkpoint", "run_stages"]

if TYPE_CHECKING:
    from .arguments import LongTailTrainingArguments
    from .checkpoints import last_complete_checkpoint
    from .stages import StageResult, run_stages
    from .trainer import LongTailTrainer

# Options are read, and refused, before the trainer's own imports, which take seconds.
__getattr__, __dir__ = lazy_names(__name__, _MODULE_OF_NAME)
