"""Optimizer and learning rate of a run: parameter groups, how long the run is and its warm-up, schedules."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any, cast

import torch
from timm.models import group_parameters
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from ..naming import unknown_name
from ..validation import mapping, number
from .arguments import LongTailTrainingArguments

PARAMETER_OPTIONS = ("lr_scale", "weight_decay")
# timm puts a norm behind the blocks into the last block's group; MAE gives it the rate of the head.
_BEHIND_BLOCKS = re.compile(r"^(norm|fc_norm|head|head_norm|fc|classifier)\b")
# Never decayed unless everything is: 1-D tensors, and the embeddings that facebookresearch/mae names for fine-tuning.
# Its pretraining decays cls_token and mask_token: `parameter_options` does that where it is wanted.
_EMBEDDINGS = re.compile(r"(^|\.)(cls_token|pos_embed|reg_token|dist_token|mask_token)$")
_WARMUP_REMEDY = "so the learning rate would never get to its peak. Lower warmup_epochs (or warmup_steps)."


def layer_numbers(model: nn.Module) -> dict[str, int]:
    """
    Layer of every parameter for layer-wise decay, as in MAE fine-tuning: 0 for patch and position embeddings (a stem),
    `i + 1` for block i, and one above the last block for everything behind it (norm, head, auxiliary modules).

    The backbone's own division is timm's `group_matcher`, which every timm model has and which need not be guessed.

    Args:
        model (`nn.Module`): With a timm model as `backbone`, or a timm model itself.

    Raises:
        `ValueError`: if timm knows no layers of this backbone.
    """
    backbone = getattr(model, "backbone", model)
    prefix = "backbone." if backbone is not model else ""
    matcher = getattr(backbone, "group_matcher", None)
    if matcher is None:
        raise ValueError(
            f"layer_decay needs the layers of the backbone, but {type(backbone).__name__} has no group_matcher"
        )
    numbered = {
        name: number
        for name, number in group_parameters(backbone, matcher(coarse=False), reverse=True).items()
        if not _BEHIND_BLOCKS.match(name)
    }
    found = sorted(set(numbered.values()))
    if len(found) < 2:
        raise ValueError(f"layer_decay has no effect: timm finds a single layer in {type(backbone).__name__}")
    rank = {number: position for position, number in enumerate(found)}
    layers = {f"{prefix}{name}": rank[number] for name, number in numbered.items()}
    return {name: layers.get(name, len(found)) for name, _ in model.named_parameters()}


def check_parameter_options(options: dict[str, dict[str, Any]] | None, names: Sequence[str]) -> None:
    """
    Raises:
        `ValueError`: for an option that is not known, or an expression that matches no parameter.
    """
    for expression, values in (options or {}).items():
        for key, value in mapping(f"parameter_options[{expression!r}]", values).items():
            if key not in PARAMETER_OPTIONS:
                raise unknown_name(f"parameter option of {expression!r}", key, PARAMETER_OPTIONS)
            number(f"{key} of {expression!r} in parameter_options", value, minimum=0)
        try:
            re.compile(expression)
        except (re.error, TypeError) as error:
            raise ValueError(f"parameter_options: {expression!r} is no regular expression ({error})") from None
        if not any(re.search(expression, name) for name in names):
            raise ValueError(f"parameter_options: {expression!r} matches no parameter; names look like {names[0]!r}")


def parameter_groups(
    model: nn.Module,
    *,
    learning_rate: float,
    weight_decay: float,
    decay_all: bool,
    layer_decay: float | None = None,
    options: dict[str, dict[str, Any]] | None = None,
) -> list[dict[str, Any]]:
    """
    Group trainable parameters by (learning rate, weight decay).

    The scale of a layer is multiplied into the group's `lr` itself: timm only notes it as `lr_scale`, which torch's
    and transformers' schedulers never read.

    Args:
        model (`nn.Module`): Its parameters that require gradients.
        learning_rate (`float`): Rate of scale 1.
        weight_decay (`float`).
        decay_all (`bool`): Decay norms, biases and embeddings too.
        layer_decay (`float`, *optional*): Scale of layer i is `layer_decay ** (depth + 1 - i)`, see
            [`layer_numbers`].
        options (`dict`, *optional*): Regular expression to `{"lr_scale": float, "weight_decay": float}`; first match
            wins.

    Returns:
        `list[dict]`: groups with `params`, `lr`, `weight_decay`, `names`.

    Raises:
        `ValueError`: for an option that is not known, or an expression that matches no parameter.
    """
    options = options or {}
    check_parameter_options(options, [name for name, _ in model.named_parameters()])
    named = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    if not named:
        raise ValueError("No parameter requires a gradient: everything is frozen, so there is nothing to train")
    layers = layer_numbers(model) if layer_decay else {}
    top = max(layers.values(), default=0)
    groups: dict[tuple[float, float], dict[str, Any]] = {}
    for name, parameter in named:
        decayed = decay_all or (parameter.ndim > 1 and not name.endswith(".bias") and not _EMBEDDINGS.search(name))
        decay = weight_decay if decayed else 0.0
        scale = layer_decay ** (top - layers[name]) if layer_decay else 1.0
        for expression, values in options.items():
            if re.search(expression, name):
                scale *= values.get("lr_scale", 1.0)
                decay = values.get("weight_decay", decay)
                break
        group = groups.setdefault((scale, decay), {"params": [], "names": [], "weight_decay": decay})
        group["lr"] = learning_rate * scale
        group["params"].append(parameter)
        group["names"].append(name)
    return list(groups.values())


def planned_epochs(args: LongTailTrainingArguments, rows: int) -> float:
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


def warmup_steps(args: LongTailTrainingArguments, steps: int, epochs: float) -> int:
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
        raise ValueError(f"The warm-up of {warmup} steps is as long as the run of {steps} steps, {_WARMUP_REMEDY}")
    return warmup


def check_warmup(args: LongTailTrainingArguments, stage: str) -> None:
    """
    The part of [`warmup_steps`]' check that needs no rows, for stages that are far from being trained.

    Raises:
        `ValueError`: if the warm-up is as long as the run.
    """
    if args.max_steps > 0:
        if args.warmup_steps > 1 and args.warmup_steps >= args.max_steps:
            raise ValueError(
                f"Stage {stage!r}: the warm-up of {args.warmup_steps} steps is as long as the run of {args.max_steps} "
                f"steps, {_WARMUP_REMEDY}"
            )
    elif not args.warmup_steps and args.warmup_epochs and 0 < args.num_train_epochs <= args.warmup_epochs:
        raise ValueError(
            f"Stage {stage!r}: the warm-up of {args.warmup_epochs:g} epochs is as long as the run of "
            f"{args.num_train_epochs:g} epochs, {_WARMUP_REMEDY}"
        )


def multistep_factor(step: int, *, warmup_steps: int, milestones: Sequence[int], factor: float) -> float:
    """Linear warm-up to 1, then `factor` more at every milestone passed."""
    if step < warmup_steps:
        return (step + 1) / max(1, warmup_steps)
    return factor ** sum(step >= milestone for milestone in milestones)


def cosine_factor(step: int, *, warmup_steps: int, total_steps: int, minimum: float) -> float:
    """Linear warm-up to 1, then half a cosine to `minimum` (as a fraction of the peak), per step as in MAE."""
    if step < warmup_steps:
        return (step + 1) / max(1, warmup_steps)
    progress = min(1.0, (step - warmup_steps) / max(1, total_steps - warmup_steps))
    return minimum + (1.0 - minimum) * 0.5 * (1.0 + math.cos(math.pi * progress))


def make_optimizer(
    model: nn.Module, args: LongTailTrainingArguments, optimizer_class: type, options: dict[str, Any]
) -> Optimizer:
    """An optimizer of the class and with the options that transformers makes of `optim` and `optim_args`."""
    is_sgd = optimizer_class is torch.optim.SGD
    if is_sgd:
        options = {"momentum": args.momentum, "nesterov": args.nesterov, "fused": True} | options
    groups = parameter_groups(
        model,
        learning_rate=args.learning_rate,
        weight_decay=args.weight_decay,
        decay_all=is_sgd if args.decay_all_parameters is None else args.decay_all_parameters,
        layer_decay=args.layer_decay,
        options=cast(dict | None, args.parameter_options),
    )
    for group in groups:
        group.pop("names")
    return optimizer_class(groups, **options)


def make_schedule(
    optimizer: Optimizer, args: LongTailTrainingArguments, *, steps: int, epochs: float, warmup: int
) -> LambdaLR | None:
    """
    A schedule that transformers does not have: steps at milestones, or a cosine that starts above 0, so that no step
    is spent at a learning rate of 0. `None` where the arguments name another one.

    Args:
        steps (`int`), epochs (`float`): Length of the whole run.
        warmup (`int`): Steps of the warm-up, see [`warmup_steps`].
    """
    if args.lr_milestones:
        steps_per_epoch = steps / epochs
        milestones = [round(epoch * steps_per_epoch) for epoch in args.lr_milestones]
        factor = args.lr_milestone_factor
        return LambdaLR(
            optimizer, lambda step: multistep_factor(step, warmup_steps=warmup, milestones=milestones, factor=factor)
        )
    if args.lr_scheduler_type == "cosine":
        minimum = args.min_learning_rate / args.learning_rate
        return LambdaLR(
            optimizer, lambda step: cosine_factor(step, warmup_steps=warmup, total_steps=steps, minimum=minimum)
        )
    return None


def check_schedule(args: LongTailTrainingArguments, rows: int, batches: int) -> None:
    """Refuse a warm-up as long as a run on so many rows, in so many micro-batches an epoch on this process."""
    epochs = planned_epochs(args, rows)
    updates = math.ceil(batches / args.gradient_accumulation_steps)
    warmup_steps(args, args.max_steps if args.max_steps > 0 else math.ceil(epochs * max(1, updates)), epochs)
