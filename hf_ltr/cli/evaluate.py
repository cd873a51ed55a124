"""`hf-ltr evaluate`: how good a checkpoint is."""

from __future__ import annotations

import argparse
import json
import typing
import warnings

from ..recipe.early import require_folder_or_hub_id

HELP = "accuracy of a checkpoint per group and per class"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the sub-command."""
    from ..recipe.recipe import add_data_arguments

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
    classes = parser.add_argument_group("classes", "Classes of the data are matched with the model's by name.")
    classes.add_argument(
        "--trust_class_order", action="store_true", help="take them by number where the model's have no or other names"
    )
    classes.add_argument(
        "--subset_of_classes", action="store_true", help="accept data that have only some of the model's classes"
    )


def run(options: argparse.Namespace) -> None:
    """Evaluate and print."""
    from ..data.sources.source_names import check_source

    require_folder_or_hub_id(options.checkpoint)
    check_source(options.dataset, options.data_dir)
    if options.batch_size < 1:
        raise ValueError(f"--batch_size must be at least 1, got {options.batch_size}")
    from ..files import write_metrics
    from ..markup import metrics_table
    from ..models import LongTailForImageClassification
    from ..models.quiet import quiet_loading
    from ..naming import unknown_name
    from ..recipe.recipe import DataOptions, given_data_options
    from ..trainer.evaluation import evaluate_model, evaluation_computation

    _require_own_model(options.checkpoint)
    data = DataOptions(**given_data_options(options)).load()
    if options.split not in data:
        raise unknown_name("split", options.split, data)
    with quiet_loading():
        model = LongTailForImageClassification.from_pretrained(options.checkpoint)
    classes = {
        "trust": options.trust_class_order,
        "subset": options.subset_of_classes,
        "spelling": "--{}",
        "what": f"The {options.split} split of {options.dataset}",
    }
    if "train" in data:
        _say_other_counts(model.config, data["train"], classes)
    arguments = {"per_device_eval_batch_size": options.batch_size}
    metrics = evaluate_model(model, data[options.split], arguments, class_options=classes)
    per_class = metrics.pop("per_class_accuracy")
    columns = ("accuracy", "balanced_accuracy", "many", "medium", "few")
    print(metrics_table({options.checkpoint: metrics}, columns))
    if options.per_class:
        names = [model.config.id2label[index] for index in range(model.config.num_labels)]
        print(json.dumps(dict(zip(names, per_class, strict=True)), indent=2))
    if options.output:
        used = evaluation_computation(arguments)
        write_metrics(options.output, {**metrics, "per_class_accuracy": per_class, "computation": used})


def _say_other_counts(config: typing.Any, train: typing.Any, classes: dict) -> None:
    """The groups are by the images the model was trained on, which may be others than those of the data at hand."""
    from ..data.class_counts import class_counts, counts_by_map, counts_difference, is_reordered
    from ..data.labels import class_names_of
    from ..models.class_matching import match_classes
    from ..models.class_order import names_in_config

    if not config.class_counts:
        return
    own = list(config.class_counts)
    class_map = match_classes(class_names_of(train), config, tell=False, **classes)
    found = counts_by_map(class_counts(train).counts, class_map, config.num_labels)
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


def _require_own_model(checkpoint: str) -> None:
    from transformers import AutoConfig

    from ..models import LongTailConfig

    kind = AutoConfig.from_pretrained(checkpoint).model_type
    if kind != LongTailConfig.model_type:
        raise ValueError(
            f"{checkpoint} is a {kind} model, and `hf-ltr evaluate` reads those of hf_ltr. For others, `hf-ltr "
            "adjust` prints accuracy per group before and after (--evaluate_test for the test split)."
        )
