"""
transformers' `Trainer` with hooks, and what accelerate does to a model undone: **every private method of them that
this package overrides, and every private field that it reads or writes, stands in this file**, with the reason and the
versions that need it.

All of it was read in transformers 5.17 to 5.24, in which the methods below have these names, arguments and callers,
and in accelerate 1.12 to 1.15; "all" means these. tests/trainer/test_parent.py has a test for each that fails when the
parent does not call it any more: a new version is supported when that file passes. (Of `TrainingArguments`, the field
`_VALID_DICT_FIELDS` is extended beside our arguments.)
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from types import MethodType
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler
from transformers import Trainer

from ..methods.batch import Batch
from ..models.modeling import LongTailPreTrainedModel
from ..models.quiet import without_messages
from .arguments import LongTailTrainingArguments
from .checkpoint_files import write_manifest
from .checkpoints import finish_checkpoint, written_whole
from .terms import require_finite


class HookedTrainer(Trainer):
    """
    [`transformers.Trainer`] that calls the hooks below where ours differs, whichever private methods that takes.
    """

    args: LongTailTrainingArguments
    model: LongTailPreTrainedModel

    # ------------------------------------------------------------------ hooks
    def prepare_step(self, raw_batches: Iterator[Any]) -> list[Batch]:
        """The micro-batches of an optimizer step, from what the data loader gives."""
        raise NotImplementedError

    def epoch_begins(self, epoch: int) -> None:
        """Before the first batch of an epoch, also of one that a resumed run began before."""

    def save_with_optimizer(self, folder: str) -> None:
        """What else a checkpoint holds, on every process; before old checkpoints go and before anything is pushed."""

    def load_with_optimizer(self, checkpoint: str) -> None:
        """Restore it, when the optimizer exists and before the first callback."""

    # ------------------------------------------------------------------ what the parent is told
    # 5.19 and later: the loss is a sum of exact shares of the step's mean, so nothing is left to divide by.
    loss_is_scaled_for_ga = True

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        # 5.17 and 5.18, which have no `loss_is_scaled_for_ga`: true together with the number of items that
        # `get_batch_samples` returns; the parent finds it false in the model.
        self.model_accepts_loss_kwargs = True

    @property
    def micro_batch_size(self) -> int:
        """All: rows of a micro-batch on this process, which `auto_find_batch_size` lowers while it looks."""
        return self._train_batch_size

    def keep_scheduler(self, scheduler: LambdaLR) -> LambdaLR:
        """All: a scheduler that the parent takes for its own, so that another `train()` makes a new one."""
        self.lr_scheduler, self._created_lr_scheduler = scheduler, True
        return scheduler

    def stock_scheduler(self, num_training_steps: int, optimizer: Optimizer, warmup: int) -> LRScheduler:
        """All: the parent's scheduler, which reads the steps of its warm-up from the arguments alone."""
        given, self.args.warmup_steps = self.args.warmup_steps, warmup
        try:
            return super().create_scheduler(num_training_steps, optimizer)
        finally:
            self.args.warmup_steps = given

    def evaluation_model(self) -> nn.Module:
        """
        All: the model on its device and without gradient synchronisation, before `train()` and after it, as the
        parent's `evaluation_loop` prepares it, which ours replaces.
        """
        model = self._wrap_model(self.model, training=False)
        if len(self.accelerator._models) == 0 and model is self.model:
            model = self.accelerator.prepare_model(model, evaluation_mode=True)
            self.model_wrapped = model if model is not self.model else self.model_wrapped
        return model

    # ------------------------------------------------------------------ accelerate
    def create_accelerator_and_postprocess(self) -> None:
        """All: called by `__init__`. The accelerator is not to patch the models that it prepares."""
        super().create_accelerator_and_postprocess()
        leave_forward_alone(self.accelerator)

    def _build_accelerator_args(self, **kwargs: Any) -> dict[str, Any]:
        """All: called before it. `torch_compile` is for the method's loss; accelerate would compile the model."""
        arguments = super()._build_accelerator_args(**kwargs)
        arguments.pop("dynamo_plugin", None)
        return arguments

    # ------------------------------------------------------------------ steps
    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Batch], torch.Tensor]:
        """All: called before every optimizer step; the one place that sees all of its micro-batches."""
        batches = self.prepare_step(itertools.islice(epoch_iterator, num_batches))
        # 5.17 and 5.18: a tensor (not None), which is only passed on, keeps the parent from rescaling the loss.
        return batches, torch.ones((), device=device)

    def _prepare_inputs(self, inputs: Batch) -> Batch:
        """All: called by `training_step`, to move and cast what is on the device already."""
        return inputs

    def floating_point_ops(self, inputs: Batch) -> int:
        """All: called in every step. The parent counts parameters there, for a number nobody reads."""
        return 0

    def _get_grad_norm(self, model: nn.Module, grad_norm: Any = None) -> Any:
        """All: called in every step, where the parent computes the norm although nothing is clipped."""
        return super()._get_grad_norm(model, grad_norm) if grad_norm is not None else None

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        """
        All: called for every epoch, with keywords. `on_epoch_begin` of a callback cannot keep a run that was
        interrupted after its last step from making one more.
        """
        if self.state.global_step >= self.state.max_steps:
            self.control.should_training_stop = True
            return
        self.epoch_begins(kwargs["epoch"])
        super()._run_epoch(*args, **kwargs)

    # ------------------------------------------------------------------ checkpoints
    def _init_training_state(self, *args: Any, **kwargs: Any) -> tuple[int, int]:
        """
        All: called at the beginning of training. The parent looks for the best checkpoint where its name alone leads
        to, and says that it is not there; [`~HookedTrainer.load_with_optimizer`] finds it.
        """
        with without_messages("transformers.trainer", "The best checkpoint"):
            return super()._init_training_state(*args, **kwargs)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        """All: called by `_save_checkpoint` unless `save_only_model`. `on_save` of a callback comes after the push."""
        super()._save_optimizer_and_scheduler(output_dir)
        self.save_with_optimizer(output_dir)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        """All: called when the optimizer exists."""
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None:
            self.load_with_optimizer(checkpoint)

    def _save_rng_state(self, output_dir: str) -> None:
        """
        All: called by `_save_checkpoint`, last before the state. The checkpoint counts as complete once the main
        process has written its state: not before the others wrote theirs.
        """
        super()._save_rng_state(output_dir)
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            write_manifest(output_dir)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """All: called by the training loop. A checkpoint of a diverged run would push the last good one out."""
        require_finite(self._tr_loss.item(), self.state.global_step, self.args.folder)
        folder = Path(self._get_output_dir(trial=trial)) / f"checkpoint-{self.state.global_step}"
        with written_whole(folder, self.args):
            super()._save_checkpoint(model, trial)

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        """All: called within `_save_checkpoint`, before it is over: what is pushed is complete."""
        finish_checkpoint(Path(checkpoint_folder), self.args)
        super()._push_from_checkpoint(checkpoint_folder)


