"""`hf-ltr adjust`: a long-tail adjustment of any image classifier that transformers loads."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..adjustment.options import ADJUSTMENTS
from ..naming import require_folder_or_hub_id
from ..recipe.data_options import DataOptions
from ..recipe.early import data_source, require_file
from ..recipe.options import parse_options

HELP = "adjust a trained classifier for a long tail, without training its backbone"
_METHODS = "\n".join(f"  {name:18}{what}" for name, what in ADJUSTMENTS.items())
_ABOUT = f"""{HELP}

Training counts come from --class_counts, from the train split of --dataset, or from the config of a model trained with
hf_ltr. Give the options of the training run: images it was trained on are no validation data.

methods:
{_METHODS}
"""
_PASSED_ON = (
    *("class_counts", "target_prior", "image_processor", "trust_class_order", "evaluate_test"),
    *("batch_size", "num_workers", "device"),
)
_RETRAINING = ("epochs", "learning_rate", "sampler", "seed")


@dataclass(kw_only=True)
class AdjustOptions:
    """What is adjusted, how, and what it is measured on."""

    checkpoint: str = field(metadata={"help": "Folder or Hub id of an image classifier.", "positional": True})
    method: str = field(metadata={"help": "See above.", "choices": tuple(ADJUSTMENTS)})
    output: str = field(
        metadata={"help": "Folder for the adjusted checkpoint, not there yet.", "old_names": ("output_dir",)}
    )
    dataset: str | None = field(default=None, metadata={"help": "A name of `hf-ltr list datasets`, Hub id or folder."})
    image_processor: str | None = field(default=None, metadata={"help": "Its folder or Hub id, if elsewhere."})
    class_counts: str | None = field(
        default=None, metadata={"help": "JSON file: list in label order, or counts by class name."}
    )
    target_prior: str | None = field(
        default=None, metadata={"help": "JSON file of the same form: prior at test time, for pc_softmax."}
    )
    trust_class_order: bool = field(
        default=False,
        metadata={"help": "Take classes by number where names differ; the same names in any order are matched."},
    )
    evaluate_test: bool = field(default=False, metadata={"help": "Print test figures too, once, at the end."})
    tau: float | None = field(default=None, metadata={"help": "Strength; unset: best on the validation split, or 1."})
    taus: list[float] | None = field(default=None, metadata={"help": "Values to try there; 0, 0.1, ..., 2 if unset."})
    epochs: float | None = field(default=None, metadata={"help": "Of crt (10) and lws (5); at least 1,000 steps."})
    learning_rate: float | None = field(default=None, metadata={"help": "Of crt and lws; 0.2 if unset."})
    sampler: str | None = field(default=None, metadata={"help": "Of crt and lws; class_aware if unset."})
    seed: int | None = field(default=None, metadata={"help": "Of crt and lws: weights and sampling; 0 if unset."})
    batch_size: int = field(default=64, metadata={"help": "Images per forward pass."})
    num_workers: int | None = field(default=None, metadata={"help": "Processes that decode images."})
    device: str | None = field(default=None, metadata={"help": "cuda where there is one, else cpu."})
    quiet: bool = field(default=False, metadata={"help": "No progress bars."})

    def __post_init__(self) -> None:
        require_folder_or_hub_id(self.checkpoint)
        require_folder_or_hub_id(self.image_processor)
        require_file("class_counts", self.class_counts)
        require_file("target_prior", self.target_prior)


def run(argv: list[str]) -> None:
    """Adjust, print before and after, and say where the result is."""
    parsed = parse_options(argv, [AdjustOptions, DataOptions], description=_ABOUT, program="hf-ltr adjust")
    options, source = parsed.build(AdjustOptions), data_source(parsed, also=("evaluate_test",))
    from ..adjustment import AdjustmentOptions, adjust_checkpoint
    from ..adjustment.checkpoint import check_output
    from ..adjustment.options import retraining_options
    from ..redaction import name_of_place

    retraining = {name: getattr(options, name) for name in _RETRAINING if getattr(options, name) is not None}
    how = retraining_options(options.method, retraining, spelling="--{}")
    adjustment = AdjustmentOptions(options.method, options.tau, options.taus, how)
    check_output(options.output)
    report = adjust_checkpoint(
        options.checkpoint,
        options.output,
        adjustment,
        data=None if source is None else source.load(),
        group_scheme=parsed.values.get("group_scheme", DataOptions.group_scheme),
        dataset_name=None if source is None else name_of_place(source.dataset),
        progress=not options.quiet,
        spelling="--{}",
        **{name: getattr(options, name) for name in _PASSED_ON},
    )
    print(f"\n{report.summary()}\n\nModel, processor, metrics.json and README.md are in {report.folder}")
