"""Putting an adjusted decision into the model, and what the config says about it."""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any

import torch

from ..data.class_counts import ClassCounts
from ..models.prior_offset import prior_offset
from .checkpoint import LoadedClassifier, head_dtype
from .decision import Decision
from .head import LinearHead
from .options import READS_TRAINING_IMAGES, AdjustmentOptions


def rounded(after: Decision, loaded: LoadedClassifier, head: LinearHead | None) -> Decision:
    """The decision as the checkpoint's type can store it, with a warning if that is another one."""
    if head is None:
        return after
    dtype = head_dtype(loaded, head.name)
    stored = after.rounded(dtype)
    moved = max(float((a - b).abs().max()) for a, b in ((after.weight, stored.weight), (after.bias, stored.bias)))
    if moved > 0:
        warnings.warn(
            f"The checkpoint is stored in {str(dtype).removeprefix('torch.')}, which rounds the adjusted head by "
            f"up to {moved:.1e}; what is measured is the rounded one. Convert the checkpoint to float32 to avoid it.",
            UserWarning,
            stacklevel=3,
        )
    if not (torch.isfinite(stored.weight).all() and torch.isfinite(stored.bias).all()):
        raise ValueError(
            f"The adjusted head has values that {dtype} cannot hold; convert the checkpoint to float32 first"
        )
    return stored


def adjustment_record(
    options: AdjustmentOptions,
    loaded: LoadedClassifier,
    counts: ClassCounts,
    prior: list[float] | None,
    tau: float | None,
    swept: bool,
    folded: bool,
) -> dict[str, Any]:
    """What the config's `long_tail_adjustment` says."""
    record: dict[str, Any] = {
        "method": options.method,
        "source": loaded.source,
        "class_counts": list(counts.counts),
        "folded_into_head": folded,
    }
    if tau is not None:
        record.update(tau=tau, tau_chosen_on="validation" if swept else None)
    if prior is not None:
        record["target_prior"] = prior
    if options.method in ("crt", "lws"):
        record["training"] = dataclasses.asdict(options.retraining)
    earlier = getattr(loaded.model.config, "long_tail_adjustment", None)
    if earlier is not None:
        record["previous"] = earlier
    return record


def apply_decision(
    loaded: LoadedClassifier,
    head: LinearHead | None,
    method: str,
    after: Decision,
    record: dict[str, Any],
    counts: ClassCounts,
    tau: float | None,
    prior: list[float] | None,
) -> Decision:
    """Put the decision into the model; returns it as the model has it then."""
    model, config = loaded.model, loaded.model.config
    own = hasattr(config, "logit_adjustment")
    if head is not None:
        head.store(after.weight, after.bias)
        if own and method in READS_TRAINING_IMAGES:
            model.set_logit_adjustment(None)
    else:
        if config.logit_adjustment is None:
            adjustment = {"tau": 1.0 if tau is None else tau, "remove": list(counts.counts), "add": prior}
        else:
            # Two adjustments in one: any offset is the logarithm of a prior, up to a constant no softmax sees.
            adjustment = {"tau": 1.0, "remove": None, "add": after.offset.double().softmax(0).tolist()}
        model.set_logit_adjustment(adjustment)
        after = dataclasses.replace(after, offset=prior_offset(**adjustment).float())
    if own and config.class_counts is None:
        config.class_counts = counts
    config.long_tail_adjustment = record
    return after
