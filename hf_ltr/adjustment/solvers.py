"""What each adjustment makes of a classifier."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ..data.class_counts import ClassCounts
from ..losses import tau_normalize
from ..methods.double_correction import prior_corrections, recorded_sampler, warn_of_double_correction
from ..models.prior_offset import prior_offset
from .decision import Decision
from .features import collect
from .head import LinearHead
from .options import READS_TRAINING_IMAGES, AdjustmentOptions
from .retraining import learn_scales, retrain_classifier
from .rules import class_means, nearest_centroid_classifier

# They change the prior of the logits, or work on a classifier that may have been corrected; the others make a new one.
_KEEP_THE_CLASSIFIER = {
    "logit_adjustment": "logit_adjustment subtracts the log prior from the logits",
    "pc_softmax": "pc_softmax subtracts the log prior from the logits",
    "tau_norm": "tau_norm divides the class vectors by their norms",
    "lws": "lws scales the logits on class-balanced batches",
}


def warn_of_earlier_corrections(config: Any, method: str, checkpoint: str | Path) -> None:
    """Warn, naming both, if a method corrects the prior of a model whose training or config did so already."""
    done = {
        "sampler": recorded_sampler(checkpoint),
        "logit_adjustment": getattr(config, "logit_adjustment", None),
    }
    found = prior_corrections(getattr(config, "method", None), done)
    earlier = getattr(config, "long_tail_adjustment", None)
    if isinstance(earlier, Mapping):
        found.append(f"this checkpoint is the result of hf-ltr adjust with {earlier.get('method')} already")
    if method in _KEEP_THE_CLASSIFIER:
        advice = "Adjust a checkpoint that was trained without a correction, or leave this one as it is."
        warn_of_double_correction(_KEEP_THE_CLASSIFIER[method], found, advice, stacklevel=4)
    if method in READS_TRAINING_IMAGES and done["logit_adjustment"] is not None:
        warnings.warn(
            f"{method} trains for balanced classes: config.logit_adjustment, which the model has, is dropped.",
            UserWarning,
            stacklevel=4,
        )


def current_decision(config: Any, head: LinearHead | None, method: str | None) -> Decision:
    """What the model does now; without its own logit adjustment if the method makes that pointless."""
    adjustment = None if method in READS_TRAINING_IMAGES else getattr(config, "logit_adjustment", None)
    offset = prior_offset(**(adjustment or {})).expand(config.num_labels).float()
    return Decision(None if head is None else head.weight, None if head is None else head.bias, offset)


def make_solver(
    method: str,
    start: Decision,
    counts: ClassCounts,
    prior: list[float] | None,
    head: LinearHead | None,
    options: AdjustmentOptions,
    device: torch.device,
    progress: bool,
) -> Any:
    """The function that gives the adjusted decision: of tau, or of what iterates over the training images."""
    if method == "logit_adjustment":
        return lambda tau: start.shifted(prior_offset(remove=counts.counts, tau=tau))
    if method == "pc_softmax":
        return lambda _: start.shifted(prior_offset(remove=counts.counts, add=prior))
    zero = torch.zeros(len(counts))
    if method == "tau_norm":
        rows = start.weight.double()
        return lambda tau: dataclasses.replace(
            start, weight=tau_normalize(rows, tau).to(start.weight.dtype), bias=zero
        )
    if method == "ncm":

        def nearest_centroid(train: Any) -> Decision:
            weight, bias = nearest_centroid_classifier(class_means(train(), counts))
            return dataclasses.replace(start, weight=weight.float(), bias=bias.float())

        return nearest_centroid

    def retrain(train: Any) -> Decision:
        values, labels = collect(train())
        common = {"options": options.retraining, "device": device, "progress": progress}
        if method == "crt":
            weight, bias = retrain_classifier(values, labels, len(counts), with_bias=head.has_bias, **common)
        else:
            scale = learn_scales(values, labels, start.weight, start.bias, **common)
            weight, bias = start.weight * scale.unsqueeze(1), start.bias * scale
        return dataclasses.replace(start, weight=weight, bias=bias)

    return retrain
