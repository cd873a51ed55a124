"""Evaluation that streams: counts per class are summed on the device, logits are forgotten batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import nn
from transformers import EvalPrediction
from transformers.trainer_utils import EvalLoopOutput

from ..data.class_counts import GROUP_NAMES, ClassCounts
from ..data.loading.batches import KeyedDataLoader
from ..evaluation import StreamingMetrics
from ..methods.batch import Batch
from ..models.auxiliary_module import ModuleMetrics
from .arguments import LongTailTrainingArguments
from .parent import HookedTrainer


def model_for_evaluation(trainer: HookedTrainer) -> nn.Module:
    """
    The model of a trainer, prepared. Batch-norm statistics differ between processes; what is saved, and therefore
    evaluated, is the first one's.
    """
    model = trainer.evaluation_model()
    if trainer.args.world_size > 1:
        for buffer in trainer.model.buffers():
            dist.broadcast(buffer, 0)
    return model


@torch.no_grad()
def read_once(
    model: nn.Module,
    dataloader: KeyedDataLoader,
    function: Callable[[Any, Batch], Any],
    precision: Callable[[], AbstractContextManager],
) -> list[Any]:
    """`function(outputs, batch)` of every batch; the model is left in the modes in which it came, part by part."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    results = []
    try:
        for raw in dataloader:
            batch = dataloader.batch_loader.prepare(raw)
            with precision():
                outputs = model(pixel_values=batch["pixel_values"])
            results.append(function(outputs, batch))
    finally:
        for module, training in modes:
            module.training = training
    return results


@torch.no_grad()
def run_evaluation(
    model: nn.Module,
    dataloader: KeyedDataLoader,
    class_counts: ClassCounts | None,
    args: LongTailTrainingArguments,
    *,
    module_metrics: Iterable[ModuleMetrics] = (),
    keep_logits: bool = False,
    compute_metrics: Callable | None = None,
    after_batch: Callable[[], None] = lambda: None,
    prefix: str = "eval",
) -> EvalLoopOutput:
    """
    Evaluate a prepared model.

    Args:
        model (`nn.Module`): Returns `logits` of shape `(B, C)`; put in evaluation mode here.
        dataloader ([`KeyedDataLoader`]): Raw batches of this process's shard.
        class_counts ([`ClassCounts`], *optional*): Training counts, which define the groups; without them there are
            none.
        module_metrics (iterable of [`ModuleMetrics`]): Of the model's auxiliary modules.
        keep_logits (`bool`): Also return all logits and labels in row order, on every process.
        compute_metrics (`Callable`, *optional*): Called with all of them.
        after_batch (`Callable`): Progress.
        prefix (`str`): Of the metric names.

    Returns:
        `EvalLoopOutput` with metrics `<prefix>_accuracy`, `_balanced_accuracy`, `_many`, `_medium`, `_few`, `_loss`
        and others of [`StreamingMetrics`].
    """
    model.eval()
    batch_loader = dataloader.batch_loader
    if batch_loader.labels is None and not keep_logits:
        raise ValueError("The evaluation set has no labels, so there is no accuracy; use predict() for its logits")
    counts = class_counts or ClassCounts([1] * batch_loader.num_labels)
    metrics = StreamingMetrics(counts, args.device, module_metrics)
    kept_logits: list[torch.Tensor] = []
    kept_labels: list[torch.Tensor] = []
    for raw in dataloader:
        batch = batch_loader.prepare(raw)
        output = model(pixel_values=batch["pixel_values"])
        logits = output.logits
        if "labels" in batch:
            metrics.update(logits, batch["labels"], extras=getattr(output, "extras", None))
        if keep_logits:
            kept_logits.append(logits.float().cpu())
            kept_labels.append(batch.get("labels", torch.empty(0, dtype=torch.int64)).cpu())
        after_batch()
    metrics.all_reduce()
    values: dict[str, Any] = metrics.compute(per_class=True) if batch_loader.labels is not None else {}
    if class_counts is None:
        values = {key: value for key, value in values.items() if key not in GROUP_NAMES}
    predictions: Any = None
    label_ids: Any = None
    if keep_logits:
        predictions = rows_of_all_processes(joined_rows(kept_logits, counts.num_classes), args.world_size).numpy()
        if batch_loader.labels is not None:
            label_ids = rows_of_all_processes(joined_rows(kept_labels), args.world_size).numpy()
        if compute_metrics is not None:
            values.update(compute_metrics(EvalPrediction(predictions=predictions, label_ids=label_ids)))
    named = {key if key.startswith(f"{prefix}_") else f"{prefix}_{key}": _plain(v) for key, v in values.items()}
    return EvalLoopOutput(predictions, label_ids, metrics=named, num_samples=batch_loader.num_rows)


def joined_rows(parts: list[torch.Tensor], *width: int) -> torch.Tensor:
    """All rows of this process, of which a small dataset may leave it none."""
    return torch.cat(parts) if parts else torch.empty(0, *width)


def rows_of_all_processes(rows: torch.Tensor, world_size: int) -> torch.Tensor:
    """Rows of all processes, in process order, which is row order because shards are contiguous."""
    if world_size == 1:
        return rows
    gathered: list[Any] = [None] * world_size
    dist.all_gather_object(gathered, rows)
    return torch.cat(gathered)


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic | torch.Tensor) and np.size(value) == 1 else value
