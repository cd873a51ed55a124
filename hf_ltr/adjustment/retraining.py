"""Training a linear classifier, or one factor per class, on cached features."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm.auto import tqdm

from ..data.samplers import SAMPLERS, LongTailSampler
from .options import RetrainingOptions

# Mean squared norm of the features up to which the published learning rate is used.
_LONG_FEATURES = 512.0
_LOSS_BLOCK = 4096


def retrain_classifier(
    features: Tensor,
    labels: Tensor,
    num_classes: int,
    options: RetrainingOptions | None = None,
    *,
    with_bias: bool = True,
    device: torch.device | str = "cpu",
    progress: bool = False,
) -> tuple[Tensor, Tensor]:
    """
    Classifier re-training (cRT; Kang et al. 2020, section 4.1): a new linear classifier, cross-entropy, class-balanced
    batches.

    Args:
        features (`Tensor` of shape `(N, D)`), labels (`Tensor` of shape `(N,)`): Of the training images.
        num_classes (`int`): Each needs an image.
        options ([`RetrainingOptions`], *optional*): The published ones if not given.
        with_bias (`bool`)
        device: Where it is computed.
        progress (`bool`): Show a bar.

    Returns:
        `(weight (C, D), bias (C,))`, float32 on the CPU; the same for the same arguments.

    Raises:
        `FloatingPointError`: if the loss is not finite any more.
    """
    options = options or RetrainingOptions()
    generator = torch.Generator().manual_seed(options.seed)
    # The initialisation of `nn.Linear`: uniform within one over the square root of the length of the features.
    bound = 1 / math.sqrt(features.shape[1])
    start = [(2 * torch.rand(num_classes, features.shape[1], generator=generator) - 1) * bound]
    if with_bias:
        start.append((2 * torch.rand(num_classes, generator=generator) - 1) * bound)
    parameters = [value.to(device).requires_grad_() for value in start]

    def classify(rows: Tensor) -> Tensor:
        return F.linear(rows, *parameters)

    squared_norm = float(features.double().square().sum(dim=1).mean())
    rate = options.learning_rate * min(1.0, _LONG_FEATURES / max(squared_norm, 1e-12))
    _train("crt", parameters, classify, features, labels, options, rate, device, progress)
    weight = parameters[0].detach().cpu()
    return weight, parameters[1].detach().cpu() if with_bias else torch.zeros(num_classes)


def learn_scales(
    features: Tensor,
    labels: Tensor,
    weight: Tensor,
    bias: Tensor,
    options: RetrainingOptions | None = None,
    *,
    device: torch.device | str = "cpu",
    progress: bool = False,
) -> Tensor:
    """
    Learnable weight scaling (LWS; Kang et al. 2020, section 4.3): factors `s` of the logits, `s_c (w_c x + b_c)`, from
    ones, with class-balanced batches. The factor multiplies the bias too, as in the released code.

    Args:
        features (`Tensor` of shape `(N, D)`), labels (`Tensor` of shape `(N,)`): Of the training images.
        weight (`Tensor` of shape `(C, D)`), bias (`Tensor` of shape `(C,)`): Of the classifier, which stays.
        options, device, progress: As in [`retrain_classifier`].

    Returns:
        `Tensor` of shape `(C,)`, float32 on the CPU.
    """
    options = options or RetrainingOptions()
    weight, bias = weight.to(device), bias.to(device)
    scale = torch.ones(len(weight), device=device, requires_grad=True)

    def classify(rows: Tensor) -> Tensor:
        return scale * F.linear(rows, weight, bias)

    _train("lws", [scale], classify, features, labels, options, options.learning_rate, device, progress)
    return scale.detach().cpu()


def _train(
    method: str,
    parameters: list[Tensor],
    classify: Callable[[Tensor], Tensor],
    features: Tensor,
    labels: Tensor,
    options: RetrainingOptions,
    learning_rate: float,
    device: torch.device | str,
    progress: bool,
) -> None:
    steps = options.steps(method, len(labels))
    optimizer = torch.optim.SGD(
        parameters, lr=learning_rate, momentum=options.momentum, weight_decay=options.weight_decay
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    before = _balanced_loss(classify, features, labels, device)
    with torch.enable_grad():
        rows = _rows(labels, options, steps)
        for chosen in tqdm(rows, total=steps, desc=f"Training ({method})", unit="step", disable=not progress):
            loss = F.cross_entropy(classify(features[chosen].to(device)), labels[chosen].to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    after = _balanced_loss(classify, features, labels, device)
    if not math.isfinite(after):
        raise FloatingPointError(f"{method}: the loss is {after}; lower the learning rate ({learning_rate:g})")
    if after > before:
        warnings.warn(
            f"{method} made the class-balanced training loss worse ({before:.3f} before, {after:.3f} after): lower "
            f"the learning rate ({learning_rate:g}) or train longer ({steps} steps).",
            UserWarning,
            stacklevel=3,
        )


def _rows(labels: Tensor, options: RetrainingOptions, steps: int) -> Iterator[Tensor]:
    """Rows of every step. Steps are cut out of epochs of whole batches, so that all batches have one size."""
    steps_per_epoch = max(1, len(labels) // options.batch_size)
    num_samples = steps_per_epoch * options.batch_size
    extra = {}
    if options.sampler == "progressively_balanced":
        extra["num_epochs"] = math.ceil(steps / steps_per_epoch)
    sampler: LongTailSampler = SAMPLERS[options.sampler](labels, seed=options.seed, num_samples=num_samples, **extra)
    for step in range(steps):
        epoch, position = divmod(step, steps_per_epoch)
        if position == 0:
            drawn = torch.from_numpy(sampler.indices(epoch)).split(options.batch_size)
        yield drawn[position]


@torch.no_grad()
def _balanced_loss(
    classify: Callable[[Tensor], Tensor], features: Tensor, labels: Tensor, device: torch.device | str
) -> float:
    """Cross-entropy as a mean over classes of means over their rows, the objective of class-balanced batches."""
    losses = torch.cat(
        [
            F.cross_entropy(classify(block.to(device)), target.to(device), reduction="none").double().cpu()
            for block, target in zip(features.split(_LOSS_BLOCK), labels.split(_LOSS_BLOCK), strict=True)
        ]
    )
    counts = torch.bincount(labels)
    sums = torch.zeros(len(counts), dtype=torch.float64).index_add_(0, labels, losses)
    return float((sums[counts > 0] / counts[counts > 0]).mean())
