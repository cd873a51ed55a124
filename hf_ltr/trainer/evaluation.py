"""Evaluation without a training run: of a loaded model, or of a saved one on data that may not be those of its run."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig

from ..data.class_counts import class_counts, counts_by_map, counts_difference, is_reordered
from ..data.labels import class_names_of
from ..models import LongTailConfig, LongTailForImageClassification
from ..models.class_matching import match_classes
from ..models.class_order import names_in_config
from ..models.quiet import quiet_loading
from ..naming import unknown_name
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


def evaluate_checkpoint(
    checkpoint: str, data: Mapping[str, Any], split: str, *, batch_size: int, class_options: Mapping[str, Any]
) -> tuple[dict[str, Any], list[str]]:
    """
    Evaluate a checkpoint on one split of a dataset.

    Args:
        checkpoint (`str`): Folder or Hub id of a [`LongTailForImageClassification`].
        data (`DatasetDict`): Where it has training images, their counts are compared with those of the model.
        split (`str`): Of the data.
        batch_size (`int`).
        class_options (`dict`): Arguments of [`~hf_ltr.models.class_matching.match_classes`].

    Returns:
        `(metrics, names)`: `per_class_accuracy` and `computation` among the metrics, and the names of the classes in
            the order of the former.
    """
    if split not in data:
        raise unknown_name("split", split, data)
    with quiet_loading():
        model = LongTailForImageClassification.from_pretrained(checkpoint)
    config = model.config
    assert isinstance(config, LongTailConfig)
    if "train" in data:
        _compare_counts(config, data["train"], class_options)
    arguments = {"per_device_eval_batch_size": batch_size}
    metrics = evaluate_model(model, data[split], arguments, class_options=dict(class_options))
    names = [config.id2label[index] for index in range(len(metrics["per_class_accuracy"]))]
    return {**metrics, "computation": evaluation_computation(arguments)}, names


def require_own_model(checkpoint: str) -> None:
    """Refuse a checkpoint of another package, which knows no groups."""
    kind = AutoConfig.from_pretrained(checkpoint).model_type
    if kind != LongTailConfig.model_type:
        raise ValueError(
            f"{checkpoint} is a {kind} model, and `hf-ltr evaluate` reads those of hf_ltr. For others, `hf-ltr "
            "adjust` prints accuracy per group before and after (--evaluate_test for the test split)."
        )


def _compare_counts(config: LongTailConfig, train: Any, class_options: Mapping[str, Any]) -> None:
    """The groups are by the images the model was trained on, which may be others than those of the data at hand."""
    if not config.class_counts:
        return
    own = list(config.class_counts)
    class_map = match_classes(class_names_of(train), config, warn=False, **class_options)
    found = counts_by_map(class_counts(train).counts, class_map, len(own))
    if found != own and len(found) == len(own):
        names, theirs = names_in_config(config), class_names_of(train)
        by_name = names is not None and theirs is not None and set(theirs) <= set(names)
        text = counts_difference(
            own, found, ("in the model's config", "in the training split"), lambda i: config.class_names([i])
        )
        if is_reordered(own, found) and not by_name:
            raise ValueError(
                f"{text[0].upper()}{text[1:]}. Only their numbers match the classes, so the accuracy would be that of "
                "others: write their names, in the model's order, into id2label of its config.json."
            )
        warnings.warn(
            f"{text[0].upper()}{text[1:]}. Groups are by the former, which the model was trained on. Give the data "
            "options of its run, or images it was trained on may be among those it is tested on.",
            UserWarning,
            stacklevel=2,
        )
