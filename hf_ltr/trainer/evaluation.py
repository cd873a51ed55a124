"""Evaluation that streams: counts per class are summed on the device, logits are forgotten batch by batch."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import nn
from torch.utils.data import DataLoader
from transformers import EvalPrediction
from transformers.trainer_utils import EvalLoopOutput

from ..data.class_counts import GROUP_NAMES, ClassCounts
from ..evaluation import StreamingMetrics
from .forward import memory_format_kept

# Training arguments that decide how a saved model is evaluated: as the run that made it evaluates it.
EVALUATION_ARGUMENTS = (
    "per_device_eval_batch_size mixed_precision_mode bf16 fp16 bf16_full_eval fp16_full_eval image_loading use_cpu "
    "cpu_threads channels_last"
).split()


@torch.no_grad()
def run_evaluation(
    model: nn.Module,
    dataloader: DataLoader,
    class_counts: ClassCounts | None,
    args: Any,
    *,
    modulator_groups: torch.Tensor | None = None,
    keep_logits: bool = False,
    compute_metrics: Callable | None = None,
    after_batch: Callable[[], None] = lambda: None,
    prefix: str = "eval",
) -> EvalLoopOutput:
    """
    Evaluate a prepared model.

    Args:
        model (`nn.Module`): Returns `logits` of shape `(B, C)`; put in evaluation mode here.
        dataloader (`DataLoader`): Raw batches of this process's shard, with the `batch_loader` that prepares them.
        class_counts ([`ClassCounts`], *optional*): Training counts, which define the groups; without them there are
            none.
        args ([`LongTailTrainingArguments`]).
        modulator_groups (`torch.Tensor` of shape `(classes,)`, *optional*): Group of every class in the model's
            modulator, if it has one; its magnitudes are measured then.
        keep_logits (`bool`): Also return all logits and labels in row order, on every process.
        compute_metrics (`Callable`, *optional*): Called with all of them.
        after_batch (`Callable`): Progress.
        prefix (`str`): Of the metric names.

    Returns:
        [`~transformers.trainer_utils.EvalLoopOutput`] with metrics `<prefix>_accuracy`, `_balanced_accuracy`, `_many`,
        `_medium`, `_few`, `_loss` and others of [`StreamingMetrics`].
    """
    model.eval()
    batch_loader = dataloader.batch_loader
    if batch_loader.labels is None and not keep_logits:
        raise ValueError("The evaluation set has no labels, so there is no accuracy; use predict() for its logits")
    counts = class_counts or ClassCounts([1] * batch_loader.num_labels)
    metrics = StreamingMetrics(counts, device=args.device)
    kept_logits: list[torch.Tensor] = []
    kept_labels: list[torch.Tensor] = []
    for raw in dataloader:
        batch = batch_loader.prepare(raw)
        output = model(pixel_values=batch["pixel_values"])
        logits = output.logits
        if "labels" in batch:
            magnitudes = None if modulator_groups is None else output.magnitudes
            metrics.update(logits, batch["labels"], magnitudes=magnitudes, modulator_groups=modulator_groups)
        if keep_logits:
            kept_logits.append(logits.float().cpu())
            kept_labels.append(batch.get("labels", torch.empty(0, dtype=torch.int64)).cpu())
        after_batch()
    metrics.all_reduce()
    values: dict[str, Any] = metrics.compute(per_class=True) if batch_loader.labels is not None else {}
    if class_counts is None:
        values = {key: value for key, value in values.items() if key not in GROUP_NAMES}
    predictions = label_ids = None
    if keep_logits:
        predictions = _all_rows(_joined(kept_logits, counts.num_classes), args).numpy()
        label_ids = _all_rows(_joined(kept_labels), args).numpy() if batch_loader.labels is not None else None
        if compute_metrics is not None:
            values.update(compute_metrics(EvalPrediction(predictions=predictions, label_ids=label_ids)))
    named = {key if key.startswith(f"{prefix}_") else f"{prefix}_{key}": _plain(v) for key, v in values.items()}
    return EvalLoopOutput(
        predictions=predictions, label_ids=label_ids, metrics=named, num_samples=batch_loader.num_rows
    )


def evaluate_model(
    model: nn.Module,
    dataset: Any,
    arguments: dict[str, Any] | None = None,
    *,
    return_predictions: bool = False,
    class_options: dict[str, Any] | None = None,
) -> Any:
    """
    Evaluate a loaded model on a dataset.

    Args:
        model ([`LongTailForImageClassification`]).
        dataset (`datasets.Dataset`): With `image` and `label`; classes are matched with the model's by name.
        arguments (`dict`, *optional*): Fields of [`LongTailTrainingArguments`] that matter here (batch size,
            precision).
        return_predictions (`bool`, defaults to `False`): Also return the predicted class of every row; the logits are
            forgotten batch by batch all the same.
        class_options (`dict`, *optional*): Arguments of [`~hf_ltr.models.class_matching.match_classes`].

    Returns:
        `dict`: metrics without prefix, `per_class_accuracy` and `group_errors` included. With `return_predictions` a
            pair of it and an int64 array of shape `(rows,)` in row order, on every process.
    """
    from .arguments import LongTailTrainingArguments
    from .trainer import LongTailTrainer

    kept: list[torch.Tensor] = []
    with tempfile.TemporaryDirectory() as nothing_is_written, memory_format_kept(model):
        options = {"disable_tqdm": True, **(arguments or {}), "output_dir": nothing_is_written}
        trainer = LongTailTrainer(model, LongTailTrainingArguments(**options))
        trainer.class_options = dict(class_options or {})
        if not return_predictions:
            return trainer.evaluate_once(dataset)
        # From the forward passes that are measured, so that predictions and metrics agree; float32 as there.
        hook = model.register_forward_hook(lambda _, __, output: kept.append(output.logits.float().argmax(1).cpu()))
        try:
            metrics = trainer.evaluate_once(dataset)
        finally:
            hook.remove()
    return metrics, _all_rows(_joined(kept).long(), trainer.args).numpy()


def evaluation_computation(arguments: dict[str, Any]) -> dict[str, str]:
    """What [`evaluate_model`] uses with these arguments; see [`~hf_ltr.trainer.precision.computation`]."""
    from .arguments import LongTailTrainingArguments
    from .precision import computation

    # Nothing is written there.
    args = LongTailTrainingArguments(**{**arguments, "output_dir": "evaluation", "report_to": "none"})
    return computation(args, evaluation=True)


def _joined(parts: list[torch.Tensor], *width: int) -> torch.Tensor:
    """All rows of this process, of which a small dataset may leave it none."""
    return torch.cat(parts) if parts else torch.empty(0, *width)


def _all_rows(rows: torch.Tensor, args: Any) -> torch.Tensor:
    """Rows of all processes, in process order, which is row order because shards are contiguous."""
    if args.world_size == 1:
        return rows
    gathered: list[Any] = [None] * args.world_size
    dist.all_gather_object(gathered, rows)
    return torch.cat(gathered)


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic | torch.Tensor) and np.size(value) == 1 else value
