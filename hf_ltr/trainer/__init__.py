"""Training: arguments, the trainer, stages."""

from __future__ import annotations

from .arguments import LongTailTrainingArguments
from .checkpoint_files import last_complete_checkpoint
from .stages import StageResult, run_stages
from .trainer import LongTailTrainer

__all__ = ["LongTailTrainer", "LongTailTrainingArguments", "StageResult", "last_complete_checkpoint", "run_stages"]
