"""Training arguments with defaults a long-tail paper would recognise."""

from __future__ import annotations

import copy
import dataclasses
import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import TrainingArguments

from ..data.samplers import SAMPLERS
from ..redaction import HIDDEN, is_secret, public, remember_secret, without_secrets
from ..validation import choice, flag, number, plain, sequence, texts, whole_number
from .precision import accelerator_available, wanted_precision

MIXED_PRECISION = ("auto", "no", "bf16", "fp16")
IMAGE_LOADING = ("auto", "resident", "workers")

# Ranges of the arguments that are numbers. A rate may be 0, which trains nothing and is how a baseline is measured.
_SHARE: dict[str, float] = {"minimum": 0, "maximum": 1}
_BELOW_ONE: dict[str, float] = {"minimum": 0, "below": 1}
_NOT_NEGATIVE = (
    "learning_rate min_learning_rate weight_decay adam_epsilon max_grad_norm num_train_epochs warmup_steps "
    "warmup_epochs lr_milestone_factor mixup_alpha cutmix_alpha eval_delay logging_steps eval_steps save_steps"
).split()
_NUMBERS: dict[str, dict[str, float]] = {
    **{name: {"minimum": 0} for name in _NOT_NEGATIVE},
    **{name: _BELOW_ONE for name in ("momentum", "adam_beta1", "adam_beta2", "label_smoothing")},
    **{name: _SHARE for name in ("mix_probability", "mix_switch_probability", "label_smoothing_factor")},
}
_SEED = {"minimum": 0, "maximum": 2**32 - 1}
_WHOLE_NUMBERS: dict[str, dict[str, int]] = {
    "per_device_train_batch_size": {"minimum": 1},
    "per_device_eval_batch_size": {"minimum": 1},
    "gradient_accumulation_steps": {"minimum": 1},
    "eval_accumulation_steps": {"minimum": 1},
    "max_steps": {"minimum": -1},  # which transformers reads as unset
    "seed": _SEED,
    "data_seed": _SEED,
    "save_total_limit": {"minimum": 0},
    "cpu_threads": {"minimum": 1},
    "dataloader_num_workers": {"minimum": -1},
    "dataloader_prefetch_factor": {"minimum": 1},
}
# Of both, those that may be unset.
_MAY_BE_UNSET = frozenset(
    "warmup_epochs warmup_steps eval_delay eval_steps save_steps logging_steps eval_accumulation_steps data_seed "
    "save_total_limit cpu_threads dataloader_prefetch_factor".split()
)
_FLAGS = ("channels_last", "nesterov", "decay_all_parameters", "bf16", "fp16", "logging_nan_inf_filter")


