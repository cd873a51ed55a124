"""`hf-ltr evaluate`: how good a checkpoint is."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from ..naming import require_folder_or_hub_id
from ..recipe.data_options import DataOptions
from ..recipe.early import data_source
from ..recipe.options import parse_options

HELP = "accuracy of a checkpoint per group and per class"
_ABOUT = f"""{HELP}

Give the data options of the training run: a test set that was held out of the training images is the same one then.
Classes of the data are matched with the model's by name.
"""


@dataclass(kw_only=True)
class EvaluateOptions:
    """What is evaluated, and what is said of it."""

    checkpoint: str = field(
        metadata={"help": "Folder or Hub id of a LongTailForImageClassification.", "positional": True}
    )
    dataset: str = field(metadata={"help": "A name of `hf-ltr list datasets`, a Hub id or a folder."})
    split: str = field(default="test", metadata={"help": "Of the dataset."})
    batch_size: int = field(default=512, metadata={"help": "Images per forward pass."})
    per_class: bool = field(default=False, metadata={"help": "Also print accuracy per class."})
    output: str | None = field(default=None, metadata={"help": "Write the metrics to this JSON file."})
    trust_class_order: bool = field(
        default=False, metadata={"help": "Take classes by number where the model's have no or other names."}
    )
    subset_of_classes: bool = field(
        default=False, metadata={"help": "Accept data that have only some of the model's classes."}
    )

    def __post_init__(self) -> None:
        require_folder_or_hub_id(self.checkpoint)
        if self.batch_size < 1:
            raise ValueError(f"--batch_size must be at least 1, got {self.batch_size}")


def run(argv: list[str]) -> None:
    """Evaluate and print."""
    parsed = parse_options(
        argv, [EvaluateOptions, DataOptions], without=("group_scheme",), description=_ABOUT, program="hf-ltr evaluate"
    )
    options, source = parsed.build(EvaluateOptions), data_source(parsed)
    assert source is not None  # its dataset has to be given
    from ..files import write_metrics
    from ..markup import MODEL_COLUMNS, metrics_table
    from ..trainer.evaluation import evaluate_checkpoint, require_own_model

    require_own_model(options.checkpoint)
    classes = {
        "trust": options.trust_class_order,
        "subset": options.subset_of_classes,
        "spelling": "--{}",
        "what": f"The {options.split} split of {options.dataset}",
    }
    metrics, names = evaluate_checkpoint(
        options.checkpoint, source.load(), options.split, batch_size=options.batch_size, class_options=classes
    )
    print(metrics_table({options.checkpoint: metrics}, MODEL_COLUMNS))
    if options.per_class:
        print(json.dumps(dict(zip(names, metrics["per_class_accuracy"], strict=True)), indent=2))
    if options.output:
        write_metrics(options.output, metrics)
