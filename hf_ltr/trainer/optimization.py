"""Parameter groups and learning-rate schedules."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

PARAMETER_OPTIONS = ("lr_scale", "weight_decay")
# Never decayed unless everything is: 1-D tensors, and the embeddings the MAE recipe names.
_EMBEDDINGS = re.compile(r"(^|\.)(cls_token|pos_embed|reg_token|dist_token|mask_token)$")


def layer_of_parameter(name: str, depth: int) -> int:
    """
    Layer of a parameter for layer-wise decay: 0 for patch and position embeddings, `i + 1` for block i, `depth + 1`
    for everything after the blocks (numbering of the MAE fine-tuning recipe).
    """
    name = name.removeprefix("backbone.")
    block = re.match(r"(blocks|layers)\.(\d+)\.", name)
    if block:
        return int(block.group(2)) + 1
    if name.startswith(("patch_embed", "pos_embed", "cls_token", "reg_token", "stem", "conv1", "bn1", "norm_pre")):
        return 0
    stage = re.match(r"(?:layer|stages\.)(\d+)\.", name)
    if stage:
        return int(stage.group(1)) + (1 if name.startswith("stages.") else 0)
    return depth + 1


def number_of_layers(names: Sequence[str]) -> int:
    """Blocks (or stages) of the backbone behind these parameter names."""
    layers = [layer_of_parameter(name, depth=-1) for name in names]
    return max(layers, default=0)


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
        layer_decay (`float`, *optional*): Scale of layer i is `layer_decay ** (depth + 1 - i)`.
        options (`dict`, *optional*): Regular expression to `{"lr_scale": float, "weight_decay": float}`; first match
            wins.

    Returns:
        `list[dict]`: groups with `params`, `lr`, `weight_decay`, `names`.

    Raises:
        `ValueError`: for an option that is not known, or an expression that matches no parameter.
    """
    from ..naming import unknown_name

    options = options or {}
    for expression, values in options.items():
        for key in values:
            if key not in PARAMETER_OPTIONS:
                raise unknown_name(f"parameter option of {expression!r}", key, PARAMETER_OPTIONS)
    named = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    if not named:
        raise ValueError("No parameter requires a gradient: everything is frozen, so there is nothing to train")
    unmatched = [e for e in options if not any(re.search(e, name) for name, _ in model.named_parameters())]
    if unmatched:
        raise ValueError(f"parameter_options {unmatched} match no parameter; names look like {named[0][0]!r}")
    depth = number_of_layers([name for name, _ in model.named_parameters()])
    groups: dict[tuple[float, float], dict[str, Any]] = {}
    for name, parameter in named:
        decayed = decay_all or (parameter.ndim > 1 and not name.endswith(".bias") and not _EMBEDDINGS.search(name))
        decay = weight_decay if decayed else 0.0
        scale = layer_decay ** (depth + 1 - layer_of_parameter(name, depth)) if layer_decay else 1.0
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


def multistep_schedule(
    optimizer: Optimizer, *, warmup_steps: int, milestones: Sequence[int], factor: float
) -> LambdaLR:
    """Warm-up and steps, which transformers does not have."""
    return LambdaLR(
        optimizer, lambda step: multistep_factor(step, warmup_steps=warmup_steps, milestones=milestones, factor=factor)
    )


def cosine_schedule(optimizer: Optimizer, *, warmup_steps: int, total_steps: int, minimum: float) -> LambdaLR:
    """Warm-up and half-cosine that starts above 0, so that no step is spent at a learning rate of 0."""
    return LambdaLR(
        optimizer,
        lambda step: cosine_factor(step, warmup_steps=warmup_steps, total_steps=total_steps, minimum=minimum),
    )
