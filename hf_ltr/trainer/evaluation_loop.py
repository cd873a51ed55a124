"""
Evaluation that streams: counts per class are summed on the device, logits are forgotten batch by batch. Before it,
whether the metric that chooses the best checkpoint is one that it will report.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import nn
from transformers import EvalPrediction
from transformers.trainer_utils import EvalLoopOutput

from ..data.class_counts import GROUP_NAMES, ClassCounts
from ..data.labels import column_labels
from ..data.loading.batches import KeyedDataLoader
from ..evaluation import StreamingMetrics
from ..methods.batch import Batch
from ..models.auxiliary_module import ModuleMetrics
from ..models.modules import metric_names as module_metric_names
from ..naming import unknown_name
from .arguments import LongTailTrainingArguments
from .parent import HookedTrainer

_ALWAYS = ("loss", "accuracy", "balanced_accuracy", "worst_class_accuracy")
_ROWS = 256
_LOWER_IS_BETTER = ("expected_calibration_error",)
# Reported by the parent beside the metrics; numbers, but no measure of a model.
_SPEED = ("runtime", "samples_per_second", "steps_per_second")


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
    values = {} if batch_loader.labels is None else _reported(metrics.compute(per_class=True), class_counts)
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


def _reported(values: dict[str, Any], class_counts: ClassCounts | None) -> dict[str, Any]:
    """Without training counts there are no groups."""
    return {name: value for name, value in values.items() if class_counts is not None or name not in GROUP_NAMES}


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic | torch.Tensor) and np.size(value) == 1 else value


def check_metric_for_best_model(args: Any, config: Any, eval_dataset: Any) -> None:
    """
    Find a `metric_for_best_model` that no evaluation has before the first epoch, not after it.

    Args:
        args ([`LongTailTrainingArguments`]).
        config ([`LongTailConfig`]): Of the model: its classes and groups, and its auxiliary modules.
        eval_dataset (`datasets.Dataset` or dict of them): Names of a dict are part of the metrics' names.

    Raises:
        `ValueError`: with the nearest metrics.
    """
    metric = args.metric_for_best_model
    if metric is None or args.eval_strategy == "no" or eval_dataset is None:
        return
    wanted = metric.removeprefix("eval_")
    if wanted in _ALWAYS and not isinstance(eval_dataset, Mapping):
        return
    sets = [f"{name}_" for name in eval_dataset] if isinstance(eval_dataset, Mapping) else [""]
    # Each set with the classes it has images of; others are absent from its metrics.
    parts = eval_dataset.values() if isinstance(eval_dataset, Mapping) else [eval_dataset]
    names = [
        f"{prefix}{name}" for prefix, part in zip(sets, parts, strict=True) for name in metric_names(config, part)
    ]
    if wanted not in [*names, *(f"{prefix}{name}" for prefix in sets for name in _SPEED)]:
        raise unknown_name("metric_for_best_model", metric, names)
    lower = any(wanted == f"{prefix}{name}" for prefix in sets for name in _LOWER_IS_BETTER)
    if lower and args.greater_is_better:
        raise ValueError(
            f"{metric} is better when it is lower, but greater_is_better is true (its default for every metric that "
            "does not end with 'loss'): set greater_is_better=False."
        )


def metric_names(config: Any, dataset: Any) -> list[str]:
    """The numbers an evaluation of `dataset` reports for a model of this config, without prefix."""
    num_labels = config.num_labels
    groups = (tuple(config.group_thresholds), config.group_scheme)
    known = ClassCounts(config.class_counts, None, *groups) if config.class_counts else None
    try:
        labels = torch.from_numpy(column_labels(dataset).copy()).unique()
        labels = labels[(labels >= 0) & (labels < num_labels)]
    except (AttributeError, KeyError, ValueError, TypeError):
        labels = torch.arange(num_labels)  # of a dataset without columns: every class may have images
    metrics = StreamingMetrics(known or ClassCounts([1] * num_labels), device=torch.device("cpu"))
    # What is reported for these classes is what is computed for one image of each.
    for part in labels.split(_ROWS):
        metrics.update(torch.zeros(len(part), num_labels), part)
    values = _reported(metrics.compute(), known)
    names = [name for name, value in values.items() if isinstance(value, int | float)]
    return [*names, *module_metric_names(config.modules)]