@dataclass(repr=False)  # the one of dataclasses prints the token
class LongTailTrainingArguments(TrainingArguments):
    """
    [`transformers.TrainingArguments`] plus what long-tailed training needs.

    Defaults that differ from the parent, because the parent's change results or hide failures: `optim="sgd"`,
    `learning_rate=0.1`, `weight_decay=2e-4`, `num_train_epochs=200`, `per_device_train_batch_size=128`,
    `per_device_eval_batch_size=512`, cosine schedule (the CIFAR recipes of kaidic/LDAM-DRW and BagofTricks-LT but for
    their steps, see `lr_milestones`), `max_grad_norm=0` (no paper here clips, and clipping costs a pass over the
    gradients), `logging_nan_inf_filter=False` (it prints a running mean in the place of a NaN), `logging_strategy` and
    `save_strategy` by epoch, `save_total_limit=1`, `remove_unused_columns=False`,
    `ddp_find_unused_parameters=False`, `dataloader_num_workers=-1` (none for images that are resident, else up to 8 of
    the process's cores), `dataloader_persistent_workers=True`, `use_cpu` where no accelerator is found.

    Args:
        mixed_precision_mode (`str`, defaults to `"auto"`): `"auto"` takes what `accelerate launch --mixed_precision`
            asks for, else bfloat16 where the processor or GPU computes it natively; `"no"`, `"bf16"`, `"fp16"` force a
            choice. An explicit `bf16=True` or `fp16=True` wins. It is the precision of training and of evaluation;
            with `bf16_full_eval` or `fp16_full_eval` the trainer evaluates with rounded weights and no autocast.
        channels_last (`bool`, defaults to `True`): Memory format of convolutional models and their batches.
        base_learning_rate (`float`, *optional*): Peak learning rate per 256 rows of an optimizer step, the form in
            which recipes of masked autoencoders state it: `learning_rate` becomes `base_learning_rate * rows / 256`,
            where the rows are those of all processes and accumulated batches. It wins over a `learning_rate` given
            beside it.
        momentum (`float`, defaults to 0.9): Of SGD.
        nesterov (`bool`, defaults to `False`): Of SGD.
        decay_all_parameters (`bool`, *optional*): Whether norms, biases and embeddings are decayed too. Unset: yes for
            SGD, as every long-tail paper's plain SGD does (the stock Trainer leaves biases out); no for others, as in
            MAE fine-tuning. MAE pretraining as released decays `cls_token` and `mask_token`, see `parameter_options`.
        layer_decay (`float`, *optional*): Layer-wise learning-rate decay, multiplied into the learning rates.
        parameter_options (`dict`, *optional*): Regular expression on parameter names to `{"lr_scale",
            "weight_decay"}`; the first match wins.
        warmup_epochs (`float`, *optional*): Linear warm-up; 0 is none. Unset: 5 epochs, or a tenth of a shorter run. A
            positive `warmup_steps` wins. A warm-up as long as the run is refused.
        lr_milestones (`list[float]`, *optional*): Epochs after which the learning rate is multiplied by
            `lr_milestone_factor`. Replaces `lr_scheduler_type`.
        lr_milestone_factor (`float`, defaults to 0.01).
        min_learning_rate (`float`, defaults to 0.0): The end of the cosine.
        sampler (`str`, defaults to `"instance"`): A name in `SAMPLERS`; a method that needs its own wins.
        augmentation (`list[str]`, defaults to `["auto"]`): Names in order; see
            [`~hf_ltr.data.transforms.augmentation`].
        augmentation_options (`dict`, *optional*): Options by augmentation name.
        mixup_alpha, cutmix_alpha, mix_probability, mix_switch_probability, label_smoothing: Batch mixing as in timm;
            every row of an optimiser step with a random one of its other half (see `hf_ltr.data.transforms.mixing`).
        image_loading (`str`, defaults to `"auto"`): `"resident"` decodes once into one array, `"workers"` decodes in
            worker processes.
        cpu_threads (`int`, *optional*): Threads of each process on CPU. Unset: cores / local processes where a
            launcher pinned them to one.
    """

    # What transformers' HfArgumentParser, which hands all metadata to argparse, must not see; see `recipe/fields.py`.
    OPTION_METADATA = {"base_learning_rate": {"instead_of": "learning_rate"}}

    optim: str = field(default="sgd", metadata={"help": "The optimizer to use."})
    learning_rate: float = field(default=0.1, metadata={"help": "Peak learning rate."})
    weight_decay: float = field(default=2e-4, metadata={"help": "Weight decay."})
    num_train_epochs: float = field(default=200.0, metadata={"help": "Epochs to train."})
    per_device_train_batch_size: int = field(default=128, metadata={"help": "Rows per process and micro-batch."})
    per_device_eval_batch_size: int = field(default=512, metadata={"help": "Rows per process in evaluation."})
    lr_scheduler_type: str = field(default="cosine", metadata={"help": "Schedule of the learning rate."})
    max_grad_norm: float = field(default=0.0, metadata={"help": "Clip gradients to this norm; 0 leaves them alone."})
    logging_nan_inf_filter: bool = field(default=False, metadata={"help": "Hide NaN losses from the log."})
    logging_strategy: str = field(default="epoch", metadata={"help": "When to log."})
    save_strategy: str = field(default="epoch", metadata={"help": "When to save a checkpoint."})
    save_total_limit: int | None = field(default=1, metadata={"help": "Checkpoints to keep."})
    remove_unused_columns: bool = field(default=False, metadata={"help": "Kept False: rows carry their index."})
    ddp_find_unused_parameters: bool | None = field(default=False, metadata={"help": "DDP's slow path."})
    dataloader_num_workers: int = field(default=-1, metadata={"help": "Decoding processes; -1 decides."})
    dataloader_persistent_workers: bool = field(default=True, metadata={"help": "Keep workers between epochs."})
    report_to: None | str | list[str] = field(default="none", metadata={"help": "Where to report."})

    mixed_precision_mode: str = field(default="auto", metadata={"help": "auto, no, bf16 or fp16."})
    channels_last: bool = field(default=True, metadata={"help": "Memory format of convolutional models."})
    base_learning_rate: float | None = field(default=None, metadata={"help": "Learning rate per 256 rows of a step."})
    momentum: float = field(default=0.9, metadata={"help": "Momentum of SGD."})
    nesterov: bool = field(default=False, metadata={"help": "Nesterov momentum of SGD."})
    decay_all_parameters: bool | None = field(default=None, metadata={"help": "Decay norms and biases too."})
    layer_decay: float | None = field(default=None, metadata={"help": "Layer-wise learning-rate decay."})
    parameter_options: dict | str | None = field(
        default=None, metadata={"help": 'Regex to options, as JSON: {"^classifier": {"lr_scale": 10}}.'}
    )
    warmup_epochs: float | None = field(default=None, metadata={"help": "Linear warm-up in epochs."})
    lr_milestones: list[float] | None = field(default=None, metadata={"help": "Epochs at which the rate drops."})
    lr_milestone_factor: float = field(default=0.01, metadata={"help": "Factor at each milestone."})
    min_learning_rate: float = field(default=0.0, metadata={"help": "Learning rate at the end of the cosine."})
    sampler: str = field(default="instance", metadata={"help": "Sampler of the training rows."})
    augmentation: list[str] = field(default_factory=lambda: ["auto"], metadata={"help": "Augmentations in order."})
    augmentation_options: dict | str | None = field(default=None, metadata={"help": "Options by augmentation, JSON."})
    mixup_alpha: float = field(default=0.0, metadata={"help": "Beta parameter of mixup; 0 is off."})
    cutmix_alpha: float = field(default=0.0, metadata={"help": "Beta parameter of cutmix; 0 is off."})
    mix_probability: float = field(default=1.0, metadata={"help": "Probability that a step mixes."})
    mix_switch_probability: float = field(default=0.5, metadata={"help": "Probability of cutmix when both are on."})
    label_smoothing: float = field(default=0.0, metadata={"help": "Label smoothing of the targets."})
    image_loading: str = field(default="auto", metadata={"help": "auto, resident or workers."})
    cpu_threads: int | None = field(default=None, metadata={"help": "Threads of each process on CPU."})

    def __post_init__(self) -> None:
        remember_secret(self.hub_token)
        for item in dataclasses.fields(self):
            # JSON, to which they are written with every checkpoint, has no numbers of numpy.
            if item.init:
                setattr(self, item.name, plain(getattr(self, item.name)))
        if not accelerator_available():
            # Without this, two launched CPU processes would each believe that they are alone.
            self.use_cpu = True
        choice("mixed_precision_mode", self.mixed_precision_mode, MIXED_PRECISION)
        if not self.bf16 and not self.fp16:
            precision = wanted_precision(self.mixed_precision_mode, self.use_cpu)
            self.bf16, self.fp16 = precision == "bf16", precision == "fp16"
        choice("sampler", self.sampler, SAMPLERS)
        choice("image_loading", self.image_loading, IMAGE_LOADING)
        self._check_values()
        if self.label_smoothing_factor:
            raise ValueError(
                "label_smoothing_factor is the stock Trainer's smoother, which bypasses the method's loss; use "
                "label_smoothing, which smooths the targets the method receives"
            )
        super().__post_init__()
        # The parent takes it from the launcher where neither is set, which is wrong for "no".
        self.mixed_precision = "bf16" if self.bf16 else "fp16" if self.fp16 else "no"
        if self.base_learning_rate is not None:
            rows = self.train_batch_size * self.world_size * self.gradient_accumulation_steps
            self.learning_rate = self.base_learning_rate * rows / 256
        for name in ("parameter_options", "augmentation_options"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, dict):
                raise ValueError(f"{name} must be a dict or a JSON object, got {value!r}")

    def __getstate__(self) -> dict[str, Any]:
        """
        What is pickled, above all into the `training_args.bin` beside every saved model, which is pushed with it: no
        token, and folders by their names. A copy in memory keeps both.
        """
        return {**public(self.__dict__), "hub_token": None}

    def __copy__(self) -> LongTailTrainingArguments:
        return self._twin(self.__dict__)

    def __deepcopy__(self, memo: dict[int, Any]) -> LongTailTrainingArguments:
        return self._twin(copy.deepcopy(self.__dict__, memo))

    def _twin(self, content: dict[str, Any]) -> LongTailTrainingArguments:
        twin = object.__new__(type(self))
        twin.__dict__.update(content)
        return twin

    def __str__(self) -> str:
        return without_secrets(super().__str__())

    __repr__ = __str__

    def to_dict(self) -> dict[str, Any]:
        """As in the parent, which trackers log: every secret hidden, not only those whose name ends in `_token`."""
        content = super().to_dict()
        return {name: HIDDEN if is_secret(name, value) else value for name, value in content.items()}

    def to_json_string(self) -> str:
        """For TensorBoard, whose files lie in the output folder and are pushed with it: folders by their names."""
        return json.dumps(public(self.to_dict()), indent=2)

    def _check_values(self) -> None:
        """
        Raises:
            `ValueError`: naming the argument and its range, before any data is read.
        """
        for name, bounds in (_NUMBERS | _WHOLE_NUMBERS).items():
            value = getattr(self, name)
            if value is None and name in _MAY_BE_UNSET:
                continue
            if name in _WHOLE_NUMBERS:
                whole_number(name, value, **_WHOLE_NUMBERS[name])
            else:
                number(name, value, **bounds)
        for name in _FLAGS:
            value = getattr(self, name)
            if value is not None:
                flag(name, value)
        if self.layer_decay is not None:
            number("layer_decay must lie in (0, 1]: it", self.layer_decay, above=0, maximum=1)
        if self.base_learning_rate is not None:
            number("base_learning_rate must be positive: it", self.base_learning_rate, above=0)
        self.augmentation = texts("augmentation", self.augmentation)
        if self.lr_milestones is not None:
            epochs = sequence("lr_milestones", self.lr_milestones)
            for epoch in epochs:
                number("lr_milestones", epoch, minimum=0)
            if epochs != sorted(epochs):
                raise ValueError(f"lr_milestones must ascend, got {epochs}")
            late = [epoch for epoch in epochs if epoch >= self.num_train_epochs]
            if late and self.max_steps <= 0 < self.num_train_epochs:
                warnings.warn(
                    f"lr_milestones {late} lie behind the end of {self.num_train_epochs:g} epochs: the learning rate "
                    "does not drop there",
                    stacklevel=4,
                )

    @property
    def folder(self) -> str:
        """`output_dir`; where it is not given, the parent has filled it."""
        assert self.output_dir is not None
        return self.output_dir

    @property
    def device(self) -> torch.device:
        """Where training runs. A CPU has no index: torch cannot load an optimizer back to `cpu:0`."""
        device = super().device
        return torch.device("cpu") if device.type == "cpu" else device


def merge_arguments(*levels: Mapping[str, Any]) -> dict[str, Any]:
    """
    Training arguments from several places, later ones winning. A learning rate, in either form, replaces one of an
    earlier place in the other form, which would otherwise win over it.
    """
    merged: dict[str, Any] = {}
    for level in levels:
        if level.get("learning_rate") is not None and level.get("base_learning_rate") is None:
            merged.pop("base_learning_rate", None)
        merged.update(level)
    return merged


# The parent parses a JSON string into a dict for the fields listed here.
LongTailTrainingArguments._VALID_DICT_FIELDS = [
    *TrainingArguments._VALID_DICT_FIELDS,
    "parameter_options",
    "augmentation_options",
]
