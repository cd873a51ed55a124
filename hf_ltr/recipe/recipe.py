"""What the recipes share: options of data and model, and how they fail."""

from __future__ import annotations

import dataclasses
import os
import sys
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..naming import check_initial_checkpoint
from .options import ParsedOptions


@dataclass
class DataOptions:
    """Which images, and how long their tail is. Meaning as in [`load_long_tailed`]."""

    dataset: str = field(default="digits", metadata={"help": "A name of `hf-ltr list datasets`, Hub id or folder."})
    imbalance_factor: float | None = field(default=None, metadata={"help": "Head over tail; unset keeps the data."})
    imbalance_type: str = field(default="exponential", metadata={"help": "exponential or step."})
    order_column: str | None = field(default=None, metadata={"help": "Column that fixes which rows stay."})
    data_dir: str | None = field(default=None, metadata={"help": "Local copy of a named dataset."})
    list_dir: str | None = field(default=None, metadata={"help": "Split lists, if they are not in data_dir."})
    image_column: str | None = field(default=None, metadata={"help": "If it is not found by itself."})
    label_column: str | None = field(default=None, metadata={"help": "If it is not found by itself."})
    labels_from: str | None = field(
        default=None, metadata={"help": "folders, or the table with the labels, where a folder has two readings."}
    )
    splits: str | dict[str, Any] | None = field(
        default=None, metadata={"help": "train=NAME,test=NAME where names do not say it; others are left out."}
    )
    dataset_config: str | None = field(default=None, metadata={"help": "Configuration of a dataset with several."})
    validation_per_class: int = field(default=0, metadata={"help": "Rows per class held out before the tail is cut."})
    subset_seed: int = field(default=0, metadata={"help": "Seed of the chosen rows, apart from the training seed."})
    group_scheme: str = field(default="thresholds", metadata={"help": "thresholds, or auto when a group is empty."})

    def counts(self, data: Any) -> Any:
        """The class counts of the training split, grouped as asked."""
        from ..data import ClassCounts, class_counts

        counts = class_counts(data["train"])
        return ClassCounts(counts.counts, counts.names, grouping=self.group_scheme)

    def load(self) -> Any:
        """The `DatasetDict`."""
        from ..data import load_long_tailed

        return load_long_tailed(
            self.dataset,
            imbalance_factor=self.imbalance_factor,
            imbalance_type=self.imbalance_type,
            order_column=self.order_column,
            data_dir=self.data_dir,
            list_dir=self.list_dir,
            image_column=self.image_column,
            label_column=self.label_column,
            labels_from=self.labels_from,
            splits=self.splits,
            dataset_config=self.dataset_config,
            validation_per_class=self.validation_per_class,
            seed=self.subset_seed,
        )


def add_data_arguments(group: Any, without: tuple[str, ...] = ()) -> None:
    """An argument for every field of [`DataOptions`], unset if not given, so that what was given can be told."""
    for item in dataclasses.fields(DataOptions):
        if item.name not in without:
            default = "" if item.name == "dataset" else f" (default {item.default})"
            group.add_argument(f"--{item.name}", help=f"{item.metadata.get('help', '')}{default}")


def given_data_options(arguments: Any) -> dict[str, Any]:
    """What of [`add_data_arguments`] was given, converted by the types of the fields."""
    from .options import convert

    kinds = typing.get_type_hints(DataOptions)
    given = {name: getattr(arguments, name) for name in kinds if getattr(arguments, name, None) is not None}
    return {name: convert(value, kinds[name], name) for name, value in given.items()}


