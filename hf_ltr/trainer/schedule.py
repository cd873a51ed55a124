"""How long a run is, and how much of it warms it up: what contradicts itself is found before anything is trained."""

from __future__ import annotations

import math
from typing import Any

_REMEDY = "so the learning rate would never get to its peak. Lower warmup_epochs (or warmup_steps)."


def planned_epochs(args: Any, rows: int) -> float:
    """
    Epochs of the whole run; `max_steps`, where it is set, decides.

    Args:
        args ([`LongTailTrainingArguments`]).
        rows (`int`): Of the training set.
    """
    if args.max_steps <= 0:
        return args.num_train_epochs
    batches = rows / (args.train_batch_size * args.world_size)
    batches = max(1, math.floor(batches) if args.dataloader_drop_last else math.ceil(batches))
    return args.max_steps / math.ceil(batches / args.gradient_accumulation_steps)


def warmup_steps(args: Any, steps: int, epochs: float) -> int:
    """
    Optimizer steps of the linear warm-up: `warmup_steps`, else `warmup_epochs`, else 5 epochs or a tenth of a shorter
    run.

    Args:
        args ([`LongTailTrainingArguments`]).
        steps (`int`): Optimizer steps of the whole run.
        epochs (`float`): Of the whole run, see [`planned_epochs`].

    Raises:
        `ValueError`: if the warm-up is as long as the run.
    """
    warmup = args.get_warmup_steps(steps)
    if not warmup:
        wanted = min(5.0, 0.1 * epochs) if args.warmup_epochs is None else args.warmup_epochs
        warmup = round(wanted * steps / epochs)
    if warmup >= steps and warmup > 1:
        raise ValueError(f"The warm-up of {warmup} steps is as long as the run of {steps} steps, {_REMEDY}")
    return warmup


def check_warmup(args: Any, stage: str) -> None:
    """
    The part of [`warmup_steps`]' check that needs no rows, for stages that are far from being trained.

    Raises:
        `ValueError`: if the warm-up is as long as the run.
    """
    if args.max_steps > 0:
        if args.warmup_steps > 1 and args.warmup_steps >= args.max_steps:
            raise ValueError(
                f"Stage {stage!r}: the warm-up of {args.warmup_steps} steps is as long as the run of {args.max_steps} "
                f"steps, {_REMEDY}"
            )
    elif not args.warmup_steps and args.warmup_epochs and 0 < args.num_train_epochs <= args.warmup_epochs:
        raise ValueError(
            f"Stage {stage!r}: the warm-up of {args.warmup_epochs:g} epochs is as long as the run of "
            f"{args.num_train_epochs:g} epochs, {_REMEDY}"
        )