# What accelerate leaves on a module: its forward in mixed precision, the one before it, and a mark by which the next
# accelerator, whatever its precision, takes the module as prepared.
_PATCHES = ("forward", "_original_forward")
_PREPARED = "_is_accelerate_prepared"


def leave_forward_alone(accelerator: Any) -> None:
    """
    Keep an accelerator from patching the models that it prepares (device, DDP, FSDP): a patched forward outlives its
    trainer, gives one trainer's precision to the next one, and in a deep copy it calls the weights of the original.
    """
    prepare_one, prepare_all = accelerator.prepare_model, accelerator.prepare

    def prepare_model(model: nn.Module, *args: Any, **kwargs: Any) -> nn.Module:
        vars(model).pop(_PREPARED, None)
        before = {name: vars(model)[name] for name in _PATCHES if name in vars(model)}
        try:
            return prepare_one(model, *args, **kwargs)
        finally:
            vars(model).pop(_PREPARED, None)
            _restore(model, before)

    def prepare(*parts: Any, **kwargs: Any) -> Any:
        prepared = prepare_all(*parts, **kwargs)
        for part in parts:
            if isinstance(part, nn.Module):
                vars(part).pop(_PREPARED, None)
        return prepared

    accelerator.prepare_model, accelerator.prepare = prepare_model, prepare


def release(model: nn.Module) -> None:
    """Take off whatever an accelerator, of whichever trainer, has left on a model."""
    vars(model).pop(_PREPARED, None)
    if "_original_forward" in vars(model):
        forward = plain_forward(model)
        _restore(model, {} if _is_own(model, forward) else {"forward": forward})


def plain_forward(model: nn.Module) -> Callable:
    """The forward of a model without what accelerate has put around it."""
    forward = model.forward
    if "_original_forward" not in vars(model):
        return forward
    own, function = type(model).forward, getattr(forward, "__func__", forward)
    while function is not own and hasattr(function, "__wrapped__"):
        function = function.__wrapped__
    return function if hasattr(function, "__self__") else MethodType(function, model)


@contextlib.contextmanager
def forward_as(model: nn.Module, forward: Callable) -> Iterator[None]:
    """Let `model` compute with `forward` inside the context; afterwards it has what it had, also after an error."""
    before = {name: vars(model)[name] for name in _PATCHES if name in vars(model)}
    _restore(model, {} if _is_own(model, forward) else {"forward": forward})
    try:
        yield
    finally:
        _restore(model, before)


def _is_own(model: nn.Module, forward: Callable) -> bool:
    return getattr(forward, "__func__", None) is type(model).forward and getattr(forward, "__self__", None) is model


def _restore(model: nn.Module, before: dict[str, Any]) -> None:
    for name in _PATCHES:
        vars(model).pop(name, None)
    vars(model).update(before)
