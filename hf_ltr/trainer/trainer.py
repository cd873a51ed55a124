"""One trainer for every method."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader
from transformers.trainer_utils import EvalLoopOutput, TrainOutput

from ..data.loading.batch_loader import BatchLoader
from ..data.loading.batches import KeyedDataLoader, RowSampler
from ..distributed import check_world_size, set_cpu_threads
from ..methods import LongTailMethod
from ..methods.batch import Batch
from ..models import LongTailForImageClassification, LongTailImageProcessor
from ..models.auxiliary_module import declared_metrics
from . import checks, data
from .agreement import follow_training
from .arguments import LongTailTrainingArguments
from .checkpoints import best_checkpoint, choose_checkpoint, clear_leftovers
from .degenerate import check_length
from .evaluation_loop import check_metric_for_best_model, model_for_evaluation, read_once, run_evaluation
from .forward import RunPrecision
from .method_state import (
    AttachedModules,
    Progress,
    begin_epoch,
    check_same_method,
    finalize,
    load_method_state,
    save_method_state,
)
from .optimization import check_schedule, make_optimizer, make_schedule, planned_epochs, warmup_steps
from .parent import release
from .precision import used_memory_format, warn_of_emulation
from .publication import PublishingTrainer
from .run_facts import run_facts
from .run_folder import check_folder, claim_folder
from .terms import TermLog, attach_term_scales, require_finite, scaled_sum


class LongTailTrainer(PublishingTrainer):
    """
    [`transformers.Trainer`] that trains any [`LongTailMethod`].

    What it changes: the loss comes from the method, exact over micro-batches and processes; images are augmented as
    batches on the device with randomness that belongs to the data; samplers and method state resume exactly;
    optimizer groups and schedules are those of the papers; `evaluate` reports accuracy per group without keeping
    logits.

    Args:
        model ([`LongTailForImageClassification`] or [`MaskedAutoencoder`]): What is trained.
        args ([`LongTailTrainingArguments`], *optional*).
        method ([`LongTailMethod`] or `str`, *optional*, defaults to `"cross_entropy"`): A name builds the method with
            its default options and the class counts of the training set.
        train_dataset (`datasets.Dataset` or `torch.utils.data.Dataset`): Rows with `image` and `label`, or with
            `pixel_values` and `labels` if they are tensors already.
        eval_dataset (*optional*): The same, or a dict of them.
        processing_class ([`LongTailImageProcessor`], *optional*): Built from the model's config if not given.
        compute_metrics (`Callable`, *optional*): As in the parent; makes evaluation keep all logits.
        callbacks, optimizers: As in the parent.

    Raises:
        `ValueError`: before any training, when model, method, arguments and data contradict each other.

    Example:

    ```python
    >>> from hf_ltr import *
    >>> data = load_long_tailed("digits", imbalance_factor=50)
    >>> counts = class_counts(data["train"])
    >>> config = LongTailConfig(backbone="resnet20_cifar", image_size=16, num_channels=1, class_counts=counts)
    >>> trainer = LongTailTrainer(
    ...     model=LongTailForImageClassification(config),
    ...     args=LongTailTrainingArguments(output_dir="runs/digits", num_train_epochs=30),
    ...     method="balanced_softmax",
    ...     train_dataset=data["train"],
    ...     eval_dataset=data["validation"],
    ... )
    >>> trainer.train()
    >>> trainer.evaluate(data["test"])["eval_few"]
    ```
    """

    def __init__(
        self,
        model: nn.Module,
        args: LongTailTrainingArguments | None = None,
        *,
        method: LongTailMethod | str | None = None,
        train_dataset: Any = None,
        eval_dataset: Any = None,
        processing_class: Any = None,
        compute_metrics: Callable | None = None,
        callbacks: list | None = None,
        optimizers: tuple = (None, None),
    ):
        if args is None:
            args = LongTailTrainingArguments(output_dir="trainer_output")
        if not isinstance(args, LongTailTrainingArguments):
            raise TypeError(f"args must be LongTailTrainingArguments, not {type(args).__name__}")
        checks.check_model(model)
        check_world_size(args.world_size)
        if args.device.type == "cpu":
            set_cpu_threads(args.cpu_threads)
        method, counts, labels = checks.prepare_run(model, method, args, train_dataset, eval_dataset)
        warn_of_emulation(args)
        # Both ways: a model that another trainer has used comes in that one's format.
        model = model.to(memory_format=getattr(torch, used_memory_format(args)))
        if processing_class is None:
            # Repeats what evaluation does to an image.
            processing_class = LongTailImageProcessor.from_config(model.config)
        super().__init__(
            model=model,
            args=args,
            # Batches are assembled by the batch loader; the parent's collator must not touch them.
            data_collator=lambda rows: rows,
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
            processing_class=processing_class,
            compute_metrics=compute_metrics,
            callbacks=callbacks,
            optimizers=optimizers,
        )
        if compute_metrics is None:
            # The user's own metrics have names that only running them tells.
            check_metric_for_best_model(args, model.config, eval_dataset)
        self.method = method.to(args.device)
        # What the config says once the model was trained here, and labels that only the items knew.
        self._training_counts, self._item_labels = counts, labels
        # Which weights the model came with, as far as whoever built it says so; part of what makes a run this run.
        self.origin: dict[str, Any] = {}
        # How classes of evaluation sets are matched with the model's, see `match_classes`.
        self.class_options: dict[str, Any] = {}
        self.precision = RunPrecision(args, own_precision=self.is_deepspeed_enabled)
        self.progress, self.term_log = Progress(), TermLog()
        self.attached = AttachedModules()
        self._training_loss: Callable = self.method.training_loss
        self._train_batch_loader: BatchLoader | None = None
        self._eval_batch_loaders = data.KeptBatchLoaders()

    # ------------------------------------------------------------------ data
    @property
    def train_batch_loader(self) -> BatchLoader:
        """Of the training set; its images are decoded once."""
        if self.train_dataset is None:
            raise ValueError("LongTailTrainer.train() needs train_dataset=")
        if self._train_batch_loader is None:
            self._train_batch_loader = data.training_batch_loader(
                self.train_dataset, self.model, self.method, self.args, self._item_labels
            )
        return self._train_batch_loader

    def train_sampler(self, labels: torch.Tensor | None) -> RowSampler:
        """The sampler of this run: the method's own, or the one of the arguments."""
        return data.training_sampler(self.method, self.args, labels, self.train_batch_loader.num_rows)

    def get_train_dataloader(self) -> KeyedDataLoader:
        """As in the parent."""
        sampler = self.train_sampler(self.train_batch_loader.labels)
        return data.training_loader(self.train_batch_loader, sampler, self.args, self.micro_batch_size)

    def get_eval_dataloader(self, eval_dataset: Any = None) -> KeyedDataLoader:
        """As in the parent."""
        if isinstance(eval_dataset, str) and isinstance(self.eval_dataset, dict):
            eval_dataset = self.eval_dataset.get(eval_dataset, eval_dataset)
        dataset = self.eval_dataset if eval_dataset is None else eval_dataset
        if dataset is None:
            raise ValueError("LongTailTrainer.evaluate() needs eval_dataset=")

        def make(dataset: Any) -> BatchLoader:
            return data.evaluation_batch_loader(dataset, self.model, self.args, self.class_options)

        return data.evaluation_loader(self._eval_batch_loaders.get(dataset, self.eval_dataset, make), self.args)

    def get_test_dataloader(self, test_dataset: Any) -> KeyedDataLoader:
        """As in the parent."""
        return self.get_eval_dataloader(test_dataset)

    # ------------------------------------------------------------------ training
    def train(
        self,
        resume_from_checkpoint: str | bool | None = None,
        trial: Any = None,
        ignore_keys_for_eval: list[str] | None = None,
    ) -> TrainOutput:
        """
        Train, or continue: `resume_from_checkpoint=True` takes the newest checkpoint of `output_dir` whose files are
        all there and whole (others are named in a warning), and starts from scratch where there never was one.

        Raises:
            `ValueError`: if `output_dir` holds another run, if the checkpoint belongs to another method, if a
                checkpoint that was named is not whole, or if there are checkpoints and none of them is.
        """
        args = self.args
        checkpoint = choose_checkpoint(args.folder, resume_from_checkpoint)
        facts = self._check_run(checkpoint)
        self.record.training = None
        # Before the first checkpoint: a model says by itself what it was trained with.
        self.model.config.method = facts["method"]
        # An unreadable image, or something the method misses, is found here, before the folder is claimed for a run
        # that was never made.
        self._set_up()
        if self.is_world_process_zero():
            claim_folder(args.folder, facts)
            clear_leftovers(args.folder)
        self.accelerator.wait_for_everyone()
        self.progress, self.term_log = Progress(), TermLog()
        if args.torch_compile:
            # The whole loss in one graph; the model alone is never compiled, nor wrapped together with the method.
            self._training_loss = torch.compile(
                self.method.training_loss,
                backend=args.torch_compile_backend or "inductor",
                mode=args.torch_compile_mode,
            )
        release(self.model)
        if not self._has_steps:
            # Set up and finalised only: a classifier that is computed, not trained.
            output = TrainOutput(0, 0.0, {})
        else:
            try:
                output = super().train(checkpoint, trial, ignore_keys_for_eval)
            finally:
                release(self.accelerator.unwrap_model(self.model))
        # Also where nothing was logged.
        require_finite(output.training_loss, self.state.global_step, args.folder)
        self.model.trained_here = True
        finalize(self.method, self)
        self.record.training = self.ended_training(facts["data"]["row_hash"], self.training_seconds)
        return output

    def _check_run(self, checkpoint: str | None) -> dict[str, Any]:
        """The facts of the run that is about to begin or to continue; refused if they contradict folder or method."""
        if checkpoint:
            checks.check_resumable(self.model, checkpoint)
            check_same_method(self.method, checkpoint)
        if self.train_dataset is None:
            raise ValueError("LongTailTrainer.train() needs train_dataset=")
        check_length(self.method, self.args)
        # Until now the config spoke of what the weights were trained on before.
        follow_training(self.model, self._training_counts)
        facts = run_facts(self.model.config, self.method, self.args, self.train_dataset) | self.origin
        if self.is_world_process_zero():
            check_folder(self.args.folder, facts)
        return facts

    def _set_up(self) -> None:
        """Data, schedule and method; everything that can fail before there is a run."""
        self._train_batch_loader = None
        data.require_readable_data(self.train_dataset, self.train_batch_loader.loading, self.eval_dataset)
        if self._has_steps and self.lr_scheduler is None:
            check_schedule(self.args, self.train_batch_loader.num_rows, len(self.get_train_dataloader()))
        self.method.train()
        self.attached.eval()
        self.method.setup(self)
        if self._has_steps and isinstance(self.model, LongTailForImageClassification):
            if any(parameter.requires_grad for parameter in self.model.classifier.parameters()):
                self.model.forget_normalization()

    @property
    def _has_steps(self) -> bool:
        return self.args.max_steps > 0 or self.args.num_train_epochs > 0

    @property
    def training_seconds(self) -> float:
        """Seconds of training so far, those of interrupted sessions (up to their last checkpoint) included."""
        return self.progress.seconds

    def epoch_begins(self, epoch: int) -> None:
        """The method's `on_epoch`."""
        begin_epoch(self.method, self, self.progress, epoch)

    def prepare_step(self, raw_batches: Iterator[Any]) -> list[Batch]:
        """The micro-batches of an optimizer step on the device, each with its share of the step."""
        batches = [self.train_batch_loader.prepare(raw, step=self.state.global_step) for raw in raw_batches]
        attach_term_scales(self.method, batches, self.args.world_size)
        return batches

    def compute_loss(
        self, model: nn.Module, inputs: Batch, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The micro-batch's share of the loss of the step."""
        with self._in_precision():
            terms, outputs = self._training_loss(model, inputs)
        loss, shares = scaled_sum(terms, inputs)
        self.term_log.add(shares)
        return (loss, outputs) if return_outputs else loss

    def _in_precision(self) -> AbstractContextManager:
        return self.precision.training(self.accelerator.unwrap_model(self.model))

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """As in the parent, with the terms of the loss; a loss that is no number ends the run."""
        if "loss" in logs:
            logs.update(self.term_log.means(self.state.global_step, self.args.world_size))
            self.term_log = TermLog(self.state.global_step)
            require_finite(logs["loss"], self.state.global_step, self.args.folder)
        super().log(logs, start_time)

    def create_optimizer(self, model: nn.Module | None = None) -> Optimizer:
        """With the parameter groups of the papers, see [`~hf_ltr.trainer.optimization.parameter_groups`]."""
        if self.optimizer is None:
            optimizer_class, options = self.get_optimizer_cls_and_kwargs(self.args, self.model)
            model = self.model if model is None else model
            self.optimizer = make_optimizer(model, self.args, optimizer_class, options)
        return self.optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: Optimizer | None = None) -> LRScheduler:
        """As in the parent, with a warm-up in epochs, steps at milestones and a cosine that starts above 0."""
        if self.lr_scheduler is not None:
            return self.lr_scheduler
        args, optimizer = self.args, self.optimizer if optimizer is None else optimizer
        assert optimizer is not None
        epochs = planned_epochs(args, self.train_batch_loader.num_rows)
        warmup = warmup_steps(args, num_training_steps, epochs)
        schedule = make_schedule(optimizer, args, steps=num_training_steps, epochs=epochs, warmup=warmup)
        if schedule is not None:
            return self.keep_scheduler(schedule)
        return self.stock_scheduler(num_training_steps, optimizer, warmup)

    # ------------------------------------------------------------------ what a method may ask for
    def attach_frozen(self, module: nn.Module) -> nn.Module:
        """
        See [`~hf_ltr.methods.MethodHost.attach_frozen`].

        Raises:
            `ValueError`: for what the run trains.
        """
        self.attached.add(module, self.model, self.args.device)
        return module

    def eval_pass(self, dataset: Any, function: Callable[[Any, Batch], Any]) -> list[Any]:
        """
        Read a dataset once as evaluation does: evaluation mode and transform, no gradient, the precision of the run.

        Args:
            dataset (`datasets.Dataset`): Any, the training set included (then without its augmentation).
            function (`Callable`): Called as `function(outputs, batch)` with the model's [`LongTailOutput`] and the
                batch (`pixel_values`, `labels`, `index`). What it returns should be small or on the CPU.

        Returns:
            `list`: what `function` returned, batch by batch, for the rows of this process, which are contiguous and in
            row order. Sums over processes are made with [`~hf_ltr.distributed.all_reduce_sum`].
        """
        loader, model = self.get_eval_dataloader(dataset), model_for_evaluation(self)
        return read_once(model, loader, function, self._in_precision)

    # ------------------------------------------------------------------ checkpoints
    def save_with_optimizer(self, folder: str) -> None:
        """The method's state, and how far the run came."""
        if self.args.should_save:
            save_method_state(self.method, folder, self.progress.facts(), self.attached)

    def load_with_optimizer(self, checkpoint: str) -> None:
        """The method's state, how far the run came, and where its best weights are now."""
        self.progress.resume(load_method_state(self.method, checkpoint, self.attached))
        self.term_log = TermLog(self.state.global_step)
        self.state.best_model_checkpoint = best_checkpoint(checkpoint, self.args) or self.state.best_model_checkpoint

    # ------------------------------------------------------------------ evaluation
    def evaluation_loop(
        self,
        dataloader: DataLoader,
        description: str,
        prediction_loss_only: bool | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> EvalLoopOutput:
        """As in the parent, but logits are kept only for `predict` and `compute_metrics`."""
        assert isinstance(dataloader, KeyedDataLoader)
        model = model_for_evaluation(self)
        self.callback_handler.eval_dataloader = dataloader

        def after_batch() -> None:
            self.control = self.callback_handler.on_prediction_step(self.args, self.state, self.control)

        with self.precision.evaluation(self.accelerator.unwrap_model(self.model)):
            output = run_evaluation(
                model,
                dataloader,
                checks.model_counts(self.model),
                self.args,
                module_metrics=declared_metrics(self.model),
                keep_logits=description == "Prediction" or self.compute_metrics is not None,
                compute_metrics=self.compute_metrics,
                after_batch=after_batch,
                prefix=metric_key_prefix,
            )
        return self.without_details(output, metric_key_prefix)
