"""One trainer for every method."""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader
from transformers.trainer_utils import EvalLoopOutput, TrainOutput

from ..data.loading.batch_loader import BatchLoader
from ..data.loading.batches import GlobalBatchSampler, SequentialShards
from ..data.samplers import make_sampler
from ..distributed import available_cores, check_world_size, set_cpu_threads
from ..methods import LongTailMethod
from ..models.auxiliary_module import declared_metrics
from ..models.quiet import quiet_loading, without_messages
from ..storage import StorageError, naming_storage_errors
from . import agreement, checks
from .arguments import LongTailTrainingArguments
from .best_model import check_metric_for_best_model
from .checkpoint_files import STATE, begin_checkpoint, best_checkpoint_of, forget_places, problems_of, write_manifest
from .checkpoints import check_folder, claim_folder
from .degenerate import check_length
from .evaluation_loop import run_evaluation
from .forward import (
    HALF_PRECISIONS,
    forward_as,
    leave_forward_alone,
    mixed_forward,
    plain_forward,
    release,
    weights_as,
)
from .image_checks import require_readable_images
from .method_state import check_same_method, load_method_state, save_method_state
from .optimization import cosine_schedule, multistep_schedule, parameter_groups
from .precision import used_memory_format, warn_of_emulation
from .publication import PublishingTrainer
from .resuming import choose_checkpoint, clear_leftovers
from .run_facts import run_facts
from .schedule import planned_epochs, warmup_steps
from .terms import attach_term_scales, scaled_sum


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

    # The loss is a sum of exact shares of the step's mean: nothing is left to divide by the parent.
    loss_is_scaled_for_ga = True

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
            processing_class = checks.default_processor(model)
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
        # Read by versions of the parent that have no `loss_is_scaled_for_ga`.
        self.model_accepts_loss_kwargs = True
        self.method = method.to(args.device)
        self._training_loss = self.method.training_loss
        # What the config says once the model was trained here, and labels that only the items knew.
        self._training_counts, self._item_labels = counts, labels
        # Which weights the model came with, as far as whoever built it says so; part of what makes a run this run.
        self.origin: dict[str, Any] = {}
        # How classes of evaluation sets are matched with the model's, see `match_classes`.
        self.class_options: dict[str, Any] = {}
        self._train_batch_loader: BatchLoader | None = None
        self._eval_batch_loaders: dict[int, tuple[Any, BatchLoader]] = {}
        self._term_sums: dict[str, torch.Tensor] = {}
        self._term_steps = 0
        self._epochs_begun = 0
        self._seconds_before, self._began = 0.0, time.perf_counter()
        self._details: dict[str, Any] = {}
        self._forwards: tuple[Callable, Callable] | None = None

    def create_accelerator_and_postprocess(self) -> None:
        super().create_accelerator_and_postprocess()
        leave_forward_alone(self.accelerator)

    # ------------------------------------------------------------------ data
    def _batch_loader(self, dataset: Any, train: bool) -> BatchLoader:
        config, args = self.model.config, self.args
        return BatchLoader(
            dataset,
            num_labels=config.num_labels,
            require_labels=False if not train else self.method.uses_labels,
            class_map=None if train else checks.evaluation_classes(self.model, dataset, **self.class_options),
            labels=self._item_labels if train else None,
            image_size=config.image_size,
            num_channels=config.num_channels,
            image_mean=config.image_mean,
            image_std=config.image_std,
            train=train,
            augmentation=_augmentation(args.augmentation) if train else "none",
            augmentation_options=args.augmentation_options if train else None,
            loading=args.image_loading,
            device=args.device,
            seed=args.seed if args.data_seed is None else args.data_seed,
            views=self.method.views if train else ("train",),
            mixup_alpha=args.mixup_alpha if train else 0.0,
            cutmix_alpha=args.cutmix_alpha if train else 0.0,
            mix_probability=args.mix_probability,
            switch_probability=args.mix_switch_probability,
            label_smoothing=args.label_smoothing if train else 0.0,
            # The same crop and interpolation as the image processor, which is built from the same fields.
            eval_resize_ratio=config.crop_ratio if config.crop_ratio < 1 else None,
            interpolation=config.interpolation,
            memory_format=torch.channels_last if args.channels_last else None,
        )

    def _workers(self, batch_loader: BatchLoader) -> dict[str, Any]:
        args = self.args
        workers = args.dataloader_num_workers
        if workers < 0:
            share = available_cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
            workers = min(8, max(0, share - 1)) if batch_loader.loading == "workers" else 0
        return {
            "num_workers": workers,
            "prefetch_factor": args.dataloader_prefetch_factor if workers else None,
            "persistent_workers": args.dataloader_persistent_workers and workers > 0,
            "pin_memory": args.dataloader_pin_memory,
        }

    def train_sampler(self, labels: torch.Tensor | None) -> Any:
        """The sampler of this run: the method's own, or the one of the arguments."""
        seed = self.args.seed if self.args.data_seed is None else self.args.data_seed
        epochs = math.ceil(planned_epochs(self.args, self._train_batch_loader.num_rows))
        sampler = None
        if labels is not None:
            sampler = self.method.train_sampler(labels, seed=seed, num_epochs=epochs)
        if sampler is None:
            rows = labels if labels is not None else torch.zeros(self._train_batch_loader.num_rows, dtype=torch.int64)
            sampler = make_sampler(self.args.sampler, rows, seed=seed, num_epochs=epochs)
        return sampler

    def get_train_dataloader(self) -> DataLoader:
        if self.train_dataset is None:
            raise ValueError("LongTailTrainer.train() needs train_dataset=")
        if self._train_batch_loader is None:
            self._train_batch_loader = self._batch_loader(self.train_dataset, train=True)
        batch_sampler = GlobalBatchSampler(
            self.train_sampler(self._train_batch_loader.labels),
            self._train_batch_size,
            self.args.world_size,
            self.args.process_index,
            drop_last=self.args.dataloader_drop_last,
        )
        return self._train_batch_loader.loader(
            batch_sampler,
            accumulation_steps=self.args.gradient_accumulation_steps,
            **self._workers(self._train_batch_loader),
        )

    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader:
        if isinstance(eval_dataset, str) and isinstance(self.eval_dataset, dict):
            eval_dataset = self.eval_dataset.get(eval_dataset, eval_dataset)
        dataset = self.eval_dataset if eval_dataset is None else eval_dataset
        if dataset is None:
            raise ValueError("LongTailTrainer.evaluate() needs eval_dataset=")
        # Kept by identity: decoding the same evaluation images every epoch would cost more than evaluating them.
        known = self._eval_batch_loaders.get(id(dataset))
        if known is None or known[0] is not dataset:
            known = (dataset, self._batch_loader(dataset, train=False))
            if known[1].loading == "workers":
                require_readable_images({"evaluation set": dataset})
            regular = self.eval_dataset.values() if isinstance(self.eval_dataset, dict) else [self.eval_dataset]
            # Other datasets come and go: only the last of them is kept.
            kept = {id(d) for d in regular if d is not None}
            self._eval_batch_loaders = {key: value for key, value in self._eval_batch_loaders.items() if key in kept}
            self._eval_batch_loaders[id(dataset)] = known
        batch_loader = known[1]
        shards = SequentialShards(
            batch_loader.num_rows, self.args.eval_batch_size, self.args.world_size, self.args.process_index
        )
        loader = batch_loader.loader(shards, **self._workers(batch_loader))
        loader.batch_loader = batch_loader
        return loader

    def _require_readable_images(self) -> None:
        """Of what training reads later than now: images that workers decode, and those of evaluation."""
        later = {"training set": self.train_dataset} if self._train_batch_loader.loading == "workers" else {}
        if isinstance(self.eval_dataset, dict):
            later |= {f"evaluation set {name!r}": dataset for name, dataset in self.eval_dataset.items()}
        else:
            later["evaluation set"] = self.eval_dataset
        require_readable_images(later)

    def get_test_dataloader(self, test_dataset: Any) -> DataLoader:
        return self.get_eval_dataloader(test_dataset)

    def get_batch_samples(self, epoch_iterator, num_batches: int, device: torch.device):
        batches = []
        for _ in range(num_batches):
            try:
                raw = next(epoch_iterator)
            except StopIteration:
                break
            batches.append(self._train_batch_loader.prepare(raw, step=self.state.global_step))
        attach_term_scales(self.method, batches, self.args.world_size)
        # The parent only passes this on; a tensor (not None) keeps it from rescaling the loss.
        return batches, torch.ones((), device=device)

    # ------------------------------------------------------------------ training
    def train(self, resume_from_checkpoint: str | bool | None = None, **kwargs):
        """
        Train, or continue: `resume_from_checkpoint=True` takes the newest checkpoint of `output_dir` whose files are
        all there and whole (others are named in a warning), and starts from scratch where there never was one.

        Raises:
            `ValueError`: if `output_dir` holds another run, if the checkpoint belongs to another method, if a
                checkpoint that was named is not whole, or if there are checkpoints and none of them is.
        """
        args = self.args
        resume_from_checkpoint = choose_checkpoint(args.output_dir, resume_from_checkpoint)
        if resume_from_checkpoint:
            checks.check_resumable(self.model, resume_from_checkpoint)
            check_same_method(self.method, resume_from_checkpoint)
        if self.train_dataset is None:
            raise ValueError("LongTailTrainer.train() needs train_dataset=")
        check_length(self.method, args)
        if self._training_counts is not None and agreement.is_trained(self.model):
            # Until now the config spoke of what the weights were trained on before.
            agreed = agreement.agreed_config(self.model.config, self._training_counts, trained=True, tell=False)
            agreement.follow_agreement(self.model, agreed)
        facts = run_facts(self.model.config, self.method, args, self.train_dataset) | self.origin
        if self.is_world_process_zero():
            check_folder(args.output_dir, facts)
        self._training = None
        # Before the first checkpoint: a model says by itself what it was trained with.
        self.model.config.method = facts["method"]
        # An unreadable image, or something the method misses, is found here, before the folder is claimed for a run
        # that was never made.
        self._train_batch_loader = self._batch_loader(self.train_dataset, train=True)
        self._require_readable_images()
        self._check_schedule()
        self.method.train()
        self.method.setup(self)
        trained = args.max_steps > 0 or args.num_train_epochs > 0
        classifier = getattr(self.model, "classifier", None)
        if trained and classifier is not None and any(p.requires_grad for p in classifier.parameters()):
            self.model.forget_normalization()
        if self.is_world_process_zero():
            claim_folder(args.output_dir, facts)
            clear_leftovers(args.output_dir)
        self.accelerator.wait_for_everyone()
        self._term_sums, self._term_steps, self._epochs_begun = {}, 0, 0
        self._seconds_before, self._began = 0.0, time.perf_counter()
        if args.torch_compile:
            # The whole loss in one graph; the model alone is never compiled, nor wrapped together with the method.
            self._training_loss = torch.compile(
                self.method.training_loss, backend=args.torch_compile_backend, mode=args.torch_compile_mode
            )
        release(self.model)
        if not trained:
            # Set up and finalised only: a classifier that is computed, not trained.
            output = TrainOutput(0, 0.0, {})
        else:
            try:
                output = super().train(resume_from_checkpoint=resume_from_checkpoint, **kwargs)
            finally:
                release(self.accelerator.unwrap_model(self.model))
        # Also where nothing was logged.
        self._require_finite(output.training_loss)
        self.model.trained_here = True
        with fork_rng(args.device):
            torch.manual_seed(args.seed)
            self.method.finalize(self)
        self._training = self._ended(facts["data"]["row_hash"])
        return output

    @torch.no_grad()
    def eval_pass(self, dataset: Any, function: Callable[[Any, dict[str, Any]], Any]) -> list[Any]:
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
        loader = self.get_eval_dataloader(dataset)
        model = self._evaluation_model()
        modes = [(module, module.training) for module in self.model.modules()]
        self.model.eval()
        results = []
        try:
            for raw in loader:
                batch = loader.batch_loader.prepare(raw)
                with self._in_precision():
                    outputs = model(pixel_values=batch["pixel_values"])
                results.append(function(outputs, batch))
        finally:
            for module, training in modes:
                module.training = training
        return results

    @property
    def training_seconds(self) -> float:
        """Seconds of training so far, those of interrupted sessions (up to their last checkpoint) included."""
        return self._seconds_before + time.perf_counter() - self._began

    def _build_accelerator_args(self, **kwargs) -> dict[str, Any]:
        arguments = super()._build_accelerator_args(**kwargs)
        arguments.pop("dynamo_plugin", None)
        return arguments

    def _run_epoch(self, *args, **kwargs):
        epoch = kwargs["epoch"]
        if self.state.global_step >= self.state.max_steps:
            # A run that was interrupted after its last step: the parent would train one more.
            self.control.should_training_stop = True
            return None
        if epoch >= self._epochs_begun:
            with fork_rng(self.args.device):
                # A function of (seed, epoch): the state of the generator differs in a run resumed between epochs.
                torch.manual_seed((self.args.seed * 1_000_003 + epoch) % 2**63)
                self.method.on_epoch(self, epoch)
            self._epochs_begun = epoch + 1
        return super()._run_epoch(*args, **kwargs)

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        with self._in_precision():
            terms, outputs = self._training_loss(model, inputs)
        loss, shares = scaled_sum(terms, inputs)
        if len(shares) > 1:
            for name, share in shares.items():
                previous = self._term_sums.get(name)
                self._term_sums[name] = share if previous is None else previous + share
        return (loss, outputs) if return_outputs else loss

    def _prepare_inputs(self, inputs):
        return inputs  # already on the device

    def floating_point_ops(self, inputs) -> int:
        return 0  # the parent counts parameters in every step, for a number nobody reads

    def _get_grad_norm(self, model, grad_norm=None):
        # Without clipping the parent still computes the norm and multiplies every gradient by 1.
        return super()._get_grad_norm(model, grad_norm) if grad_norm is not None else None

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        steps = self.state.global_step - self._term_steps
        if self._term_sums and "loss" in logs and steps > 0:
            names = list(self._term_sums)
            sums = torch.stack([self._term_sums[name] for name in names])
            if self.args.world_size > 1:
                torch.distributed.all_reduce(sums)
                sums /= self.args.world_size
            for name, value in zip(names, (sums / steps).tolist(), strict=True):
                logs[name if name.startswith("log/") else f"loss/{name}"] = value
        if "loss" in logs:
            self._term_sums, self._term_steps = {}, self.state.global_step
            self._require_finite(logs["loss"])
        super().log(logs, start_time)

    def _require_finite(self, loss: float) -> None:
        if not math.isfinite(loss):
            raise FloatingPointError(
                f"The training loss is {loss} at step {self.state.global_step}. Checkpoints written before are in "
                f"{self.args.output_dir}. Lower learning_rate, lengthen warmup_epochs or set "
                "mixed_precision_mode='no'."
            )

    def create_optimizer(self, model=None):
        if self.optimizer is None:
            args = self.args
            optimizer_class, options = self.get_optimizer_cls_and_kwargs(args, self.model)
            if optimizer_class is torch.optim.SGD:
                options = {"momentum": args.momentum, "nesterov": args.nesterov, "fused": True} | options
            decay_all = args.decay_all_parameters
            if decay_all is None:
                decay_all = optimizer_class is torch.optim.SGD
            groups = parameter_groups(
                self.model if model is None else model,
                learning_rate=args.learning_rate,
                weight_decay=args.weight_decay,
                decay_all=decay_all,
                layer_decay=args.layer_decay,
                options=args.parameter_options,
            )
            for group in groups:
                group.pop("names")
            self.optimizer = optimizer_class(groups, **options)
        return self.optimizer

    def create_scheduler(self, num_training_steps: int, optimizer=None):
        args = self.args
        if self.lr_scheduler is not None:
            return self.lr_scheduler
        epochs = planned_epochs(args, self._train_batch_loader.num_rows)
        warmup = warmup_steps(args, num_training_steps, epochs)
        if not args.lr_milestones and str(args.lr_scheduler_type) not in _COSINE:
            given, args.warmup_steps = args.warmup_steps, warmup
            try:
                return super().create_scheduler(num_training_steps, optimizer)
            finally:
                args.warmup_steps = given
        optimizer = self.optimizer if optimizer is None else optimizer
        if args.lr_milestones:
            steps_per_epoch = num_training_steps / epochs
            self.lr_scheduler = multistep_schedule(
                optimizer,
                warmup_steps=warmup,
                milestones=[round(epoch * steps_per_epoch) for epoch in args.lr_milestones],
                factor=args.lr_milestone_factor,
            )
        else:
            self.lr_scheduler = cosine_schedule(
                optimizer,
                warmup_steps=warmup,
                total_steps=num_training_steps,
                minimum=args.min_learning_rate / args.learning_rate,
            )
        self._created_lr_scheduler = True
        return self.lr_scheduler

    def _check_schedule(self) -> None:
        """Refuse a schedule that does not fit the run before the folder is claimed for it."""
        epochs = planned_epochs(self.args, self._train_batch_loader.num_rows)
        if epochs > 0 and self.lr_scheduler is None:
            updates = math.ceil(len(self.get_train_dataloader()) / self.args.gradient_accumulation_steps)
            steps = self.args.max_steps if self.args.max_steps > 0 else math.ceil(epochs * max(1, updates))
            warmup_steps(self.args, steps, epochs)

    # ------------------------------------------------------------------ checkpoints
    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        super()._save_optimizer_and_scheduler(output_dir)
        if self.args.should_save:
            facts = {"epochs_begun": self._epochs_begun, "seconds": round(self.training_seconds, 1)}
            save_method_state(self.method, output_dir, facts)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None:
            facts = load_method_state(self.method, checkpoint)
            self._epochs_begun, self._seconds_before = facts["epochs_begun"], facts["seconds"]
            self._term_steps = self.state.global_step
            self._find_best_checkpoint(checkpoint)

    def _init_training_state(self, *args, **kwargs):
        # The parent looks for the best checkpoint where its name alone leads to, and says that it is not there.
        with without_messages("transformers.trainer", "The best checkpoint"):
            return super()._init_training_state(*args, **kwargs)

    def _find_best_checkpoint(self, checkpoint: str) -> None:
        """The best weights so far, where the run's folder is now; without them the run could not end as it would."""
        best = best_checkpoint_of(checkpoint, self.args.output_dir)
        if best is None:
            return
        if Path(best).is_dir():
            self.state.best_model_checkpoint = best
        missing = not list(Path(best).glob("model*.safetensors"))
        problems = ["its weights are missing"] if missing else [] if self.args.save_only_model else problems_of(best)
        if self.args.load_best_model_at_end and problems:
            raise ValueError(
                f"Training cannot continue exactly: {best} has the best weights so far, which load_best_model_at_end "
                f"asks for, but {'; '.join(problems)}. Start again in another output_dir, or without "
                "load_best_model_at_end."
            )

    def _save_rng_state(self, output_dir: str) -> None:
        super()._save_rng_state(output_dir)
        # The checkpoint counts as complete once the main process has written its state: not before the others wrote
        # theirs.
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            write_manifest(output_dir)

    def _save_checkpoint(self, model, trial) -> None:
        # A checkpoint of a diverged run would push the last good one out.
        self._require_finite(self._tr_loss.item())
        folder = Path(self._get_output_dir(trial=trial)) / f"checkpoint-{self.state.global_step}"
        try:
            with naming_storage_errors(folder), quiet_loading():
                if self.args.should_save:
                    begin_checkpoint(folder)
                super()._save_checkpoint(model, trial)
                self._finish_checkpoint(folder)
        except StorageError:
            if self.args.should_save and not (folder / STATE).exists():
                shutil.rmtree(folder, ignore_errors=True)  # room for the next attempt
            raise

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        self._finish_checkpoint(Path(checkpoint_folder))
        super()._push_from_checkpoint(checkpoint_folder)

    def _finish_checkpoint(self, folder: Path) -> None:
        """What its state says is no longer changed: it is complete, and may be pushed."""
        if self.args.should_save and folder.is_dir():
            forget_places(folder)
            if not self.args.save_only_model:
                write_manifest(folder, [STATE])

    # ------------------------------------------------------------------ evaluation
    def _in_precision(self) -> contextlib.AbstractContextManager:
        """The model computes in the precision of the run, inside the context and nowhere else."""
        model = self.accelerator.unwrap_model(self.model)
        plain = plain_forward(model)
        if self._forwards is None or self._forwards[0] != plain:
            # Made once: a compiled graph belongs to it. DeepSpeed has a precision of its own.
            precision = "no" if self.is_deepspeed_enabled else self.args.mixed_precision
            self._forwards = plain, mixed_forward(plain, self.args.device, precision)
        return forward_as(model, self._forwards[1])

    def _in_evaluation_precision(self) -> contextlib.AbstractContextManager:
        """As in training, or with weights of half precision where `bf16_full_eval` or `fp16_full_eval` says so."""
        wanted = "bf16" if self.args.bf16_full_eval else "fp16" if self.args.fp16_full_eval else None
        if wanted is None:
            return self._in_precision()
        return weights_as(self.accelerator.unwrap_model(self.model), HALF_PRECISIONS[wanted])

    def _evaluation_model(self) -> nn.Module:
        """The model as evaluation uses it: on its device, without gradient synchronisation."""
        model = self._wrap_model(self.model, training=False)
        if len(self.accelerator._models) == 0 and model is self.model:
            model = self.accelerator.prepare_model(model, evaluation_mode=True)
            self.model_wrapped = model if model is not self.model else self.model_wrapped
        if self.args.world_size > 1:
            # Batch-norm statistics differ between processes; what is saved, and therefore evaluated, is the first
            # one's.
            for buffer in self.model.buffers():
                torch.distributed.broadcast(buffer, 0)
        return model

    def evaluation_loop(
        self,
        dataloader: DataLoader,
        description: str,
        prediction_loss_only: bool | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> EvalLoopOutput:
        keep_logits = description == "Prediction" or self.compute_metrics is not None
        model = self._evaluation_model()
        self.callback_handler.eval_dataloader = dataloader

        def after_batch() -> None:
            self.control = self.callback_handler.on_prediction_step(self.args, self.state, self.control)

        with self._in_evaluation_precision():
            output = run_evaluation(
                model,
                dataloader,
                checks.model_counts(self.model),
                self.args,
                module_metrics=declared_metrics(self.model),
                keep_logits=keep_logits,
                compute_metrics=self.compute_metrics,
                after_batch=after_batch,
                prefix=metric_key_prefix,
            )
        keys = {name: f"{metric_key_prefix}_{name}" for name in ("per_class_accuracy", "group_errors")}
        self._details = {name: output.metrics.pop(key) for name, key in keys.items() if key in output.metrics}
        return output

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: list[str] | None = None, metric_key_prefix: str = "eval"
    ) -> dict[str, Any]:
        """
        Accuracy on `eval_dataset` (default: the trainer's).

        Args:
            eval_dataset (`datasets.Dataset` or dict of them, *optional*).
            ignore_keys: Not used; logits are never collected.
            metric_key_prefix (`str`, defaults to `"eval"`).

        Returns:
            `dict`: `eval_accuracy`, `eval_balanced_accuracy`, `eval_many`, `eval_medium`, `eval_few` (groups without
            classes are absent), `eval_loss` (cross-entropy of the logits that inference uses),
            `eval_per_class_accuracy` (a list in label order, `None` for a class without images) and others of
            [`StreamingMetrics`], all in [0, 1] but `eval_group_errors`, which is in percent.
        """
        metrics = super().evaluate(eval_dataset, ignore_keys, metric_key_prefix)
        # Added behind the log: thousands of classes have no place in a progress line.
        metrics |= {f"{metric_key_prefix}_{name}": value for name, value in self._details.items()}
        self._details = {}
        dataset = self.eval_dataset if eval_dataset is None else eval_dataset
        if not isinstance(dataset, dict):
            named = dataset if isinstance(dataset, str) else None
            plain = {key.removeprefix(f"{metric_key_prefix}_"): value for key, value in metrics.items()}
            self._evaluated_on(dataset, named, plain)
        return metrics

    def evaluate_once(self, dataset: Any) -> dict[str, Any]:
        """
        Metrics of `dataset` without prefix, log or callbacks: for the test set, after training.

        Args:
            dataset (`datasets.Dataset`).

        Returns:
            `dict`: as [`~LongTailTrainer.evaluate`], `per_class_accuracy` and `group_errors` included.
        """
        prefix = "once"
        output = self.evaluation_loop(self.get_eval_dataloader(dataset), "Evaluation", metric_key_prefix=prefix)
        metrics = {key.removeprefix(f"{prefix}_"): value for key, value in output.metrics.items()}
        metrics |= {"per_class_accuracy": None, **self._details}
        self._evaluated_on(dataset, None, metrics)
        return metrics


_COSINE = ("cosine", "SchedulerType.COSINE")


def _augmentation(names: list[str] | str) -> list[str] | str:
    names = [names] if isinstance(names, str) else list(names)
    if names == ["auto"]:
        return "auto"
    return "none" if names in ([], ["none"]) else names


@contextlib.contextmanager
def fork_rng(device: torch.device):
    """Run something without moving the random state a resumed run would start from."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        yield
