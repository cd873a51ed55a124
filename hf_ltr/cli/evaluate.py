"""`hf-ltr evaluate`: how good a checkpoint is."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

HELP = "accuracy of a checkpoint per group and per class"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the sub-command."""
    from .recipe import add_data_arguments

    parser.add_argument("checkpoint", help="folder or Hub id of a LongTailForImageClassification")
    parser.add_argument("--dataset", required=True, help="a name of `hf-ltr list datasets`, a Hub id or a folder")
    data = parser.add_argument_group(
        "data", "As of the training run: a test set that was held out of the training images is the same one then."
    )
    add_data_arguments(data, without=("dataset", "group_scheme"))
    parser.add_argument("--split", default="test")
    parser.add_argument("--batch_size", type=int, default=512)
    parser.add_argument("--per_class", action="store_true", help="also print accuracy per class")
    parser.add_argument("--output", help="write the metrics to this JSON file")


def run(options: argparse.Namespace) -> None:
    """Evaluate and print."""
    from ..evaluation import format_table, write_metrics
    from ..models import LongTailForImageClassification
    from ..models.quiet import quiet_loading
    from ..naming import unknown_name
    from ..trainer.evaluation import evaluate_model
    from .recipe import DataOptions, given_data_options

    if not Path(options.checkpoint).exists() and options.checkpoint.count("/") != 1:
        raise FileNotFoundError(f"There is no folder {options.checkpoint!r}; a Hub id has the form owner/name")
    _require_own_model(options.checkpoint)
    data = DataOptions(**given_data_options(options)).load()
    if options.split not in data:
        raise unknown_name("split", options.split, data)
    with quiet_loading():
        model = LongTailForImageClassification.from_pretrained(options.checkpoint)
    metrics = evaluate_model(model, data[options.split], {"per_device_eval_batch_size": options.batch_size})
    per_class = metrics.pop("per_class_accuracy")
    print(
        format_table({options.checkpoint: metrics}, columns=("accuracy", "balanced_accuracy", "many", "medium", "few"))
    )
    if options.per_class:
        names = [model.config.id2label[index] for index in range(model.config.num_labels)]
        print(json.dumps(dict(zip(names, per_class, strict=True)), indent=2))
    if options.output:
        write_metrics(options.output, {**metrics, "per_class_accuracy": per_class})


def _require_own_model(checkpoint: str) -> None:
    from transformers import AutoConfig

    from ..models import LongTailConfig

    kind = AutoConfig.from_pretrained(checkpoint).model_type
    if kind != LongTailConfig.model_type:
        raise ValueError(
            f"{checkpoint} is a {kind} model, and `hf-ltr evaluate` reads those of hf_ltr. For others, `hf-ltr "
            "adjust` prints accuracy per group before and after (--evaluate_test for the test split)."
        )
