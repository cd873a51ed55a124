"""Evaluation of a loaded model, without a training run."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from .arguments import LongTailTrainingArguments
from .evaluation_loop import joined_rows, rows_of_all_processes
from .forward import memory_format_kept
from .precision import computation
from .trainer import LongTailTrainer

_ARGUMENTS = (
    "per_device_eval_batch_size mixed_precision_mode bf16 fp16 bf16_full_eval fp16_full_eval image_loading use_cpu "
    "cpu_threads channels_last"
).split()


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
    return metrics, rows_of_all_processes(joined_rows(kept).long(), trainer.args.world_size).numpy()


def evaluation_arguments(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Of training arguments, those that decide how a saved model is evaluated: as the run that made it did."""
    return {name: arguments[name] for name in _ARGUMENTS if name in arguments}


def evaluation_computation(arguments: dict[str, Any]) -> dict[str, str]:
    """What [`evaluate_model`] uses with these arguments; see [`~hf_ltr.trainer.precision.computation`]."""
    # Nothing is written there.
    args = LongTailTrainingArguments(**{**arguments, "output_dir": "evaluation", "report_to": "none"})
    return computation(args, evaluation=True)
