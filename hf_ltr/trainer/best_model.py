"""Whether the metric that chooses the best checkpoint is one that evaluation will report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from ..data.class_counts import GROUP_NAMES, ClassCounts
from ..data.labels import column_labels
from ..evaluation import StreamingMetrics
from ..models.modules import metric_names as module_metric_names
from ..naming import unknown_name

_ALWAYS = ("loss", "accuracy", "balanced_accuracy", "worst_class_accuracy")
_ROWS = 256
_LOWER_IS_BETTER = ("expected_calibration_error",)
# Reported by the parent beside the metrics; numbers, but no measure of a model.
_SPEED = ("runtime", "samples_per_second", "steps_per_second")


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
    values = metrics.compute()
    if known is None:
        values = {name: value for name, value in values.items() if name not in GROUP_NAMES}
    names = [name for name, value in values.items() if isinstance(value, int | float)]
    return [*names, *module_metric_names(config.modules)]
