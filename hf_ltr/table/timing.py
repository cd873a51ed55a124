"""
Training steps of several methods taken in turn, in one process, so that their times can be compared.

Every method has its own training loop in its own thread; all of them stand still but the one whose turn it is.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from datasets import DatasetDict
from transformers import TrainerCallback

from ..methods import Stage
from ..trainer import LongTailTrainer, LongTailTrainingArguments
from ..trainer.stage_model import build_stage_model
from ..trainer.stage_plan import stage_arguments
from .plans import Plan


@dataclass(frozen=True)
class TimedStage:
    """A stage of a plan and the data it trains on; begins from scratch and writes nothing."""

    plan: Plan
    stage: Stage
    data: DatasetDict

    def trainer(self, folder: str, steps: int, *callbacks: TrainerCallback) -> LongTailTrainer:
        """A trainer of so many steps, which needs a folder for what transformers may write."""
        stage, plan = self.stage, self.plan
        options = stage_arguments(stage, plan.stages, plan.arguments, Path(folder), lambda text: None)
        options |= {"save_strategy": "no", "logging_strategy": "no", "eval_strategy": "no"}
        options |= {"max_steps": steps, "warmup_epochs": 0, "warmup_steps": 0}
        return LongTailTrainer(
            model=build_stage_model(stage, plan.model_config(), None, seed=plan.seed),
            args=LongTailTrainingArguments(**options),
            method=stage.method,
            train_dataset=self.data["train"],
            eval_dataset=self.data.get("validation") if stage.method.uses_labels else None,
            callbacks=list(callbacks),
        )


class _Stopped(Exception):
    """Ends a training loop that was only timed."""


class _Turns(TrainerCallback):
    """Lets a training loop take its steps in bursts: it waits at the beginning of a step for its next turn."""

    def __init__(self, steps: int):
        self.steps, self.taken, self.stopped = steps, steps, False
        self.turn, self.done = threading.Semaphore(0), threading.Semaphore(0)

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.taken == self.steps:
            if args.device.type == "cuda":
                torch.cuda.synchronize(args.device)
            # The batch of the coming step is made already, as it was when the burst began.
            self.done.release()
            self.turn.acquire()
            self.taken = 0
            if self.stopped:
                raise _Stopped
        self.taken += 1


class _Loop(threading.Thread):
    """A training loop that stands still except in its turns; only one runs at a time."""

    def __init__(self, make_trainer: Callable[[TrainerCallback], Any], steps: int):
        super().__init__(daemon=True)
        self.turns = _Turns(steps)
        self.trainer = make_trainer(self.turns)
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self.trainer.train()
            self.error = RuntimeError("The timed training ended before its last turn")
        except _Stopped:
            pass
        except BaseException as error:  # handed to the thread that waits
            self.error = error
        self.turns.done.release()

    def take_turn(self) -> float:
        """Seconds of one burst."""
        began = time.perf_counter()
        self.turns.turn.release()
        self.wait()
        return time.perf_counter() - began

    def wait(self) -> None:
        self.turns.done.acquire()
        if self.error is not None:
            raise self.error

    def stop(self) -> None:
        if self.is_alive():
            self.turns.stopped = True
            self.turns.turn.release()
            self.join()


def paired_times(contenders: Mapping[str, TimedStage], *, rounds: int, steps: int) -> dict[str, list[float]]:
    """
    Seconds per step of every contender in every round.

    Args:
        contenders (mapping of `str` to [`TimedStage`]): What is trained, by key.
        rounds (`int`): One more before them warms up and is not counted.
        steps (`int`): Of a contender in a round.

    Returns:
        `dict[str, list[float]]`: by key, one number per round.
    """
    loops: dict[str, _Loop] = {}
    times: dict[str, list[float]] = {key: [] for key in contenders}
    keys = list(contenders)
    with tempfile.TemporaryDirectory() as folder:
        try:
            for number, (key, timed) in enumerate(contenders.items()):
                loops[key] = _Loop(partial(timed.trainer, f"{folder}/{number}", (rounds + 2) * steps), steps)
                loops[key].start()
                loops[key].wait()  # at its first step
            for turn in range(rounds + 1):
                # Whoever comes first in a round comes later in the next.
                for key in keys[turn % len(keys) :] + keys[: turn % len(keys)]:
                    seconds = loops[key].take_turn() / steps
                    if turn:
                        times[key].append(seconds)
        finally:
            for loop in loops.values():
                loop.stop()
    return times
