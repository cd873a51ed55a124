"""Training ends after the step in which a signal came, with a checkpoint, on all processes at the same step."""

from __future__ import annotations

import contextlib
import math
from typing import Any

import torch
import torch.distributed as dist
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ..interruption import Interrupted, asked_to_stop, finishing_steps, installed


class StopWhenAsked(TrainerCallback):
    """
    Saves and leaves where a command or recipe was asked to stop (see [`~hf_ltr.interruption.handle_signals`]); without
    its handlers this does nothing.

    Processes agree by a sum over all of them that is begun after each step and looked at after the next one, on the
    CPU: a signal may reach one process only, or two of them in different steps, and no step waits for it.
    """

    def __init__(self) -> None:
        self._steps: Any = None
        self._group: Any = None
        self._flag = torch.zeros(1, dtype=torch.int32)
        self._work: Any = None
        self._stopping: int | None = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if not installed():
            return
        if args.world_size > 1:
            self._group = dist.new_group(backend="gloo")
        self._steps = finishing_steps()
        self._steps.__enter__()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self._steps is None:
            return
        self._stopping = self._agreed() if self._group is not None else asked_to_stop()
        epoch = state.epoch or 0.0
        if self._stopping is not None and not math.isclose(epoch, round(epoch)):
            self._save(args, control)

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        # Not before: what is measured and logged at the end of an epoch is not made up for by a run that goes on.
        if self._stopping is not None:
            self._save(args, control)

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self._group is None and self._steps is not None and asked_to_stop() is not None:
            self._stopping = asked_to_stop()
            self._save(args, control)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if self._steps is not None and self._group is None:
            self._stopping = self._stopping or asked_to_stop()
        if self._stopping is not None:
            self._leave(f"{args.output_dir}/checkpoint-{state.global_step}")

    def _save(self, args: TrainingArguments, control: TrainerControl) -> None:
        if args.save_only_model:
            self._leave(None)  # such a checkpoint cannot be continued
        control.should_save = True

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.end()

    def _agreed(self) -> int | None:
        """The signal that had reached any process a step ago."""
        number = None
        if self._work is not None:
            self._work.wait()
            number = int(self._flag) or None
        self._flag = torch.tensor([asked_to_stop() or 0], dtype=torch.int32)
        self._work = dist.all_reduce(self._flag, op=dist.ReduceOp.MAX, group=self._group, async_op=True)
        return number

    def _leave(self, saved: str | None) -> None:
        number = self._stopping
        assert number is not None
        self.end()
        raise Interrupted(number, saved)

    def end(self) -> None:
        """There are no more steps; a signal that nobody has answered yet is answered now."""
        if self._steps is None:
            return
        self._steps.__exit__(None, None, None)
        waiting, self._work = self._work, None
        unanswered = self._stopping is None and asked_to_stop()
        self._steps = self._group = self._stopping = None
        if waiting is not None:
            with contextlib.suppress(RuntimeError):  # another process is gone
                waiting.wait()
        if unanswered:
            raise Interrupted(unanswered)
