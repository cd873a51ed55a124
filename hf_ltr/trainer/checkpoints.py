"""The checkpoints of a run: which there are, from which one training continues, and how one is written."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch.distributed as dist

from ..files import clear_temporaries
from ..models.quiet import quiet_loading
from ..naming import some
from ..reading import read_json
from ..storage import StorageError, naming_storage_errors
from .arguments import LongTailTrainingArguments
from .checkpoint_files import (
    METHOD_FACTS,
    STATE,
    begin_checkpoint,
    forget_places,
    is_unfinished,
    problems_of,
    write_manifest,
)

logger = logging.getLogger(__name__)

_CHECKPOINT = re.compile(r"^checkpoint-(\d+)$")


class NoCheckpointToContinue(ValueError):
    """Training was to be continued, and no checkpoint of the folder can be."""


def checkpoints(folder: str | Path) -> list[Path]:
    """The checkpoint folders in `folder`, newest first, complete or not."""
    folder = Path(folder)
    if not folder.is_dir():
        return []
    found = [(int(match.group(1)), path) for path in folder.iterdir() if (match := _CHECKPOINT.match(path.name))]
    return [path for _, path in sorted(found, reverse=True)]


def delete_checkpoints(folder: str | Path) -> None:
    """Remove the checkpoints of a run whose final model is saved."""
    for path in checkpoints(folder):
        shutil.rmtree(path, ignore_errors=True)


def find_checkpoint(folder: str | Path) -> tuple[str | None, dict[str, list[str]]]:
    """
    The newest checkpoint that training can continue from.

    Returns:
        (its path or `None`, the problems of every newer one by path)
    """
    rejected: dict[str, list[str]] = {}
    for path in checkpoints(folder):
        problems = problems_of(path)
        if not problems:
            return str(path), rejected
        rejected[str(path)] = problems
    return None, rejected


def last_complete_checkpoint(folder: str | Path) -> str | None:
    """The newest checkpoint in `folder` that training can continue from, or `None`."""
    return find_checkpoint(folder)[0]


def describe_rejected(rejected: dict[str, list[str]]) -> str:
    """In words, which checkpoints were passed over and why."""
    return "; ".join(f"{Path(path).name} ({some(problems, 3)})" for path, problems in rejected.items())


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
        try:
            outcome = [(*_find(output_dir, asked), None)]
        except ValueError as error:
            outcome = [(None, None, error)]
    if _shared():
        dist.broadcast_object_list(outcome)
    chosen, warning, problem = outcome[0]
    if problem is not None:
        raise problem
    if warning is not None and (not _shared() or dist.get_rank() == 0):
        warnings.warn(warning, stacklevel=4)
    return chosen


def _shared() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def _find(output_dir: str, asked: Any) -> tuple[str | None, str | None]:
    """The checkpoint to continue from, and what to warn of; raises as [`choose_checkpoint`] does."""
    if asked and asked is not True:
        path = os.fspath(asked)
        # What is no checkpoint of this package is named later.
        problems = problems_of(path) if (Path(path) / METHOD_FACTS).exists() else []
        if problems:
            raise ValueError(
                f"Training cannot continue from {path}: {'; '.join(problems)}. Name another checkpoint, or use "
                "resume_from_checkpoint=True for the newest one that is whole."
            )
        return path, None
    chosen, rejected = find_checkpoint(output_dir)
    if not asked:
        if chosen is not None:
            raise ValueError(
                f"{output_dir} holds checkpoints of a run ({Path(chosen).name}), which a new start would mix with its "
                "own. Continue it with train(resume_from_checkpoint=True), or use another output_dir."
            )
        return None, None
    if not rejected:
        return chosen, None
    if chosen is not None:
        text = f"{output_dir}: passed over {describe_rejected(rejected)}; training continues from {Path(chosen).name}"
        return chosen, text
    raise NoCheckpointToContinue(
        f"{output_dir} has no checkpoint that training could continue from: {describe_rejected(rejected)}. (None "
        "can with save_only_model.) train() without resume_from_checkpoint starts again from the beginning."
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


@contextlib.contextmanager
def written_whole(folder: Path, args: LongTailTrainingArguments) -> Iterator[None]:
    """
    What is written into a checkpoint's folder inside is a checkpoint only if it comes to its end; where the disk is
    full, its beginning makes room for the next attempt.
    """
    try:
        with naming_storage_errors(folder), quiet_loading():
            if args.should_save:
                begin_checkpoint(folder)
            yield
            finish_checkpoint(folder, args)
    except StorageError:
        if args.should_save and not (folder / STATE).exists():
            shutil.rmtree(folder, ignore_errors=True)
        raise


def finish_checkpoint(folder: Path, args: LongTailTrainingArguments) -> None:
    """What its state says is no longer changed: it is complete, and may be pushed."""
    if args.should_save and folder.is_dir():
        forget_places(folder)
        if not args.save_only_model:
            write_manifest(folder, [STATE])


def best_checkpoint(checkpoint: str, args: LongTailTrainingArguments) -> str | None:
    """
    The best weights so far of a run that continues from `checkpoint`, where its folder is now; without them the run
    could not end as it would.

    Raises:
        `ValueError`: if `load_best_model_at_end` asks for them and they are not whole.
    """
    best = best_checkpoint_of(checkpoint, args.folder)
    if best is None:
        return None
    missing = not list(Path(best).glob("model*.safetensors"))
    problems = ["its weights are missing"] if missing else [] if args.save_only_model else problems_of(best)
    if args.load_best_model_at_end and problems:
        raise ValueError(
            f"Training cannot continue exactly: {best} has the best weights so far, which load_best_model_at_end "
            f"asks for, but {'; '.join(problems)}. Start again in another output_dir, or without "
            "load_best_model_at_end."
        )
    return best if Path(best).is_dir() else None


def best_checkpoint_of(checkpoint: str | Path, output_dir: str | Path) -> str | None:
    """
    Where the best checkpoint is that the state of another one names, `None` if it names none.

    Args:
        checkpoint (`str`): Whose state is read.
        output_dir (`str`): Where the run writes now: it may have been moved.
    """
    best = read_json(Path(checkpoint) / STATE, strict=False).get("best_model_checkpoint")
    if best is None:
        return None
    folders = [Path(output_dir), Path(checkpoint).parent]
    if len(Path(best).parts) > 1:  # earlier versions wrote the path
        folders.append(Path(best).parent)
    places = [folder / Path(best).name for folder in folders]
    return str(next((place for place in places if place.is_dir()), places[0]))
