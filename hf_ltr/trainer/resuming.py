"""Where training goes on: from which checkpoint, or from the beginning, and what is said about it."""

from __future__ import annotations

import logging
import os
import shutil
import warnings
from pathlib import Path
from typing import Any

import torch.distributed as dist

from ..files import clear_temporaries
from .checkpoint_files import describe_rejected, find_checkpoint, is_unfinished, problems_of
from .checkpoints import FACTS, checkpoints

logger = logging.getLogger(__name__)


class NoCheckpointToContinue(ValueError):
    """Training was to be continued, and no checkpoint of the folder can be."""


def choose_checkpoint(output_dir: str, asked: str | os.PathLike | bool | None) -> str | None:
    """
    The checkpoint to continue from, the same on every process.

    Args:
        output_dir (`str`): Of the run.
        asked (`str` or `bool`, *optional*): A checkpoint; `True` for the newest of `output_dir` whose files are all
            there and whole; nothing for a new start.

    Returns:
        `str` or `None`: `None` for the beginning.

    Raises:
        [`NoCheckpointToContinue`]: if there are checkpoints, none of which can be continued.
        `ValueError`: for a checkpoint that was named and is not whole, or a new start beside checkpoints of a run.
    """
    outcome: list[Any] = [None]
    if not _shared() or dist.get_rank() == 0:
        # Found by one process: several might see a folder at different moments.
        outcome = [_find(output_dir, asked)]
    if _shared():
        dist.broadcast_object_list(outcome)
    chosen, warning, error = outcome[0]
    if error is not None:
        raise error
    if warning is not None and (not _shared() or dist.get_rank() == 0):
        warnings.warn(warning, stacklevel=4)
    return chosen


def _shared() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def _find(output_dir: str, asked: Any) -> tuple[str | None, str | None, Exception | None]:
    """(checkpoint, what to warn of, what to raise)"""
    if asked and asked is not True:
        path = os.fspath(asked)
        problems = problems_of(path) if (Path(path) / FACTS).exists() else []  # what is no checkpoint is named later
        if problems:
            return (
                None,
                None,
                ValueError(
                    f"Training cannot continue from {path}: {'; '.join(problems)}. Name another checkpoint, or use "
                    "resume_from_checkpoint=True for the newest one that is whole."
                ),
            )
        return path, None, None
    chosen, rejected = find_checkpoint(output_dir)
    if not asked:
        if chosen is None:
            return None, None, None
        return (
            None,
            None,
            ValueError(
                f"{output_dir} holds checkpoints of a run ({Path(chosen).name}), which a new start would mix with its "
                "own. Continue it with train(resume_from_checkpoint=True), or use another output_dir."
            ),
        )
    if not rejected:
        return chosen, None, None
    if chosen is not None:
        text = f"{output_dir}: passed over {describe_rejected(rejected)}; training continues from {Path(chosen).name}"
        return chosen, text, None
    return (
        None,
        None,
        NoCheckpointToContinue(
            f"{output_dir} has no checkpoint that training could continue from: {describe_rejected(rejected)}. (None "
            "can with save_only_model.) train() without resume_from_checkpoint starts again from the beginning."
        ),
    )


def clear_leftovers(output_dir: str | Path) -> None:
    """What interrupted writes of this run left in its folder: temporary files, and checkpoints that never were one."""
    clear_temporaries(output_dir)
    for path in checkpoints(output_dir):
        if path.is_dir() and is_unfinished(path):
            logger.warning("%s was never finished and is removed", path)
            shutil.rmtree(path, ignore_errors=True)
        else:
            clear_temporaries(path)