@dataclass
class ModelOptions:
    """Which network. Meaning as in [`LongTailConfig`]."""

    backbone: str = field(default="resnet32_cifar", metadata={"help": "Any timm model, or one of ours."})
    image_size: int | None = field(default=None, metadata={"help": "Pixels; the backbone's own if unset."})
    num_channels: int = field(default=3, metadata={"help": "1 for grayscale."})
    image_mean: list[float] | None = field(default=None, metadata={"help": "Per channel; 0.5 from scratch if unset."})
    image_std: list[float] | None = field(default=None, metadata={"help": "Per channel; 0.5 from scratch if unset."})
    crop_ratio: float | None = field(default=None, metadata={"help": "Evaluation crop over resized shorter side."})
    interpolation: str | None = field(default=None, metadata={"help": "Of evaluation images; bicubic if unset."})
    backbone_pretrained: bool = field(default=False, metadata={"help": "Start from timm's weights (Hub)."})
    backbone_kwargs: dict | None = field(default=None, metadata={"help": "Arguments of timm.create_model, JSON."})
    drop_path_rate: float = field(default=0.0, metadata={"help": "Stochastic depth."})
    global_pool: str | None = field(default=None, metadata={"help": "avg for MAE fine-tuning."})
    head: str | None = field(default=None, metadata={"help": "Kind of head; the method decides if unset."})
    head_scale: float | None = field(default=None, metadata={"help": "Scale of a cosine head."})
    head_init_std: float | None = field(default=None, metadata={"help": "Of a new head; 2e-5 in MAE fine-tuning."})
    masked_autoencoder: dict | None = field(default=None, metadata={"help": "Decoder options, JSON."})

    def config(self, class_counts: Any) -> Any:
        """The [`LongTailConfig`] for these classes."""
        from ..models import LongTailConfig

        options = {
            "backbone": self.backbone,
            "image_size": self.image_size,
            "num_channels": self.num_channels,
            "image_mean": self.image_mean,
            "image_std": self.image_std,
            "crop_ratio": self.crop_ratio,
            "interpolation": self.interpolation,
            "backbone_kwargs": self.backbone_kwargs or {},
            "drop_path_rate": self.drop_path_rate,
            "global_pool": self.global_pool,
            "head": self.head,
            "head_scale": self.head_scale,
            "head_init_std": self.head_init_std,
        }
        if self.backbone_pretrained:
            options["backbone_pretrained"] = True
        names = class_counts.names
        if names is not None:
            options["id2label"] = dict(enumerate(names))
            options["label2id"] = {name: index for index, name in enumerate(names)}
        return LongTailConfig(
            num_labels=len(class_counts),
            class_counts=class_counts,
            group_thresholds=class_counts.thresholds,
            group_scheme=class_counts.grouping,
            **options,
        )


def take_statistics(options: ParsedOptions, start: str) -> None:
    """Normalise images as the weights at `start` (folder or Hub id) were trained, where the options do not say how."""
    from ..models import LongTailConfig

    check_initial_checkpoint(start)
    theirs = LongTailConfig.from_pretrained(start)
    if theirs.num_channels != options.values.get("num_channels", ModelOptions.num_channels):
        return  # the weights do not fit, and loading says so
    if options.values.keys().isdisjoint(("image_mean", "image_std")):
        options.values |= {"image_mean": list(theirs.image_mean), "image_std": list(theirs.image_std)}


def run_recipe(
    stages: list[Any],
    *,
    data: Any,
    counts: Any,
    options: ParsedOptions,
    default_output_dir: str,
    command: str,
) -> tuple[dict[str, Any], Any, Any]:
    """
    What every recipe does between building its stages and writing its rows.

    Args:
        stages (`list[Stage]`): Their own arguments are completed from the sections of the options.
        data (`DatasetDict`): With `train`, `test` and maybe `validation`.
        counts ([`ClassCounts`]): Of the training split.
        options ([`ParsedOptions`]): Of the command line.
        default_output_dir (`str`): If the options name none.
        command (`str`): For the card.

    Returns:
        `(results by stage name, RunReport, PushTarget or None)`.

    Raises:
        `ValueError`: before anything is trained, for a push that cannot work, too.
    """
    from ..hub.pushing import PushTarget
    from ..reporting import RunReport
    from ..trainer import LongTailTrainingArguments, run_stages

    if "test" not in data:
        raise ValueError("The data have no test split and none could be held out, so there would be nothing to report")
    training = options.of(LongTailTrainingArguments)
    output_dir = Path(training.pop("output_dir", default_output_dir))
    push_to = PushTarget.take(training, output_dir)
    for stage in stages:
        stage.arguments.update(options.sections.get(stage.name, {}))
    if push_to is not None and os.environ.get("RANK", "0") == "0":
        push_to = push_to.prepare()
    results = run_stages(
        stages,
        config=options.build(ModelOptions).config(counts),
        arguments=training,
        train_dataset=data["train"],
        validation_dataset=data.get("validation"),
        test_dataset=data["test"],
        output_dir=output_dir,
    )
    report = RunReport(
        output_dir,
        data=data,
        dataset=options.build(DataOptions).dataset,
        arguments=training,
        sections=options.sections,
        command=command,
        counts=counts,
    )
    return results, report, push_to


def fail_clearly(main: Any, argv: list[str] | None = None) -> None:
    """Run a recipe's `main`; mistakes of the user and interruptions end with one line, not with a traceback."""
    from .ending import TRACEBACK, run_to_the_end

    argv = sys.argv[1:] if argv is None else argv
    code = run_to_the_end(lambda: main(argv), hint=f"\n({TRACEBACK}=1 shows where)")
    if code:
        sys.exit(code)


def command_line(argv: list[str]) -> str:
    """The command as others could repeat it: without secrets, and with the names of folders."""
    from ..redaction import public_command

    return public_command(["accelerate", "launch", sys.argv[0]], argv)


__all__ = [
    "DataOptions",
    "ModelOptions",
    "add_data_arguments",
    "command_line",
    "fail_clearly",
    "given_data_options",
    "run_recipe",
    "take_statistics",
]
